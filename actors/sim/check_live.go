package sim

import (
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

// bound is how soon after the healing everything that can go on must: two leases
// and three heartbeats, and five seconds for calls that are repeated.
func (k *checker) bound() time.Duration {
	return 2*k.w.shape.ttl + 3*k.w.shape.heartbeat + 5*time.Second
}

// advances looks, every half heartbeat after the healing, for what stands still.
func (k *checker) advances(c *control) {
	w, bound := k.w, k.bound()
	if w.chaos || w.now < w.healedAt+bound || w.broken != nil {
		return
	}
	for _, call := range c.calls {
		if w.now > call.by+bound {
			w.fail(Answered, "a request to %s has waited for its answer since %s", call.what, call.by)
		}
	}
	for _, wk := range w.workers {
		for _, e := range wk.spool {
			if e.durable && w.now-max(e.at, w.healedAt) > bound {
				w.fail(Spools, "the result of %s is still in the spool of %s", e.completion.AssignmentID, wk.id)
			}
		}
	}
	var rooms map[entropy.WorkerID]*room // made when they are needed
	for _, j := range k.order {
		if j.submitted && j.ended == "" && w.now-j.eventAt > bound {
			if rooms == nil {
				rooms = c.rooms()
			}
			k.advance(c, rooms, j)
		}
	}
}

// advance fails when a job could have gone on all the time.
func (k *checker) advance(c *control, rooms map[entropy.WorkerID]*room, j *jobModel) {
	switch {
	case k.waits(c, rooms, j):
		j.stuckSince = 0
	case j.stuckSince == 0:
		j.stuckSince = k.w.now
	case k.w.now-j.stuckSince > k.bound():
		k.w.fail(Advance, "%s is %s and nothing has happened to it since %s, though it could go on since %s", j.id, j.fold.State, j.eventAt, j.stuckSince)
	}
}

// waits reports whether a job has a reason to stand still.
func (k *checker) waits(c *control, rooms map[entropy.WorkerID]*room, j *jobModel) bool {
	w, f := k.w, j.fold
	since := w.now - j.eventAt
	if names(f) && (f.State == entropy.Scheduled || f.State == entropy.Lost || f.State == entropy.Retrying) && (c.clock.unsettled || f.WakeAt().After(c.now())) {
		return f.State != entropy.Scheduled || !f.Blocked || k.upstream(j)
	}
	switch f.State {
	case entropy.Scheduled:
		return k.upstream(j)
	case entropy.Pending:
		return w.shape.reserves || k.gated(f) || !claimable(rooms, f)
	case entropy.Assigned:
		return since <= f.Spec.AckTimeoutOrDefault()
	case entropy.Running:
		return k.alive(f.Lease.AssignmentID)
	case entropy.Lost:
		return since <= f.Spec.Retry.LostTimeout.D()
	case entropy.Retrying:
		return since <= lasting(f) || w.shape.maxRetrying > 0 && c.retries() >= w.shape.maxRetrying
	}
	return false
}

// upstream reports whether a job waits for another that has not ended.
func (k *checker) upstream(j *jobModel) bool {
	for _, d := range j.spec.After {
		if k.job(d.Job).ended == "" {
			return true
		}
	}
	return false
}

// claimable reports whether some worker waits for work and could take a job now.
func claimable(rooms map[entropy.WorkerID]*room, j *entropy.Job) bool {
	for _, m := range rooms {
		if _, ok := m.fits(j); ok {
			return true
		}
	}
	return false
}

// gated reports whether slots are kept free of a job for more urgent ones. How
// long that may last LIV-3 tells.
func (k *checker) gated(j *entropy.Job) bool {
	return slices.ContainsFunc(k.w.policy.Gates, func(g entropy.Gate) bool { return j.Spec.Priority < g.Priority })
}

// alive reports whether an assignment is being executed, or its result waits in
// a spool.
func (k *checker) alive(id entropy.AssignmentID) bool {
	for _, wk := range k.w.workers {
		for _, r := range wk.runs {
			if r.held.AssignmentID == id {
				return true
			}
		}
		for _, e := range wk.spool {
			if e.completion.AssignmentID == id {
				return true
			}
		}
	}
	return false
}

// atRest reports whether everything has come to its end.
func (k *checker) atRest() bool {
	if k.w.client.open > 0 || k.open > 0 {
		return false
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
	if k.seq != k.w.disk.seq {
		k.w.fail(Contiguity, "the journal has %d events, %d were written", k.w.disk.seq, k.seq)
	}
	for _, j := range k.order {
		h := k.w.disk.heads[entropy.Entity(entropy.KindJob, string(j.id))]
		if h == nil {
			k.w.fail(Durability, "%s is gone", j.id)
			continue
		}
		if live := k.w.ctl.jobs[j.id]; live == nil {
			k.w.fail(Determinism, "%s: the control plane has forgotten it", j.id)
		} else {
			k.sameJob("the control plane's "+string(j.id), live.job, j.fold)
		}
		k.readsBack(j, h)
	}
}

func (k *checker) readsBack(j *jobModel, h *head) {
	if h.record == nil {
		return
	}
	back := must(entropy.DecodeJob(h.record, h.spec))
	if again := must(back.EncodeRecord()); string(again) != string(h.record) {
		k.w.fail(Determinism, "%s: the record %s reads back as %s", j.id, h.record, again)
	}
}

// unrest names what did not come to its end in time.
func (k *checker) unrest() {
	var stuck []string
	for _, j := range k.order {
		if j.ended == "" {
			stuck = append(stuck, string(j.id)+" ("+string(j.fold.State)+")")
		}
	}
	for _, wk := range k.w.workers {
		if len(wk.spool) > 0 {
			stuck = append(stuck, "the spool of "+string(wk.id))
		}
	}
	k.w.fail(Baseline, "%s after the healing there is no rest: %d calls of the client are open; %s", k.w.now-k.w.healedAt, k.w.client.open, strings.Join(stuck, ", "))
}
