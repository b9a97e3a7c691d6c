package entropy

import (
	"encoding/json"
	"time"
)

// JobAttrs is what a job's events carry. Each event type uses some of the
// fields; see docs/LIFECYCLE.md.
type JobAttrs struct {
	Spec         *JobSpec        `json:"spec,omitempty"`
	SpecHash     string          `json:"spec_hash,omitempty"`
	State        State           `json:"state,omitempty"` // submitted: scheduled or pending
	Principal    string          `json:"principal,omitempty"`
	Operation    string          `json:"operation_id,omitempty"`
	Attempt      int             `json:"attempt,omitempty"`
	AssignmentID AssignmentID    `json:"assignment_id,omitempty"`
	WorkerID     WorkerID        `json:"worker_id,omitempty"`
	Incarnation  uint64          `json:"incarnation,omitempty"`
	ClaimSeq     uint64          `json:"claim_seq,omitempty"`
	TTL          Duration        `json:"ttl,omitzero"`
	Resources    Resources       `json:"resources,omitempty"` // assigned: held by the attempt
	GPUs         []GPUShare      `json:"gpus,omitempty"`
	Blocked      bool            `json:"blocked,omitempty"`  // submitted: its dependencies are not met
	Priority     *int            `json:"priority,omitempty"` // reprioritized
	Reason       Reason          `json:"reason,omitempty"`
	Cause        Cause           `json:"cause,omitempty"` // why a lease ended
	Message      string          `json:"message,omitempty"`
	Counted      string          `json:"counted,omitempty"` // the budget it spends: "failure", "loss" or ""
	Exclude      bool            `json:"exclude,omitempty"` // the worker gets this job no more
	Late         bool            `json:"late,omitempty"`    // decided after the lease had ended
	RetryAt      *time.Time      `json:"retry_at,omitempty"`
	ExitCode     *int            `json:"exit_code,omitempty"`
	Signal       string          `json:"signal,omitempty"`
	Artifacts    []Artifact      `json:"artifacts,omitempty"`
	Result       json.RawMessage `json:"result,omitempty"`
	Usage        *Usage          `json:"usage,omitempty"`
	SpoolID      string          `json:"spool_id,omitempty"`
	CompletedSeq uint64          `json:"completion_seq,omitempty"`
	Checkpoint   *Checkpoint     `json:"checkpoint,omitempty"`
	Outcome      Outcome         `json:"outcome,omitempty"` // evidence: what the worker said
	Answer       Verdict         `json:"answer,omitempty"`  // evidence: what it was told
}

// Cause says why a lease ended without a completion.
type Cause string

// The causes.
const (
	CauseLeaseExpired Cause = "lease_expired"
	CauseWorkerLost   Cause = "worker_lost"
	CauseRebooted     Cause = "rebooted"     // the worker's host booted again
	CauseForgotten    Cause = "forgotten"    // the worker's new agent does not know it
	CauseNoAck        Cause = "no_ack"       // not ACKed in time
	CauseRefused      Cause = "refused"      // the worker would not run it
	CauseTransient    Cause = "transient"    // the worker could not take it just now
	CauseContract     Cause = "contract"     // stopped by its worker before the lease could end
	CauseOutage       Cause = "outage"       // the control plane or half the fleet was down
	CauseWorkerError  Cause = "worker_error" // the worker broke under the attempt
)
