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
	w      *world
	id     entropy.WorkerID
	link   link
	slots  int
	labels map[string]string

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
	held     entropy.Held
	spec     *entropy.JobSpec
	trust    time.Duration // the lease can be relied on until then
	stopping entropy.Reason
	over     bool
}

// entry is a result in the spool.
type entry struct {
	completion entropy.Completion
	durable    bool
	sending    bool
	agent      *agent // that was up when it was made
}

func (w *world) buildWorkers() {
	for i := range w.shape.workers {
		id := entropy.WorkerID(fmt.Sprintf("w%d", i+1))
		wk := &worker{w: w, id: id, link: link{name: string(id), session: id}, slots: 1 + w.rng.IntN(w.shape.slots),
			labels: map[string]string{"zone": []string{"a", "b"}[i%2]}, spoolID: w.name("spool"), started: make(map[entropy.AssignmentID]bool)}
		w.workers = append(w.workers, wk)
	}
}

// boot starts the host.
func (wk *worker) boot() {
	wk.up, wk.bootID = true, wk.w.name("boot")
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
	wk.w.after(down, func() {
		if wk.up && wk.agent == nil && wk.bootID == boot {
			wk.startAgent()
		}
	})
}

// inventory lists every assignment that runs or waits in the spool.
func (wk *worker) inventory() []entropy.Held {
	var held []entropy.Held
	for _, r := range wk.runs {
		held = append(held, r.held)
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

// start executes an assignment, unless it was started before.
func (wk *worker) start(a *entropy.Assignment, trust time.Duration) {
	if wk.started[a.AssignmentID] && wk.w.cfg.Mutant != StartTwice {
		return
	}
	wk.started[a.AssignmentID] = true
	r := &run{held: entropy.Held{JobID: a.JobID, AssignmentID: a.AssignmentID}, spec: &a.Spec, trust: trust}
	if a.Spec.Disconnect.Worker == entropy.DisconnectStop && wk.w.now >= trust-killLead {
		wk.end(r, entropy.Completion{Outcome: entropy.OutcomeStopped, Reason: entropy.ReasonContract}) // the answer came too late
		return
	}
	wk.w.check.starts(wk, a)
	wk.runs = append(wk.runs, r)
	wk.w.check.runs(wk, r)
	wk.w.note("%s starts %s %s", wk.id, a.JobID, a.AssignmentID)
	wk.w.after(wk.w.between(10*time.Millisecond, wk.w.shape.longestRun), func() { wk.exit(r) })
	if a.Spec.Disconnect.Worker == entropy.DisconnectStop {
		wk.watch(r)
	}
}

// killLead is how long before the end of trust a run is killed.
const killLead = 200 * time.Millisecond

// watch ends a run before its lease can end elsewhere.
func (wk *worker) watch(r *run) {
	wk.w.at(r.trust-killLead, func() {
		switch {
		case r.over:
		case wk.w.now < r.trust-killLead:
			wk.watch(r)
		default:
			wk.end(r, entropy.Completion{Outcome: entropy.OutcomeStopped, Reason: entropy.ReasonContract})
		}
	})
}

// stop ends a run as it was told to.
func (wk *worker) stop(id entropy.AssignmentID, why entropy.Reason) {
	r := wk.running(id)
	if r == nil || r.stopping != "" {
		return
	}
	r.stopping = why
	wk.w.after(wk.w.between(0, time.Second), func() {
		wk.end(r, entropy.Completion{Outcome: entropy.OutcomeStopped, Reason: why})
	})
}

// exit ends a run by itself, one way or another.
func (wk *worker) exit(r *run) {
	c := entropy.Completion{Outcome: entropy.OutcomeSucceeded}
	code := 0
	switch s := &wk.w.shape; {
	case wk.w.chance(s.breaking):
		c.Outcome, c.Reason, c.Message = entropy.OutcomeFailed, entropy.ReasonWorkerError, "the executor broke"
	case wk.w.chance(s.failing):
		code = 1 + wk.w.rng.IntN(2)
		c.Outcome, c.Reason, c.ExitCode = entropy.OutcomeFailed, entropy.ReasonExit, &code
	default:
		c.ExitCode = &code
	}
	wk.end(r, c)
}

// end puts the result of a run into the spool and, once that is on disk, has it reported.
func (wk *worker) end(r *run, c entropy.Completion) {
	if r.over {
		return
	}
	r.over = true
	wk.runs = slices.DeleteFunc(wk.runs, func(o *run) bool { return o == r })
	wk.spooled++
	c.JobID, c.AssignmentID, c.SpoolID, c.CompletionSeq = r.held.JobID, r.held.AssignmentID, wk.spoolID, wk.spooled
	e := &entry{completion: c, agent: wk.agent}
	wk.spool = append(wk.spool, e)
	wk.w.check.ends(&c)
	wk.w.note("%s ended %s %s: %s %s", wk.id, c.JobID, c.AssignmentID, c.Outcome, c.Reason)
	boot := wk.bootID
	took := wk.w.between(0, 4*wk.w.shape.fsync)
	if wk.w.chaos && wk.w.chance(wk.w.shape.slowSync) {
		took += wk.w.between(0, 5*time.Second)
	}
	wk.w.after(took, func() {
		if wk.bootID == boot && wk.up {
			e.durable = true
			wk.wakeAgent()
		}
	})
	wk.wakeAgent()
}

func (wk *worker) wakeAgent() {
	if wk.agent != nil {
		wk.agent.report()
		wk.agent.claim()
	}
}

// forget deletes a spool entry, which only a decision of the control plane allows.
func (wk *worker) forget(e *entry) {
	wk.w.check.forgets(&e.completion)
	wk.spool = slices.DeleteFunc(wk.spool, func(o *entry) bool { return o == e })
}

// refuses reports whether this worker's own policy is against the job.
func (wk *worker) refuses(id entropy.JobID) bool {
	h := uint32(2166136261)
	for _, b := range []byte(string(wk.id) + string(id)) {
		h = (h ^ uint32(b)) * 16777619
	}
	return float64(h%1000)/1000 < wk.w.shape.refusing
}
