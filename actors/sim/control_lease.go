package sim

import (
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// follow brings a job's timers in line with its state and passes on a stop.
func (c *control) follow(a *actor, d *entropy.Decision) {
	l := a.job.Lease
	switch {
	case l == nil:
		a.leaseTimer++
		a.assignment = ""
	case l.AssignmentID != a.assignment:
		a.assignment, a.renewedAt, a.ackBy = l.AssignmentID, c.listening(), 0
		if !l.Acked {
			a.ackBy = c.w.now + a.job.Spec.AckTimeoutOrDefault()
		}
		c.arm(a)
	case l.Acked && a.ackBy != 0: // the ACK renews the lease
		a.ackBy, a.renewedAt = 0, c.listening()
		c.arm(a)
	}
	if d.Stop != "" && l != nil {
		c.session(l.WorkerID).stop(l.AssignmentID, d.Stop)
	}
	if at := a.job.WakeAt(); !at.Equal(a.wakeAt) {
		a.wakeAt = at
		c.rewake(a)
	}
}

func (c *control) leaseLeft(a *actor) time.Duration {
	if a.job.Lease == nil { // only where a mutant changes the state too early
		return 0
	}
	return a.renewedAt + a.job.Lease.TTL.D() - c.listening()
}

// arm sets the lease timer. Renewals do not touch it: it looks again when it fires.
func (c *control) arm(a *actor) {
	a.leaseTimer++
	timer := a.leaseTimer
	left := c.leaseLeft(a)
	if a.ackBy != 0 {
		left = min(left, a.ackBy-c.w.now)
	}
	c.after(max(left, time.Millisecond), func() {
		if a.leaseTimer == timer {
			c.leaseTick(a)
		}
	})
}

// postponed is how long an expiry waits that could not be written.
const postponed = 2 * time.Second

func (c *control) leaseTick(a *actor) {
	again := func(_ entropy.Decision, err error) {
		if err != nil {
			timer := a.leaseTimer
			c.after(postponed, func() {
				if a.leaseTimer == timer {
					c.arm(a)
				}
			})
		}
	}
	l := a.job.Lease
	switch {
	case l == nil: // it has ended at this very instant
	case a.busy:
		c.arm(a)
	case c.leaseLeft(a) <= 0:
		c.w.note("lease of %s %s on %s expires", a.id, l.AssignmentID, l.WorkerID)
		c.exec(byControl, a.id, entropy.EndLease{AssignmentID: l.AssignmentID, Cause: entropy.CauseLeaseExpired}, again)
	case a.ackBy != 0 && a.ackBy <= c.w.now:
		c.exec(byControl, a.id, entropy.Release{AssignmentID: l.AssignmentID, WorkerID: l.WorkerID, Cause: entropy.CauseNoAck}, again)
	default:
		c.arm(a)
	}
}

// wakeAgain is how long a job that was woken may stay as it is before it is woken again.
const wakeAgain = time.Second

// rewake arms the timer of what the passing of time brings a job.
func (c *control) rewake(a *actor) {
	a.wakeTimer++
	if at := a.wakeAt; !at.IsZero() {
		c.armWake(a, max(at.Sub(c.waitTime(a)), 0))
	}
}

// waitTime is the time by which a job waits: the steady one, unless a mutant
// measures durations by the wall clock.
func (c *control) waitTime(a *actor) time.Time {
	if c.w.mutant(WallTimers) && !names(a.job) {
		return c.w.wall()
	}
	return c.now()
}

// lasting returns how long a wait that began with the newest change of a job can
// last: the wall clock may have been set since, and a restart knows no better.
func lasting(j *entropy.Job) time.Duration {
	switch j.State {
	case entropy.Retrying:
		return max(j.Spec.Retry.BackoffCap.D(), j.Spec.Retry.Backoff.D(), j.Spec.Disconnect.ReassignAfter.D())
	case entropy.Lost:
		return j.Spec.Retry.LostTimeout.D()
	case entropy.Pending:
		return j.Spec.QueueTimeout.D()
	}
	return 0
}

func (c *control) armWake(a *actor, left time.Duration) {
	if most := lasting(a.job); most > 0 && !c.w.mutant(WallTimers) {
		left = min(left, most)
	}
	a.wakeTimer++
	timer := a.wakeTimer
	c.after(max(left, time.Millisecond), func() {
		if a.wakeTimer != timer {
			return
		}
		c.armWake(a, wakeAgain)
		if c.mayWake(a) {
			a.waking, a.wokenFor = true, a.wakeAt
			c.exec(byControl, a.id, entropy.Wake{}, func(entropy.Decision, error) { a.waking = false })
		}
	})
}

// names reports whether what the job waits for first is a time of day.
func names(j *entropy.Job) bool {
	return j.State == entropy.Scheduled || j.Spec.NotAfter != nil && !j.Spec.NotAfter.After(j.WakeAt())
}

func (c *control) mayWake(a *actor) bool {
	if names(a.job) {
		return c.settled() && !a.job.WakeAt().After(c.now())
	}
	if c.w.mutant(WallTimers) && c.w.wall().Before(a.job.WakeAt()) {
		return false
	}
	if a.job.State == entropy.Retrying && !a.waking && c.w.shape.maxRetrying > 0 && !c.w.mutant(RetryStorm) {
		return c.retrySlot(a)
	}
	return true
}

// retrySlot reports whether a job whose backoff is over may be queued: those who
// asked before it go first. Who finds no place is woken when one is free.
func (c *control) retrySlot(a *actor) bool {
	if !slices.Contains(c.asking, a) {
		c.asking = append(c.asking, a)
	}
	c.asking = slices.DeleteFunc(c.asking, func(o *actor) bool { return o.job.State != entropy.Retrying || o.waking })
	if c.retries()+slices.Index(c.asking, a) >= c.w.shape.maxRetrying {
		return false
	}
	c.asking = slices.DeleteFunc(c.asking, func(o *actor) bool { return o == a })
	return true
}

// nextRetry wakes those who wait for a place.
func (c *control) nextRetry() {
	for _, a := range c.asking {
		c.armWake(a, 0)
	}
}

// wakeTime is the time at which a job is woken. What it waits for by duration is
// over when its timer says so, whatever was done to the wall clock meanwhile.
func (c *control) wakeTime(a *actor) time.Time {
	now, at := c.now(), a.job.WakeAt()
	if names(a.job) || !at.Equal(a.wokenFor) {
		return now
	}
	if at.After(now) || !c.settled() { // nor may a deadline act on a clock that was just set
		return at
	}
	return now
}

// retries counts the jobs that take up a place under the limit of retries (J-7),
// and those that are about to.
func (c *control) retries() int {
	n := 0
	for _, a := range c.order {
		if a.job.Retried() || a.waking && a.job.State == entropy.Retrying {
			n++
		}
	}
	return n
}

// renew takes a heartbeat's word that an assignment is alive.
func (c *control) renew(s *session, h entropy.Held) {
	a := c.jobs[h.JobID]
	switch {
	case a != nil && a.assignment == h.AssignmentID && h.AssignmentID != "" && c.owns(s, a):
		a.renewedAt = max(a.renewedAt, s.heard)
		c.w.check.renewed(s.id, h, c.w.check.listened()-s.overlooked())
		if !a.job.CancelRequested && !a.job.PreemptRequested && a.job.Spec.NotAfter == nil {
			return
		}
	case h.Spooled:
		return // it has ended: its completion will say how
	}
	c.reattach(s, h, func(v entropy.Verdict, stop entropy.Reason, err error) {
		switch {
		case err != nil:
		case stop != "":
			s.stop(h.AssignmentID, stop)
		case v == entropy.VerdictStop:
			s.stop(h.AssignmentID, entropy.ReasonSuperseded)
		}
	})
}

// owns reports whether a worker holds the lease of a job.
func (c *control) owns(s *session, a *actor) bool {
	return a.job.Lease != nil && a.job.Lease.WorkerID == s.id || c.w.mutant(IdentityFromBody)
}

// reattach decides on an assignment that a worker still runs.
func (c *control) reattach(s *session, h entropy.Held, then func(entropy.Verdict, entropy.Reason, error)) {
	cmd := entropy.Reattach{AssignmentID: h.AssignmentID, WorkerID: s.id, Incarnation: s.worker.Incarnation, TTL: c.w.shape.ttl}
	asked := c.w.check.listened() - s.overlooked()
	c.exec(string(s.id), h.JobID, cmd, func(d entropy.Decision, err error) {
		if err == nil && d.Verdict == entropy.VerdictReattached {
			c.w.tally[Reattached]++
			c.w.check.renewed(s.id, h, asked)
		}
		then(d.Verdict, d.Stop, err)
	})
}

// lookForSilence notices workers that were not heard for a whole TTL, or that
// gossip calls dead while they are silent.
func (c *control) lookForSilence() {
	for _, s := range c.sessions {
		if s.worker.State == entropy.WorkerAlive && c.listening()-s.heard > c.w.shape.ttl {
			s.mark(entropy.WorkerWentLost, "silent")
		}
		if s.met && c.w.now < c.host(s).rumorUntil {
			c.heed(s)
		}
	}
}

func (c *control) host(s *session) *worker {
	for _, wk := range c.w.workers {
		if wk.id == s.id {
			return wk
		}
	}
	return nil
}

// heed ends the leases of a worker that gossip calls dead, if nothing was heard
// of it for one interval and a second either, and it has no open request. Jobs
// that must never run twice at once wait for the end of their lease (L-4, H-9).
func (c *control) heed(s *session) {
	if c.listening()-s.heard <= c.w.shape.heartbeat+time.Second || s.openRequest() {
		return
	}
	for _, a := range c.order {
		l := a.job.Lease
		if l == nil || l.WorkerID != s.id || !l.Acked || a.busy {
			continue
		}
		c.exec(byControl, a.id, entropy.EndLease{AssignmentID: l.AssignmentID, Cause: entropy.CauseWorkerLost}, func(d entropy.Decision, err error) {
			if err == nil && !d.Repeat {
				c.w.tally[LostByGossip]++
			}
		})
	}
}

// outage records that a worker's host has booted again, and reports whether that
// is part of an outage, whose losses spend no budget.
func (c *control) outage(id entropy.WorkerID) bool {
	const window = 2 * time.Minute
	c.reboots[id] = c.w.now
	down, all := 0, 0
	for _, s := range c.sessions {
		if s.worker.State == "" {
			continue
		}
		all++
		at, rebooted := c.reboots[s.id]
		if rebooted && c.w.now-at <= window || !s.met || c.listening()-s.heard > 2*c.w.shape.heartbeat {
			down++
		}
	}
	return all >= 2 && 2*down >= all
}
