package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// host is a model worker: its supervisor, its spool, and the agent that talks to
// the control plane. The supervisor and the jobs outlive the agent; the disk
// outlives them all.
type host struct {
	w      *world
	id     entropy.WorkerID
	link   link
	slots  int
	cpu    entropy.Amount
	labels map[string]string

	plane   *plane // from boot to reboot; stopped while the machine sleeps
	bootID  string
	agent   *agent // nil while it is down
	runs    []*run
	spool   []*entry
	spoolID string
	spooled uint64
	started map[entropy.AssignmentID]bool // on disk
	decided map[entropy.AssignmentID]entropy.Verdict
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
	staged     bool // its artifacts are at the control plane
	sending    bool
	agent      *agent // that was up when it was made
}

func (w *world) buildHosts() {
	for i := range w.shape.hosts {
		id := entropy.WorkerID(fmt.Sprintf("w%d", i+1))
		h := &host{w: w, id: id, link: link{name: string(id)}, slots: 1 + w.rng.IntN(w.shape.slots),
			cpu:    entropy.Amount(2+w.rng.IntN(3)) * entropy.Unit,
			labels: map[string]string{"zone": []string{"a", "b"}[i%2]}, plane: &plane{name: string(id), dead: true}, spoolID: w.name("spool"),
			started: make(map[entropy.AssignmentID]bool), decided: make(map[entropy.AssignmentID]entropy.Verdict)}
		w.hosts = append(w.hosts, h)
	}
}

func (h *host) up() bool { return !h.plane.dead }

// boot starts the machine.
func (h *host) boot() {
	if h.up() {
		return
	}
	h.plane, h.bootID = &plane{name: string(h.id)}, h.w.name("boot")
	h.w.note("%s boots (%s)", h.id, h.bootID)
	h.startAgent()
}

// reboot takes the machine down: its processes die, and what was not yet on disk
// is gone.
func (h *host) reboot(down time.Duration) {
	if !h.up() {
		return
	}
	h.w.note("%s goes down", h.id)
	h.w.con.kill(h.plane)
	h.agent = nil
	for _, r := range h.runs {
		r.over = true
	}
	h.runs = nil
	before := len(h.spool)
	h.spool = slices.DeleteFunc(h.spool, func(e *entry) bool { return !e.durable })
	h.w.tally[ResultLostUnsynced] += before - len(h.spool)
	h.w.after(nil, down, h.boot)
}

// suspend stops the machine where it is, as sleep does; its boot clock goes on.
func (h *host) suspend(d time.Duration) {
	p := h.plane
	if p.dead || p.paused {
		return
	}
	h.w.note("%s sleeps for %s", h.id, d)
	h.w.tally[HostSlept]++
	h.w.con.pause(p, true)
	h.w.after(p.parent, d, func() {
		if p.dead {
			return
		}
		h.w.con.pause(p, false)
		h.w.note("%s wakes", h.id)
		for _, r := range slices.Clone(h.runs) { // the supervisor looks at the clock before anything else
			h.keepContract(r)
		}
		h.w.check.overlaps(h)
	})
}

// crashAgent kills the agent. The jobs run on.
func (h *host) crashAgent(down time.Duration) {
	if h.agent == nil {
		return
	}
	h.w.note("%s loses its agent", h.id)
	h.w.con.kill(h.agent.plane)
	h.agent = nil
	h.w.after(h.plane, down, func() {
		if h.agent == nil {
			h.startAgent()
		}
	})
}

// inventory lists every assignment that runs or waits in the spool.
func (h *host) inventory() []entropy.Held {
	var held []entropy.Held
	for _, r := range h.runs {
		held = append(held, r.held)
	}
	for _, e := range h.spool {
		held = append(held, entropy.Held{JobID: e.completion.JobID, AssignmentID: e.completion.AssignmentID, Spooled: true})
	}
	return held
}

func (h *host) running(id entropy.AssignmentID) *run {
	i := slices.IndexFunc(h.runs, func(r *run) bool { return r.held.AssignmentID == id })
	if i < 0 {
		return nil
	}
	return h.runs[i]
}

// start executes an assignment, unless it was started before.
func (h *host) start(a *entropy.Assignment, trust time.Duration) {
	w := h.w
	if h.started[a.AssignmentID] {
		return
	}
	h.started[a.AssignmentID] = true
	r := &run{held: entropy.Held{JobID: a.JobID, AssignmentID: a.AssignmentID}, spec: &a.Spec, trust: trust}
	if a.Spec.Disconnect.Worker == entropy.DisconnectStop && w.now() >= trust-killLead {
		h.runs = append(h.runs, r)
		h.finish(r, entropy.Completion{Outcome: entropy.OutcomeStopped, Reason: entropy.ReasonContract}) // the answer came too late
		return
	}
	w.note("%s starts %s %s", h.id, a.JobID, w.trace.short(string(a.AssignmentID)))
	w.check.starts(h, a)
	h.runs = append(h.runs, r)
	w.check.runs(h, r)
	took := w.between(10*time.Millisecond, w.shape.longestRun)
	if long := w.isolate(h); long > 0 {
		took = long
	}
	w.after(h.plane, took, func() { h.exit(r) })
	if a.Spec.Disconnect.Worker == entropy.DisconnectStop {
		h.guard(r)
	}
}

