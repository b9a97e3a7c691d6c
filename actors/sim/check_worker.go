package sim

import (
	"strings"

	"github.com/entropy-fabric/entropy"
)

// starts checks that an execution may start.
func (k *checker) starts(wk *worker, a *entropy.Assignment) {
	j, m := k.job(a.JobID), k.assignment(a.JobID, a.AssignmentID)
	if m == nil || !m.acked {
		k.w.fail("INV-13", "%s starts %s before its ACK is durable", wk.id, a.AssignmentID)
		return
	}
	if m.starts++; m.starts > 1 {
		k.w.fail("INV-13", "%s starts %s again", wk.id, a.AssignmentID)
	}
	if len(wk.runs) >= wk.slots {
		k.w.fail("INV-12", "%s starts %s with all its %d slots taken", wk.id, a.AssignmentID, wk.slots)
	}
	for r, other := range j.executing {
		if r.over {
			delete(j.executing, r)
		} else if j.spec.Disconnect.Worker == entropy.DisconnectStop {
			k.w.fail("J-11", "%s runs %s of %s while %s still runs on %s", wk.id, a.AssignmentID, j.id, r.held.AssignmentID, other.id)
		}
	}
}

// runs notes an execution that has started.
func (k *checker) runs(wk *worker, r *run) { k.job(r.held.JobID).executing[r] = wk }

// ends notes what an execution put into its worker's spool.
func (k *checker) ends(c *entropy.Completion) {
	k.executed[completionKey{c.SpoolID, c.CompletionSeq}] = c.AssignmentID
}

// reports checks that a result is on disk before anybody hears of it.
func (k *checker) reports(e *entry) {
	if !e.durable {
		k.w.fail("W-4", "the result of %s was reported before it was on disk", e.completion.AssignmentID)
	}
}

// forgets checks that a spool entry is deleted only once it was decided.
func (k *checker) forgets(c *entropy.Completion) {
	if m := k.assignment(c.JobID, c.AssignmentID); m == nil || !m.decided {
		k.w.fail("INV-10", "the spool entry of %s was deleted and nothing in the journal decides it", c.AssignmentID)
	}
}

// atRest reports whether everything has come to its end.
func (k *checker) atRest() bool {
	if k.w.client.open > 0 {
		return false
	}
	for _, j := range k.order {
		if j.ended == "" {
			return false
		}
	}
	for _, wk := range k.w.workers {
		if len(wk.runs)+len(wk.spool) > 0 {
			return false
		}
	}
	return true
}

// final checks the whole once more: every job's record, as a restart would find it.
func (k *checker) final() {
	if int(k.seq) != len(k.w.disk.log) {
		k.w.fail("INV-2", "the journal has %d events, %d were written", len(k.w.disk.log), k.seq)
	}
	for _, j := range k.order {
		h := k.w.disk.heads[entropy.Entity(entropy.KindJob, string(j.id))]
		if h == nil {
			k.w.fail("INV-1", "%s is gone", j.id)
			continue
		}
		back := must(entropy.DecodeJob(h.record, h.spec))
		if again := must(back.EncodeRecord()); string(again) != string(h.record) {
			k.w.fail("INV-3", "%s: the record %s reads back as %s", j.id, h.record, again)
		}
		if live := k.w.ctl.jobs[j.id]; live == nil || string(must(live.job.EncodeRecord())) != string(h.record) {
			k.w.fail("INV-3", "%s: the control plane's state is not that of the journal", j.id)
		}
	}
}

// liveness names what did not come to its end in time.
func (k *checker) liveness() {
	var stuck, spools []string
	for _, j := range k.order {
		if j.ended == "" {
			stuck = append(stuck, string(j.id)+" ("+string(j.fold.State)+")")
		}
	}
	for _, wk := range k.w.workers {
		if len(wk.spool) > 0 {
			spools = append(spools, string(wk.id))
		}
	}
	switch {
	case len(stuck) > 0:
		k.w.fail("LIV-1", "long after the healing these jobs have not ended: %s", strings.Join(stuck, ", "))
	case len(spools) > 0:
		k.w.fail("LIV-2", "long after the healing these spools are not empty: %s", strings.Join(spools, ", "))
	default:
		k.w.fail("LIV-1", "long after the healing %d calls of the client are not answered", k.w.client.open)
	}
}
