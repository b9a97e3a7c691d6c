package entropy

import (
	"context"
	"encoding/json"
	"io"
	"time"
)

// Service is what people and programs ask of the fabric. The actor system and
// [Client] implement it and pass one conformance suite.
//
// Every method may return an [Error] with [CodeUnauthorized], [CodeForbidden],
// [CodeOverloaded], [CodeUnavailable] or, for calls that change something,
// [CodeUnknown] (it may have happened: repeat it with the same identifiers) and
// [CodeDiskFull]. Further codes are named at each method.
//
// Where a method takes a JobID it takes an array's as well: Job and Wait return
// the job that stands for the array; Cancel, Hold, Release and Prioritize act on
// every member that has not ended; Retry makes a new array of the members that did
// not succeed, or of all when all did. Logs and artifacts are the members'.
type Service interface {
	// Submit accepts jobs. The answer has one result per submission, in order;
	// a result with an Error was not accepted and harmed no other. At most
	// MaxBatch submissions. Repeating a submission with the same ID or key and
	// the same spec returns the job that already exists.
	// Item codes: CodeInvalid, CodeConflict.
	//
	// A call in which any submission is Atomic, makes an array or waits for other
	// jobs is carried out as a whole: an error is the call's, and then nothing was
	// accepted. Jobs may wait for others of the same call. CodeInvalid names jobs that
	// wait for each other, CodeNotFound one that is waited for and does not exist,
	// CodeTooLarge what is beyond MaxArray or MaxGroup.
	Submit(ctx context.Context, subs []Submission) ([]SubmitResult, error)
	// Job returns one job. CodeNotFound.
	Job(ctx context.Context, id JobID) (*Job, error)
	// Jobs lists jobs, newest first, each as [Job.Summary] gives it.
	Jobs(ctx context.Context, f JobFilter) (JobPage, error)
	// Cancel asks that a job end. A queued job is canceled at once; a running one
	// when its processes are confirmed gone or its lease has ended. Repeating it
	// is harmless. CodeNotFound; CodeConflict when the job has ended otherwise.
	Cancel(ctx context.Context, id JobID, op Operation) (*Job, error)
	// Retry submits a new job with the spec of a terminal one and RetryOf set.
	// Its ID is derived from op.ID, so that repeating the call is harmless.
	// CodeNotFound; CodeConflict when the job has not ended.
	Retry(ctx context.Context, id JobID, op Operation) (*Job, error)
	// Hold keeps a job from being assigned until Release; what runs goes on.
	// Repeating it is harmless. CodeNotFound; CodeConflict when the job has ended.
	Hold(ctx context.Context, id JobID, op Operation) (*Job, error)
	// Release ends a hold. CodeNotFound; CodeConflict when the job has ended.
	Release(ctx context.Context, id JobID, op Operation) (*Job, error)
	// Prioritize gives a job another priority. CodeInvalid; CodeNotFound;
	// CodeConflict when the job has ended.
	Prioritize(ctx context.Context, id JobID, priority int, op Operation) (*Job, error)
	// Bulk carries out one verb on every job that a filter selects, a page at a
	// time: call again with Next as the filter's cursor until it is empty. Each item
	// has its own outcome. CodeInvalid; see [BulkRequest].
	Bulk(ctx context.Context, r BulkRequest) (BulkReply, error)
	// Wait blocks until every named job is terminal, or max has passed, and
	// returns those that are terminal by then. At most MaxBatch IDs. CodeNotFound.
	Wait(ctx context.Context, ids []JobID, max time.Duration) ([]*Job, error)
	// Events returns journaled events after a position, oldest first. With
	// Wait > 0 it blocks up to that long for the first.
	// CodeConflict when After names another epoch or a position not yet reached.
	Events(ctx context.Context, f EventFilter) (EventPage, error)
	// Log returns a piece of a job's output. CodeNotFound.
	Log(ctx context.Context, q LogQuery) (LogChunk, error)
	// OpenArtifact returns the content of one published artifact, which the
	// caller closes. CodeNotFound.
	OpenArtifact(ctx context.Context, id JobID, name string) (io.ReadCloser, Artifact, error)
	// PutBlob stores an input by content and returns when it is durable. Storing
	// what is already there is harmless. CodeInvalid when the content has another hash.
	PutBlob(ctx context.Context, sha256 string, size int64, r io.Reader) error
	// HasBlobs returns those of the hashes that are not stored.
	HasBlobs(ctx context.Context, sha256 []string) (missing []string, err error)
	// Workers lists every known worker by name.
	Workers(ctx context.Context) ([]WorkerInfo, error)
	// SetWorker drains, resumes or quarantines a worker. CodeNotFound.
	SetWorker(ctx context.Context, id WorkerID, mode WorkerMode, op Operation) (WorkerInfo, error)
	// Policy returns how the fabric chooses among its jobs.
	Policy(ctx context.Context) (Policy, error)
	// SetPolicy replaces the policy. Its Version must be that of the policy it was
	// made from; else CodeConflict. CodeInvalid.
	SetPolicy(ctx context.Context, p Policy, op Operation) (Policy, error)
	// Explain says why a job is where it is and what would change that. CodeNotFound.
	Explain(ctx context.Context, id JobID) (Explanation, error)
	ScheduleService
	ActionService
	// Status returns the state of the control plane at a glance.
	Status(ctx context.Context) (Status, error)
}

