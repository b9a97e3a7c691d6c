package entropy

import "time"

// Hold keeps a job from being assigned until [Unhold]. What runs goes on.
type Hold struct {
	Message   string
	Operation string
}

func (c Hold) decide(j *Job, now time.Time) (Decision, error) {
	if err := j.open(); err != nil || j.Held {
		return Decision{Repeat: true}, err
	}
	return one(JobHeld, now, JobAttrs{Message: cut(c.Message), Operation: c.Operation}), nil
}

// Unhold ends a [Hold]. A pending job queues as if it had become so now.
type Unhold struct{ Operation string }

func (c Unhold) decide(j *Job, now time.Time) (Decision, error) {
	if err := j.open(); err != nil || !j.Held {
		return Decision{Repeat: true}, err
	}
	return one(JobUnheld, now, JobAttrs{Operation: c.Operation}), nil
}

// Reprioritize gives a job another priority from now on, in place of its spec's.
type Reprioritize struct {
	Priority  int
	Operation string
}

func (c Reprioritize) decide(j *Job, now time.Time) (Decision, error) {
	if c.Priority < MinPriority || c.Priority > MaxPriority {
		return Decision{}, Errorf(CodeInvalid, "priority %d is not in %d to %d", c.Priority, MinPriority, MaxPriority)
	}
	if err := j.open(); err != nil || j.Priority() == c.Priority {
		return Decision{Repeat: true}, err
	}
	return one(JobReprioritized, now, JobAttrs{Priority: &c.Priority, Operation: c.Operation}), nil
}

// open refuses a wish about a job that is not there or has ended.
func (j *Job) open() error {
	switch {
	case j.State == "":
		return Errorf(CodeNotFound, "there is no job %s", j.ID)
	case j.State.Terminal():
		return Errorf(CodeConflict, "job %s has already %s", j.ID, j.State).WithHint("entropy retry %s runs it again as a new job", j.ID)
	}
	return nil
}

// Settle says how the jobs that this one waits for stand, as the journal has
// them. Whoever sends it read their states after the event that made them look:
// ended jobs stay ended, so that an old look can only say too little.
type Settle struct {
	Open   int    // how many have not ended
	Broken string // why one that ended can no longer let this job start; "" if none
}

func (c Settle) decide(j *Job, now time.Time) (Decision, error) {
	switch {
	case j.State == "":
		return Decision{}, Errorf(CodeNotFound, "there is no job %s", j.ID)
	case j.State != Scheduled || !j.Blocked:
		return Decision{Repeat: true}, nil
	case c.Broken != "":
		return one(JobFailed, now, JobAttrs{Reason: ReasonDependency, Message: cut(c.Broken)}), nil
	case c.Open > 0:
		return Decision{}, nil
	case j.Spec.NotBefore != nil && j.Spec.NotBefore.After(now):
		return one(JobUnblocked, now, JobAttrs{}), nil
	}
	return one(JobEligible, now, JobAttrs{}), nil
}

// Preempt asks that a running attempt be ended to make room. Its resources are
// free only when the worker says that the process tree is gone, or its lease has
// ended; a completion that comes first wins.
type Preempt struct {
	AssignmentID AssignmentID
	Message      string // for whom
}

func (c Preempt) decide(j *Job, now time.Time) (Decision, error) {
	switch {
	case j.State != Running || j.Lease.AssignmentID != c.AssignmentID:
		return Decision{}, Errorf(CodeConflict, "assignment %s of job %s does not run", c.AssignmentID, j.ID)
	case !j.Spec.Preemptible || j.Spec.Retry.NoRetry:
		return Decision{}, Errorf(CodeConflict, "job %s may not be preempted", j.ID)
	case j.CancelRequested:
		return Decision{Repeat: true, Stop: ReasonCancel}, nil
	case j.PreemptRequested:
		return Decision{Repeat: true, Stop: ReasonPreempt}, nil
	}
	d := one(JobPreemptRequested, now, JobAttrs{AssignmentID: c.AssignmentID, Message: cut(c.Message)})
	d.Stop = ReasonPreempt
	return d, nil
}
