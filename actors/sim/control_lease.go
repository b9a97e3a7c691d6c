package sim

import (
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
		c.armWake(a, at)
	}
}

func (c *control) leaseLeft(a *actor) time.Duration {
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

func (c *control) leaseTick(a *actor) {
	l := a.job.Lease
	switch {
	case a.busy:
		c.arm(a)
	case c.leaseLeft(a) <= 0:
		c.w.note("lease of %s %s on %s expires", a.id, l.AssignmentID, l.WorkerID)
		c.exec(a.id, entropy.EndLease{AssignmentID: l.AssignmentID, Cause: entropy.CauseLeaseExpired}, ignore)
	case a.ackBy != 0 && a.ackBy <= c.w.now:
		c.exec(a.id, entropy.Release{AssignmentID: l.AssignmentID, WorkerID: l.WorkerID, Cause: entropy.CauseNoAck}, ignore)
	default:
		c.arm(a)
	}
}

func ignore(entropy.Decision, error) {}

// rewake is how long a job that was woken may stay as it is before it is woken again.
const rewake = time.Second

func (c *control) armWake(a *actor, at time.Time) {
	a.wakeTimer++
	timer := a.wakeTimer
	if at.IsZero() {
		return
	}
	c.after(max(at.Sub(c.wall()), 0), func() {
		if a.wakeTimer == timer {
			c.armWake(a, c.wall().Add(rewake))
			c.exec(a.id, entropy.Wake{}, ignore)
		}
	})
}

// renew takes a heartbeat's word that an assignment is alive.
func (c *control) renew(s *session, h entropy.Held) {
	a := c.jobs[h.JobID]
	switch {
	case a != nil && a.assignment == h.AssignmentID && h.AssignmentID != "":
		a.renewedAt = max(a.renewedAt, s.heard)
		c.w.check.renewed(h.AssignmentID, c.w.check.listened())
		if !a.job.CancelRequested && a.job.Spec.NotAfter == nil {
			return
		}
	case h.Spooled:
		return // it has ended: its completion will say how
	}
	c.reattach(s, h, func(v entropy.Verdict, stop entropy.Reason) {
		switch {
		case stop != "":
			s.stop(h.AssignmentID, stop)
		case v == entropy.VerdictStop:
			s.stop(h.AssignmentID, entropy.ReasonSuperseded)
		}
	})
}

// reattach decides on an assignment that a worker still runs.
func (c *control) reattach(s *session, h entropy.Held, then func(entropy.Verdict, entropy.Reason)) {
	cmd := entropy.Reattach{AssignmentID: h.AssignmentID, WorkerID: s.id, Incarnation: s.worker.Incarnation, TTL: c.w.shape.ttl}
	asked := c.w.check.listened()
	c.exec(h.JobID, cmd, func(d entropy.Decision, err error) {
		if d.Verdict == entropy.VerdictReattached {
			c.w.tally[Reattached]++
			c.w.check.renewed(h.AssignmentID, asked)
		}
		then(d.Verdict, d.Stop)
	})
}

// lookForSilence notices workers that were not heard for a whole TTL.
func (c *control) lookForSilence() {
	for _, s := range c.sessions {
		if s.worker.State == entropy.WorkerAlive && c.listening()-s.heard > c.w.shape.ttl {
			s.mark(entropy.WorkerWentLost, "silent")
		}
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
