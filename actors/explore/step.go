package explore

import (
	"fmt"
	"time"

	"github.com/entropy-fabric/entropy"
)

// epoch is the time of every command but those that time itself brings.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const ttl = 15 * time.Second

// successor is a state that one step leads to.
type successor struct {
	step    string
	state   *state
	broken  *broken
	moved   bool // the job has changed
	command bool // by a command, not only outside of the machine
}

// walker expands one state.
type walker struct {
	cfg *Config
	s   *state
	out []successor
}

// add enters a successor, unless nothing has changed.
func (w *walker) add(step string, n *state, moved, command bool, b *broken) {
	if b == nil {
		b = n.agrees()
	}
	w.out = append(w.out, successor{step, n, b, moved, command})
}

// decide has the job decide a command, and calls then with the state after it, in
// which the caller may change what is outside of the machine.
func (w *walker) decide(step string, cmd entropy.JobCommand, now time.Time, then func(n *state, d *entropy.Decision, err error) *broken) {
	n := w.s.clone()
	base, cmd := w.cfg.Mutant.mutate(n.job, cmd)
	d, err := base.Decide(cmd, now)
	if err == nil && len(d.Events) > 0 {
		next, applyErr := w.cfg.Mutant.unmutate(n.job, base).Next(d.Events)
		if applyErr != nil {
			w.add(step, n, true, true, breaks("INV-3", "%T was decided into what Apply refuses: %v", cmd, applyErr))
			return
		}
		n.job = next
		made := n.n
		if _, ok := cmd.(entropy.Assign); ok {
			made++
		}
		for i := range d.Events {
			if b := n.shadow.follow(&d.Events[i], &next.Spec, made); b != nil {
				w.add(step, n, true, true, b)
				return
			}
		}
	}
	var b *broken
	if then != nil {
		b = then(n, &d, err)
	}
	if err == nil && len(d.Events) > 0 || *n != *w.s || b != nil {
		w.add(step, n, n.job != w.s.job, true, b)
	}
}

// expand finds every successor.
func (w *walker) expand() {
	s := w.s
	if s.job.State == "" {
		w.submit()
		return
	}
	if s.up != nil {
		w.upstream()
	}
	if s.n < w.cfg.Assignments {
		for v := range uint8(workers) {
			w.assign(v)
		}
	}
	for i := range s.n {
		w.ack(i)
		w.release(i)
		w.leaseEnds(i)
		w.rumor(i)
		w.finish(i)
		w.complete(i)
		w.heartbeat(i)
	}
	for v := range uint8(workers) {
		w.restart(v)
		w.register(v)
	}
	w.wishes()
	w.forged()
}

func (w *walker) submit() {
	w.decide("submit", entropy.Submit{Spec: w.cfg.Spec, SpecHash: "h", Blocked: w.s.up != nil}, epoch, nil)
}

func (w *walker) assign(v uint8) {
	s := w.s
	if s.reg[v] == 0 || s.job.State != entropy.Pending && w.cfg.Mutant != DoubleAssign {
		return
	}
	cmd := entropy.Assign{AssignmentID: name(s.n), WorkerID: workerName(v), Incarnation: uint64(s.reg[v]), TTL: ttl}
	w.decide(fmt.Sprintf("assign a%d to w%d", s.n, v), cmd, epoch, func(n *state, d *entropy.Decision, err error) *broken {
		if err == nil {
			n.a[n.n] = assignment{worker: v, inc: s.reg[v]}
			n.n++
			if n.up != nil && n.up.State != entropy.Succeeded {
				return breaks("J-10", "it is assigned while %s has %s", n.up.ID, n.up.State)
			}
		}
		return nil
	})
}

// ack delivers an ACK. Its answer is lost, or comes: then the worker starts, once.
// A new agent knows nothing of what the one before it was granted.
func (w *walker) ack(i int) {
	s, a := w.s, &w.s.a[i]
	if s.inc[a.worker] != a.inc {
		return
	}
	cmd := entropy.Ack{AssignmentID: name(i), WorkerID: workerName(a.worker)}
	for _, answered := range []bool{true, false} {
		if answered && a.started {
			continue
		}
		w.decide(fmt.Sprintf("ack a%d, answered: %t", i, answered), cmd, epoch, func(n *state, d *entropy.Decision, err error) *broken {
			if err == nil && answered {
				n.a[i].started, n.a[i].executing = true, true
			}
			return nil
		})
	}
}

