package sim

import (
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/scheduler/planner"
)

// newPlanner makes the planner of a new life of the control plane, and tells it
// what the recovery has found.
func (c *control) newPlanner() {
	c.planner = c.w.cfg.Planner(c.now())
	if c.w.shape.reference && c.w.cfg.swarm {
		c.planner = NewReference(c.now())
	}
	if c.w.cfg.Mutant != "" {
		c.planner = mutantPlanner{c.planner, c.w.cfg.Mutant}
	}
	c.planner.SetPolicy(&c.w.policy, c.now())
	for _, s := range c.sessions {
		if s.worker.State != "" {
			c.planner.SetWorker(s.worker)
		}
	}
	for _, a := range c.order {
		c.planner.Sync(a.job, c.now())
	}
}

// wantMatch has the queue matched with the waiting claims, once for everything
// that happens at this instant.
func (c *control) wantMatch() {
	if c.matching {
		return
	}
	c.matching = true
	c.after(0, func() {
		c.matching = false
		c.match()
	})
}

// waits reports whether a worker waits for work.
func (s *session) waits() bool { return s.claim != nil && !s.claim.done && s.claim.granting == 0 }

// match gives the queue to the claims that wait, as the planner chooses.
func (c *control) match() {
	c.preempt()
	for _, s := range c.sessions {
		if !s.waits() {
			continue
		}
		if c.w.mutant(KeyFreedByLoss) {
			c.freeSilent()
		}
		cl := s.claim
		picked := c.planner.Pick(s.id, cl.want, c.now())
		c.w.check.picked(c, s.worker, picked)
		cl.granting = len(picked)
		for _, ch := range picked {
			c.jobs[ch.ID].granting = true
		}
		for _, ch := range picked {
			c.grant(s, cl, ch)
		}
	}
}

// freeSilent is a mutant's doing: what a silent worker holds is taken for free.
func (c *control) freeSilent() {
	for _, a := range c.order {
		l := a.job.Lease
		if l == nil || a.job.Spec.ConcurrencyKey == "" || c.listening()-c.session(l.WorkerID).heard <= c.w.shape.heartbeat {
			continue
		}
		j := a.job.Clone()
		j.State, j.Lease = entropy.Lost, nil
		c.planner.Sync(j, c.now())
	}
}

// preempt asks running attempts to make room, as the planner says.
func (c *control) preempt() {
	for _, p := range c.planner.Preemptions(c.now()) {
		if p.Assignment == "" {
			continue
		}
		cmd := entropy.Preempt{AssignmentID: p.Assignment, Message: "for " + string(p.For)}
		c.exec(byControl, p.Job, cmd, func(d entropy.Decision, err error) {
			if err == nil && !d.Repeat {
				c.w.tally[Preempted]++
			}
		})
	}
}

func (c *control) grant(s *session, cl *openClaim, ch planner.Choice) {
	cmd := entropy.Assign{AssignmentID: c.newAssignment(), WorkerID: s.id, Incarnation: s.worker.Incarnation,
		ClaimSeq: cl.seq, TTL: c.w.shape.ttl, Resources: ch.Resources, GPUs: ch.GPUs}
	c.exec(byControl, ch.ID, cmd, func(_ entropy.Decision, err error) {
		a := c.jobs[ch.ID]
		cl.granting--
		switch {
		case err != nil && retryable(err): // a journal without room is not asked in a tight loop
			c.after(putBackDelay, func() { c.putBack(a) })
		case err != nil:
			c.putBack(a)
		default:
			a.granting = false
		}
		if err == nil && a.job.Lease != nil && a.job.Lease.AssignmentID == cmd.AssignmentID {
			cl.granted = append(cl.granted, assignmentOf(a.job))
		}
		if s.claim != cl { // overtaken: what was granted is released for want of an ACK
			return
		}
		if cl.granting == 0 && len(cl.granted) > 0 {
			s.answer(cl)
		}
	})
}

// putBackDelay is how long a job stays out of the queue that the journal had no
// room to assign.
const putBackDelay = time.Second

// putBack tells the planner that a job it chose got no lease.
func (c *control) putBack(a *actor) {
	a.granting = false
	c.planner.Undo(a.id, c.now())
	c.planner.Sync(a.job, c.now())
	c.wantMatch()
}

// free are the jobs that wait to be assigned, oldest first.
func (c *control) free() (out []*entropy.Job) {
	for _, a := range c.order {
		if a.job.State == entropy.Pending && !a.job.Held && !a.busy {
			out = append(out, a.job)
		}
	}
	return out
}

// rooms is what every worker has free, by the simplest of all planners.
func (c *control) rooms() map[entropy.WorkerID]*room {
	r := newOrdered(byKey)
	r.SetPolicy(&c.w.policy, c.now())
	for _, a := range c.order {
		if a.job.Lease != nil {
			r.Sync(a.job, c.now())
		}
	}
	rooms := make(map[entropy.WorkerID]*room, len(c.sessions))
	for _, s := range c.sessions {
		if s.worker.Schedulable() && s.openRequest() && !slices.ContainsFunc(c.order, func(a *actor) bool { return a.granting }) {
			rooms[s.id] = r.room(s.worker)
		}
	}
	return rooms
}
