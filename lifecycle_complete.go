package entropy

import "time"

// Complete is a worker's word on how an assignment ended. The decision's verdict
// is never empty, and a repeat gets the verdict given first.
type Complete struct {
	Completion
	WorkerID   WorkerID
	Eligible   int  // see EndLease
	NobodyLeft bool // see EndLease

	// Unpublished says that its artifacts were not made permanent, because it
	// could not be accepted a moment ago. If it can now, it must come again.
	Unpublished bool
}

func (c Complete) decide(j *Job, now time.Time) (Decision, error) {
	t, err := j.own(c.AssignmentID, c.WorkerID)
	if ErrorCode(err) == CodeNotFound {
		if j.attemptsForgotten() {
			return Decision{Verdict: VerdictSuperseded, Message: err.Error()}, nil
		}
		return Decision{Verdict: VerdictNotFound, Message: err.Error()}, nil
	}
	if err != nil {
		return Decision{}, err
	}
	if err := c.normalize(); err != nil {
		return Decision{}, err
	}
	if t.Answer != "" {
		return Decision{Verdict: t.Answer, Repeat: true}, nil
	}
	current := j.Lease != nil && j.Lease.AssignmentID == c.AssignmentID
	switch {
	case c.Unpublished && c.Outcome == OutcomeSucceeded && j.MayAccept(c.AssignmentID, c.WorkerID) == nil:
		return Decision{Verdict: VerdictRetry, Message: "its artifacts are not published yet"}, nil
	case current && !j.Lease.Acked:
		return c.implied(j, now)
	case current:
		return c.accept(j, now), nil
	case j.canReturn(t) && j.Spec.Disconnect.LateResult != LateDiscard:
		return c.acceptLate(j, now), nil
	}
	return c.evidence(VerdictSuperseded, now), nil
}

// attemptsForgotten reports whether older attempts were dropped from the record.
func (j *Job) attemptsForgotten() bool { return j.Attempt > len(j.Attempts) }

// normalize refuses an outcome that does not exist, and takes a failure for a
// reason that is not the worker's to give as a plain one.
func (c *Complete) normalize() error {
	switch c.Outcome {
	case OutcomeSucceeded, OutcomeStopped:
		return nil
	case OutcomeFailed:
	default:
		return Errorf(CodeInvalid, "outcome %q is not succeeded, failed or stopped", c.Outcome)
	}
	switch c.Reason {
	case ReasonExit, ReasonTimeout, ReasonArtifact, ReasonWorkerError, ReasonPolicy:
	default:
		c.Reason = ReasonExit
	}
	return nil
}

// implied handles a completion of the live assignment whose ACK is not on
// record, as after a restore: nobody else can have started the job, so the
// completion implies the start.
func (c Complete) implied(j *Job, now time.Time) (Decision, error) {
	start := JobEvent{JobStarted, now, JobAttrs{AssignmentID: c.AssignmentID, WorkerID: c.WorkerID}}
	n, err := j.Next([]JobEvent{start})
	if err != nil {
		return Decision{}, err
	}
	d := c.accept(n, now)
	d.Events = append([]JobEvent{start}, d.Events...)
	return d, nil
}

// attrs is what every event made from this completion says.
func (c *Complete) attrs() JobAttrs {
	return JobAttrs{AssignmentID: c.AssignmentID, WorkerID: c.WorkerID, Outcome: c.Outcome, Reason: c.Reason, Message: cut(c.Message),
		ExitCode: c.ExitCode, Signal: cut(c.Signal), Usage: c.Usage, SpoolID: cut(c.SpoolID), CompletedSeq: c.CompletionSeq}
}

func accepted(d Decision) Decision {
	d.Verdict = VerdictAccepted
	return d
}

