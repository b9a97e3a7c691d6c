package harness

import (
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// jobEvent follows one durable event of a job.
func (k *checker) jobEvent(j *jobModel, e entropy.Event) {
	if j.version++; e.Version != j.version {
		k.w.fail("INV-2", "%s has version %d after %d", e.EntityID, e.Version, j.version-1)
	}
	d, err := entropy.DecodeJobEvent(e)
	if err != nil {
		k.w.fail("INV-2", "%s version %d does not read back: %v", e.EntityID, e.Version, err)
		return
	}
	k.w.note("  %d %s v%d %s %s %s %s%s", e.Seq, e.EntityID, e.Version, e.Type, k.w.trace.short(string(d.Attrs.AssignmentID)), d.Attrs.WorkerID, d.Attrs.Counted, d.Attrs.Cause)
	if j.ended != "" && e.Type != entropy.JobEvidence {
		k.w.fail("INV-7", "%s: %s after %s", j.id, e.Type, j.ended)
	}
	if e.Type != entropy.JobSubmitted && !j.submitted {
		k.w.fail("INV-2", "%s: %s before it was submitted", j.id, e.Type)
		return
	}
	j.moved = k.w.now()
	k.reached(j, &d)
	k.follow(j, &d)
	if k.w.broken != nil {
		return
	}
	if err := j.fold.Apply(d); err != nil {
		k.w.fail("INV-3", "replay: %v", err)
		return
	}
	k.budgets(j, &d)
}

// follow is the checker's own idea of what each event may do.
func (k *checker) follow(j *jobModel, d *entropy.JobEvent) {
	a := &d.Attrs
	switch d.Type {
	case entropy.JobSubmitted:
		if j.submitted {
			k.w.fail("INV-4", "%s was submitted twice", j.id)
		}
		j.submitted, j.spec = true, *a.Spec
	case entropy.JobAssigned:
		k.assigned(j, a)
	case entropy.JobStarted:
		k.started(j, a)
	case entropy.JobReleased:
		if j.live == nil || j.live.id != a.AssignmentID || j.live.acked {
			k.w.fail("INV-5", "%s: %s was released and is not the live assignment without ACK", j.id, a.AssignmentID)
		}
		j.live = nil
	case entropy.JobLost, entropy.JobAttemptFailed, entropy.JobPreempted:
		if j.live == nil || j.live.id != a.AssignmentID || !j.live.acked {
			k.w.fail("INV-6", "%s: %s names %s, which is not the live and ACKed assignment", j.id, d.Type, a.AssignmentID)
			return
		}
		if a.Cause == entropy.CauseLeaseExpired {
			k.expired(j)
		}
		k.complete(j, a)
		j.live.counted = a.Counted
		j.live = nil
	case entropy.JobReattached:
		if m := k.mayReturn(j, a.AssignmentID, "reattached"); m != nil {
			m.counted, j.live = "", m
		}
	case entropy.JobCancelRequested:
		j.cancelAsked = true
	case entropy.JobRequeued:
		k.requeued(j)
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

func (k *checker) assigned(j *jobModel, a *entropy.JobAttrs) {
	if j.live != nil {
		k.w.fail("INV-5", "%s is assigned as %s while %s is live", j.id, a.AssignmentID, j.live.id)
	}
	if a.Attempt != len(j.assignments)+1 {
		k.w.fail("INV-5", "%s: attempt %d after %d", j.id, a.Attempt, len(j.assignments))
	}
	if k.assignment(j.id, a.AssignmentID) != nil {
		k.w.fail("INV-5", "%s: assignment %s is not new", j.id, a.AssignmentID)
	}
	if host := k.w.host(a.WorkerID); host == nil || !j.spec.Matches(host.labels) || slices.Contains(j.fold.Excluded, a.WorkerID) {
		k.w.fail("INV-12", "%s is assigned to %s, which cannot or may not run it", j.id, a.WorkerID)
	}
	k.mayStart(j, a.WorkerID)
	j.live = &assignmentModel{id: a.AssignmentID, worker: a.WorkerID, attempt: a.Attempt}
	j.assignments = append(j.assignments, j.live)
	if k.w.mutant == ClaimAgain {
		return // it changes the numbers of claims on their way
	}
	g := k.grant(claimKey{a.WorkerID, a.Incarnation, a.ClaimSeq})
	g.assigned = append(g.assigned, a.AssignmentID)
	if g.answered != nil && !slices.Contains(g.answered, a.AssignmentID) {
		k.w.fail("INV-8", "claim (%s, %d, %d) was answered with %v and then granted %s", a.WorkerID, a.Incarnation, a.ClaimSeq, g.answered, a.AssignmentID)
	}
}

func (k *checker) started(j *jobModel, a *entropy.JobAttrs) {
	if j.live == nil || j.live.id != a.AssignmentID || j.live.acked || j.live.worker != a.WorkerID {
		k.w.fail("INV-6", "%s: %s was ACKed by %s and is not its live assignment", j.id, a.AssignmentID, a.WorkerID)
		return
	}
	j.live.acked, j.lastAcked = true, j.live
	j.live.renewals = append(j.live.renewals, &renewal{at: k.w.now(), promised: true})
	if j.acks++; j.acks > 1 && j.spec.Retry.NoRetry {
		k.w.fail("J-7", "%s is not to be tried again, and %s is its second attempt that was ACKed", j.id, a.AssignmentID)
	}
}

// expired checks that a lease lasted its TTL of listening time.
func (k *checker) expired(j *jobModel) {
	decided := j.ticked
	for _, r := range j.live.renewals {
		if r.at > decided || !r.promised {
			continue // it came while the end was being written, or nobody relies on it
		}
		// Two ticks of the listening clock and the journal's milliseconds; and two
		// ticks that may count of each stretch in which nobody listened.
		tolerance := 250*time.Millisecond + time.Duration(k.gaps(r.at, decided))*200*time.Millisecond
		if since := k.listening(r.at, decided); since < k.w.shape.ttl-r.less-tolerance {
			k.w.fail("L-3", "the lease of %s %s ended %s of listening time after its renewal at %s; the TTL is %s",
				j.id, j.live.id, since, r.at, k.w.shape.ttl)
		}
	}
	for r := range j.executing {
		if r.held.AssignmentID == j.live.id && !r.over {
			k.w.tally[ExpiredAlive]++
		}
	}
}

// mayReturn returns an assignment that comes back after its lease had ended, and
// ends a successor that was not ACKed.
func (k *checker) mayReturn(j *jobModel, id entropy.AssignmentID, how string) *assignmentModel {
	m := k.assignment(j.id, id)
	switch {
	case m == nil || m != j.lastAcked || m == j.live:
		k.w.fail("INV-6", "%s: %s was %s and is not the last that was ACKed", j.id, id, how)
		return nil
	case m.decided:
		k.w.fail("INV-6", "%s: %s was %s after its completion was decided", j.id, id, how)
		return nil
	case j.live != nil && how != "found failed":
		k.w.tally[SuccessorRevoked]++
		j.live = nil
	}
	return m
}

// complete notes that a completion was applied, if the event came from one.
func (k *checker) complete(j *jobModel, a *entropy.JobAttrs) {
	if a.Outcome == "" {
		return
	}
	m := k.assignment(j.id, a.AssignmentID)
	if m.decided {
		k.w.fail("INV-7", "%s: a completion of %s was accepted twice", j.id, m.id)
	}
	m.decided = true
	if executed := k.executed[completionKey{a.SpoolID, a.CompletedSeq}]; executed != a.AssignmentID {
		k.w.fail("INV-6", "%s: the result of %s was accepted for %s", j.id, executed, a.AssignmentID)
	}
}

func (k *checker) evidence(j *jobModel, a *entropy.JobAttrs) {
	m := k.assignment(j.id, a.AssignmentID)
	if m == nil || m.decided {
		k.w.fail("INV-7", "%s: evidence about %s, which is unknown or was decided before", j.id, a.AssignmentID)
		return
	}
	m.decided = true
}

func (k *checker) terminal(j *jobModel, d *entropy.JobEvent) {
	a := &d.Attrs
	j.ended = d.Type
	switch {
	case a.AssignmentID == "" && d.Type == entropy.JobSucceeded:
		k.w.fail("INV-6", "%s succeeded without an assignment", j.id)
	case a.AssignmentID == "":
	case j.live != nil && j.live.id == a.AssignmentID:
		if !j.live.acked {
			k.w.fail("INV-6", "%s ended by %s, which was not ACKed", j.id, a.AssignmentID)
		}
		k.complete(j, a)
		j.live.counted = a.Counted
	default:
		if m := k.mayReturn(j, a.AssignmentID, "given a late result"); m != nil {
			k.complete(j, a)
			m.counted = a.Counted
		}
		if j.spec.Disconnect.LateResult == entropy.LateDiscard {
			k.w.fail("J-11", "%s discards late results and ended by one", j.id)
		}
	}
	for _, art := range a.Artifacts {
		if !bytesEqual(k.w.stored.blobs[art.SHA256], contentOf(j.id)) {
			k.w.fail("W-7", "%s succeeded and its artifact is not published", j.id)
		}
	}
	j.live = nil
}

func bytesEqual(a, b []byte) bool { return string(a) == string(b) }

// budgets counts anew what each attempt spent, and checks the limits.
func (k *checker) budgets(j *jobModel, d *entropy.JobEvent) {
	j.failures, j.losses = 0, 0
	for _, a := range j.assignments {
		switch a.counted {
		case entropy.CountFailure:
			j.failures++
		case entropy.CountLoss:
			j.losses++
		}
	}
	if j.fold.Failures != j.failures || j.fold.Losses != j.losses {
		k.w.fail("INV-11", "%s has spent %d failures and %d losses, its record says %d and %d", j.id, j.failures, j.losses, j.fold.Failures, j.fold.Losses)
	}
	failures, losses := limits(&j.spec.Retry)
	again := d.Type == entropy.JobAttemptFailed || d.Type == entropy.JobLateFailure
	if j.failures > failures || again && j.failures == failures {
		k.w.fail("INV-11", "%s: %s with %d failures of %d", j.id, d.Type, j.failures, failures)
	}
	// One more on another worker tells whether the job or the first worker is to blame.
	if j.losses > losses+1 || d.Type == entropy.JobRetrying && j.losses > losses {
		k.w.fail("INV-11", "%s: %s with %d losses of %d", j.id, d.Type, j.losses, losses)
	}
	switch {
	case d.Type == entropy.JobRetrying && j.losses == losses:
		k.w.tally[PoisonGuard]++
	case d.Type == entropy.JobFailed && j.losses >= losses:
		k.w.tally[LossesSpent]++
	case d.Type == entropy.JobFailed && j.failures == failures:
		k.w.tally[FailuresSpent]++
	}
}

func limits(p *entropy.RetryPolicy) (failures, losses int) {
	failures, losses = p.MaxAttempts, p.MaxLosses
	if failures == 0 {
		failures = entropy.DefaultMaxAttempts
	}
	if losses == 0 {
		losses = entropy.DefaultMaxLosses
	}
	if p.NoRetry {
		failures = 1
	}
	return failures, losses
}

// reached counts the hard states that an event tells of.
func (k *checker) reached(j *jobModel, d *entropy.JobEvent) {
	t, a := k.w.tally, &d.Attrs
	switch {
	case d.Type == entropy.JobEvidence && a.Answer == entropy.VerdictSuperseded:
		t[StaleRefused]++
	case d.Type == entropy.JobLateFailure, d.Type == entropy.JobFailed && a.Late:
		t[LateFailure]++
	case a.Late:
		t[LateAccepted]++
	case d.Type == entropy.JobReattached:
		t[Reattached]++
	case d.Type == entropy.JobPreempted:
		t[Preempted]++
	case d.Type == entropy.JobEligible && len(j.spec.After) > 0:
		t[Unblocked]++
	case d.Type == entropy.JobFailed && a.Reason == entropy.ReasonDependency:
		t[DependencyFailed]++
	case d.Type == entropy.JobReleased && a.Cause == entropy.CauseNoAck:
		t[NoAck]++
	case d.Type == entropy.JobLost && a.Cause == entropy.CauseRebooted:
		t[HostRebooted]++
	case d.Type == entropy.JobFailed && a.Reason == entropy.ReasonPolicy:
		t[RefusedByAll]++
	case d.Type == entropy.JobFailed && a.Reason == entropy.ReasonLost && j.spec.Retry.NoRetry && a.AssignmentID == "":
		t[NoRetryWaited]++
	case d.Type == entropy.JobCanceled && j.cancelAsked && a.Outcome == "":
		t[CanceledByLease]++
	case d.Type == entropy.JobCanceled && j.cancelAsked:
		t[CanceledRunning]++
	}
}
