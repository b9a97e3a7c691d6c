package entropy

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// JobSchema is the schema number of the job events written now.
const JobSchema = 1

// Envelope returns e in the one envelope. The journal adds Seq, EntityID and Version.
func (e *JobEvent) Envelope() (Event, error) {
	attrs, err := encodeAttrs(&e.Attrs)
	if err != nil {
		return Event{}, fmt.Errorf("encode %s: %w", e.Type, err)
	}
	return Event{ID: NewID(), TS: e.TS, Type: e.Type, IdempotencyKey: e.Attrs.Operation, Source: fabricSource, Attrs: attrs, Schema: JobSchema}, nil
}

var fabricSource = Source{System: "entropy"}

// DecodeJobEvent reads a job's event from its envelope.
func DecodeJobEvent(e Event) (JobEvent, error) {
	if e.Schema > JobSchema {
		return JobEvent{}, Errorf(CodeInvalid, "event %s has schema %d, this program knows up to %d", e.ID, e.Schema, JobSchema).
			WithHint("use the release that wrote it, or a newer one")
	}
	d := JobEvent{Type: e.Type, TS: e.TS}
	if err := json.Unmarshal(e.Attrs, &d.Attrs); err != nil {
		return JobEvent{}, fmt.Errorf("decode %s: %w", e.Type, err)
	}
	return d, nil
}

// Apply makes j the state after e. It knows no policy: what may follow what is
// in the table, what should happen was decided before. On an error, which means
// a fault in the program or in the journal, j is as it was.
func (j *Job) Apply(e JobEvent) error {
	next, ok := NextState(j.State, e.Type, e.Attrs.State)
	if !ok {
		return fmt.Errorf("job %s: event %s is not allowed in state %q", j.ID, e.Type, j.State)
	}
	if err := j.admits(&e); err != nil {
		return err
	}
	j.apply(&e)
	j.State = next
	j.Version++
	return nil
}

// admits checks what the table cannot: that the event names the assignment it is
// about. A failure is a fault of the program or of the journal.
func (j *Job) admits(e *JobEvent) error {
	id := e.Attrs.AssignmentID
	switch e.Type {
	case JobSubmitted:
		if e.Attrs.Spec == nil {
			return fmt.Errorf("job %s: event %s carries no spec", j.ID, e.Type)
		}
		return nil
	case JobAssigned:
		if id == "" || j.attempt(id) != nil || e.Attrs.Attempt <= j.Attempt {
			return fmt.Errorf("job %s: assignment %q, attempt %d after %d, is not new", j.ID, id, e.Attrs.Attempt, j.Attempt)
		}
		return nil
	case JobCheckpointed, JobCheckpointRefused:
		if j.Lease == nil || j.Lease.AssignmentID != id || !j.Lease.Acked || e.Type == JobCheckpointed && e.Attrs.Checkpoint == nil {
			return fmt.Errorf("job %s: event %s names assignment %q, which may not save a checkpoint", j.ID, e.Type, id)
		}
	case JobStarted, JobReleased, JobLost, JobAttemptFailed, JobPreempted, JobPreemptRequested:
		if j.Lease == nil || j.Lease.AssignmentID != id {
			return fmt.Errorf("job %s: event %s names assignment %q, which holds no lease", j.ID, e.Type, id)
		}
	case JobReattached, JobLateFailure, JobSucceeded:
		if id == "" || id != j.LastAcked {
			return fmt.Errorf("job %s: event %s names assignment %q, the last ACKed is %q", j.ID, e.Type, id, j.LastAcked)
		}
	}
	if id != "" && j.attempt(id) == nil {
		return fmt.Errorf("job %s: event %s names the unknown assignment %q", j.ID, e.Type, id)
	}
	return nil
}

// at returns the event's time for a state to keep: a pointer into the event would
// keep all of it.
func (e *JobEvent) at() *time.Time {
	t := e.TS
	return &t
}

