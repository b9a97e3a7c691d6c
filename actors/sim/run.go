package sim

import (
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// start executes an assignment, unless it was started before.
func (wk *worker) start(a *entropy.Assignment, trust time.Duration) {
	w := wk.w
	if wk.started[a.AssignmentID] && !w.mutant(StartTwice) {
		return
	}
	wk.started[a.AssignmentID] = true
	r := &run{held: entropy.Held{JobID: a.JobID, AssignmentID: a.AssignmentID}, spec: &a.Spec, trust: trust, started: w.now,
		resources: a.Resources, gpus: a.GPUs}
	stops := a.Spec.Disconnect.Worker == entropy.DisconnectStop
	if stops && w.now >= r.term() {
		wk.end(r, entropy.Completion{Outcome: entropy.OutcomeStopped, Reason: entropy.ReasonContract}) // the answer came too late
		return
	}
	w.check.starts(wk, a, r)
	wk.runs = append(wk.runs, r)
	w.check.runs(wk, r)
	w.happens('e', string(a.AssignmentID))
	w.note("%s starts %s %s", wk.id, a.JobID, a.AssignmentID)
	r.exits = w.now + w.between(10*time.Millisecond, w.shape.longestRun)
	wk.at(r.exits, func() { wk.exit(r) })
	if d := a.Spec.RunTimeout.D(); d > 0 {
		wk.after(d, func() {
			wk.end(r, entropy.Completion{Outcome: entropy.OutcomeFailed, Reason: entropy.ReasonTimeout})
		})
	}
	if stops && !w.mutant(StopOutlives) {
		wk.watch(r)
	}
}

// killLead is how long before the end of trust a run is killed.
const killLead = 200 * time.Millisecond

// term is when a run gets its TERM, so that even after its whole grace the KILL
// falls before trust ends (L-2).
func (r *run) term() time.Duration { return r.trust - killLead - r.spec.Grace.D() }

// renew moves the end of trust. Trust that has run out stays so: the answer comes
// too late, and the lease may have ended elsewhere while the host was suspended.
func (r *run) renew(now, trust time.Duration) {
	if now < r.trust {
		r.trust = max(r.trust, trust)
	}
}

// watch ends a run before its lease can end elsewhere. It goes by boot time, which
// runs on while the host is suspended: on its return the first timer sees it.
func (wk *worker) watch(r *run) {
	look := func() {
		switch w := wk.w; {
		case r.over || r.stopping == entropy.ReasonContract:
		case w.now < r.term():
			wk.watch(r)
		default:
			r.stopping = entropy.ReasonContract
			gone := min(w.now+w.between(0, r.spec.Grace.D()+time.Millisecond), max(r.trust-killLead, w.now))
			wk.atBoot(gone, func() { wk.end(r, entropy.Completion{Outcome: entropy.OutcomeStopped, Reason: entropy.ReasonContract}) })
		}
	}
	if wk.w.mutant(MonotonicTrust) {
		wk.at(r.term(), look)
		return
	}
	wk.atBoot(r.term(), look)
}

// stop ends a run as it was told to: TERM, and KILL after its grace. It may end
// by itself first.
func (wk *worker) stop(id entropy.AssignmentID, why entropy.Reason) {
	r := wk.running(id)
	if r == nil || r.stopping != "" {
		return
	}
	r.stopping = why
	wk.after(wk.w.between(0, max(r.spec.Grace.D(), 10*time.Millisecond)), func() {
		if r.stopping == why {
			wk.end(r, entropy.Completion{Outcome: entropy.OutcomeStopped, Reason: why})
		}
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
	e := &entry{completion: c, agent: wk.agent, at: wk.w.now}
	wk.spool = append(wk.spool, e)
	wk.w.check.ends(&c)
	wk.w.happens('o', string(c.AssignmentID))
	wk.w.note("%s ended %s %s: %s %s", wk.id, c.JobID, c.AssignmentID, c.Outcome, c.Reason)
	wk.sync(e)
	wk.wakeAgent()
}

// sync writes a spool entry to disk, again and again while the disk fails.
func (wk *worker) sync(e *entry) {
	w, boot := wk.w, wk.bootID
	took := w.between(0, 4*w.shape.fsync)
	if w.chaos && w.chance(w.shape.slowSync) {
		took += w.between(0, 5*time.Second)
	}
	wk.after(took, func() {
		switch {
		case wk.bootID != boot || !wk.up:
		case w.now < wk.spoolBadUntil:
			wk.after(time.Second, func() {
				if wk.bootID == boot && wk.up {
					wk.sync(e)
				}
			})
		default:
			e.durable, e.at = true, w.now
			wk.wakeAgent()
		}
	})
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

// hasRoom reports whether the executor has what an assignment is to hold: a lost
// attempt that still runs may have it.
func (wk *worker) hasRoom(a *entropy.Assignment) bool {
	if len(wk.runs) >= wk.slots {
		return false
	}
	for _, g := range a.GPUs {
		used := g.Amount
		for _, r := range wk.runs {
			for _, o := range r.gpus {
				if o.Index == g.Index {
					used += o.Amount
				}
			}
		}
		if used > entropy.Unit {
			return false
		}
	}
	for name, n := range a.Resources {
		for _, r := range wk.runs {
			n += r.resources[name]
		}
		if n > wk.resources[name] {
			return false
		}
	}
	return true
}