// WorkerService is what a worker node asks of the fabric. The worker is known by
// its credential; see [WithPrincipal].
//
// CodeStale means that the incarnation is not the newest: register again.
type WorkerService interface {
	// Register introduces an agent process and returns its incarnation, with a
	// verdict on each assignment it still holds. The same Nonce gets the same
	// answer. CodeConflict when the name belongs to another key or another live boot.
	Register(ctx context.Context, r Registration) (Registered, error)
	// Claim asks for up to Want assignments and blocks up to Wait for the first.
	// Repeating a ClaimSeq returns the set that it was first answered with.
	Claim(ctx context.Context, c ClaimRequest) (ClaimReply, error)
	// Ack accepts assignments: only after an item was answered without error may
	// its execution start. Idempotent. Item codes: CodeSuperseded, CodeNotFound.
	Ack(ctx context.Context, r AckRequest) ([]ItemResult, error)
	// Refuse gives back assignments that were not ACKed; the worker is excluded
	// from each such job. Idempotent.
	Refuse(ctx context.Context, r RefuseRequest) ([]ItemResult, error)
	// Heartbeat renews the leases of the assignments it names. It never waits
	// for the journal. A repeated or older Seq changes nothing.
	Heartbeat(ctx context.Context, h Heartbeat) (HeartbeatReply, error)
	// Directives blocks until the worker's directives differ from Known, or Wait
	// has passed, and returns them.
	Directives(ctx context.Context, q DirectivesRequest) (Directives, error)
	// Complete reports ended assignments. Idempotent, keyed by assignment.
	Complete(ctx context.Context, r CompleteRequest) ([]CompletionReply, error)
	// StageArtifact appends content to a staged artifact of an assignment that may
	// still be accepted, from Offset, and returns how many bytes are now staged.
	// A repeated or overlapping range is harmless; a gap returns the staged size
	// and stores nothing. When the size is reached the hash is checked:
	// CodeInvalid means that it differed and that the staged bytes were dropped.
	// CodeSuperseded when the assignment can no longer be accepted.
	StageArtifact(ctx context.Context, u ArtifactUpload, r io.Reader) (staged int64, err error)
	// AppendLog stores a piece of an assignment's output at an offset, and returns
	// the size stored. Repeated or overlapping ranges are harmless; a gap returns
	// the stored size and stores nothing. CodeSuperseded, CodeTooLarge.
	AppendLog(ctx context.Context, u LogUpload, p []byte) (stored int64, err error)
	// OpenBlob returns the content of a job's input, which the caller closes. CodeNotFound.
	OpenBlob(ctx context.Context, sha256 string) (io.ReadCloser, error)
	CheckpointService
	// Leave announces a planned stop of the agent. With Final, the worker leaves
	// the fleet; else its leases stay to their end.
	Leave(ctx context.Context, r LeaveRequest) error
}

// Operation makes a mutating call idempotent: the same ID by the same principal
// is carried out once. An empty ID means that the caller will not repeat it.
type Operation struct {
	ID     string `json:"operation_id,omitempty"`
	Reason string `json:"reason,omitempty"` // for people, recorded with the event
}

