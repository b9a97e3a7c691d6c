package entropy

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// JobCommand is a wish about one job. Decide turns it into facts, or refuses it.
type JobCommand interface {
	decide(j *Job, now time.Time) (Decision, error)
}

// Decision is what follows from a command: the events to append, all or none,
// and what to tell whoever asked once they are durable.
type Decision struct {
	Events  []JobEvent
	Verdict Verdict // answer to a completion or to a held assignment; "" for other commands
	Repeat  bool    // the verdict had been given before
	Message string  // for the one who asked
	Stop    Reason  // the running assignment should be stopped, for this reason
}

// Decide returns what follows from cmd in the job's present state. It is pure:
// now is the only time it knows. The events are legal: applied in order to a
// clone of j they are all accepted. A refusal is an *[Error].
func (j *Job) Decide(cmd JobCommand, now time.Time) (Decision, error) {
	// What is recorded must read back equal, so the clock is cut to what is stored.
	return cmd.decide(j, now.UTC().Truncate(time.Millisecond))
}

// Next returns the job after the decision's events, leaving j as it is.
func (j *Job) Next(events []JobEvent) (*Job, error) {
	n := j.Clone()
	for i := range events {
		if err := n.Apply(events[i]); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func one(typ string, now time.Time, a JobAttrs) Decision {
	return Decision{Events: []JobEvent{{Type: typ, TS: now, Attrs: a}}}
}

// Submit brings a job into being.
type Submit struct {
	Spec      JobSpec // validated
	SpecHash  string
	Principal string
	Operation string
	Blocked   bool // a job of Spec.After has not ended as it should: Settle follows
	Hold      bool // it begins held
}

func (c Submit) decide(j *Job, now time.Time) (Decision, error) {
	if j.State != "" {
		if j.SpecHash == c.SpecHash {
			return Decision{Repeat: true}, nil
		}
		return Decision{}, Errorf(CodeConflict, "job %s exists already with another spec", j.ID).
			WithHint("choose another ID, or submit exactly the same job again")
	}
	state := Pending
	if t := c.Spec.NotBefore; c.Blocked || t != nil && t.After(now) {
		state = Scheduled
	}
	d := one(JobSubmitted, now, JobAttrs{Spec: &c.Spec, SpecHash: c.SpecHash, State: state, Principal: c.Principal, Operation: c.Operation, Blocked: c.Blocked})
	if c.Hold {
		d.Events = append(d.Events, JobEvent{Type: JobHeld, TS: now})
	}
	return d, nil
}

// Assign grants a worker a lease on a pending job.
type Assign struct {
	AssignmentID AssignmentID
	WorkerID     WorkerID
	Incarnation  uint64
	ClaimSeq     uint64
	TTL          time.Duration
	Resources    Resources  // what the attempt holds, beside one slot
	GPUs         []GPUShare // the GPUs among them
}

func (c Assign) decide(j *Job, now time.Time) (Decision, error) {
	switch {
	case j.State != Pending:
		return Decision{}, Errorf(CodeConflict, "job %s is %s, not pending", j.ID, j.State)
	case j.Held:
		return Decision{}, Errorf(CodeConflict, "job %s is held", j.ID)
	case j.Excludes(c.WorkerID):
		return Decision{}, Errorf(CodeConflict, "job %s may not run on %s", j.ID, c.WorkerID)
	case c.AssignmentID == "" || j.attempt(c.AssignmentID) != nil:
		return Decision{}, Errorf(CodeInternal, "assignment %q of job %s is not new", c.AssignmentID, j.ID)
	}
	return one(JobAssigned, now, JobAttrs{Attempt: j.Attempt + 1, AssignmentID: c.AssignmentID, WorkerID: c.WorkerID,
		Incarnation: c.Incarnation, ClaimSeq: c.ClaimSeq, TTL: Duration(c.TTL), Resources: c.Resources, GPUs: c.GPUs}), nil
}

// Excludes reports whether the job may not run on w.
func (j *Job) Excludes(w WorkerID) bool { return slices.Contains(j.Excluded, w) }

// Ack is the worker's word that it will start an assignment. Only after its
// events are durable may the worker do so.
type Ack struct {
	AssignmentID AssignmentID
	WorkerID     WorkerID
}

func (c Ack) decide(j *Job, now time.Time) (Decision, error) {
	t, err := j.own(c.AssignmentID, c.WorkerID)
	switch {
	case err != nil:
		return Decision{}, err
	case j.Lease == nil || j.Lease.AssignmentID != c.AssignmentID:
		return Decision{}, Errorf(CodeSuperseded, "assignment %s of job %s has ended (%s)", c.AssignmentID, j.ID, t.End)
	case j.Lease.Acked:
		return Decision{Repeat: true}, nil
	}
	return one(JobStarted, now, JobAttrs{AssignmentID: c.AssignmentID, WorkerID: c.WorkerID}), nil
}

// own returns the attempt of an assignment, if w was the one who got it.
func (j *Job) own(id AssignmentID, w WorkerID) (*Attempt, error) {
	t := j.attempt(id)
	if t == nil {
		return nil, Errorf(CodeNotFound, "job %s has no assignment %s", j.ID, id)
	}
	if t.WorkerID != w {
		return nil, Errorf(CodeForbidden, "assignment %s of job %s belongs to another worker", id, j.ID)
	}
	return t, nil
}

// Release gives an assignment back that was not ACKed: no ACK in time, or the
// worker refused. It spends no budget.
type Release struct {
	AssignmentID AssignmentID
	WorkerID     WorkerID
	Cause        Cause // CauseNoAck, CauseRefused, CauseTransient, or why the worker is gone
	Message      string
	NobodyLeft   bool // a refusal, and every worker that could run the job has refused it
}

func (c Release) decide(j *Job, now time.Time) (Decision, error) {
	if _, err := j.own(c.AssignmentID, c.WorkerID); err != nil {
		return Decision{}, err
	}
	if j.Lease == nil || j.Lease.AssignmentID != c.AssignmentID {
		return Decision{Repeat: true}, nil
	}
	if j.Lease.Acked {
		return Decision{}, Errorf(CodeConflict, "assignment %s of job %s was acknowledged and cannot be given back", c.AssignmentID, j.ID)
	}
	d := one(JobReleased, now, JobAttrs{AssignmentID: c.AssignmentID, WorkerID: c.WorkerID, Cause: c.Cause,
		Message: cut(c.Message), Exclude: c.Cause == CauseRefused})
	if c.NobodyLeft {
		d.Events = append(d.Events, JobEvent{JobFailed, now, JobAttrs{Reason: ReasonPolicy, Message: cut("refused by every worker that could run it; last: " + c.Message)}})
	}
	return d, nil
}

// Cancel asks that a job end. A running job ends later, when its worker confirms
// or its lease ends.
type Cancel struct {
	Message   string
	Operation string
}

func (c Cancel) decide(j *Job, now time.Time) (Decision, error) {
	a := JobAttrs{Reason: ReasonCancel, Message: cut(c.Message), Operation: c.Operation}
	switch {
	case j.State == "":
		return Decision{}, Errorf(CodeNotFound, "there is no job %s", j.ID)
	case j.State == Canceled:
		return Decision{Repeat: true}, nil
	case j.State.Terminal():
		return Decision{}, Errorf(CodeConflict, "job %s has already %s", j.ID, j.State)
	case j.State == Running && j.CancelRequested:
		return Decision{Repeat: true, Stop: ReasonCancel}, nil
	case j.State == Running:
		d := one(JobCancelRequested, now, a)
		d.Stop = ReasonCancel
		return d, nil
	}
	return one(JobCanceled, now, a), nil
}

// Wake asks what the mere passing of time has brought; see [Job.WakeAt].
type Wake struct {
	NoRetrySlot bool // as many jobs are being retried as may be: a backoff that is over changes nothing yet
	Unsettled   bool // the wall clock was set and is not believed yet: no delay ends and no deadline passes (H-12)
}

func (c Wake) decide(j *Job, now time.Time) (Decision, error) {
	due := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	if !due(j.WakeAt()) {
		return Decision{}, nil
	}
	if due(value(j.Spec.NotAfter)) {
		if c.Unsettled {
			return Decision{}, nil
		}
		if j.State == Running {
			return Decision{Stop: ReasonDeadline}, nil
		}
		return one(JobFailed, now, JobAttrs{Reason: ReasonDeadline, Message: "its deadline passed before it finished"}), nil
	}
	switch j.State {
	case Scheduled:
		if c.Unsettled {
			return Decision{}, nil
		}
		return one(JobEligible, now, JobAttrs{}), nil
	case Retrying:
		if c.NoRetrySlot {
			return Decision{}, nil
		}
		return one(JobRequeued, now, JobAttrs{}), nil
	case Pending:
		return one(JobFailed, now, JobAttrs{Reason: ReasonQueueTimeout, Message: "no worker took it within " + j.Spec.QueueTimeout.String()}), nil
	case Lost:
		return one(JobFailed, now, JobAttrs{Reason: ReasonLost, Message: "its worker did not come back within the lost timeout"}), nil
	}
	return Decision{}, nil
}

// cut makes s fit to be recorded: at most MaxMessage bytes, and valid UTF-8,
// since JSON would replace what is not and the record would read back different.
func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= MaxMessage {
		return s
	}
	end := MaxMessage - 3
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}