func (w *walker) release(i int) {
	a := &w.s.a[i]
	for _, cause := range []entropy.Cause{entropy.CauseNoAck, entropy.CauseRefused} {
		if cause == entropy.CauseRefused && a.started {
			continue // who has started does not refuse
		}
		cmd := entropy.Release{AssignmentID: name(i), WorkerID: workerName(a.worker), Cause: cause, NobodyLeft: cause == entropy.CauseRefused && w.nobodyLeft(a.worker)}
		w.decide(fmt.Sprintf("release a%d: %s", i, cause), cmd, epoch, nil)
	}
}

// nobodyLeft reports whether the job may run on nobody once v is excluded.
func (w *walker) nobodyLeft(v uint8) bool { return w.s.job.Excludes(workerName(1 - v)) }

// leaseEnds has the lease expire. A stop job is gone by then.
func (w *walker) leaseEnds(i int) {
	a := &w.s.a[i]
	if w.s.job.Spec.Disconnect.Worker == entropy.DisconnectStop && a.executing {
		return
	}
	cmd := entropy.EndLease{AssignmentID: name(i), Cause: entropy.CauseLeaseExpired, Eligible: workers, NobodyLeft: w.nobodyLeft(a.worker)}
	w.decide(fmt.Sprintf("the lease of a%d expires", i), cmd, epoch, nil)
}

// rumor has gossip take the worker that runs an attempt for dead.
func (w *walker) rumor(i int) {
	if a := &w.s.a[i]; a.executing {
		cmd := entropy.EndLease{AssignmentID: name(i), Cause: entropy.CauseWorkerLost, Eligible: workers, NobodyLeft: w.nobodyLeft(a.worker)}
		w.decide(fmt.Sprintf("gossip takes the worker of a%d for dead", i), cmd, epoch, nil)
	}
}

// finish ends an execution, by itself or because it was stopped.
func (w *walker) finish(i int) {
	if !w.s.a[i].executing {
		return
	}
	for _, o := range w.cfg.Outcomes {
		n := w.s.clone()
		n.a[i].executing, n.a[i].spooled, n.a[i].outcome = false, true, o
		w.add(fmt.Sprintf("a%d ends: %s", i, o), n, false, false, nil)
	}
}

// complete delivers a completion, whether or not its entry is still in the spool.
func (w *walker) complete(i int) {
	a := &w.s.a[i]
	if a.outcome == nothing {
		return
	}
	c := entropy.Completion{JobID: "j", AssignmentID: name(i), SpoolID: "s", CompletionSeq: uint64(i + 1), Outcome: entropy.OutcomeSucceeded}
	switch a.outcome {
	case Failed:
		c.Outcome, c.Reason = entropy.OutcomeFailed, entropy.ReasonExit
	case Broke:
		c.Outcome, c.Reason = entropy.OutcomeFailed, entropy.ReasonWorkerError
	case Stopped:
		c.Outcome, c.Reason = entropy.OutcomeStopped, w.stopReason()
	}
	cmd := entropy.Complete{Completion: c, WorkerID: workerName(a.worker), Eligible: workers, NobodyLeft: w.nobodyLeft(a.worker)}
	w.decide(fmt.Sprintf("complete a%d: %s", i, a.outcome), cmd, epoch, func(n *state, d *entropy.Decision, err error) *broken {
		m := &n.a[i]
		switch {
		case err != nil:
			return breaks("INV-10", "the completion of a%d is refused: %v", i, err)
		case d.Verdict == entropy.VerdictNotFound:
			return breaks("INV-1", "the machine knows nothing of a%d", i)
		case m.verdict != "" && m.verdict != d.Verdict:
			return breaks("INV-6", "the completion of a%d was %s and is %s", i, m.verdict, d.Verdict)
		case n.shadow.decided&bit(int8(i)) == 0:
			return breaks("INV-10", "a%d is told %s and nothing is on record", i, d.Verdict)
		}
		m.verdict, m.spooled = d.Verdict, false
		return nil
	})
}

// stopReason is why a worker stopped the attempt.
func (w *walker) stopReason() entropy.Reason {
	switch j := w.s.job; {
	case j.CancelRequested:
		return entropy.ReasonCancel
	case j.PreemptRequested:
		return entropy.ReasonPreempt
	}
	return entropy.ReasonContract
}

// heartbeat says that an assignment is alive, perhaps long ago.
func (w *walker) heartbeat(i int) {
	a := &w.s.a[i]
	if !a.started || a.inc > w.s.reg[a.worker] {
		return
	}
	cmd := entropy.Reattach{AssignmentID: name(i), WorkerID: workerName(a.worker), Incarnation: uint64(w.s.reg[a.worker]), TTL: ttl}
	w.decide(fmt.Sprintf("a heartbeat names a%d", i), cmd, epoch, nil)
}
