package job

import (
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

// Command asks the job to decide. The answer is an [Outcome].
type Command struct {
	Cmd       entropy.JobCommand
	Operation *entropy.OperationRecord // recorded with the events, or alone when nothing changes
	Fresh     bool                     // the ID was made just now: do not look whether the job exists
}

// Outcome is the answer to a [Command]: what was decided and the job after it.
type Outcome struct {
	Job      *entropy.Job // shared: nobody may change it
	Decision entropy.Decision
}

// Offer asks the job to take a lease. It is told; ReplyTo is told what Answer
// makes of the outcome: the job now, nil if unknown, and nil when the lease is
// durable or why there is none.
type Offer struct {
	entropy.Assign
	ReplyTo es.Ref
	Answer  func(id entropy.JobID, j *entropy.Job, err error) any
}

// Renew says that a worker's heartbeat named an assignment. It is told; ReplyTo
// is told what Answer makes of the outcome, unless all is as it should be.
type Renew struct {
	entropy.Held
	WorkerID    entropy.WorkerID
	Incarnation uint64
	At          time.Duration // listening time at which the heartbeat was read
	ReplyTo     es.Ref
	Answer      func(a entropy.AssignmentID, v entropy.Verdict, stop entropy.Reason) any
}

// MayAccept asks whether a completion of an assignment could still be accepted.
// The answer is nil, or an error with CodeSuperseded, CodeForbidden or CodeNotFound.
type MayAccept struct {
	AssignmentID entropy.AssignmentID
	WorkerID     entropy.WorkerID
}

// Revive brings a leased job back after a restart of the control plane. RenewedAt
// is the listening time of its worker's last known heartbeat.
type Revive struct{ RenewedAt time.Duration }