func (j *Job) apply(e *JobEvent) {
	a := &e.Attrs
	switch e.Type {
	case JobSubmitted:
		j.Spec, j.SpecHash, j.Principal = *a.Spec, a.SpecHash, a.Principal
		j.CreatedAt, j.Blocked = e.TS, a.Blocked
		if a.State == Pending {
			j.EligibleAt = e.at()
		}
	case JobEligible:
		j.EligibleAt, j.Blocked = e.at(), false
	case JobAssigned:
		j.applyAssigned(e)
	case JobStarted:
		j.applyStarted(e)
	case JobReleased:
		j.endAttempt(e, EndReleased)
		j.exclude(a)
	case JobLost:
		j.endAttempt(e, EndLost)
		j.count(a)
		j.exclude(a)
	case JobRetrying, JobAttemptFailed:
		if e.Type == JobAttemptFailed {
			j.endAttempt(e, EndFailed)
			j.count(a)
		}
		j.RetryAt = a.RetryAt
	case JobReattached:
		j.applyReattached(e)
	case JobPreempted:
		j.endAttempt(e, EndPreempted)
	case JobRequeued:
		j.RetryAt = nil
	case JobCancelRequested:
		j.CancelRequested = true
		j.Message = a.Message
	case JobPreemptRequested, JobHeld, JobUnheld, JobReprioritized, JobUnblocked:
		j.applyFlag(e)
	case JobCheckpointed, JobCheckpointRefused:
		j.applyCheckpoint(e)
	case JobLateFailure:
		j.refund(a.AssignmentID)
		j.count(a)
		j.closeAttempt(e, EndFailed)
	case JobEvidence:
		if t := j.attempt(a.AssignmentID); t != nil {
			t.Answer = a.Answer
		}
		j.exclude(a)
	case JobSucceeded, JobFailed, JobCanceled:
		j.applyTerminal(e)
	}
}

// applyFlag follows an event that changes how the job is treated from now on.
func (j *Job) applyFlag(e *JobEvent) {
	switch e.Type {
	case JobPreemptRequested:
		j.PreemptRequested = true
	case JobHeld:
		j.Held, j.Message = true, e.Attrs.Message
	case JobUnheld:
		j.Held, j.Message = false, ""
		if j.State == Pending { // a wait by somebody's wish earns no place in the queue
			j.EligibleAt = e.at()
		}
	case JobReprioritized:
		j.PriorityNow = e.Attrs.Priority
	case JobUnblocked:
		j.Blocked = false
	}
}

func (j *Job) applyAssigned(e *JobEvent) {
	a := &e.Attrs
	j.Attempt = a.Attempt
	j.Lease = &Lease{AssignmentID: a.AssignmentID, WorkerID: a.WorkerID, Incarnation: a.Incarnation,
		ClaimSeq: a.ClaimSeq, TTL: a.TTL, GrantedAt: e.TS, Resources: a.Resources, GPUs: a.GPUs}
	j.Attempts = append(j.Attempts, Attempt{Number: a.Attempt, AssignmentID: a.AssignmentID, WorkerID: a.WorkerID, AssignedAt: e.TS,
		Resources: a.Resources, GPUs: a.GPUs})
	if len(j.Attempts) > MaxAttemptsKept {
		oldest := 0
		if j.Attempts[0].AssignmentID == j.LastAcked { // it may still come back
			oldest = 1
		}
		j.Attempts = slices.Delete(j.Attempts, oldest, oldest+1)
	}
}

func (j *Job) applyStarted(e *JobEvent) {
	j.Lease.Acked = true
	j.LastAcked = e.Attrs.AssignmentID
	at := e.at()
	j.attempt(e.Attrs.AssignmentID).StartedAt = at
	if j.StartedAt == nil {
		j.StartedAt = at
	}
}

func (j *Job) applyReattached(e *JobEvent) {
	a := &e.Attrs
	j.revokeSuccessor(e)
	j.refund(a.AssignmentID)
	t := j.attempt(a.AssignmentID)
	t.End, t.EndedAt, t.Reason, t.Message, t.Late = "", nil, "", "", false
	t.Reattached++
	j.Lease = &Lease{AssignmentID: a.AssignmentID, WorkerID: t.WorkerID, Incarnation: a.Incarnation,
		TTL: a.TTL, Acked: true, GrantedAt: e.TS, Resources: t.Resources, GPUs: t.GPUs}
	j.RetryAt, j.Message = nil, ""
}

func (j *Job) applyTerminal(e *JobEvent) {
	a := &e.Attrs
	if a.Late {
		j.revokeSuccessor(e)
	}
	if a.AssignmentID != "" {
		if a.Late {
			j.refund(a.AssignmentID)
		}
		j.count(a)
		j.closeAttempt(e, terminalEnd(e))
	}
	if j.Lease != nil { // a terminal event without a completion: a cancel, a deadline, an ended lease
		j.endLive(e, terminalEnd(e))
	}
	j.Reason, j.Message = a.Reason, a.Message
	j.ExitCode, j.Signal, j.Artifacts, j.Result = a.ExitCode, a.Signal, a.Artifacts, a.Result
	j.FinishedAt, j.RetryAt, j.PreemptRequested, j.Blocked = e.at(), nil, false, false
	if e.Type == JobSucceeded {
		j.Checkpoints, j.CheckpointRefused = nil, ""
	}
	j.exclude(a)
}

func terminalEnd(e *JobEvent) AttemptEnd {
	switch {
	case e.Type == JobSucceeded:
		return EndSucceeded
	case e.Type == JobCanceled:
		return EndCanceled
	case e.Attrs.Counted == CountLoss || e.Attrs.Cause != "":
		return EndLost
	}
	return EndFailed
}

