package sim

import (
	"slices"

	"github.com/entropy-fabric/entropy"
)

// jobWritten follows one durable event of a job.
func (k *checker) jobWritten(at place, e *entropy.JobEvent) {
	_, id := entropy.SplitEntity(at.entity)
	j := k.job(entropy.JobID(id))
	j.version++
	k.next(at, j.version)
	if j.ended != "" && e.Type != entropy.JobEvidence {
		k.w.fail(OneTerminal, "%s: %s after %s", j.id, e.Type, j.ended)
	}
	if e.Type != entropy.JobSubmitted && !j.submitted {
		k.w.fail(Contiguity, "%s: %s before it was submitted", j.id, e.Type)
		return
	}
	if k.w.trace.on {
		k.w.note("  %d %s v%d %s %s %s%s", at.seq, at.entity, at.version, e.Type, e.Attrs.AssignmentID, e.Attrs.Counted, e.Attrs.Cause)
	}
	j.eventAt, j.stuckSince = k.w.now, 0
	k.authorized(j, at.principal, e)
	k.follow(j, e)
	if k.w.broken != nil {
		return
	}
	before := j.fold.State
	if err := j.fold.Apply(*e); err != nil {
		k.w.fail(Determinism, "replay of %s version %d: %v", at.entity, at.version, err)
		return
	}
	k.budgets(j, e)
	k.retries(j, before)
}

// authorized checks that whoever caused an event may: a worker speaks of its own
// assignments, a person of jobs, and the rest is the control plane's.
func (k *checker) authorized(j *jobModel, by string, e *entropy.JobEvent) {
	a := &e.Attrs
	workers := e.Type == entropy.JobStarted || e.Type == entropy.JobReattached || a.Outcome != "" ||
		e.Type == entropy.JobReleased && (a.Cause == entropy.CauseRefused || a.Cause == entropy.CauseTransient)
	if workers {
		if m := j.assignment(a.AssignmentID); m == nil || string(m.worker) != by {
			k.w.fail(Authority, "%s: %s of %s was caused by %s", j.id, e.Type, a.AssignmentID, by)
		}
		return
	}
	switch e.Type {
	case entropy.JobSubmitted, entropy.JobCancelRequested, entropy.JobHeld, entropy.JobUnheld, entropy.JobReprioritized:
		if by != byClient {
			k.w.fail(Authority, "%s: %s was caused by %s", j.id, e.Type, by)
		}
	}
	if op := a.Operation; op != "" {
		if k.done[op] {
			k.w.fail(Operations, "%s: %s is done again by the repeat of operation %s", j.id, e.Type, op)
		}
		k.done[op] = true
	}
}

// follow is the checker's own idea of what each event may do.
func (k *checker) follow(j *jobModel, d *entropy.JobEvent) {
	a := &d.Attrs
	switch d.Type {
	case entropy.JobSubmitted:
		if j.submitted {
			k.w.fail(SubmitIdempotency, "%s was submitted twice", j.id)
		}
		j.submitted, j.spec = true, *a.Spec
		if a.State == entropy.Pending {
			k.independent(j, d.Type)
		}
	case entropy.JobEligible, entropy.JobUnblocked:
		k.independent(j, d.Type)
	case entropy.JobAssigned:
		k.assigned(j, a)
	case entropy.JobStarted:
		k.acked(j, a)
	case entropy.JobReleased:
		if j.live == nil || j.live.id != a.AssignmentID || j.live.acked {
			k.w.fail(LeaseExclusivity, "%s: %s was released and is not the live assignment without ACK", j.id, a.AssignmentID)
		}
		j.live = nil
	case entropy.JobLost, entropy.JobAttemptFailed, entropy.JobPreempted:
		k.ended(j, d)
	case entropy.JobReattached:
		if m := k.mayReturn(j, a.AssignmentID, "reattached"); m != nil {
			m.counted, m.reattached, j.live = "", true, m
			k.keyed(j, "given back")
		}
	case entropy.JobCancelRequested:
		j.cancelAsked = true
	case entropy.JobHeld, entropy.JobUnheld:
		j.held = d.Type == entropy.JobHeld
	case entropy.JobLateFailure:
		if m := k.mayReturn(j, a.AssignmentID, "found failed"); m != nil {
			k.complete(j, a)
			m.counted = a.Counted
		}
	case entropy.JobEvidence:
		k.evidence(j, a)
	case entropy.JobSucceeded, entropy.JobFailed, entropy.JobCanceled:
		k.terminal(j, d)
	}
}