// killLead is how long before the end of trust a run is killed.
const killLead = 200 * time.Millisecond

// guard ends a run before its lease can end elsewhere.
func (h *host) guard(r *run) {
	h.w.after(h.plane, r.trust-killLead-h.w.now(), func() {
		if h.keepContract(r); !r.over {
			h.guard(r)
		}
	})
}

// keepContract kills a run that must not outlast the trust in its lease.
func (h *host) keepContract(r *run) {
	if h.w.mutant == ContractIgnored {
		r.trust = h.w.now() + time.Hour
	}
	if !r.over && r.spec.Disconnect.Worker == entropy.DisconnectStop && h.w.now() >= r.trust-killLead {
		h.w.tally[StoppedByContract]++
		h.finish(r, entropy.Completion{Outcome: entropy.OutcomeStopped, Reason: entropy.ReasonContract})
	}
}

// stop ends a run as it was told to.
func (h *host) stop(id entropy.AssignmentID, why entropy.Reason) {
	r := h.running(id)
	if r == nil || r.stopping != "" {
		return
	}
	r.stopping = why
	h.w.after(h.plane, h.w.between(0, time.Second), func() {
		h.finish(r, entropy.Completion{Outcome: entropy.OutcomeStopped, Reason: why})
	})
}

// exit ends a run by itself, one way or another.
func (h *host) exit(r *run) {
	c := entropy.Completion{Outcome: entropy.OutcomeSucceeded}
	code := 0
	switch s := &h.w.shape; {
	case h.w.chance(s.breaking):
		c.Outcome, c.Reason, c.Message = entropy.OutcomeFailed, entropy.ReasonWorkerError, "the executor broke"
	case h.w.chance(s.failing):
		code = 1 + h.w.rng.IntN(2)
		c.Outcome, c.Reason, c.ExitCode = entropy.OutcomeFailed, entropy.ReasonExit, &code
	default:
		c.ExitCode = &code
		if len(r.spec.Artifacts) > 0 {
			content := contentOf(r.held.JobID)
			c.Artifacts = []entropy.Artifact{{Name: "result", SHA256: hashOf(content), Size: int64(len(content))}}
		}
	}
	h.finish(r, c)
}

// contentOf is the artifact that a job leaves, whoever runs it.
func contentOf(id entropy.JobID) []byte { return []byte("what " + string(id) + " made") }

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// finish puts the result of a run into the spool and, once that is on disk, has
// it reported.
func (h *host) finish(r *run, c entropy.Completion) {
	w := h.w
	if r.over {
		return
	}
	r.over = true
	h.runs = slices.DeleteFunc(h.runs, func(o *run) bool { return o == r })
	h.spooled++
	c.JobID, c.AssignmentID, c.SpoolID, c.CompletionSeq = r.held.JobID, r.held.AssignmentID, h.spoolID, h.spooled
	e := &entry{completion: c, agent: h.agent}
	h.spool = append(h.spool, e)
	w.check.ends(&c)
	w.note("%s ended %s %s: %s %s", h.id, c.JobID, w.trace.short(string(c.AssignmentID)), c.Outcome, c.Reason)
	took := w.between(0, 4*w.shape.fsync)
	if w.chaos && w.chance(3*w.shape.slowSync) {
		took += w.between(0, 5*time.Second)
	}
	w.after(h.plane, took, func() {
		e.durable = true
		h.wakeAgent()
	})
	h.wakeAgent()
}

func (h *host) wakeAgent() {
	if h.agent != nil {
		h.agent.report()
		h.agent.claim()
	}
}

// forget deletes a spool entry, which only a decision of the control plane allows.
func (h *host) forget(e *entry) {
	h.w.check.forgets(&e.completion)
	h.spool = slices.DeleteFunc(h.spool, func(o *entry) bool { return o == e })
}

// refuses reports whether this host's own policy is against the job.
func (h *host) refuses(id entropy.JobID) bool {
	v := uint32(2166136261)
	for _, b := range []byte(string(h.id) + string(id)) {
		v = (v ^ uint32(b)) * 16777619
	}
	return float64(v%1000)/1000 < h.w.shape.refusing
}