// endAttempt closes the attempt of the live lease and drops the lease.
func (j *Job) endAttempt(e *JobEvent, end AttemptEnd) {
	j.closeAttempt(e, end)
	j.Lease, j.PreemptRequested = nil, false
}

// endLive closes whatever attempt holds the lease, for an event that names none.
func (j *Job) endLive(e *JobEvent, end AttemptEnd) {
	if t := j.attempt(j.Lease.AssignmentID); t.End == "" {
		t.End, t.EndedAt, t.Reason, t.Message = end, e.at(), e.Attrs.Reason, e.Attrs.Message
	}
	j.Lease = nil
}

func (j *Job) closeAttempt(e *JobEvent, end AttemptEnd) {
	a := &e.Attrs
	t := j.attempt(a.AssignmentID)
	t.End, t.EndedAt = end, e.at()
	t.Reason, t.Message, t.Counted, t.Late = a.Reason, a.Message, a.Counted, a.Late
	t.ExitCode, t.Signal, t.Usage = a.ExitCode, a.Signal, a.Usage
	if a.Outcome != "" {
		t.Answer = VerdictAccepted
	}
	if a.Message != "" {
		j.Message = a.Message
	}
	if j.Lease != nil && j.Lease.AssignmentID == a.AssignmentID {
		j.Lease, j.PreemptRequested = nil, false
	}
}

// revokeSuccessor ends the assignment that took over from a.AssignmentID and was
// not ACKed yet.
func (j *Job) revokeSuccessor(e *JobEvent) {
	if j.Lease != nil && j.Lease.AssignmentID != e.Attrs.AssignmentID {
		t := j.attempt(j.Lease.AssignmentID)
		t.End, t.EndedAt, t.Reason = EndReleased, e.at(), ReasonSuperseded
		j.Lease = nil
	}
}

// The budgets an attempt can spend, in Attempt.Counted.
const (
	CountFailure = "failure"
	CountLoss    = "loss"
)

func (j *Job) count(a *JobAttrs) {
	switch a.Counted {
	case CountFailure:
		j.Failures++
	case CountLoss:
		j.Losses++
		if w := j.attempt(a.AssignmentID).WorkerID; !slices.Contains(j.LossOn, w) {
			j.LossOn = append(j.LossOn, w)
		}
	}
}

// refund gives back what the attempt had spent, because it turned out otherwise.
// A worker that lost nothing else is no longer among those that lost the job, and
// if that loss had excluded it, it may have the job again.
func (j *Job) refund(id AssignmentID) {
	t := j.attempt(id)
	counted := t.Counted
	t.Counted = ""
	switch counted {
	case CountFailure:
		j.Failures--
	case CountLoss:
		j.Losses--
		is := func(w WorkerID) bool { return w == t.WorkerID }
		other := func(o Attempt) bool { return o.Counted == CountLoss && o.WorkerID == t.WorkerID }
		if !slices.ContainsFunc(j.Attempts, other) {
			j.LossOn = slices.DeleteFunc(j.LossOn, is)
		}
		j.Excluded = slices.DeleteFunc(j.Excluded, is)
	}
}

func (j *Job) exclude(a *JobAttrs) {
	if !a.Exclude || a.AssignmentID == "" {
		return
	}
	if w := j.attempt(a.AssignmentID).WorkerID; !slices.Contains(j.Excluded, w) {
		j.Excluded = append(j.Excluded, w)
	}
}

// WakeAt returns when the job next needs attention though nothing happened to
// it, or the zero time: a delay or a backoff ends, a queue timeout, deadline or
// lost timeout passes. [Wake] then decides: at that time or later it always has
// something to say, before it never has. It is a whole millisecond, because
// Decide sees no finer time. A running job past its deadline keeps that time
// until its worker has stopped it.
func (j *Job) WakeAt() time.Time {
	var at time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() {
			t = t.Add(time.Millisecond - 1).Truncate(time.Millisecond)
		}
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if j.State.Terminal() {
		return at
	}
	sooner(value(j.Spec.NotAfter))
	switch j.State {
	case Scheduled:
		if !j.Blocked {
			sooner(value(j.Spec.NotBefore))
		}
	case Retrying:
		sooner(value(j.RetryAt))
	case Pending:
		if j.Spec.QueueTimeout > 0 && j.StartedAt == nil && !j.Held {
			sooner(j.EligibleAt.Add(j.Spec.QueueTimeout.D()))
		}
	case Lost:
		if a := j.LastAttempt(); a != nil && a.EndedAt != nil {
			sooner(a.EndedAt.Add(j.Spec.Retry.lostTimeout()))
		}
	}
	return at
}
