package clock

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// reading is a look at the wall clock.
type reading struct {
	after   time.Duration // since the look before, by the monotonic clock
	wall    time.Duration // of the wall clock, from noon
	steady  time.Duration // what the steady time is to be, from noon
	settled bool
}

// proves H-12: what a step of the wall clock does, and when it is believed
func TestSteps(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	for name, c := range map[string]struct {
		newest time.Duration // from noon; the newest journaled event
		looks  []reading
	}{
		"steady":                 {-s, []reading{{s, s, s, true}, {h, h + s, h + s, true}}},
		"small steps":            {-s, []reading{{s, 2 * s, 2 * s, true}, {s, 2 * s, 2 * s, true}, {s, 5 * s, 5 * s, true}}},
		"an hour forward":        {-s, []reading{{s, s + h, s + h, true}}},
		"over an hour forward":   {-s, []reading{{s, h + 2*s, s, false}, {59 * s, h + 61*s, m, false}, {s, h + 62*s, h + 62*s, true}}},
		"back":                   {-s, []reading{{m, 50 * s, m, false}, {m, 110 * s, 110 * s, true}}},
		"there and back":         {-s, []reading{{s, 9 * h, s, false}, {30 * s, 31 * s, 31 * s, false}, {59 * s, 90 * s, 90 * s, false}, {s, 91 * s, 91 * s, true}}},
		"steps while unsettled":  {-s, []reading{{s, 9 * h, s, false}, {50 * s, 8 * h, 51 * s, false}, {50 * s, 8*h + 50*s, 101 * s, false}, {10 * s, 8*h + m, 8*h + m, true}}},
		"behind the journal":     {5 * m, []reading{{59 * s, 59 * s, 59 * s, false}, {s, m, m, true}, {s, m + s, m + s, true}}},
		"behind it, set right":   {5 * h, []reading{{s, 6 * h, s, false}, {m, 6*h + m, 6*h + m, true}}},
		"hardly behind it":       {2 * s, []reading{{s, s, s, true}}},
		"slowly over and over":   {-s, []reading{{s, 50 * m, 50 * m, true}, {s, 100 * m, 100 * m, true}}},
		"far back, after a year": {-s, []reading{{s, 365 * 24 * h, s, false}, {m, 365*24*h + m, 365*24*h + m, true}, {s, 2 * m, 365*24*h + m + s, false}, {m, 3 * m, 3 * m, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			now, k := time.Duration(0), start(noon, noon.Add(c.newest))
			for i, r := range c.looks {
				now += r.after
				before := k
				k = k.observe(noon.Add(r.wall), now)
				if got := k.at(now).Sub(noon); got != r.steady || k.unsettled == r.settled {
					t.Fatalf("look %d: steady time %s, unsettled %t; want %s, %t", i, got, k.unsettled, r.steady, !r.settled)
				}
				moved := (k.at(now).Sub(before.at(now))).Abs() > Drift || before.unsettled && !k.unsettled
				if k.jumped(&before) != moved {
					t.Errorf("look %d: jumped is %t", i, !moved)
				}
			}
		})
	}
}

// proves H-12: the steady time goes on between the looks, whatever the wall clock
// does, and an alarm says what is the matter
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		offset := time.Duration(0)
		wall := func() time.Time { return time.Now().Add(offset) }
		began := wall()
		c := New(wall(), time.Time{})
		<-time.After(time.Second)
		offset = -3 * time.Hour
		if got := c.Now().Sub(began); got != time.Second || !c.Settled() || c.Alarm() != "" {
			t.Fatalf("before it is looked at: %s, %q", got, c.Alarm())
		}
		if c.Observe(wall()) || c.Settled() || !strings.Contains(c.Alarm(), "behind by 3h0m0s") {
			t.Errorf("after a step: %q", c.Alarm())
		}
		for i := range 60 {
			<-time.After(time.Second)
			if changed := c.Observe(wall()); changed != (i == 59) || c.Settled() != changed {
				t.Fatalf("after %d s: changed %t, settled %t", i+1, changed, c.Settled())
			}
		}
		if !c.Now().Equal(wall()) || c.Alarm() != "" {
			t.Errorf("it is %s, the wall clock shows %s, %q", c.Now(), wall(), c.Alarm())
		}
		offset += 2 * time.Hour
		if c.Observe(wall()); !strings.Contains(c.Alarm(), "forward by 2h0m0s") {
			t.Errorf("%q", c.Alarm())
		}
	})
}

// proves H-12: a clock that is behind what is on record begins unsettled
func TestBehindTheJournal(t *testing.T) {
	if c := New(noon, noon.Add(time.Minute)); c.Settled() || !strings.Contains(c.Alarm(), "behind by 1m0s") {
		t.Errorf("%q", c.Alarm())
	}
	if c := New(noon, noon); !c.Settled() {
		t.Error(c.Alarm())
	}
}
