package fleet

import (
	"context"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

// maxWait bounds every long poll of a worker.
const maxWait = time.Minute

// openClaim is the newest claim of a worker's agent and its answer.
type openClaim struct {
	seq     uint64
	done    bool
	items   []entropy.Held // the set it was answered with
	waiters []es.Reply
}

// claimed reports, to the session's own mailbox, what came of a claim.
type claimed struct {
	seq         uint64
	incarnation uint64
	reply       es.Reply // of a repeat; the others wait in the open claim
	assignments []entropy.Assignment
	err         error
}

func (s *Session) onClaim(c *es.Context, m *Claim) {
	reply := c.Defer()
	switch err := s.check(m.Incarnation); {
	case err != nil:
		reply.Send(nil, err)
	case m.Want < 1 || m.Want > entropy.MaxBatch || m.ClaimSeq == 0:
		reply.Send(nil, entropy.Errorf(entropy.CodeInvalid, "claim: want is %d (1 to %d) and claim_seq %d (1 or more)", m.Want, entropy.MaxBatch, m.ClaimSeq))
	case !s.met:
		// Its inventory gates its own claims.
		reply.Send(nil, entropy.Errorf(entropy.CodeStale, "the control plane has started anew and does not know what %s holds", s.id).WithHint("register again"))
	case s.claim != nil && m.ClaimSeq < s.claim.seq:
		reply.Send(nil, olderClaim(m.ClaimSeq, s.claim.seq))
	case s.claim != nil && m.ClaimSeq == s.claim.seq && !s.claim.done:
		s.claim.waiters = append(s.claim.waiters, reply)
	case s.claim != nil && m.ClaimSeq == s.claim.seq:
		items := s.claim.items
		c.Go(func() any { return s.replay(m, items, reply) })
	default:
		s.openClaim(c, m, reply)
	}
}

func olderClaim(seq, newest uint64) error {
	return entropy.Errorf(entropy.CodeConflict, "claim %d is older than claim %d", seq, newest)
}

// openClaim starts a claim. The first after a restart of the control plane may be
// the repeat of one whose answer was lost with it: the journal knows.
func (s *Session) openClaim(c *es.Context, m *Claim, reply es.Reply) {
	first := s.claim == nil
	if s.claim != nil && !s.claim.done {
		s.cfg.Claims.Withdraw(s.id)
		for _, w := range s.claim.waiters {
			w.Send(&entropy.ClaimReply{Epoch: s.cfg.Epoch}, nil)
		}
	}
	s.claim = &openClaim{seq: m.ClaimSeq, waiters: []es.Reply{reply}}
	worker, r := s.worker, m.ClaimRequest
	r.Wait = min(r.Wait, entropy.Duration(maxWait))
	c.Go(func() any {
		if first {
			inc, seq, items, err := s.cfg.Jobs.LastClaim(context.Background(), s.id)
			if err != nil {
				return &claimed{seq: r.ClaimSeq, incarnation: r.Incarnation, err: err}
			}
			if inc == r.Incarnation && seq == r.ClaimSeq {
				return s.replay(m, items, es.Reply{})
			}
			if inc == r.Incarnation && seq > r.ClaimSeq {
				return &claimed{seq: r.ClaimSeq, incarnation: r.Incarnation, err: olderClaim(r.ClaimSeq, seq)}
			}
		}
		jobs, err := s.cfg.Claims.Claim(context.Background(), worker, r)
		out := &claimed{seq: r.ClaimSeq, incarnation: r.Incarnation, err: err, assignments: make([]entropy.Assignment, 0, len(jobs))}
		for _, j := range jobs {
			out.assignments = append(out.assignments, assignmentOf(j))
		}
		return out
	})
}

// replay answers a repeated claim with the set it was first answered with, each
// assignment marked live or revoked. It runs outside the actor's turn.
func (s *Session) replay(m *Claim, items []entropy.Held, reply es.Reply) *claimed {
	out := &claimed{seq: m.ClaimSeq, incarnation: m.Incarnation, reply: reply}
	for _, h := range items {
		j, err := s.cfg.Jobs.Live(context.Background(), h)
		switch {
		case err != nil:
			out.err = err
			return out
		case j == nil:
			out.assignments = append(out.assignments, entropy.Assignment{JobID: h.JobID, AssignmentID: h.AssignmentID, Revoked: true})
		default:
			out.assignments = append(out.assignments, assignmentOf(j))
		}
	}
	return out
}

func assignmentOf(j *entropy.Job) entropy.Assignment {
	return entropy.Assignment{JobID: j.ID, AssignmentID: j.Lease.AssignmentID, Attempt: j.Attempt, TTL: j.Lease.TTL,
		AckTimeout: entropy.Duration(j.Spec.AckTimeoutOrDefault()), Resources: j.Lease.Resources, GPUs: j.Lease.GPUs, Checkpoints: j.ResumeFrom(), Spec: j.Spec}
}

// dropClaim ends the claim of an agent process that is gone.
func (s *Session) dropClaim() {
	if s.claim != nil && !s.claim.done {
		s.cfg.Claims.Withdraw(s.id)
		for _, w := range s.claim.waiters {
			w.Send(nil, entropy.Errorf(entropy.CodeStale, "the agent of %s has registered anew", s.id).WithHint("register again"))
		}
	}
	s.claim = nil
}

func (s *Session) onClaimed(m *claimed) {
	answer := &entropy.ClaimReply{Assignments: m.assignments, Epoch: s.cfg.Epoch}
	m.reply.Send(answer, m.err)
	cl := s.claim
	if cl == nil || cl.seq != m.seq || cl.done || m.incarnation != s.worker.Incarnation {
		return // overtaken; what was granted is released for want of an ACK
	}
	waiters := cl.waiters
	if m.err != nil {
		s.claim = nil // the repeat tries again
	} else {
		cl.done, cl.waiters = true, nil
		for _, a := range m.assignments {
			cl.items = append(cl.items, entropy.Held{JobID: a.JobID, AssignmentID: a.AssignmentID})
		}
	}
	for _, w := range waiters {
		w.Send(answer, m.err)
	}
}
