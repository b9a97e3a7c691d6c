package entropy

// Transition is one row of a lifecycle table: in state From, Event leads to To.
type Transition struct {
	From  State // "" before the job exists
	Event string
	To    State
	Note  string
}

// JobTransitions is the only source of which event may follow which state. Every
// pair that is not in it is refused. docs/LIFECYCLE.md is generated from it.
var JobTransitions = []Transition{
	{"", JobSubmitted, Scheduled, "its time is still ahead, or a job it waits for has not ended"},
	{"", JobSubmitted, Pending, ""},
	{Scheduled, JobEligible, Pending, "its time has come and its dependencies are met"},
	{Pending, JobAssigned, Assigned, "attempt += 1, fresh assignment, lease granted"},
	{Assigned, JobStarted, Running, "the worker's ACK"},
	{Assigned, JobReleased, Pending, "no ACK in time, or the worker refused"},
	{Assigned, JobLost, Lost, "the lease ended"},
	{Running, JobLost, Lost, "the lease ended, or the worker broke"},
	{Lost, JobRetrying, Retrying, "the policy allows another attempt"},
	{Lost, JobReattached, Running, "the old worker is back and the job never stopped"},
	{Retrying, JobReattached, Running, ""},
	{Pending, JobReattached, Running, ""},
	{Assigned, JobReattached, Running, "revokes the successor that was not ACKed"},
	{Running, JobAttemptFailed, Retrying, "failures remain"},
	{Running, JobPreempted, Pending, "the process tree is confirmed gone, or the lease has ended"},
	{Retrying, JobRequeued, Pending, "the backoff is over"},

	{Running, JobSucceeded, Succeeded, ""},
	{Lost, JobSucceeded, Succeeded, "a late valid result"},
	{Retrying, JobSucceeded, Succeeded, "a late valid result"},
	{Pending, JobSucceeded, Succeeded, "a late valid result"},
	{Assigned, JobSucceeded, Succeeded, "a late valid result; revokes the successor that was not ACKed"},

	{Scheduled, JobFailed, Failed, ""},
	{Pending, JobFailed, Failed, ""},
	{Assigned, JobFailed, Failed, ""},
	{Running, JobFailed, Failed, ""},
	{Lost, JobFailed, Failed, ""},
	{Retrying, JobFailed, Failed, ""},
	{Scheduled, JobCanceled, Canceled, ""},
	{Pending, JobCanceled, Canceled, ""},
	{Assigned, JobCanceled, Canceled, ""},
	{Running, JobCanceled, Canceled, "the process tree is confirmed gone, or the lease has ended"},
	{Lost, JobCanceled, Canceled, ""},
	{Retrying, JobCanceled, Canceled, ""},

	// Facts that leave the state as it is.
	{Running, JobCancelRequested, Running, ""},
	{Running, JobPreemptRequested, Running, "its worker is asked to end it, to make room"},
	{Running, JobCheckpointed, Running, "the live attempt saved its state"},
	{Running, JobCheckpointRefused, Running, "a checkpoint was not saved: the first since the last that was"},
	{Scheduled, JobUnblocked, Scheduled, "its dependencies are met, its time is still ahead"},
	{Scheduled, JobHeld, Scheduled, "it will not be assigned"},
	{Pending, JobHeld, Pending, ""},
	{Assigned, JobHeld, Assigned, "this attempt goes on; no other follows"},
	{Running, JobHeld, Running, "this attempt goes on; no other follows"},
	{Lost, JobHeld, Lost, ""},
	{Retrying, JobHeld, Retrying, ""},
	{Scheduled, JobUnheld, Scheduled, ""},
	{Pending, JobUnheld, Pending, "its wait counts from now"},
	{Assigned, JobUnheld, Assigned, ""},
	{Running, JobUnheld, Running, ""},
	{Lost, JobUnheld, Lost, ""},
	{Retrying, JobUnheld, Retrying, ""},
	{Scheduled, JobReprioritized, Scheduled, ""},
	{Pending, JobReprioritized, Pending, ""},
	{Assigned, JobReprioritized, Assigned, ""},
	{Running, JobReprioritized, Running, ""},
	{Lost, JobReprioritized, Lost, ""},
	{Retrying, JobReprioritized, Retrying, ""},
	{Lost, JobLateFailure, Lost, "the loss turns out to be a failure"},
	{Retrying, JobLateFailure, Retrying, ""},
	{Pending, JobLateFailure, Pending, ""},
	{Assigned, JobLateFailure, Assigned, ""},
	{Scheduled, JobEvidence, Scheduled, "a completion that was judged and not applied"},
	{Pending, JobEvidence, Pending, ""},
	{Assigned, JobEvidence, Assigned, ""},
	{Running, JobEvidence, Running, ""},
	{Lost, JobEvidence, Lost, ""},
	{Retrying, JobEvidence, Retrying, ""},
	{Succeeded, JobEvidence, Succeeded, ""},
	{Failed, JobEvidence, Failed, ""},
	{Canceled, JobEvidence, Canceled, ""},
}

// JobEventTypes lists every event type of a job, in the order of the table.
var JobEventTypes = []string{
	JobSubmitted, JobEligible, JobAssigned, JobStarted, JobReleased, JobLost, JobRetrying, JobReattached,
	JobAttemptFailed, JobPreempted, JobRequeued, JobSucceeded, JobFailed, JobCanceled,
	JobCancelRequested, JobPreemptRequested, JobHeld, JobUnheld, JobReprioritized, JobUnblocked, JobLateFailure, JobEvidence,
	JobCheckpointed, JobCheckpointRefused,
}

// moves is a lifecycle table as it is looked up: where each event leads from each state.
type moves[S ~string] map[move[S]][]S

type move[S ~string] struct {
	from  S
	event string
}

func (m moves[S]) add(from S, event string, to S) {
	k := move[S]{from, event}
	m[k] = append(m[k], to)
}

// next returns where event leads in state from. Of several states want chooses, and
// is ignored otherwise. It reports false for a pair that is not in the table.
func (m moves[S]) next(from S, event string, want S) (S, bool) {
	next := m[move[S]{from, event}]
	switch len(next) {
	case 0:
		return "", false
	case 1:
		return next[0], true
	}
	for _, s := range next {
		if s == want {
			return s, true
		}
	}
	return "", false
}

var jobNext = func() moves[State] {
	m := make(moves[State], len(JobTransitions))
	for _, t := range JobTransitions {
		m.add(t.From, t.Event, t.To)
	}
	return m
}()

// NextState returns the state that the table gives for event in state from. A
// submission has two; want chooses between them and is ignored otherwise. It
// reports false for a pair that is not in the table.
func NextState(from State, event string, want State) (State, bool) {
	return jobNext.next(from, event, want)
}
