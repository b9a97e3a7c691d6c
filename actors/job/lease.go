package job

import (
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

// arm sets the timer to the earlier of the lease's end, if it is not renewed and
// the control plane listens all the while, and the end of the wait for the ACK.
// Renewals do not touch the timer: it looks again when it fires.
func (a *Actor) arm(c *es.Context) {
	a.stopTimer()
	left := a.leaseLeft()
	if a.ackBy != 0 {
		left = min(left, a.ackBy-a.cfg.Listening())
	}
	a.timer = c.After(max(left, time.Millisecond), tick{a.assignment})
}

func (a *Actor) leaseLeft() time.Duration {
	return a.renewedAt + a.job.Lease.TTL.D() - a.cfg.Listening()
}

func (a *Actor) stopTimer() {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
}

func (a *Actor) onTick(c *es.Context, m tick) {
	if m.assignment != a.assignment || a.assignment == "" {
		return // of an earlier lease
	}
	if err := a.reload(c); err != nil || a.assignment != m.assignment {
		a.postpone(c, err)
		return
	}
	var err error
	switch l := a.job.Lease; {
	case a.leaseLeft() <= 0:
		_, err = a.execute(c, entropy.EndLease{AssignmentID: a.assignment, Cause: entropy.CauseLeaseExpired,
			Message: "no heartbeat from " + string(l.WorkerID) + " for " + l.TTL.String()}, nil)
	case a.ackBy != 0 && a.ackBy <= a.cfg.Listening():
		_, err = a.execute(c, entropy.Release{AssignmentID: a.assignment, WorkerID: l.WorkerID, Cause: entropy.CauseNoAck,
			Message: "no ACK from " + string(l.WorkerID) + " within " + a.ackTimeout().String()}, nil)
	default:
		a.arm(c)
	}
	a.postpone(c, err)
}

// postpone tries an expiry again later that the journal could not take now.
func (a *Actor) postpone(c *es.Context, err error) {
	if err != nil {
		a.cfg.Logger.Warn("lease expiry postponed", "job", a.id, "assignment", a.assignment, "error", err)
		a.stopTimer()
		a.timer = c.After(postponed, tick{a.assignment})
	}
}

func (a *Actor) onOffer(c *es.Context, m *Offer) {
	_, err := a.execute(c, m.Assign, nil)
	m.ReplyTo.Tell(m.Answer(a.id, a.job, err))
}

// onRenew renews the live lease, or decides what an unexpected assignment is.
func (a *Actor) onRenew(c *es.Context, m *Renew) {
	if a.assignment == m.AssignmentID && a.reload(c) != nil {
		return
	}
	if l := a.lease(); l != nil && l.AssignmentID == m.AssignmentID && l.WorkerID == m.WorkerID {
		a.renewedAt = max(a.renewedAt, m.At)
		if !a.job.CancelRequested && a.job.Spec.NotAfter == nil {
			return
		}
	} else if m.Spooled {
		return // it has ended: its completion will say how
	}
	d, err := a.execute(c, entropy.Reattach{AssignmentID: m.AssignmentID, WorkerID: m.WorkerID,
		Incarnation: m.Incarnation, TTL: a.cfg.TTL}, nil)
	if err != nil {
		return // the next heartbeat asks again
	}
	if d.Verdict != entropy.VerdictKeep || d.Stop != "" {
		m.ReplyTo.Tell(m.Answer(m.AssignmentID, d.Verdict, d.Stop))
	}
}

func (a *Actor) lease() *entropy.Lease {
	if a.job == nil {
		return nil
	}
	return a.job.Lease
}

func (a *Actor) onMayAccept(c *es.Context, m *MayAccept) error {
	if err := a.reload(c); err != nil {
		return err
	}
	return a.job.MayAccept(m.AssignmentID, m.WorkerID)
}

// onRevive arms the timers of a job that was leased when the control plane
// stopped. The wait for an ACK starts afresh; the lease goes on where it was.
func (a *Actor) onRevive(c *es.Context, m *Revive) {
	if a.assignment != "" || a.reload(c) != nil || a.job.Lease == nil {
		return
	}
	a.renewedAt = m.RenewedAt
	a.arm(c)
}
