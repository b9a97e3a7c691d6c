// Package deadline decides when a run must be asked to end and when it must be
// killed: by its timeout, by a stop, or because trust in its lease runs out.
//
// [Limits] is pure: the time is an argument. [Watch] keeps the limits of many
// runs on the boot clock and acts on them.
package deadline

import (
	"time"

	"github.com/entropy-fabric/entropy"
)

// DefaultGrace is the time between TERM and KILL when a job names none.
const DefaultGrace = 5 * time.Second

// killLead is how long before the end of trust a run is killed, so that it is
// gone by then and not merely signaled.
const killLead = 200 * time.Millisecond

// Margin returns what a worker takes off a lease's TTL before it trusts it, for
// the difference of two clocks' rates and for its own scheduling: 1 s + 1 %.
func Margin(ttl time.Duration) time.Duration { return time.Second + ttl/100 }

// Trust returns until when, on the boot clock, a lease may be relied on that
// was asked for at sent: never longer than the control plane keeps it, because
// that counts from when the request arrived.
func Trust(sent, ttl time.Duration) time.Duration { return sent + ttl - Margin(ttl) }

// Action is what is due for a run.
type Action int

// The actions.
const (
	None Action = iota
	Term        // ask it to end
	Kill        // end it
)

// Limits are the times that bound one run, all on the boot clock. Zero means
// that there is none.
type Limits struct {
	Timeout  time.Duration // it may not run longer than this
	Trust    time.Duration // the lease can be trusted until then; moved by renewals
	Contract bool          // end the run before Trust
	Grace    time.Duration // between TERM and KILL; 0 means DefaultGrace

	termed time.Duration // when TERM was sent
	killed bool
	reason entropy.Reason
}

func (l *Limits) grace() time.Duration {
	if l.Grace > 0 {
		return l.Grace
	}
	return DefaultGrace
}

// Next returns the next action, when it is due and for which reason.
// Invariant: with Contract, Kill is due before Trust.
func (l *Limits) Next() (time.Duration, Action, entropy.Reason) {
	switch {
	case l.killed:
		return 0, None, ""
	case l.termed != 0:
		at := l.termed + l.grace()
		if l.Contract {
			at = min(at, l.Trust-killLead)
		}
		return at, Kill, l.reason
	}
	at, act, reason := time.Duration(0), None, entropy.Reason("")
	if l.Timeout != 0 {
		at, act, reason = l.Timeout, Term, entropy.ReasonTimeout
	}
	if c := l.Trust - killLead - l.grace(); l.Contract && (act == None || c < at) {
		at, act, reason = c, Term, entropy.ReasonContract
	}
	return at, act, reason
}

// Due returns what is to be done now and records that it was: each action is
// returned once.
func (l *Limits) Due(now time.Duration) (Action, entropy.Reason) {
	at, act, reason := l.Next()
	if act == None || now < at {
		return None, ""
	}
	if act == Kill {
		l.killed = true
		return Kill, reason
	}
	l.termed, l.reason = now, reason
	return Term, reason
}

// Stop records that TERM is sent now, for reason. It reports false when it was
// sent before.
func (l *Limits) Stop(now time.Duration, reason entropy.Reason) bool {
	if l.termed != 0 {
		return false
	}
	l.termed, l.reason = now, reason
	return true
}

// Renew moves the end of trust, never back. Trust that has run out stays so under
// the contract: the answer comes too late, and the lease may have ended elsewhere
// while the machine was suspended.
func (l *Limits) Renew(now, trust time.Duration) {
	if trust > l.Trust && !(l.Contract && now >= l.Trust) {
		l.Trust = trust
	}
}
