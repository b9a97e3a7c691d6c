package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// FaultKind is something that goes wrong.
type FaultKind string

// The kinds of planned faults. What goes wrong with single messages and single
// commits is drawn as they happen.
const (
	FaultCrash     FaultKind = "control crashes"
	FaultPause     FaultKind = "control is stopped and goes on" // SIGSTOP, or the suspension of its host
	FaultPower     FaultKind = "power fails everywhere"
	FaultAgent     FaultKind = "agent crashes"
	FaultReboot    FaultKind = "host reboots"
	FaultSuspend   FaultKind = "host is suspended" // its boot time runs on
	FaultRumor     FaultKind = "gossip calls it dead"
	FaultSpool     FaultKind = "spool cannot be written"
	FaultCut       FaultKind = "link is cut" // Side: 0 up, 1 down, 2 both
	FaultFlap      FaultKind = "link flaps"
	FaultSplit     FaultKind = "half of the links are cut"
	FaultSwizzle   FaultKind = "links are cut one by one" // and mended in another order
	FaultDiskError FaultKind = "commit fails"             // Side: 0 nothing written, 1 written all the same
	FaultDiskFull  FaultKind = "journal's disk is full"
	FaultSlow      FaultKind = "journal is slow"
	FaultStep      FaultKind = "wall clock is set"
)

// Fault is one planned fault.
type Fault struct {
	At     time.Duration
	Kind   FaultKind
	For    time.Duration // how long it lasts; of a step, by how much
	Worker int           // index of the worker it happens to
	Side   int           // which of several ways; see the kinds
	number int
}

// String describes the fault in one line.
func (f Fault) String() string {
	return fmt.Sprintf("#%d at %.3fs: %s (for %s, worker %d, side %d)", f.number, f.At.Seconds(), f.Kind, f.For, f.Worker+1, f.Side)
}

// planFaults draws when and to whom the faults of the first phase happen. It
// draws from a source of its own, so that a fault can be left out.
func (w *world) planFaults() []Fault {
	r := rand.New(rand.NewPCG(w.cfg.Seed, 0x6661756c74))
	s := &w.shape
	var all []Fault
	plan := func(n int, kind FaultKind, least, most time.Duration) {
		for range n {
			all = append(all, Fault{At: between(r, time.Second, s.horizon), Kind: kind, For: between(r, least, most),
				Worker: r.IntN(s.workers), Side: r.IntN(3), number: len(all)})
		}
	}
	plan(s.crashes, FaultCrash, 100*time.Millisecond, 2*s.ttl)
	plan(s.pauses, FaultPause, s.heartbeat/2, 2*s.ttl) // a gap of less than half a heartbeat may count as listening
	plan(s.powerCuts, FaultPower, time.Second, 10*time.Second)
	plan(s.agentCrashes, FaultAgent, 50*time.Millisecond, s.ttl)
	plan(s.reboots, FaultReboot, time.Second, 2*s.ttl)
	plan(s.suspends, FaultSuspend, time.Second, 3*s.ttl)
	plan(s.rumors, FaultRumor, time.Second, 2*s.ttl)
	plan(s.badSpools, FaultSpool, time.Second, s.ttl)
	plan(s.cuts, FaultCut, time.Second, 3*s.ttl)
	plan(s.flaps, FaultFlap, 2*time.Second, 2*s.ttl)
	plan(s.splits, FaultSplit, time.Second, 3*s.ttl)
	plan(s.swizzle, FaultSwizzle, time.Second, 2*s.ttl)
	plan(s.diskErrors, FaultDiskError, 100*time.Millisecond, s.ttl)
	plan(s.diskFull, FaultDiskFull, 500*time.Millisecond, 2*s.ttl)
	plan(s.slow, FaultSlow, time.Second, s.ttl)
	plan(s.steps, FaultStep, -time.Hour, time.Hour)
	return all
}

