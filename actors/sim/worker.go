package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// worker is one host: its executor, its spool, and the agent that talks to the
// control plane. The executor and the jobs outlive the agent; the host's disk
// outlives them all.
type worker struct {
	w         *world
	id        entropy.WorkerID
	link      link
	slots     int
	labels    map[string]string
	resources entropy.Resources

	frozenFrom, frozenUntil time.Duration // suspended
	rumorUntil              time.Duration // gossip calls it dead until then
	spoolBadUntil           time.Duration // its spool cannot be written until then

	up      bool
	bootID  string
	agent   *agent // nil while it is down
	runs    []*run
	spool   []*entry
	spoolID string
	spooled uint64
	started map[entropy.AssignmentID]bool // on disk
}

// run is one execution.
type run struct {
	held      entropy.Held
	spec      *entropy.JobSpec
	started   time.Duration
	trust     time.Duration // the lease can be relied on until then
	resources entropy.Resources
	gpus      []entropy.GPUShare
	exits     time.Duration // when it ends by itself
	stopping  entropy.Reason
	over      bool
}

// entry is a result in the spool.
type entry struct {
	completion entropy.Completion
	durable    bool
	sending    bool
	at         time.Duration // when it was made, then when it was durable
	agent      *agent        // that was up when it was made
}

func (w *world) buildWorkers() {
	for i := range w.shape.workers {
		id := entropy.WorkerID(fmt.Sprintf("w%d", i+1))
		wk := &worker{w: w, id: id, link: link{name: string(id), session: id}, slots: 1 + w.rng.IntN(w.shape.slots),
			labels: map[string]string{"zone": []string{"a", "b"}[i%2]}, spoolID: w.name("spool"), started: make(map[entropy.AssignmentID]bool)}
		wk.resources = entropy.Resources{entropy.ResourceCPU: 4 * entropy.Unit, entropy.ResourceGPU: entropy.Amount(2-i%2) * entropy.Unit}
		wk.link.host = wk
		w.workers = append(w.workers, wk)
	}
}

// boot starts the host.
func (wk *worker) boot() {
	wk.up, wk.bootID = true, wk.w.name("boot")
	wk.w.happens('b', string(wk.id))
	wk.w.note("%s boots", wk.id)
	wk.startAgent()
}

// reboot takes the host down: its processes die, and what was not yet on disk is gone.
func (wk *worker) reboot(down time.Duration) {
	if !wk.up {
		return
	}
	wk.w.note("%s goes down", wk.id)
	wk.up, wk.agent = false, nil
	wk.frozenUntil = min(wk.frozenUntil, wk.w.now)
	for _, r := range wk.runs {
		r.over = true
	}
	wk.runs = nil
	before := len(wk.spool)
	wk.spool = slices.DeleteFunc(wk.spool, func(e *entry) bool { return !e.durable })
	wk.w.tally[ResultLostUnsynced] += before - len(wk.spool)
	for _, e := range wk.spool {
		e.sending = false
	}
	wk.w.after(down, func() {
		if !wk.up {
			wk.boot()
		}
	})
}

// crashAgent kills the agent. The jobs run on.
func (wk *worker) crashAgent(down time.Duration) {
	if wk.agent == nil {
		return
	}
	wk.w.note("%s loses its agent", wk.id)
	wk.agent = nil
	boot := wk.bootID
	wk.after(down, func() {
		if wk.up && wk.agent == nil && wk.bootID == boot {
			wk.startAgent()
		}
	})
}

// inventory lists every assignment that runs or waits in the spool.
func (wk *worker) inventory() []entropy.Held {
	var held []entropy.Held
	for _, r := range wk.runs {
		h := r.held
		h.GPUs = r.gpus
		held = append(held, h)
	}
	for _, e := range wk.spool {
		held = append(held, entropy.Held{JobID: e.completion.JobID, AssignmentID: e.completion.AssignmentID, Spooled: true})
	}
	return held
}

func (wk *worker) running(id entropy.AssignmentID) *run {
	for _, r := range wk.runs {
		if r.held.AssignmentID == id {
			return r
		}
	}
	return nil
}

// at has f run at t by a clock that stands still while the host is suspended: what
// was left of the time then is left after it.
func (wk *worker) at(t time.Duration, f func()) {
	wk.w.at(t, func() {
		if now := wk.w.now; now < wk.frozenUntil {
			wk.at(wk.frozenUntil+now-wk.frozenFrom, f)
			return
		}
		f()
	})
}

func (wk *worker) after(d time.Duration, f func()) { wk.at(wk.w.now+d, f) }

// atBoot has f run at t by boot time, which runs on: what came due while the host
// was suspended comes due as soon as it is back.
func (wk *worker) atBoot(t time.Duration, f func()) {
	wk.w.at(t, func() {
		if wk.w.now < wk.frozenUntil {
			wk.atBoot(wk.frozenUntil+wk.w.between(0, firstTimer), f)
			return
		}
		f()
	})
}

// firstTimer is how long after its return a suspended host may run before its
// first timer fires.
const firstTimer = 20 * time.Millisecond

// suspend stops everything on the host for a while, its jobs included.
func (wk *worker) suspend(d time.Duration) {
	w := wk.w
	if !wk.up || w.now < wk.frozenUntil {
		return
	}
	w.tally[WorkerSuspended]++
	wk.frozenFrom, wk.frozenUntil = w.now, w.now+d
	for _, r := range wk.runs {
		if r.spec.Disconnect.Worker == entropy.DisconnectStop && r.trust < wk.frozenUntil {
			w.tally[SuspendedPastTrust]++
		}
	}
	w.at(wk.frozenUntil+2*firstTimer, func() { w.check.thawed(wk) })
}

// heal brings everything back.
func (wk *worker) heal() {
	wk.link.upCut, wk.link.downCut, wk.rumorUntil, wk.spoolBadUntil = 0, 0, 0, 0
	if !wk.up {
		wk.boot()
	} else if wk.agent == nil {
		wk.after(0, func() {
			if wk.up && wk.agent == nil {
				wk.startAgent()
			}
		})
	}
}
