package scheduler

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
	"github.com/entropy-fabric/entropy/actors/scheduler/planner"
)

// claim is a claim that has not been answered.
type claim struct {
	Claim
	number  uint64
	reply   es.Reply
	offered map[entropy.JobID]bool // offers without an answer yet
	rank    map[entropy.JobID]int  // the order in which jobs were chosen
	got     []*entropy.Job
	closed  bool // takes no more offers
}

// Actor owns the plan and the waiting claims.
type Actor struct {
	cfg     Config
	plan    *planner.Planner
	claims  map[uint64]*claim
	waiting []*claim // in order of arrival; they have room and no offer pending
	last    uint64
	broken  error // why the plan is not loaded
}

// New returns the actor. It numbers its claims from a random start, so that an
// answer to an offer of before a crash is not taken for one of after it.
func New(cfg Config) *Actor {
	return &Actor{cfg: cfg, claims: make(map[uint64]*claim), last: rand.Uint64(), plan: planner.New(new(entropy.Policy), cfg.Now())}
}

// Receive handles one message.
func (a *Actor) Receive(c *es.Context) {
	switch m := c.Message().(type) {
	case es.Started:
		a.load(c)
		c.After(roundInterval, round{})
	case reload:
		a.load(c)
	case *Commit:
		a.onCommit(c, m)
	case *Claim:
		a.onClaim(c, m)
	case *Answer:
		a.onAnswer(c, m)
	case closeClaim:
		if cl := a.claims[m.number]; cl != nil {
			a.close(c, cl)
		}
	case abandon:
		if cl := a.claims[m.number]; cl != nil {
			a.abandon(c, cl)
		}
	case look:
		c.Go(func() any {
			j, err := a.cfg.Jobs.Look(context.Background(), m.id)
			return &looked{m.id, j, err}
		})
	case *looked:
		a.onLooked(c, m)
	case round:
		a.onRound(c)
	case Withdraw:
		a.onWithdraw(c, m)
	case Explain:
		hurdles, never := a.plan.Explain(m.ID, a.cfg.Now())
		c.Reply(&Explained{hurdles, never}, a.broken)
	case Depth:
		c.Reply(a.plan.Len(), a.broken)
	}
}

// load fills the plan from the journal. What is on its way to this actor may be
// in it twice or not any more: a job's own actor decides whether it takes a lease.
func (a *Actor) load(c *es.Context) {
	s, err := a.cfg.Load()
	if err == nil {
		now := a.cfg.Now()
		a.plan = planner.New(s.Policy, now)
		for _, w := range s.Workers {
			a.plan.SetWorker(w)
		}
		err = s.Each(func(j *entropy.Job) { a.plan.Sync(j, now) })
	}
	if a.broken = err; err != nil {
		a.cfg.Logger.Error("load queued jobs", "error", err)
		c.After(reloadDelay, reload{})
		return
	}
	a.match(c)
}

func (a *Actor) onCommit(c *es.Context, m *Commit) {
	now := a.cfg.Now()
	if m.Policy != nil {
		a.plan.SetPolicy(m.Policy, now)
	}
	for _, w := range m.Workers {
		a.plan.SetWorker(w)
	}
	for _, j := range m.Jobs {
		a.plan.Sync(j, now)
	}
	a.match(c)
}

// onRound looks after those who wait for more room than becomes free by itself.
func (a *Actor) onRound(c *es.Context) {
	c.After(roundInterval, round{})
	now := a.cfg.Now()
	a.plan.Reserve(now)
	for _, p := range a.plan.Preemptions(now) {
		a.cfg.Logger.Info("a job is asked to make room", "job", p.Job, "worker", p.Worker, "for", p.For)
		a.cfg.Jobs.Preempt(p.Job, entropy.Preempt{AssignmentID: p.Assignment, Message: "to make room for job " + string(p.For)})
	}
	a.match(c)
}

func (a *Actor) onClaim(c *es.Context, m *Claim) {
	a.last++
	cl := &claim{Claim: *m, number: a.last, reply: c.Defer(), offered: make(map[entropy.JobID]bool), rank: make(map[entropy.JobID]int)}
	a.claims[cl.number] = cl
	c.After(m.Wait, closeClaim{cl.number})
	if !m.Idle && !a.offer(c, cl) {
		a.waiting = append(a.waiting, cl)
	}
}