// remaining are the faults that were not left out, in the order of time.
func (w *world) remaining() []Fault {
	rest := slices.DeleteFunc(slices.Clone(w.faults), func(f Fault) bool { return slices.Contains(w.cfg.Without, f.number) })
	slices.SortStableFunc(rest, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return rest
}

func (w *world) scheduleFaults() {
	for _, f := range w.remaining() {
		w.at(f.At, func() {
			if w.chaos {
				w.happens('f', string(f.Kind))
				w.note("fault %s", f)
				w.strike(f)
				if w.shape.gossips && slices.Contains(gossiped, f.Kind) {
					w.after(time.Second, func() { w.rumor(w.workers[f.Worker], f.For-time.Second) })
				}
			}
		})
	}
}

func (w *world) strike(f Fault) {
	wk, until := w.workers[f.Worker], w.now+f.For
	switch f.Kind {
	case FaultCrash:
		w.crashControl(f.For)
	case FaultPause:
		if w.ctl != nil && w.now >= w.ctl.pausedUntil {
			w.ctl.pause(f.For)
		}
	case FaultPower:
		w.cutPower()
	case FaultAgent:
		wk.crashAgent(f.For)
	case FaultReboot:
		wk.reboot(f.For)
	case FaultSuspend:
		wk.suspend(f.For)
	case FaultRumor:
		w.rumor(wk, f.For)
	case FaultSpool:
		wk.spoolBadUntil = max(wk.spoolBadUntil, until)
		w.tally[SpoolDiskBad]++
	case FaultDiskError:
		w.disk.failNext, w.disk.failWritten = true, f.Side > 0
	case FaultDiskFull:
		if w.chance(.3) {
			w.relapse(wk, f.For)
			return
		}
		w.disk.fullUntil = max(w.disk.fullUntil, until)
	case FaultSlow:
		w.disk.slowUntil = max(w.disk.slowUntil, until)
	case FaultStep:
		w.stepClock(f.For)
	default:
		w.strikeLinks(f, wk, until)
	}
}

// gossiped are the faults that gossip notices, if it is there.
var gossiped = []FaultKind{FaultReboot, FaultSuspend, FaultCut, FaultFlap}

func (w *world) strikeLinks(f Fault, wk *worker, until time.Duration) {
	switch f.Kind {
	case FaultCut:
		wk.link.cut(f.Side, until)
	case FaultFlap:
		for at, on := w.now, true; at < until; on = !on {
			next := at + w.between(100*time.Millisecond, 1500*time.Millisecond)
			if on {
				w.at(at, func() { wk.link.cut(f.Side, next) })
			}
			at = next
		}
	case FaultSplit:
		for i, o := range w.workers {
			if i%2 == f.Worker%2 {
				o.link.cut(f.Side, until)
			}
		}
	case FaultSwizzle:
		for _, o := range w.workers {
			o.link.cut(2, w.now+w.between(time.Second, f.For+time.Second))
		}
	}
}

// relapse has a worker fall silent and come back when there is no room to save that
// it was heard. Then the control plane crashes, and the worker is cut off again.
func (w *world) relapse(wk *worker, full time.Duration) {
	away := w.between(w.shape.heartbeat, w.shape.ttl)
	wk.link.cut(2, w.now+away)
	w.after(away-100*time.Millisecond, func() {
		if !w.chaos {
			return
		}
		w.disk.fullUntil = max(w.disk.fullUntil, w.now+full)
		w.after(w.between(0, 2*w.shape.heartbeat), func() {
			if w.chaos {
				w.crashControl(w.between(50*time.Millisecond, time.Second))
				wk.link.cut(2, w.now+w.shape.ttl)
			}
		})
	})
}

func (w *world) crashControl(down time.Duration) {
	if w.ctl == nil {
		return
	}
	w.ctl.crash()
	w.after(down, func() {
		if w.ctl == nil {
			w.startControl()
		}
	})
}

// cutPower takes the whole lab down at once, in the middle of everything.
func (w *world) cutPower() {
	w.tally[LabPowerCut]++
	w.crashControl(w.between(time.Second, 10*time.Second))
	for _, wk := range w.workers {
		wk.reboot(w.between(time.Second, 10*time.Second))
	}
}

// rumor has gossip take a worker for dead for a while. Gossip alone ends
// nothing: the control plane asks itself whether it has heard of the worker.
func (w *world) rumor(wk *worker, d time.Duration) {
	wk.rumorUntil = max(wk.rumorUntil, w.now+d)
}

// stepClock sets the wall clock of the control plane's host.
func (w *world) stepClock(by time.Duration) {
	if by.Abs() < 10*time.Second {
		by = 10 * time.Second // less would be an adjustment
	}
	w.offset += by
	w.steppedAt = w.now
	w.tally[ClockStepped]++
}

// heal ends the first phase: nothing fails any more, everybody is back, and the
// clock is right.
func (w *world) heal() {
	w.chaos, w.healedAt = false, w.now
	w.happens('h', "heal")
	w.note("everything heals")
	if w.offset != 0 {
		w.offset, w.steppedAt = 0, w.now
	}
	w.disk.failNext, w.disk.fullUntil, w.disk.slowUntil = false, 0, 0
	if w.ctl == nil {
		w.startControl()
	}
	for _, wk := range w.workers {
		wk.heal()
	}
}
