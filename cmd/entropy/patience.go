package main

import (
	"context"
	"time"

	"github.com/entropy-fabric/entropy"
)

const (
	// sendPatience is how long a call that is safe to repeat is repeated while
	// the control plane cannot be reached: long enough for a restart.
	sendPatience = 15 * time.Second
	// watchPatience is how long a command that was already watching keeps trying.
	// A control plane that was killed comes back with every job it had.
	watchPatience = 5 * time.Minute

	firstPause = 200 * time.Millisecond
	maxPause   = 3 * time.Second
)

// transient reports whether repeating a call later may help.
func transient(err error) bool {
	switch entropy.ErrorCode(err) {
	case entropy.CodeUnavailable, entropy.CodeUnknown, entropy.CodeOverloaded, entropy.CodeDiskFull:
		return true
	}
	return false
}

// patience repeats calls over an outage of the control plane, with growing
// pauses. An outage lasts from the first error to the next success.
type patience struct {
	a     *app
	limit time.Duration // longest outage that is sat out
	since time.Time     // start of the outage, zero while there is none
	pause time.Duration
}

// ok notes that a call was answered.
func (p *patience) ok() {
	if !p.since.IsZero() {
		p.a.notef("the control plane answers again")
	}
	p.since, p.pause = time.Time{}, 0
}

// failed judges an error. It returns nil after a pause when the call should be
// made again, and the error to end with otherwise.
func (p *patience) failed(ctx context.Context, err error) error {
	if !transient(err) || ctx.Err() != nil {
		return err
	}
	now := p.a.now()
	if p.since.IsZero() {
		p.since = now
		if p.limit > 0 {
			p.a.notef("no answer, trying again for up to %s: %s", p.limit, printable(entropy.AsError(err).Message))
		}
	}
	if now.Sub(p.since) >= p.limit {
		return err
	}
	p.pause = min(max(2*p.pause, firstPause), maxPause)
	timer := time.NewTimer(p.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return err
	}
}

// do makes a call that is safe to repeat until it is answered or patience ends.
func (p *patience) do(ctx context.Context, call func() error) error {
	var unknown error
	for {
		err := call()
		if err == nil {
			p.ok()
			return nil
		}
		if entropy.ErrorCode(err) == entropy.CodeUnknown {
			unknown = err
		}
		if err := p.failed(ctx, err); err != nil {
			if unknown != nil && transient(err) {
				return unknown // what came after it does not make it known
			}
			return err
		}
	}
}
