package actors

import (
	"context"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
	"github.com/entropy-fabric/entropy/actors/fleet"
	"github.com/entropy-fabric/entropy/actors/job"
	"github.com/entropy-fabric/entropy/actors/scheduler"
)

// jobPort connects the scheduler and the sessions with the jobs' actors, so that
// these packages need not know each other.
type jobPort struct{ s *System }

var (
	_ scheduler.Jobs = (*jobPort)(nil)
	_ fleet.Jobs     = (*jobPort)(nil)
	_ fleet.Claims   = (*jobPort)(nil)
)

// decideWithin is how long a worker's actor waits for a job or the scheduler. An
// actor that crashed may never answer, and nobody else would end the wait.
const decideWithin = 30 * time.Second

// Offer implements scheduler.Jobs.
func (p *jobPort) Offer(id entropy.JobID, lease entropy.Assign, claim uint64, replyTo es.Ref) {
	p.s.jobs.Tell(string(id), &job.Offer{Assign: lease, ReplyTo: replyTo,
		Answer: func(id entropy.JobID, j *entropy.Job, err error) any {
			return &scheduler.Answer{Claim: claim, ID: id, Job: j, Err: err}
		}})
}

// Preempt implements scheduler.Jobs.
func (p *jobPort) Preempt(id entropy.JobID, cmd entropy.Preempt) {
	p.s.jobs.Tell(string(id), &job.Command{Cmd: cmd})
}

// Look implements scheduler.Jobs.
func (p *jobPort) Look(ctx context.Context, id entropy.JobID) (*entropy.Job, error) {
	return p.s.cfg.Journal.Job(ctx, id)
}

// Renew implements fleet.Jobs.
func (p *jobPort) Renew(h entropy.Held, w *entropy.Worker, at time.Duration, replyTo es.Ref) {
	p.s.jobs.Tell(string(h.JobID), &job.Renew{Held: h, WorkerID: w.ID, Incarnation: w.Incarnation, At: at, ReplyTo: replyTo,
		Answer: func(a entropy.AssignmentID, v entropy.Verdict, stop entropy.Reason) any {
			return &fleet.Verdict{AssignmentID: a, Verdict: v, Stop: stop}
		}})
}

// Reattach implements fleet.Jobs.
func (p *jobPort) Reattach(ctx context.Context, h entropy.Held, w *entropy.Worker) (entropy.Verdict, entropy.Reason, error) {
	ctx, cancel := context.WithTimeout(ctx, decideWithin)
	defer cancel()
	out, err := p.s.command(ctx, h.JobID, &job.Command{Cmd: entropy.Reattach{AssignmentID: h.AssignmentID, WorkerID: w.ID,
		Incarnation: w.Incarnation, TTL: p.s.cfg.LeaseTTL}})
	if err != nil {
		return "", "", err
	}
	return out.Decision.Verdict, out.Decision.Stop, nil
}

// EndLease implements fleet.Jobs.
func (p *jobPort) EndLease(ctx context.Context, id entropy.JobID, end entropy.EndLease) error {
	ctx, cancel := context.WithTimeout(ctx, decideWithin)
	defer cancel()
	_, err := p.s.command(ctx, id, &job.Command{Cmd: end})
	return err
}

// Leased implements fleet.Jobs.
func (p *jobPort) Leased(ctx context.Context, w entropy.WorkerID) ([]entropy.Held, error) {
	return p.s.cfg.Journal.Leases(ctx, w)
}

// Live implements fleet.Jobs.
func (p *jobPort) Live(ctx context.Context, h entropy.Held) (*entropy.Job, error) {
	j, err := p.s.cfg.Journal.Job(ctx, h.JobID)
	if entropy.ErrorCode(err) == entropy.CodeNotFound {
		return nil, nil
	}
	if err != nil || j.Lease == nil || j.Lease.AssignmentID != h.AssignmentID {
		return nil, err
	}
	return j, nil
}

// LastClaim implements fleet.Jobs.
func (p *jobPort) LastClaim(ctx context.Context, w entropy.WorkerID) (incarnation, seq uint64, items []entropy.Held, err error) {
	return p.s.cfg.Journal.LastClaim(ctx, w)
}

// Claim implements fleet.Claims.
func (p *jobPort) Claim(ctx context.Context, w *entropy.Worker, r entropy.ClaimRequest) ([]*entropy.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Wait.D()+decideWithin)
	defer cancel()
	q := p.s.scheduler.Ask(ctx, &scheduler.Claim{Worker: w.ID,
		Incarnation: r.Incarnation, Seq: r.ClaimSeq, Want: r.Want, Wait: r.Wait.D(), Idle: !w.Schedulable()})
	v, err := q.Await(ctx)
	if err != nil {
		return nil, err
	}
	return v.(*scheduler.Granted).Jobs, nil
}

// Withdraw implements fleet.Claims.
func (p *jobPort) Withdraw(w entropy.WorkerID) { p.s.scheduler.Tell(scheduler.Withdraw{Worker: w}) }

// command asks a job's actor and awaits the answer. Never call it in an actor.
func (s *System) command(ctx context.Context, id entropy.JobID, c *job.Command) (*job.Outcome, error) {
	return await(ctx, s.jobs.Ask(ctx, string(id), c))
}

func await(ctx context.Context, q es.Question) (*job.Outcome, error) {
	v, err := q.Await(ctx)
	if err != nil {
		return nil, err
	}
	return v.(*job.Outcome), nil
}