// independent checks that what a job waits for has ended as it should.
func (k *checker) independent(j *jobModel, what string) {
	for _, d := range j.spec.After {
		if up := k.job(d.Job); up.ended == "" || d.On != entropy.OnEnd && up.ended != entropy.JobSucceeded {
			k.w.fail(DependenciesKept, "%s: %s while it waits for %s (%q)", j.id, what, d.Job, up.ended)
		}
	}
}

func (k *checker) assigned(j *jobModel, a *entropy.JobAttrs) {
	if j.live != nil {
		k.w.fail(LeaseExclusivity, "%s is assigned as %s while %s is live", j.id, a.AssignmentID, j.live.id)
	}
	if a.Attempt != len(j.assignments)+1 {
		k.w.fail(LeaseExclusivity, "%s: attempt %d after %d", j.id, a.Attempt, len(j.assignments))
	}
	if j.assignment(a.AssignmentID) != nil {
		k.w.fail(LeaseExclusivity, "%s: assignment %s is not new", j.id, a.AssignmentID)
	}
	if j.held {
		k.w.fail(HeldStays, "%s is held and assigned as %s", j.id, a.AssignmentID)
	}
	k.independent(j, entropy.JobAssigned)
	j.live = &assignmentModel{id: a.AssignmentID, worker: a.WorkerID, attempt: a.Attempt, resources: a.Resources, gpus: a.GPUs}
	j.assignments = append(j.assignments, j.live)
	k.fits(j.live)
	k.keyed(j, "assigned")
	g := k.grant(claimKey{a.WorkerID, a.Incarnation, a.ClaimSeq})
	g.assigned = append(g.assigned, a.AssignmentID)
	if g.answered != nil && !slices.Contains(g.answered, a.AssignmentID) {
		k.w.fail(ClaimIdempotency, "claim (%s, %d, %d) was answered with %v and then granted %s", a.WorkerID, a.Incarnation, a.ClaimSeq, g.answered, a.AssignmentID)
	}
}

// fits checks that a worker's leases are within what it has. One that came back
// was not chosen: the worker never let go of what it holds.
func (k *checker) fits(of *assignmentModel) {
	w := k.worker(of.worker).fold
	slots, used := 0, make(entropy.Resources)
	gpus := make(map[int]entropy.Amount)
	for _, j := range k.order {
		m := j.live
		if m == nil || m.worker != of.worker || m.reattached {
			continue
		}
		slots++
		for name, n := range m.resources {
			used[name] += n
		}
		for _, g := range m.gpus {
			if gpus[g.Index] += g.Amount; gpus[g.Index] > entropy.Unit || g.Index >= int(w.Resources[entropy.ResourceGPU]/entropy.Unit) {
				k.w.fail(Capacity, "%s of GPU %d of %s are leased", gpus[g.Index], g.Index, w.ID)
			}
		}
	}
	if slots > w.Capacity() || !w.Resources.Fits(used) {
		k.w.fail(Capacity, "%s has %d slots and %s; with %s, %d slots and %s are leased", w.ID, w.Slots, w.Resources, of.id, slots, used)
	}
}

// keyed checks that no other job of a concurrency key has a lease.
func (k *checker) keyed(j *jobModel, how string) {
	if j.spec.ConcurrencyKey == "" {
		return
	}
	for _, o := range k.order {
		if o != j && o.live != nil && o.spec.ConcurrencyKey == j.spec.ConcurrencyKey {
			k.w.fail(KeyExclusive, "%s is %s while %s of the same key has a lease", j.id, how, o.id)
		}
	}
}

