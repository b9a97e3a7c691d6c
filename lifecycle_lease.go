package entropy

import (
	"fmt"
	"slices"
	"time"
)

// EndLease says that an assignment's lease has ended without a completion.
type EndLease struct {
	AssignmentID AssignmentID
	Cause        Cause
	Message      string
	Uncounted    bool // an outage, not the job's or the worker's doing: spend no budget
	Eligible     int  // how many workers could run the job now: the poison guard needs it
	NobodyLeft   bool // every known worker that could run the job is excluded from it, counting this one

	// Before, when not 0, spares a lease that was granted to this incarnation of
	// the worker's agent or a later one. A registration that arrives twice names
	// what its agent held when it was sent, not what it was given since.
	Before uint64
}

// fleetView is what a decision about a loss needs to know of the other workers.
type fleetView struct {
	eligible   int
	nobodyLeft bool
}

func (c EndLease) decide(j *Job, now time.Time) (Decision, error) {
	if j.Lease == nil || j.Lease.AssignmentID != c.AssignmentID || c.Before != 0 && j.Lease.Incarnation >= c.Before {
		return Decision{Repeat: true}, nil
	}
	if !j.Lease.Acked {
		return one(JobReleased, now, JobAttrs{AssignmentID: c.AssignmentID, WorkerID: j.Lease.WorkerID, Cause: c.Cause, Message: cut(c.Message)}), nil
	}
	if hearsay(c.Cause) && j.Spec.Disconnect.Worker == DisconnectStop {
		return Decision{Repeat: true}, nil // who must never run twice at once waits for the lease
	}
	if j.CancelRequested {
		return one(JobCanceled, now, JobAttrs{Reason: ReasonCancel, Cause: c.Cause, Message: "its lease ended after the cancel request"}), nil
	}
	if j.PreemptRequested {
		return one(JobPreempted, now, JobAttrs{AssignmentID: c.AssignmentID, WorkerID: j.Lease.WorkerID, Reason: ReasonPreempt, Cause: c.Cause, Message: "its lease ended after it was asked to make room"}), nil
	}
	return j.lose(JobAttrs{AssignmentID: c.AssignmentID, WorkerID: j.Lease.WorkerID, Reason: ReasonLost, Cause: c.Cause, Message: cut(c.Message)}, !c.Uncounted, fleetView{c.Eligible, c.NobodyLeft}, now), nil
}

// hearsay reports whether a lease is said to have ended on a word that may be
// wrong: gossip may take a living worker for dead (L-4), and a registration may
// have been overtaken on its way by that of the agent which runs the job.
func hearsay(c Cause) bool { return c == CauseWorkerLost || c == CauseForgotten }

// lose ends the running attempt as lost and decides what comes next. A is the
// job.lost event; counted says whether it spends the budget of losses.
// A worker is never excluded when no other is left to take the job: the budget
// bounds how often it may lose it, and waiting for nobody would have no end.
func (j *Job) lose(a JobAttrs, counted bool, fleet fleetView, now time.Time) Decision {
	losses, distinct := j.Losses, len(j.LossOn)
	if counted {
		a.Counted = CountLoss
		losses++
		if !slices.Contains(j.LossOn, a.WorkerID) {
			distinct++
		}
	}
	spent := losses >= j.Spec.Retry.maxLosses()
	poisoned := spent && (fleet.nobodyLeft || distinct >= min(2, max(fleet.eligible, 1)))
	if counted && spent && !poisoned {
		a.Exclude = true // the next attempt must tell whether the job or this worker is to blame
	}
	a.Exclude = a.Exclude && !fleet.nobodyLeft
	d := one(JobLost, now, a)
	switch {
	case due(j.Spec.NotAfter, now):
		d.Events = append(d.Events, JobEvent{JobFailed, now, JobAttrs{Reason: ReasonDeadline, Message: "its deadline passed before it finished"}})
	case j.Spec.Retry.NoRetry && final(a.Cause):
		d.Events = append(d.Events, JobEvent{JobFailed, now, JobAttrs{Reason: ReasonLost, Message: "its worker lost it and it may not run again"}})
	case j.Spec.Retry.NoRetry:
		// It waits in state lost for its worker's word; see WakeAt.
	case counted && poisoned:
		d.Events = append(d.Events, JobEvent{JobFailed, now, JobAttrs{Reason: failReason(a.Cause),
			Message: cut(fmt.Sprintf("lost %d times on %d workers; last: %s", losses, distinct, orDefault(a.Message, string(a.Cause))))}})
	default:
		d.Events = append(d.Events, j.retrying(now, j.Failures+losses, j.Spec.Disconnect.ReassignAfter.D()))
	}
	return d
}

func due(t *time.Time, now time.Time) bool { return t != nil && !t.After(now) }

// final reports whether after a loss of this cause no word can come any more.
func final(c Cause) bool {
	return c == CauseRebooted || c == CauseForgotten || c == CauseWorkerError || c == CauseContract
}

func failReason(c Cause) Reason {
	if c == CauseWorkerError {
		return ReasonWorkerError
	}
	return ReasonLost
}

// retrying is the wait for the next attempt after so many ended ones: the
// backoff, and at least least.
func (j *Job) retrying(now time.Time, ended int, least time.Duration) JobEvent {
	at := now.Add(max(j.Spec.Retry.Delay(ended, string(j.ID)), least)).Truncate(time.Millisecond)
	return JobEvent{JobRetrying, now, JobAttrs{RetryAt: &at}}
}

// Reattach says that a worker still runs an assignment: a heartbeat or a
// registration named it. The verdict is VerdictKeep when it holds the lease,
// VerdictReattached when it gets it back, VerdictStop when it must end. A job under
// the contract "stop" never gets it back; its late result may still count.
type Reattach struct {
	AssignmentID AssignmentID
	WorkerID     WorkerID
	Incarnation  uint64
	TTL          time.Duration
}

func (c Reattach) decide(j *Job, now time.Time) (Decision, error) {
	t, err := j.own(c.AssignmentID, c.WorkerID)
	switch {
	case err != nil:
		return Decision{Verdict: VerdictStop}, nil
	case j.Lease != nil && j.Lease.AssignmentID == c.AssignmentID: // ACKed, or its ACK is on its way
		return Decision{Verdict: VerdictKeep, Stop: j.wantsStop(now)}, nil
	case !j.canReturn(t), j.Spec.Disconnect.Worker == DisconnectStop:
		// One that must never run twice at once was to stop before its lease ended, and
		// what it kept, its concurrency key for one, others may have by now.
		return Decision{Verdict: VerdictStop}, nil
	}
	d := one(JobReattached, now, JobAttrs{AssignmentID: c.AssignmentID, WorkerID: c.WorkerID, Incarnation: c.Incarnation, TTL: Duration(c.TTL)})
	d.Verdict, d.Stop = VerdictReattached, j.wantsStop(now)
	return d, nil
}

// canReturn reports whether a lost attempt may still be heard: it is the last
// that was ACKed, nothing decided it, and the job is not over. One that was to
// make room and whose lease ended before its worker said so is as good as lost.
func (j *Job) canReturn(t *Attempt) bool {
	return !j.State.Terminal() && t.AssignmentID == j.LastAcked && (t.End == EndLost || t.End == EndPreempted) && t.Answer == ""
}

// wantsStop returns why the running assignment should be stopped, or "".
func (j *Job) wantsStop(now time.Time) Reason {
	switch {
	case j.CancelRequested:
		return ReasonCancel
	case due(j.Spec.NotAfter, now):
		return ReasonDeadline
	case j.PreemptRequested:
		return ReasonPreempt
	}
	return ""
}
