package sim

import (
	"time"
)

// scheduleFaults draws when and to whom the faults of the first phase happen.
func (w *world) scheduleFaults() {
	often := func(n int, f func()) {
		for range n {
			w.at(w.between(time.Second, w.shape.horizon), func() {
				if w.chaos {
					f()
				}
			})
		}
	}
	often(w.shape.crashes, func() { w.crashControl(w.between(100*time.Millisecond, 2*w.shape.ttl)) })
	often(w.shape.pauses, w.pauseControl)
	often(w.shape.powerCuts, w.cutPower)
	often(w.shape.agentCrashes, func() { w.someWorker().crashAgent(w.between(50*time.Millisecond, w.shape.ttl)) })
	often(w.shape.reboots, func() { w.someWorker().reboot(w.between(time.Second, 2*w.shape.ttl)) })
	often(w.shape.cuts, w.cutLink)
}

func (w *world) someWorker() *worker { return w.workers[w.rng.IntN(len(w.workers))] }

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

func (w *world) pauseControl() {
	if w.ctl != nil && w.now >= w.ctl.pausedUntil {
		// A gap of less than half a heartbeat may count as listening.
		w.ctl.pause(w.between(w.shape.heartbeat/2, 2*w.shape.ttl))
	}
}

func (w *world) cutPower() {
	w.tally[LabPowerCut]++
	w.note("the power fails")
	w.crashControl(w.between(time.Second, 10*time.Second))
	for _, wk := range w.workers {
		wk.reboot(w.between(time.Second, 10*time.Second))
	}
}

// cutLink cuts one worker off, in one direction or both.
func (w *world) cutLink() {
	wk := w.someWorker()
	until := w.now + w.between(time.Second, 3*w.shape.ttl)
	side := w.rng.IntN(3)
	if side != 0 {
		wk.link.upCut = until
	}
	if side != 1 {
		wk.link.downCut = until
	}
	w.note("%s is cut off (%d) until %s", wk.id, side, until)
}

// heal ends the first phase: nothing fails any more, and everybody is back.
func (w *world) heal() {
	w.chaos = false
	w.note("everything heals")
	if w.ctl == nil {
		w.startControl()
	}
	for _, wk := range w.workers {
		wk.link.upCut, wk.link.downCut = 0, 0
		if !wk.up {
			wk.boot()
		} else if wk.agent == nil {
			wk.startAgent()
		}
	}
}