// Submission is one job, or one array of jobs, to accept.
type Submission struct {
	ID             JobID   `json:"id,omitempty"`              // chosen by the caller, or empty
	IdempotencyKey string  `json:"idempotency_key,omitempty"` // an alternative to ID
	Spec           JobSpec `json:"spec"`

	Array  *ArraySpec `json:"array,omitempty"`  // makes it an array of jobs like Spec
	Hold   bool       `json:"hold,omitempty"`   // it starts its life held: see Hold
	Atomic bool       `json:"atomic,omitempty"` // accept all submissions of the call or none
}

// SubmitResult is the outcome of one submission.
type SubmitResult struct {
	ID      JobID  `json:"id,omitempty"` // of an array: the array's
	Created bool   `json:"created"`      // false: the job existed already, with the same spec
	Error   *Error `json:"error,omitempty"`
}

// JobFilter selects jobs. Zero fields select all.
type JobFilter struct {
	States []State           `json:"states,omitempty"`
	Queue  string            `json:"queue,omitempty"`
	Tenant string            `json:"tenant,omitempty"`
	Name   string            `json:"name,omitempty"`
	Array  JobID             `json:"array,omitempty"` // the members of this array
	Labels map[string]string `json:"labels,omitempty"`
	Limit  int               `json:"limit,omitempty"`  // 0 means 100, at most MaxBatch
	Cursor string            `json:"cursor,omitempty"` // Next of the page before
}

// JobPage is one page of a listing.
type JobPage struct {
	Jobs []*Job `json:"jobs"`
	Next string `json:"next,omitempty"` // "" on the last page
}

// EventFilter selects events after a position.
type EventFilter struct {
	After  Position      // the zero Position means from the beginning
	Latest bool          // start after the newest event instead of After
	Entity string        // "" means all
	Type   string        // an event type, or a prefix that ends in "."; "" means all
	Limit  int           // 0 means 1000, at most 10,000
	Wait   time.Duration // how long to wait for the first event
}

// EventPage is a run of events. Next is the position to continue after; it moves
// past events that the filter left out.
type EventPage struct {
	Events []Event
	Next   Position
}

// LogQuery selects a piece of output.
type LogQuery struct {
	JobID   JobID
	Stream  string // "stdout" or "stderr"
	Attempt int    // 0 means the newest that started
	Offset  int64  // negative: that many bytes before the end
	Limit   int    // bytes; 0 means 1 MiB
	Wait    time.Duration
}

// LogChunk is a piece of output. A reader follows by asking again from Next
// until EOF.
type LogChunk struct {
	Data    []byte `json:"data"` // base64 in JSON
	Next    int64  `json:"next"`
	Attempt int    `json:"attempt"`
	EOF     bool   `json:"eof"` // the attempt has ended and all it wrote has been read
}

// WorkerMode is what SetWorker sets.
type WorkerMode string

// The modes of a worker.
const (
	WorkerDrain      WorkerMode = "drain"      // finish what runs, take no more
	WorkerResume     WorkerMode = "resume"     // take work again; ends a quarantine
	WorkerQuarantine WorkerMode = "quarantine" // as drain, because it is not trusted
)

// WorkerInfo is a worker as the fabric sees it now.
type WorkerInfo struct {
	Worker
	LastHeartbeat *time.Time `json:"last_heartbeat"` // nil since the control plane started
	HeartbeatSeq  uint64     `json:"heartbeat_seq"`
	Running       int        `json:"running"`
	Spooled       int        `json:"spooled"` // finished results not yet decided, by its last heartbeat
}

// Status is the control plane at a glance.
type Status struct {
	Version   string          `json:"version"`
	ClusterID string          `json:"cluster_id"`
	Epoch     uint64          `json:"epoch"`
	Seq       uint64          `json:"seq"`
	StartedAt time.Time       `json:"started_at"`
	Jobs      map[State]int64 `json:"jobs"`
	Workers   map[string]int  `json:"workers"` // by state
	ReadOnly  bool            `json:"read_only"`

	// ClockUnsettled says that the wall clock was set and is not believed yet: no
	// schedule, delay or deadline acts (H-12).
	ClockUnsettled bool `json:"clock_unsettled"`

	// DeadLetters are the open ones of actions and of messages for them; DeadItems
	// what came from outside for the ledger and was not understood.
	DeadLetters int64 `json:"dead_letters"`
	DeadItems   int64 `json:"dead_items"`

	Bus    *BusStatus    `json:"bus"`    // nil: there is none
	Relays []RelayStatus `json:"relays"` // of the journal, one for each sink

	Alarms   []string           `json:"alarms"`
	Counters map[string]float64 `json:"counters"` // since start: lost, retried, replayed, refused …
}

