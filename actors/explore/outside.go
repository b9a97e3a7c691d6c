package explore

import (
	"fmt"

	"github.com/entropy-fabric/entropy"
)

// maxIncarnation bounds how often an agent starts.
const maxIncarnation = 2

// restart starts a worker's agent anew, or its host: then what ran there is gone.
func (w *walker) restart(v uint8) {
	if w.s.inc[v] >= maxIncarnation {
		return
	}
	for _, boot := range []bool{false, true} {
		n := w.s.clone()
		n.inc[v]++
		n.boot[v] = boot
		for i := range n.n {
			a := &n.a[i]
			if a.worker != v {
				continue
			}
			if boot {
				a.executing = false
			}
			a.unheld = !a.executing && !a.spooled
		}
		w.add(fmt.Sprintf("the agent of w%d starts anew, with its host: %t", v, boot), n, false, false, nil)
	}
}

// register delivers the newest registration of a worker, for the first time or
// again, however old: what it does not name has ended, if it was granted before it.
func (w *walker) register(v uint8) {
	s := w.s
	if s.inc[v] == 0 {
		return
	}
	if s.reg[v] < s.inc[v] {
		n := s.clone()
		n.reg[v] = s.inc[v]
		w.add(fmt.Sprintf("w%d is registered", v), n, false, false, nil)
		return
	}
	i := s.live()
	if i < 0 || s.a[i].worker != v || !s.a[i].unheld && s.a[i].inc < s.inc[v] {
		return
	}
	cmd := entropy.EndLease{AssignmentID: name(i), Cause: entropy.CauseForgotten, Before: uint64(s.inc[v]), Eligible: workers, NobodyLeft: w.nobodyLeft(v)}
	if s.boot[v] {
		cmd.Cause = entropy.CauseRebooted
	}
	w.decide(fmt.Sprintf("the registration of w%d does not name a%d", v, i), cmd, epoch, nil)
}

// wishes are what people and time ask for.
func (w *walker) wishes() {
	j := w.s.job
	w.decide("cancel", entropy.Cancel{}, epoch, nil)
	if !w.s.held && !j.Spec.Preemptible { // the two together are many states and nothing new
		w.decide("hold", entropy.Hold{}, epoch, func(n *state, d *entropy.Decision, err error) *broken {
			n.held = err == nil
			return nil
		})
	}
	if j.Held {
		w.decide("unhold", entropy.Unhold{}, epoch, nil)
	}
	if i := w.s.live(); i >= 0 && j.Spec.Preemptible {
		w.decide(fmt.Sprintf("preempt a%d", i), entropy.Preempt{AssignmentID: name(i)}, epoch, nil)
	}
	if at := j.WakeAt(); !at.IsZero() {
		w.decide("wake", entropy.Wake{}, at, nil)
		w.decide("wake too early", entropy.Wake{}, epoch.Add(-1), func(n *state, d *entropy.Decision, err error) *broken {
			if len(d.Events) > 0 {
				return breaks("INV-17", "a wake before its time does %s", d.Events[0].Type)
			}
			return nil
		})
	}
}

// upstream lets the other job end, and tells the job how it stands: truly, or as it
// stood before.
func (w *walker) upstream() {
	s := w.s
	if !s.up.State.Terminal() {
		for _, end := range []entropy.State{entropy.Succeeded, entropy.Failed, entropy.Canceled} {
			n := s.clone()
			up := *s.up
			up.State = end
			n.up = &up
			w.add("the job before it has "+string(end), n, false, false, nil)
		}
		w.decide("settle: it is open", entropy.Settle{Open: 1}, epoch, nil)
		return
	}
	settle := entropy.Settle{}
	if s.up.State != entropy.Succeeded && w.cfg.Mutant != DependencyOnFailure {
		settle.Broken = "it has " + string(s.up.State)
	}
	w.decide("settle", settle, epoch, nil)
	w.decide("settle by an old look", entropy.Settle{Open: 1}, epoch, nil)
}

// forged sends every worker's word under the other's name: nothing may come of it.
func (w *walker) forged() {
	for i := range w.s.n {
		thief := workerName(1 - w.s.a[i].worker)
		cmds := []entropy.JobCommand{
			entropy.Ack{AssignmentID: name(i), WorkerID: thief},
			entropy.Release{AssignmentID: name(i), WorkerID: thief, Cause: entropy.CauseRefused},
			entropy.Complete{Completion: entropy.Completion{AssignmentID: name(i), Outcome: entropy.OutcomeSucceeded}, WorkerID: thief},
			entropy.Reattach{AssignmentID: name(i), WorkerID: thief, TTL: ttl},
		}
		for _, cmd := range cmds {
			if d, _ := w.s.job.Decide(w.cfg.Mutant.identify(w.s.job, cmd), epoch); len(d.Events) > 0 {
				w.add(fmt.Sprintf("%s says %T of a%d", thief, cmd, i), w.s, true, true, breaks("INV-14", "%s did %s of a%d, which is not its own", thief, d.Events[0].Type, i))
			}
		}
	}
}
