package harness

import (
	"context"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
)

// ioError is how the journal fails to commit.
type ioError int

const (
	noError ioError = iota
	beforeWrite
	afterWrite
)

// takeIOError returns the fault that waits for the next commit.
func (w *world) takeIOError() ioError {
	e := w.disk.ioError
	w.disk.ioError = noError
	return e
}

// scheduleFaults draws when and to whom the faults of the first phase happen.
func (w *world) scheduleFaults() {
	often := func(n int, f func()) {
		for range n {
			w.after(nil, w.between(time.Second, w.shape.horizon), func() {
				if w.chaos {
					f()
				}
			})
		}
	}
	often(w.shape.crashes, func() { w.crashControl(w.between(100*time.Millisecond, 2*w.shape.ttl)) })
	often(w.shape.pauses, w.pauseControl)
	often(w.shape.powerCuts, w.cutPower)
	often(w.shape.fullDisks, w.fillDisk)
	often(w.shape.ioErrors, func() { w.disk.ioError = beforeWrite + ioError(w.rng.IntN(2)) })
	often(w.shape.steps, w.stepClock)
	often(w.shape.agentCrashes, func() { w.someHost().crashAgent(w.between(50*time.Millisecond, w.shape.ttl)) })
	often(w.shape.reboots, func() { w.someHost().reboot(w.between(time.Second, 2*w.shape.ttl)) })
	often(w.shape.suspends, func() { w.someHost().suspend(w.between(100*time.Millisecond, 3*w.shape.ttl)) })
	often(w.shape.cuts, func() { w.cutLink(&w.busyHost().link) })
	often(w.shape.lostStages, w.stored.loseStaged)
	often(w.shape.totalCuts, w.cutAll)
	often(w.shape.forgeries, w.forge)
}

func (w *world) someHost() *host { return w.hosts[w.rng.IntN(len(w.hosts))] }

// busyHost draws a host that runs something, if there is one.
func (w *world) busyHost() *host {
	var busy []*host
	for _, h := range w.hosts {
		if len(h.runs) > 0 {
			busy = append(busy, h)
		}
	}
	if len(busy) == 0 {
		return w.someHost()
	}
	return busy[w.rng.IntN(len(busy))]
}

func (w *world) cutPower() {
	w.tally[LabPowerCut]++
	w.note("the power fails")
	w.crashControl(w.between(time.Second, 10*time.Second))
	for _, h := range w.hosts {
		h.reboot(w.between(time.Second, 10*time.Second))
	}
}

// cutLink cuts a link, in one direction or both.
func (w *world) cutLink(l *link) {
	until := w.now() + w.between(time.Second, 3*w.shape.ttl)
	side := w.rng.IntN(3)
	if side != 0 {
		l.upCut = until
	}
	if side != 1 {
		l.downCut = until
	}
	w.note("%s is cut off (%d) until %s", l.name, side, until)
}

// isolate cuts a host off that has just started something, sometimes, and makes
// that last longer than its lease: that is when promises are hard to keep. It
// returns how long that lasts, 0 if nothing is to happen.
func (w *world) isolate(h *host) time.Duration {
	if !w.chaos || !w.chance(w.shape.isolating) {
		return 0
	}
	w.after(nil, w.between(0, w.shape.heartbeat), func() {
		until := w.now() + w.between(w.shape.ttl, 3*w.shape.ttl)
		h.link.upCut, h.link.downCut = until, until
		w.note("%s is isolated until %s", h.id, until)
	})
	return w.between(w.shape.ttl, longest*w.shape.ttl)
}

// longest is how many leases the longest work lasts.
const longest = 4

// cutAll cuts everybody off: the control plane is alone.
func (w *world) cutAll() {
	for _, h := range w.hosts {
		w.cutLink(&h.link)
	}
	w.cutLink(&w.client.link)
}

// stepClock sets the control plane's wall clock back, and right again before
// anybody should have believed it.
func (w *world) stepClock() {
	by := -w.between(3*time.Second, 2*time.Hour)
	w.note("the wall clock is set back by %s", by)
	w.tally[ClockStepped]++
	w.ahead.Store(int64(by))
	w.after(nil, w.between(time.Second, 45*time.Second), func() {
		w.note("the wall clock is set right")
		w.ahead.Store(0)
	})
}

// fillDisk leaves the control plane's disk without room for a while.
func (w *world) fillDisk() {
	w.note("the disk is full")
	w.disk.full = true
	w.after(nil, w.between(time.Second, 2*w.shape.ttl), func() {
		w.note("the disk has room")
		w.disk.full = false
	})
}

// forge reports the completion of somebody else's assignment.
func (w *world) forge() {
	h := w.someHost()
	if h.agent == nil || h.agent.inc == 0 {
		return
	}
	var target *assignmentModel
	var id entropy.JobID
	for _, j := range w.check.order {
		if j.live != nil && j.live.worker != h.id {
			target, id = j.live, j.id
		}
	}
	if target == nil {
		return
	}
	r := entropy.CompleteRequest{Incarnation: h.agent.inc, Items: []entropy.Completion{{JobID: id, AssignmentID: target.id,
		SpoolID: h.spoolID, CompletionSeq: 1 << 40, Outcome: entropy.OutcomeSucceeded}}}
	q := &request{w: w, link: &h.link, from: h.agent.plane, what: "forged completion", ctx: as(entropy.RoleWorker, string(h.id)), limit: timeout,
		do: func(ctx context.Context, s *actors.System) (any, error) {
			v, err := s.Complete(ctx, r)
			if err == nil && v[0].Verdict == entropy.VerdictRefused {
				w.tally[ForgeryRefused]++
			}
			if err == nil && (v[0].Verdict == entropy.VerdictAccepted || v[0].Verdict == entropy.VerdictSuperseded) {
				w.fail("INV-14", "%s reported the completion of %s, which is not its own, and was answered %s", h.id, target.id, v[0].Verdict)
			}
			return v, err
		}, heard: func(any, error) {}}
	q.send()
}

// heal ends the first phase: nothing fails any more, and everybody is back.
func (w *world) heal() {
	w.chaos, w.healed = false, w.now()
	w.note("everything heals")
	w.disk.full, w.disk.ioError = false, noError
	w.client.link.upCut, w.client.link.downCut = 0, 0
	if w.ctl == nil { // one that is stopped goes on by itself, within two leases
		w.startControl()
	}
	for _, h := range w.hosts {
		h.link.upCut, h.link.downCut = 0, 0
		switch {
		case !h.up():
			h.boot()
		case h.plane.paused:
			// It wakes by itself, within three leases.
		case h.agent == nil:
			h.startAgent()
		}
	}
}