// Registration introduces an agent process.
type Registration struct {
	Nonce     string            `json:"nonce"`    // random per registration attempt; a repeat gets the same answer
	KeyHash   string            `json:"key_hash"` // SHA-256 of the worker's own key, hex; see cluster/identity
	BootID    string            `json:"boot_id"`  // the kernel's, from /proc/sys/kernel/random/boot_id
	SpoolID   string            `json:"spool_id"` // random, made with the spool
	Hostname  string            `json:"hostname"`
	Version   string            `json:"version"`
	Slots     int               `json:"slots"`
	Labels    map[string]string `json:"labels,omitempty"`    // configured and detected
	Resources Resources         `json:"resources,omitempty"` // detected (cpu, mem, gpu) and configured
	Handlers  []string          `json:"handlers,omitempty"`  // Go handlers it offers; a job with a handler goes only there
	Inventory []Held            `json:"inventory,omitempty"` // every assignment it still holds
	Keyring   uint64            `json:"keyring,omitempty"`   // version of the cluster's keyring that it holds
}

// Held is an assignment that a worker holds.
type Held struct {
	JobID        JobID        `json:"job_id"`
	AssignmentID AssignmentID `json:"assignment_id"`
	Spooled      bool         `json:"spooled,omitempty"` // it has ended and its result waits in the spool
	GPUs         []GPUShare   `json:"gpus,omitempty"`    // that it owns while it runs
}

// Registered is the answer to a registration.
type Registered struct {
	Epoch       uint64        `json:"epoch"`
	ClusterID   string        `json:"cluster_id"`
	WorkerID    WorkerID      `json:"worker_id"`
	Incarnation uint64        `json:"incarnation"`
	LeaseTTL    Duration      `json:"lease_ttl"`
	Heartbeat   Duration      `json:"heartbeat"` // interval
	Held        []HeldVerdict `json:"held,omitempty"`
	// Gossip says how to take part in gossip; nil when the control plane does not.
	Gossip *Gossip `json:"gossip,omitempty"`
	// Keyring is the version of the cluster's keyring that is to be held; a worker
	// with another fetches it by joining again. 0 means that the worker needs none.
	Keyring uint64 `json:"keyring,omitempty"`
}

// HeldVerdict says what to do with an assignment that the worker still holds.
type HeldVerdict struct {
	AssignmentID AssignmentID `json:"assignment_id"`
	Verdict      Verdict      `json:"verdict"` // VerdictKeep, VerdictReattached, VerdictReport or VerdictStop
}

// ClaimRequest asks for work.
type ClaimRequest struct {
	Incarnation uint64   `json:"incarnation"`
	ClaimSeq    uint64   `json:"claim_seq"` // rises by one per new claim of an incarnation, from 1
	Want        int      `json:"want"`      // at most MaxBatch
	Wait        Duration `json:"wait"`      // at most 60 s
}

// ClaimReply is a set of assignments.
type ClaimReply struct {
	Assignments []Assignment `json:"assignments,omitempty"`
	Epoch       uint64       `json:"epoch"`
}

// Assignment is the decision that a worker run an attempt.
type Assignment struct {
	JobID        JobID        `json:"job_id"`
	AssignmentID AssignmentID `json:"assignment_id"`
	Attempt      int          `json:"attempt"`
	TTL          Duration     `json:"ttl"`         // of the lease
	AckTimeout   Duration     `json:"ack_timeout"` // ACK within this, or it is released
	Revoked      bool         `json:"revoked,omitempty"`
	Resources    Resources    `json:"resources,omitempty"`   // held by the attempt beside one slot
	GPUs         []GPUShare   `json:"gpus,omitempty"`        // the GPUs it owns: CUDA_VISIBLE_DEVICES
	Checkpoints  []Checkpoint `json:"checkpoints,omitempty"` // what it may resume from, the best first
	Spec         JobSpec      `json:"spec"`
}

