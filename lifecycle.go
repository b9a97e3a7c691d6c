package entropy

import "time"

// State is where a job is in its life. Terminal states never change again.
type State string

// The states of a job.
const (
	Scheduled State = "scheduled" // waits for its time or for another job
	Pending   State = "pending"   // ready, waits for a worker
	Assigned  State = "assigned"  // a worker holds a lease and has not yet ACKed
	Running   State = "running"   // the worker ACKed
	Lost      State = "lost"      // the lease ended without a word
	Retrying  State = "retrying"  // waits for its backoff
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Canceled  State = "canceled"
)

// States lists every state in the order of a job's life.
var States = []State{Scheduled, Pending, Assigned, Running, Lost, Retrying, Succeeded, Failed, Canceled}

// Terminal reports whether s is an end.
func (s State) Terminal() bool { return s == Succeeded || s == Failed || s == Canceled }

// The types of a job's events. Those of the second group leave the state as it is.
const (
	JobSubmitted     = "job.submitted"
	JobEligible      = "job.eligible"
	JobAssigned      = "job.assigned"
	JobStarted       = "job.started"
	JobReleased      = "job.released"
	JobLost          = "job.lost"
	JobRetrying      = "job.retrying"
	JobReattached    = "job.reattached"
	JobAttemptFailed = "job.attempt_failed"
	JobPreempted     = "job.preempted"
	JobRequeued      = "job.requeued"
	JobSucceeded     = "job.succeeded"
	JobFailed        = "job.failed"
	JobCanceled      = "job.canceled"

	JobCancelRequested  = "job.cancel_requested"
	JobPreemptRequested = "job.preempt_requested" // its worker was asked to end it, to make room
	JobHeld             = "job.held"
	JobUnheld           = "job.unheld"
	JobReprioritized    = "job.reprioritized"
	JobUnblocked        = "job.unblocked"    // its dependencies are met while its time is still ahead
	JobLateFailure      = "job.late_failure" // a lost attempt turned out to have failed
	JobEvidence         = "job.evidence"     // a completion that was judged and not applied

	JobCheckpointed      = "job.checkpointed"       // its running attempt saved its state
	JobCheckpointRefused = "job.checkpoint_refused" // a checkpoint was not saved: the first since the last that was
)

// JobEvent is one fact about a job, decoded.
type JobEvent struct {
	Type  string
	TS    time.Time
	Attrs JobAttrs
}

// WorkerState is where a worker is in its life.
type WorkerState string

// The states of a worker.
const (
	WorkerAlive WorkerState = "alive"
	WorkerLost  WorkerState = "lost" // silent for a whole lease TTL
	WorkerLeft  WorkerState = "left" // said goodbye
)

// The types of a worker's events.
const (
	WorkerRegistered     = "worker.registered"
	WorkerWentLost       = "worker.lost"
	WorkerReturned       = "worker.returned"
	WorkerDeparted       = "worker.left"
	WorkerDrained        = "worker.drained"
	WorkerResumed        = "worker.resumed"
	WorkerWasQuarantined = "worker.quarantined"
	WorkerProved         = "worker.proved" // on probation, a job of its ended well
)