// match offers queued jobs to those waiting claims whose workers something has
// changed for, one claim after the other.
func (a *Actor) match(c *es.Context) {
	rest := a.waiting[:0]
	for _, cl := range a.waiting {
		switch {
		case !cl.reply.Waiting():
			delete(a.claims, cl.number) // it has no offers out, so nothing is lost
		case !a.plan.Worthwhile(cl.Worker) || !a.offer(c, cl):
			rest = append(rest, cl)
		}
	}
	clear(a.waiting[len(rest):])
	a.waiting = rest
	a.plan.Settled()
}

// offer offers jobs to a claim and reports whether any fitted.
func (a *Actor) offer(c *es.Context, cl *claim) bool {
	chosen := a.plan.Pick(cl.Worker, cl.Want-len(cl.got), a.cfg.Now())
	for _, x := range chosen {
		cl.offered[x.ID], cl.rank[x.ID] = true, len(cl.rank)
		a.cfg.Jobs.Offer(x.ID, entropy.Assign{AssignmentID: entropy.AssignmentID(entropy.NewID()), WorkerID: cl.Worker, Incarnation: cl.Incarnation,
			ClaimSeq: cl.Seq, TTL: a.cfg.LeaseTTL, Resources: x.Resources, GPUs: x.GPUs}, cl.number, c.Self())
	}
	return len(chosen) > 0
}

func (a *Actor) onAnswer(c *es.Context, m *Answer) {
	cl := a.claims[m.Claim]
	if cl == nil || !cl.offered[m.ID] {
		return // asked before a crash of this actor, or given up: the worker's silence releases it
	}
	delete(cl.offered, m.ID)
	if m.Err == nil {
		cl.got = append(cl.got, m.Job)
		a.plan.Sync(m.Job, a.cfg.Now())
	} else {
		a.refused(c, m)
	}
	if len(cl.offered) > 0 {
		return
	}
	if len(cl.got) > 0 || cl.closed {
		a.finish(cl)
		return
	}
	if !a.offer(c, cl) { // every offer was stale
		a.waiting = append(a.waiting, cl)
	}
}

// refused handles an offer that was not taken. A job that is not what it was
// thought to be says what it is; one that could not be assigned though it is
// pending, because the journal had no room, say, is looked at again later. Until
// then it keeps its room.
func (a *Actor) refused(c *es.Context, m *Answer) {
	if entropy.ErrorCode(m.Err) == entropy.CodeConflict && m.Job != nil {
		a.plan.Undo(m.ID, a.cfg.Now())
		a.plan.Sync(m.Job, a.cfg.Now())
		return
	}
	a.cfg.Logger.Warn("offer failed", "job", m.ID, "error", m.Err)
	c.After(lookDelay, look{m.ID})
}

func (a *Actor) onLooked(c *es.Context, m *looked) {
	switch {
	case m.err == nil:
		a.plan.Undo(m.id, a.cfg.Now())
		a.plan.Sync(m.job, a.cfg.Now())
		a.match(c)
	case entropy.ErrorCode(m.err) == entropy.CodeNotFound:
		a.plan.Undo(m.id, a.cfg.Now())
	default:
		c.After(lookDelay, look{m.id})
	}
}

// finish answers a claim. Answering twice is impossible: it leaves the map.
func (a *Actor) finish(cl *claim) {
	delete(a.claims, cl.number)
	slices.SortFunc(cl.got, func(x, y *entropy.Job) int { return cl.rank[x.ID] - cl.rank[y.ID] })
	cl.reply.Send(&Granted{Jobs: cl.got}, nil)
}

func (a *Actor) onWithdraw(c *es.Context, m Withdraw) {
	for _, number := range slices.Sorted(maps.Keys(a.claims)) { // in order, so that a run can be repeated
		if cl := a.claims[number]; cl.Worker == m.Worker {
			a.close(c, cl)
		}
	}
}

// abandon answers a claim with an error, since it is not known what it got: the
// journal knows what a repeat should get. The jobs may still be pending.
func (a *Actor) abandon(c *es.Context, cl *claim) {
	delete(a.claims, cl.number)
	for _, id := range slices.Sorted(maps.Keys(cl.offered)) {
		c.After(0, look{id})
	}
	cl.reply.Send(nil, entropy.Errorf(entropy.CodeUnknown, "%d jobs did not answer in time whether they were assigned", len(cl.offered)).
		WithHint("repeat the claim with the same claim_seq"))
}

// close answers a claim with what it has, once its offers are answered.
func (a *Actor) close(c *es.Context, cl *claim) {
	if cl.closed {
		return
	}
	cl.closed = true
	a.waiting = slices.DeleteFunc(a.waiting, func(w *claim) bool { return w == cl })
	if len(cl.offered) == 0 {
		a.finish(cl)
		return
	}
	c.After(answerWithin, abandon{cl.number})
}