// accept applies the completion of the running assignment.
func (c *Complete) accept(j *Job, now time.Time) Decision {
	a := c.attrs()
	switch {
	case c.Outcome == OutcomeSucceeded:
		return accepted(one(JobSucceeded, now, c.success(a)))
	case j.CancelRequested:
		a.Reason = ReasonCancel
		return accepted(one(JobCanceled, now, a))
	case c.Outcome == OutcomeStopped:
		return accepted(c.stopped(j, a, now))
	case c.Reason == ReasonWorkerError:
		a.Cause, a.Exclude = CauseWorkerError, true
		return accepted(j.lose(a, true, c.fleet(), now))
	}
	a.Counted = CountFailure
	if c.leavesAttempt(j) && !due(j.Spec.NotAfter, now) {
		r := j.retrying(now, j.Failures+j.Losses+1, 0)
		a.RetryAt = r.Attrs.RetryAt
		return accepted(one(JobAttemptFailed, now, a))
	}
	return accepted(one(JobFailed, now, a))
}

// leavesAttempt reports whether the job may be tried again after this failure.
func (c *Complete) leavesAttempt(j *Job) bool {
	return !c.Permanent && j.Failures+1 < j.Spec.Retry.maxAttempts() && j.Spec.Retry.retryable(c.ExitCode)
}

func (c *Complete) success(a JobAttrs) JobAttrs {
	a.Reason, a.Message, a.Artifacts, a.Result = "", "", c.Artifacts, c.Result
	return a
}

// stopped decides on an attempt that its worker ended before it was done.
func (c *Complete) stopped(j *Job, a JobAttrs, now time.Time) Decision {
	switch {
	case c.Reason == ReasonPreempt && !j.Spec.Retry.NoRetry:
		return one(JobPreempted, now, a)
	case c.Reason == ReasonDeadline:
		return one(JobFailed, now, a)
	case c.Reason == ReasonContract:
		a.Cause = CauseContract
		return j.lose(a, false, c.fleet(), now)
	}
	// Stopped for a reason the fabric did not give: the worker's own trouble.
	a.Cause = CauseWorkerError
	return j.lose(a, true, c.fleet(), now)
}

// acceptLate applies a completion that arrived after its lease had ended, when
// nothing later was ACKed.
func (c *Complete) acceptLate(j *Job, now time.Time) Decision {
	a := c.attrs()
	a.Late = true
	switch {
	case c.Outcome == OutcomeSucceeded:
		return accepted(one(JobSucceeded, now, c.success(a)))
	case c.Outcome == OutcomeStopped || c.Reason == ReasonWorkerError:
		if j.State == Lost { // NoRetry: this was the word it waited for
			a.Reason = orReason(a.Reason, ReasonLost)
			return accepted(one(JobFailed, now, a))
		}
		d := c.evidence(VerdictAccepted, now) // already counted as the loss that it was
		d.Events[0].Attrs.Exclude = c.Reason == ReasonWorkerError && !c.NobodyLeft
		return d
	}
	a.Counted = CountFailure
	if c.leavesAttempt(j) {
		return accepted(one(JobLateFailure, now, a))
	}
	return accepted(one(JobFailed, now, a))
}

func (c *Complete) fleet() fleetView { return fleetView{c.Eligible, c.NobodyLeft} }

func orReason(r, d Reason) Reason {
	if r == "" {
		return d
	}
	return r
}

// evidence records a completion that changes nothing, and the answer it got.
func (c *Complete) evidence(answer Verdict, now time.Time) Decision {
	a := c.attrs()
	a.Answer, a.Artifacts = answer, c.Artifacts
	d := one(JobEvidence, now, a)
	d.Verdict = answer
	d.Message = "a later decision about the job has taken over; the result is kept as evidence"
	return d
}

// MayAccept returns nil while a completion of the assignment could still be
// accepted, so that its artifacts and logs are worth storing. Else it returns
// why not: CodeSuperseded, CodeForbidden or CodeNotFound.
func (j *Job) MayAccept(id AssignmentID, w WorkerID) error {
	t, err := j.own(id, w)
	if err != nil {
		return err
	}
	if j.Lease != nil && j.Lease.AssignmentID == id || j.canReturn(t) && j.Spec.Disconnect.LateResult != LateDiscard {
		return nil
	}
	return Errorf(CodeSuperseded, "assignment %s of job %s can no longer be accepted", id, j.ID)
}
