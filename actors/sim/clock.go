package sim

import "time"

// clock is the time by which a control plane decides. It follows the wall clock
// of its host, but steadily: it runs by the monotonic clock, and takes over a
// wall clock that was set only when that has been stable for settleTime (H-12).
// Until then it is unsettled, and nothing acts that names a time of day.
type clock struct {
	base      time.Time // the steady time at since
	since     time.Duration
	diff      time.Duration // by which the wall clock was last seen to differ
	diffSince time.Duration
	unsettled bool
}

const (
	settleTime = 60 * time.Second
	// drift is a difference that is taken over at once: no step, only an adjustment.
	drift = 2 * time.Second
)

// startClock reads the wall clock. One that is behind the newest journaled event
// is wrong now, or was then.
func (c *control) startClock() {
	c.clock = clock{base: c.w.wall(), since: c.w.now}
	if c.clock.base.Before(c.w.disk.lastTS) {
		c.clock.unsettled, c.clock.diffSince = true, c.w.now
	}
}

// now is the steady time.
func (c *control) now() time.Time {
	return c.clock.at(c.w.now)
}

func (k *clock) at(now time.Duration) time.Time { return k.base.Add(now - k.since) }

// watchClock looks whether the wall clock was set, and whether it has settled.
func (c *control) watchClock() {
	k := &c.clock
	diff := c.w.wall().Sub(c.now())
	if !k.unsettled && diff.Abs() <= drift {
		return
	}
	if !k.unsettled || (diff-k.diff).Abs() > drift {
		k.unsettled, k.diff, k.diffSince = true, diff, c.w.now
		return
	}
	if c.w.now-k.diffSince < settleTime {
		return
	}
	*k = clock{base: c.w.wall(), since: c.w.now}
	c.w.note("the wall clock has settled")
	for _, a := range c.order {
		if names(a.job) {
			c.rewake(a)
		}
	}
}

// settled reports whether what names a time of day may act.
func (c *control) settled() bool {
	if c.w.mutant(UnsettledIgnored) {
		return true
	}
	c.watchClock()
	return !c.clock.unsettled
}
