package sim

import (
	"maps"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/scheduler/planner"
)

// decided looks at a decision about a job before it is written.
func (k *checker) decided(j *entropy.Job, cmd entropy.JobCommand, d *entropy.Decision) {
	m := k.job(j.ID)
	switch x := cmd.(type) {
	case entropy.EndLease:
		k.leaseEnds(j, &x)
	case entropy.Complete:
		k.completed(j, &x, d)
	case entropy.Release:
		if x.NobodyLeft {
			k.w.tally[RefusedByAll]++
		}
	case entropy.Wake:
		k.woken(m, j, d)
	}
	first, last := &d.Events[0], &d.Events[len(d.Events)-1]
	if l := j.Lease; l != nil && l.AssignmentID != first.Attrs.AssignmentID && (first.Type == entropy.JobReattached || first.Attrs.Late) {
		k.w.tally[SuccessorRevoked]++
	}
	if at := last.Attrs.RetryAt; at != nil {
		m.backoff, m.backoffFrom = at.Sub(last.TS), k.w.now
	}
	switch first.Type {
	case entropy.JobEligible, entropy.JobUnheld, entropy.JobSubmitted:
		m.queuedFrom = k.w.now
	}
}

func (k *checker) completed(j *entropy.Job, m *entropy.Complete, d *entropy.Decision) {
	t := k.w.tally
	switch e := &d.Events[len(d.Events)-1]; {
	case d.Verdict == entropy.VerdictSuperseded:
		t[StaleRefused]++
	case e.Type == entropy.JobLateFailure || e.Type == entropy.JobFailed && e.Attrs.Late:
		t[LateFailure]++
	case e.Attrs.Late:
		t[LateAccepted]++
	case e.Type == entropy.JobPreempted:
		t[PreemptedGone]++
	case j.PreemptRequested && m.Outcome != entropy.OutcomeStopped:
		t[PreemptBeaten]++
	}
	if m.Reason == entropy.ReasonContract {
		t[StoppedByContract]++
	}
}

// woken checks that a wait that is a duration was as long by the true time (no
// restart in between, which knows no better), and that what names a time of day
// did not act on a clock that was just set.
func (k *checker) woken(m *jobModel, j *entropy.Job, d *entropy.Decision) {
	const tolerance = 10 * time.Millisecond
	now := k.w.now
	e := &d.Events[0]
	switch {
	case j.State == entropy.Lost:
		k.w.tally[NoRetryWaited]++
	case e.Type == entropy.JobRequeued && m.backoffFrom >= k.startedAt && now-m.backoffFrom < m.backoff-tolerance:
		k.w.fail(Clocks, "%s is tried again after %s, its backoff is %s", j.ID, now-m.backoffFrom, m.backoff)
	case e.Attrs.Reason == entropy.ReasonQueueTimeout && m.queuedFrom >= k.startedAt && now-m.queuedFrom < j.Spec.QueueTimeout.D()-tolerance:
		k.w.fail(Clocks, "%s is given up after %s in the queue, its timeout is %s", j.ID, now-m.queuedFrom, j.Spec.QueueTimeout)
	}
	named := e.Type == entropy.JobEligible || e.Attrs.Reason == entropy.ReasonDeadline
	stepped := k.w.steppedAt
	differs := k.w.wall().Sub(k.w.ctl.clock.at(now)).Abs() > drift // it may have been set back, unseen
	if named && stepped > k.startedAt && now-stepped < settleTime && differs {
		k.w.fail(ClockSettles, "%s: %s only %s after the clock was set", j.ID, e.Type, now-stepped)
	}
}

// leaseEnds checks that a lease lasted its TTL of listening time.
func (k *checker) leaseEnds(j *entropy.Job, m *entropy.EndLease) {
	l := j.Lease
	if m.Cause != entropy.CauseLeaseExpired || l == nil {
		return
	}
	const tolerance = 10 * time.Millisecond
	a := k.assignment(j.ID, l.AssignmentID)
	if since := k.listened() - a.renewedAt; l.Acked && since < l.TTL.D()-tolerance {
		k.w.fail(ListeningTime, "the lease of %s %s ended %s of listening time after its renewal, its TTL is %s", j.ID, l.AssignmentID, since, l.TTL)
	}
	for _, x := range k.executing {
		if x.run.held.AssignmentID == l.AssignmentID && !x.run.over {
			k.w.tally[ExpiredAlive]++
		}
	}
}

// picked checks what the planner chose: nothing passes over a job that asks for
// the same and comes before it, and nothing goes to a worker that takes none.
func (k *checker) picked(c *control, w *entropy.Worker, chosen []planner.Choice) {
	if len(chosen) == 0 {
		return
	}
	if m := k.worker(w.ID).fold; m.Draining || m.Quarantined {
		k.w.fail(DrainKept, "%s takes no work and is given %s", w.ID, chosen[0].ID)
	}
	if k.w.shape.reserves || k.w.shape.preempts { // who has a reservation goes first
		return
	}
	taken := make(map[entropy.JobID]bool, len(chosen))
	for i := range chosen {
		taken[chosen[i].ID] = true
	}
	free := c.free()
	for i := range chosen {
		j := c.jobs[chosen[i].ID].job
		if v := &k.w.policy; c.now().Sub(*j.EligibleAt) >= v.ReserveAfterOrDefault() {
			continue // a worker may have been reserved for it
		}
		for _, q := range free {
			if !taken[q.ID] && !c.jobs[q.ID].granting && key(&k.w.policy, q) < key(&k.w.policy, j) && sameDemand(&q.Spec, &j.Spec, k.w.policy.Gates) && !q.Excludes(w.ID) {
				k.w.fail(Order, "%s (priority %d) is given to %s before %s (priority %d), which has waited longer for its priority", j.ID, j.Priority(), w.ID, q.ID, q.Priority())
			}
		}
	}
}

// sameDemand reports whether two jobs ask for the same, as far as the order in
// which they are chosen goes.
func sameDemand(a, b *entropy.JobSpec, gates []entropy.Gate) bool {
	return a.Queue == b.Queue && a.Tenant == b.Tenant && (a.Priority == b.Priority || len(gates) == 0) && a.ConcurrencyKey == "" && b.ConcurrencyKey == "" &&
		a.Handler == b.Handler && maps.Equal(a.Require, b.Require) && maps.Equal(a.Resources, b.Resources) && len(a.AnyOf)+len(b.AnyOf) == 0
}
