package clock

import (
	"sync/atomic"
	"time"
)

const (
	// Settle is how long a wall clock that was set must be stable before it is
	// believed.
	Settle = 60 * time.Second
	// Jump is how far ahead a wall clock may jump and be believed at once: a clock
	// that is set right, or a machine that slept, in which time Go's monotonic
	// clock stands still.
	Jump = time.Hour
	// Drift is the difference that counts as no step, in either direction: NTP
	// keeps the two clocks of a machine together by small ones.
	Drift = 2 * time.Second
)

// Clock is a steady time of day. It runs by the monotonic clock and takes a step of
// the wall clock over at once when that is harmless, else when the wall clock has
// been stable for Settle; until then it is unsettled: it goes on as it was, and
// nothing that names a time of day may act. A step is not harmless when it leads
// back, behind what has been journaled since the clock runs by it, or more than
// Jump ahead. All methods are safe for concurrent use; Observe has one caller.
type Clock struct {
	began time.Time // its monotonic reading counts
	state atomic.Pointer[state]
}

// state is what a clock knows. It is a value: observe is pure.
type state struct {
	base  time.Time     // the steady time at since
	since time.Duration // by the monotonic clock

	unsettled bool
	step      time.Duration // by which the wall clock was set; at the start: by which it is behind the journal
	diff      time.Duration // by which it was last seen to differ from the steady time
	stepped   time.Duration // when it was first seen to differ by that
}

// New returns a clock that begins at the wall clock. One that is behind newest,
// the time stamp of the newest journaled event, is wrong now or was then: the
// clock begins unsettled. A zero newest means that there is no event.
func New(wall, newest time.Time) *Clock {
	c := &Clock{began: time.Now()}
	s := start(wall, newest)
	c.state.Store(&s)
	return c
}

// Now returns the steady time, in UTC, without a monotonic reading.
func (c *Clock) Now() time.Time { return c.state.Load().at(time.Since(c.began)) }

// Settled reports whether what names a time of day may act.
func (c *Clock) Settled() bool { return !c.state.Load().unsettled }

// Alarm says in words why nothing that names a time of day acts; "" means that the
// clock is settled.
func (c *Clock) Alarm() string {
	s := c.state.Load()
	if !s.unsettled {
		return ""
	}
	how := "was set forward by " + s.step.Round(time.Second).String()
	if s.step < 0 {
		how = "is behind by " + (-s.step).Round(time.Second).String()
	}
	return "the wall clock " + how + ": no schedule, not_before or deadline acts until it has been stable for " + Settle.String()
}

// Observe compares with the wall clock; call it a few times per second. It reports
// whether the steady time was set to it, or has become settled: who waits for a
// time of day looks again.
func (c *Clock) Observe(wall time.Time) bool {
	old := c.state.Load()
	next := old.observe(wall, time.Since(c.began))
	c.state.Store(&next)
	return next.jumped(old)
}

func start(wall, newest time.Time) state {
	wall = wall.UTC().Round(0)
	s := state{base: wall}
	if behind := wall.Sub(newest); !newest.IsZero() && behind < -Drift {
		s.unsettled, s.step = true, behind
	}
	return s
}

// at returns the steady time at a reading of the monotonic clock.
func (s *state) at(now time.Duration) time.Time { return s.base.Add(now - s.since) }

// observe returns the state after a look at the wall clock.
func (s *state) observe(wall time.Time, now time.Duration) state {
	wall = wall.UTC().Round(0)
	next := *s
	diff := wall.Sub(s.at(now))
	switch {
	case !s.unsettled && diff.Abs() <= Drift, !s.unsettled && 0 < diff && diff <= Jump:
		next.base, next.since = wall, now
	case !s.unsettled:
		next.unsettled, next.step, next.diff, next.stepped = true, diff, diff, now
	case (diff - s.diff).Abs() > Drift:
		next.step, next.diff, next.stepped = diff, diff, now
	case now-s.stepped >= Settle:
		next = state{base: wall, since: now}
	}
	return next
}

// jumped reports whether who waits for a time of day has to look again.
func (s *state) jumped(before *state) bool {
	return before.unsettled && !s.unsettled || s.at(s.since).Sub(before.at(s.since)).Abs() > Drift
}
