package sim

import (
	"slices"

	"github.com/entropy-fabric/entropy"
)

// starts checks that an execution may start.
func (k *checker) starts(wk *worker, a *entropy.Assignment, r *run) {
	m := k.assignment(a.JobID, a.AssignmentID)
	if m == nil || !m.acked {
		k.w.fail(StartAfterDurable, "%s starts %s before its ACK is durable", wk.id, a.AssignmentID)
		return
	}
	if m.starts++; m.starts > 1 {
		k.w.fail(StartAfterDurable, "%s starts %s again", wk.id, a.AssignmentID)
	}
	if len(wk.runs) >= wk.slots {
		k.w.fail(Capacity, "%s starts %s with all its %d slots taken", wk.id, a.AssignmentID, wk.slots)
	}
	k.executing = slices.DeleteFunc(k.executing, func(x *execution) bool { return x.run.over })
	k.alone(&execution{r, wk})
}

// alone checks that nothing runs that must not run beside x: another attempt of a
// `stop` job, another job of its key. A suspended host runs nothing; for one that
// has just returned its first timer is awaited.
func (k *checker) alone(x *execution) {
	spec := x.run.spec
	if spec.Disconnect.Worker != entropy.DisconnectStop {
		return
	}
	for _, o := range k.executing {
		same := o.run.held.JobID == x.run.held.JobID
		keyed := spec.ConcurrencyKey != "" && o.run.spec.ConcurrencyKey == spec.ConcurrencyKey
		if o.run == x.run || o.run.over || !same && !keyed || k.w.now < o.wk.frozenUntil+2*firstTimer {
			continue
		}
		invariant := ContractKept
		if !same {
			invariant = KeyExclusive
		}
		k.w.fail(invariant, "%s runs %s of %s while %s of %s still runs on %s", x.wk.id, x.run.held.AssignmentID, x.run.held.JobID,
			o.run.held.AssignmentID, o.run.held.JobID, o.wk.id)
	}
}

// runs notes an execution that has started.
func (k *checker) runs(wk *worker, r *run) { k.executing = append(k.executing, &execution{r, wk}) }

// thawed checks a host that was suspended and has had its first timer.
func (k *checker) thawed(wk *worker) {
	for _, r := range wk.runs {
		k.alone(&execution{r, wk})
	}
}

// ends notes what an execution put into its worker's spool.
func (k *checker) ends(c *entropy.Completion) {
	k.executed[completionKey{c.SpoolID, c.CompletionSeq}] = c.AssignmentID
}

// reports checks that a result is on disk before anybody hears of it.
func (k *checker) reports(e *entry) {
	if !e.durable {
		k.w.fail(SpoolFirst, "the result of %s was reported before it was on disk", e.completion.AssignmentID)
	}
}

// forgets checks that a spool entry is deleted only once it was decided.
func (k *checker) forgets(c *entropy.Completion) {
	if m := k.assignment(c.JobID, c.AssignmentID); m == nil || !m.decided {
		k.w.fail(SpoolKept, "the spool entry of %s was deleted and nothing in the journal decides it", c.AssignmentID)
	}
}