func (k *checker) acked(j *jobModel, a *entropy.JobAttrs) {
	if j.live == nil || j.live.id != a.AssignmentID || j.live.acked {
		k.w.fail(Fencing, "%s: %s was ACKed and is not the live assignment", j.id, a.AssignmentID)
		return
	}
	j.live.acked, j.lastAcked = true, j.live
	if j.acks++; j.acks > 1 && j.spec.Retry.NoRetry {
		k.w.fail(NoRetryAbsolute, "%s is not to be tried again, and %s is its second attempt that was ACKed", j.id, a.AssignmentID)
	}
}

// ended follows an attempt's end that does not end the job.
func (k *checker) ended(j *jobModel, d *entropy.JobEvent) {
	a := &d.Attrs
	if j.live == nil || j.live.id != a.AssignmentID || !j.live.acked {
		k.w.fail(Fencing, "%s: %s names %s, which is not the live and ACKed assignment", j.id, d.Type, a.AssignmentID)
		return
	}
	k.complete(j, a)
	if d.Type == entropy.JobPreempted && a.Counted != "" || a.Cause == entropy.CauseContract && a.Counted != "" {
		k.w.fail(Budgets, "%s: %s (%s) spends the budget of its %s", j.id, d.Type, a.Cause, a.Counted)
	}
	j.live.counted = a.Counted
	j.live = nil
}

// mayReturn returns an assignment that comes back after its lease had ended, and
// ends a successor that was not ACKed.
func (k *checker) mayReturn(j *jobModel, id entropy.AssignmentID, how string) *assignmentModel {
	m := j.assignment(id)
	switch {
	case m != nil && m.decided:
		k.w.fail(OneTerminal, "%s: %s was %s after its completion was decided", j.id, id, how)
		return nil
	case m == nil || m != j.lastAcked || m == j.live:
		k.w.fail(Fencing, "%s: %s was %s and is not the last that was ACKed", j.id, id, how)
		return nil
	case j.live != nil && how != "found failed":
		j.live = nil
	}
	return m
}

// complete notes that a completion was applied, if the event came from one.
func (k *checker) complete(j *jobModel, a *entropy.JobAttrs) {
	if a.Outcome == "" {
		return
	}
	m := j.assignment(a.AssignmentID)
	if m.decided {
		k.w.fail(OneTerminal, "%s: a completion of %s was accepted twice", j.id, m.id)
	}
	m.decided = true
	if executed := k.executed[completionKey{a.SpoolID, a.CompletedSeq}]; executed != a.AssignmentID {
		k.w.fail(Fencing, "%s: the result of %s was accepted for %s", j.id, executed, a.AssignmentID)
	}
}

func (k *checker) evidence(j *jobModel, a *entropy.JobAttrs) {
	m := j.assignment(a.AssignmentID)
	if m == nil || m.decided {
		k.w.fail(OneTerminal, "%s: evidence about %s, which is unknown or was decided before", j.id, a.AssignmentID)
		return
	}
	m.decided = true
}

func (k *checker) terminal(j *jobModel, d *entropy.JobEvent) {
	a := &d.Attrs
	j.ended = d.Type
	k.open--
	switch {
	case a.AssignmentID == "" && d.Type == entropy.JobSucceeded:
		k.w.fail(Fencing, "%s succeeded without an assignment", j.id)
	case a.AssignmentID == "":
	case j.live != nil && j.live.id == a.AssignmentID:
		if !j.live.acked {
			k.w.fail(Fencing, "%s ended by %s, which was not ACKed", j.id, a.AssignmentID)
		}
		k.complete(j, a)
		j.live.counted = a.Counted
	default:
		if m := k.mayReturn(j, a.AssignmentID, "given a late result"); m != nil {
			k.complete(j, a)
			m.counted = a.Counted
		}
		if j.spec.Disconnect.LateResult == entropy.LateDiscard {
			k.w.fail(ContractKept, "%s discards late results and ended by one", j.id)
		}
	}
	if d.Type == entropy.JobCanceled && j.cancelAsked {
		if a.Outcome == "" {
			k.w.tally[CanceledByLease]++
		} else {
			k.w.tally[CanceledRunning]++
		}
	}
	if a.Reason == entropy.ReasonDependency {
		k.w.tally[DependencyFailed]++
	}
	j.live = nil
}
