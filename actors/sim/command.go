package sim

import (
	"github.com/entropy-fabric/entropy"
)

// Principals: who asks for a command.
const (
	byControl = "control" // its own timers and looks
	byClient  = "admin:sim"
)

// outcome hears what came of a command, once that is durable.
type outcome func(entropy.Decision, error)

// exec has a job decide a command, after those before it.
func (c *control) exec(principal string, id entropy.JobID, cmd entropy.JobCommand, then outcome) {
	a := c.actor(id)
	if a.busy {
		a.queue = append(a.queue, func() { c.decide(a, principal, cmd, then) })
		return
	}
	c.decide(a, principal, cmd, then)
}

// decide is the loop of the fabric: decide, append, apply, and only then reply.
func (c *control) decide(a *actor, principal string, cmd entropy.JobCommand, then outcome) {
	base, cmd := c.w.mutate(a.job, c.informed(a.job, cmd))
	now := c.now()
	if _, ok := cmd.(entropy.Wake); ok {
		if names(a.job) && !c.settled() { // set since it was woken
			then(entropy.Decision{}, nil)
			return
		}
		now = c.wakeTime(a)
	}
	d, err := base.Decide(cmd, now)
	if err != nil || len(d.Events) == 0 {
		c.follow(a, &d)
		then(d, err)
		return
	}
	base = c.w.unmutate(a.job, base, &d)
	next, err := base.Next(d.Events)
	if err != nil {
		c.w.fail(Determinism, "%T was decided into what Apply refuses: %v", cmd, err)
		return
	}
	c.w.check.decided(a.job, cmd, &d)
	c.append(a, principal, next, &d, then)
}

func (c *control) append(a *actor, principal string, next *entropy.Job, d *entropy.Decision, then outcome) {
	a.busy = true
	early := c.w.mutant(ReplyBeforeCommit)
	if early {
		then(*d, nil)
	}
	before := a.job
	if c.w.mutant(ApplyBeforeCommit) {
		a.job = next
	}
	c.journal.append(&change{entity: entropy.Entity(entropy.KindJob, string(a.id)), principal: principal, jobEvents: d.Events, job: next, done: func() {
		a.job, a.busy = next, false
		c.committed(a, before)
		c.follow(a, d)
		if !early {
			then(*d, nil)
		}
		c.drain(a)
		c.wantMatch()
	}, failed: func(err error) {
		a.busy = false
		if c.w.mutant(QueueDropped) {
			a.queue = nil
		}
		if !early {
			then(entropy.Decision{}, err)
		}
		c.drain(a)
	}})
}

// drain decides what has waited for a job, until it is busy again.
func (c *control) drain(a *actor) {
	for len(a.queue) > 0 && !a.busy && !c.dead {
		f := a.queue[0]
		a.queue = a.queue[1:]
		f()
	}
}

// committed follows a job's change for those who depend on it.
func (c *control) committed(a *actor, before *entropy.Job) {
	c.watch(a)
	c.planner.Sync(a.job, c.now())
	c.judge(a, before)
	if before.Retried() && !a.job.Retried() {
		c.nextRetry()
	}
	switch {
	case a.job.State.Terminal() && !before.State.Terminal():
		for _, id := range c.waiting[a.id] {
			c.settleSoon(c.jobs[id])
		}
		delete(c.waiting, a.id)
	case before.State == "":
		c.settleSoon(a) // what it waits for may have ended meanwhile
	}
}

// judge tells a worker on probation what its job has come to (W-8).
func (c *control) judge(a *actor, before *entropy.Job) {
	l := before.Lease
	if l == nil || !l.Acked || a.job.Lease != nil {
		return
	}
	s, j := c.session(l.WorkerID), a.job
	if s.worker.Probation == 0 || s.busy {
		return
	}
	good := j.State == entropy.Succeeded
	if !good && attemptOf(j, l.AssignmentID).Counted != entropy.CountLoss {
		return // the job's own doing, or nobody's
	}
	s.exclusively(func(release func()) {
		s.append(s.worker.Judge(good, "a job was lost", c.now()), func(error) { release() })
	})
}