// AckRequest accepts assignments.
type AckRequest struct {
	Incarnation uint64 `json:"incarnation"`
	Items       []Held `json:"items"`
}

// RefuseRequest gives assignments back before they were ACKed.
type RefuseRequest struct {
	Incarnation uint64    `json:"incarnation"`
	Items       []Refusal `json:"items"`
}

// Refusal says why a worker will not run an assignment.
type Refusal struct {
	JobID        JobID        `json:"job_id"`
	AssignmentID AssignmentID `json:"assignment_id"`
	Message      string       `json:"message"`
	Transient    bool         `json:"transient,omitempty"` // no fault of the pair: do not exclude this worker
}

// ItemResult is the outcome of one item of a batch.
type ItemResult struct {
	AssignmentID AssignmentID `json:"assignment_id"`
	Error        *Error       `json:"error,omitempty"`
}

// CompleteRequest reports ended assignments.
type CompleteRequest struct {
	Incarnation uint64       `json:"incarnation"`
	Items       []Completion `json:"items"`
}

// Completion is how an assignment ended, as its worker saw it.
type Completion struct {
	JobID         JobID           `json:"job_id"`
	AssignmentID  AssignmentID    `json:"assignment_id"`
	SpoolID       string          `json:"spool_id"`
	CompletionSeq uint64          `json:"completion_seq"` // orders completions within a spool
	Outcome       Outcome         `json:"outcome"`
	Reason        Reason          `json:"reason,omitempty"` // of a failed or stopped one
	Message       string          `json:"message,omitempty"`
	ExitCode      *int            `json:"exit_code,omitempty"`
	Signal        string          `json:"signal,omitempty"`
	Permanent     bool            `json:"permanent,omitempty"` // a failure that no other attempt would cure
	Artifacts     []Artifact      `json:"artifacts,omitempty"` // all staged before the completion is sent
	Result        json.RawMessage `json:"result,omitempty"`
	Usage         *Usage          `json:"usage,omitempty"`
	StartedAt     time.Time       `json:"started_at"` // the worker's clock: informational
	FinishedAt    time.Time       `json:"finished_at"`
}

// Outcome is the worker's word on how an assignment ended.
type Outcome string

// The outcomes.
const (
	OutcomeSucceeded Outcome = "succeeded"
	OutcomeFailed    Outcome = "failed"
	OutcomeStopped   Outcome = "stopped" // the worker ended it: by directive or by contract
)

// Verdict is the fabric's answer about an assignment.
type Verdict string

// The verdicts. Accepted, superseded and refused let the spool forget an entry;
// reupload and retry ask for more; not_found parks it, visibly.
const (
	VerdictAccepted   Verdict = "accepted"
	VerdictSuperseded Verdict = "superseded"
	VerdictRefused    Verdict = "refused"
	VerdictReupload   Verdict = "reupload" // an artifact is missing or differs
	VerdictRetry      Verdict = "retry"    // not now
	VerdictNotFound   Verdict = "not_found"

	VerdictKeep       Verdict = "keep"
	VerdictReattached Verdict = "reattached"
	VerdictReport     Verdict = "report"
	VerdictStop       Verdict = "stop"
)

// CompletionReply is the answer to one completion.
type CompletionReply struct {
	AssignmentID AssignmentID `json:"assignment_id"`
	Verdict      Verdict      `json:"verdict"`
	Repeat       bool         `json:"repeat,omitempty"` // the answer was given before
	Message      string       `json:"message,omitempty"`
	Missing      []string     `json:"missing,omitempty"` // hashes to upload again
}

// ArtifactUpload places staged content.
type ArtifactUpload struct {
	JobID        JobID
	AssignmentID AssignmentID
	SHA256       string
	Size         int64 // of the whole artifact
	Offset       int64 // of the first byte of this piece
}

// LogUpload places a piece of output.
type LogUpload struct {
	JobID        JobID
	AssignmentID AssignmentID
	Stream       string // "stdout" or "stderr"
	Offset       int64
}

// LeaveRequest announces a planned stop.
type LeaveRequest struct {
	Incarnation uint64 `json:"incarnation"`
	Final       bool   `json:"final"`
}
