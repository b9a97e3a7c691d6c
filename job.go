package entropy

import (
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// JobSpec is what a caller asks for. It never changes once submitted.
// Either Command or Handler is set; with an Image the command may be left out.
type JobSpec struct {
	Name    string            `json:"name,omitempty"`    // for people; need not be unique
	Command []string          `json:"command,omitempty"` // argv, run without a shell
	Handler string            `json:"handler,omitempty"` // the name of a Go handler at the worker
	Image   string            `json:"image,omitempty"`   // OCI image that the command runs in, or whose own command it is; needs a container runtime at the worker
	Payload json.RawMessage   `json:"payload,omitempty"` // argument of the handler, at most MaxPayload bytes
	Env     map[string]string `json:"env,omitempty"`     // added to the clean environment of the process
	Cwd     string            `json:"cwd,omitempty"`     // absolute directory at the worker; "" means a fresh scratch directory

	Queue    string            `json:"queue,omitempty"`  // "" means "default"
	Tenant   string            `json:"tenant,omitempty"` // "" means "default"
	Priority int               `json:"priority,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`  // for people and filters
	Require  map[string]string `json:"require,omitempty"` // labels the worker must carry

	Resources      Resources    `json:"resources,omitempty"`       // held while it runs, beside one slot
	AnyOf          []Need       `json:"any_of,omitempty"`          // alternatives, the preferred first; see Needs
	Preemptible    bool         `json:"preemptible,omitempty"`     // may be ended and queued again for an urgent job
	ConcurrencyKey string       `json:"concurrency_key,omitempty"` // at most one job of a key runs; needs Disconnect.Worker "stop"
	After          []Dependency `json:"after,omitempty"`           // jobs that must end first
	Array          *ArrayMember `json:"array,omitempty"`           // set for the members of an array

	Inputs    []Input  `json:"inputs,omitempty"`    // files present in ENTROPY_INPUT_DIR before the process starts
	Artifacts []string `json:"artifacts,omitempty"` // globs, relative to the working directory or the artifact directory

	Checkpoint *CheckpointPolicy `json:"checkpoint,omitempty"` // nil: it saves no checkpoints

	Retry      RetryPolicy `json:"retry,omitzero"`
	Disconnect Disconnect  `json:"disconnect,omitzero"`

	RunTimeout   Duration   `json:"run_timeout,omitzero"`   // 0 means none
	AckTimeout   Duration   `json:"ack_timeout,omitzero"`   // 0 means 10 s
	QueueTimeout Duration   `json:"queue_timeout,omitzero"` // longest time in pending before the first start; 0 means none
	Grace        Duration   `json:"grace,omitzero"`         // between TERM and KILL; 0 means 5 s
	NotBefore    *time.Time `json:"not_before,omitempty"`
	NotAfter     *time.Time `json:"not_after,omitempty"` // deadline: a job not finished by then fails(deadline)

	RetryOf JobID `json:"retry_of,omitempty"` // set by Retry
}

// Dependency is a job, or a whole array, that must end before another may start.
type Dependency struct {
	Job JobID  `json:"job"`
	On  string `json:"on,omitempty"` // OnSuccess (default) or OnEnd
}

// Values of Dependency.On.
const (
	OnSuccess = "success" // it must succeed; if it ends otherwise, the waiting job fails(dependency)
	OnEnd     = "end"     // however it ends
)

// ArrayMember says which part of an array a job is.
type ArrayMember struct {
	Of    JobID `json:"of"`    // the array's ID; the member's is Of.Index
	Index int   `json:"index"` // also ENTROPY_INDEX
}

// Input is one file shipped with a job, addressed by its content.
type Input struct {
	Path   string `json:"path"` // relative, below ENTROPY_INPUT_DIR, slash-separated
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
	Mode   uint32 `json:"mode,omitempty"` // permission bits; 0 means 0644
	Dir    bool   `json:"dir,omitempty"`  // an empty directory: no hash, size or mode. Others come with what is in them
}

// Artifact is one file a job left, addressed by its content.
type Artifact struct {
	Name   string `json:"name"` // relative path, slash-separated
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// Disconnect is the contract for a worker that is cut off while it runs the job.
type Disconnect struct {
	Worker        string   `json:"worker,omitempty"`        // "continue" (default) or "stop"
	ReassignAfter Duration `json:"reassign_after,omitzero"` // wait this long after a loss before the next attempt
	LateResult    string   `json:"late_result,omitempty"`   // "accept" (default) or "discard"
}

// Values of [Disconnect].
const (
	DisconnectContinue = "continue"
	DisconnectStop     = "stop"
	LateAccept         = "accept"
	LateDiscard        = "discard"
)

// Limits on a [JobSpec].
const (
	MaxArgs        = 4096
	MaxCommandSize = 128 << 10 // bytes of argv and environment together
	MaxPayload     = 256 << 10 // bytes
	MaxImage       = 512       // bytes
	MaxLabels      = 64
	MaxGlobs       = 256
	MaxInputs      = 10_000
	MaxAfter       = 1000
	MinPriority    = -100
	MaxPriority    = 100
	DefaultQueue   = "default"
	DefaultTenant  = "default"

	// DefaultAckTimeout is how long a worker has to ACK an assignment.
	DefaultAckTimeout = 10 * time.Second
)

// Reason says why a job failed, or why an attempt ended.
type Reason string

// The reasons of a failed job, and of an attempt that did not succeed.
const (
	ReasonExit         Reason = "exit" // non-zero exit code or a signal
	ReasonTimeout      Reason = "timeout"
	ReasonLost         Reason = "lost"
	ReasonPolicy       Reason = "policy" // refused by the policy of every worker
	ReasonArtifact     Reason = "artifact"
	ReasonWorkerError  Reason = "worker_error"
	ReasonDependency   Reason = "dependency"
	ReasonDeadline     Reason = "deadline"
	ReasonQueueTimeout Reason = "queue_timeout"
	ReasonCancel       Reason = "cancel"   // an attempt stopped because the job was canceled
	ReasonPreempt      Reason = "preempt"  // an attempt stopped to make room
	ReasonContract     Reason = "contract" // an attempt stopped by its own worker before its lease could end
	ReasonSuperseded   Reason = "superseded"
)

// Job is the state of one job: the fold of its events by [Job.Apply].
// Its JSON form is the flat object of the API; see MarshalJSON.
type Job struct {
	ID        JobID   `json:"id"`
	Version   uint64  `json:"version"` // number of events applied
	State     State   `json:"state"`
	Reason    Reason  `json:"reason,omitempty"`
	Message   string  `json:"message,omitempty"` // one line for people about the last failure, refusal or loss
	Spec      JobSpec `json:"-"`                 // stored once, beside the record
	SpecHash  string  `json:"spec_hash"`         // see SpecHash
	Principal string  `json:"principal,omitempty"`

	Array *ArraySummary `json:"-"` // only of the job that stands for an array; see Array.Job

	Blocked          bool `json:"blocked,omitempty"`      // jobs of Spec.After have not all ended
	PriorityNow      *int `json:"priority_now,omitempty"` // set by Reprioritize, in place of Spec.Priority
	Held             bool `json:"held,omitempty"`
	CancelRequested  bool `json:"cancel_requested,omitempty"`
	PreemptRequested bool `json:"preempt_requested,omitempty"`

	Attempt  int        `json:"attempt,omitempty"`  // ordinal of the last assignment; only rises
	Failures int        `json:"failures,omitempty"` // spent of Retry.MaxAttempts
	Losses   int        `json:"losses,omitempty"`   // spent of Retry.MaxLosses
	LossOn   []WorkerID `json:"loss_on,omitempty"`  // distinct workers of the counted losses
	Excluded []WorkerID `json:"excluded,omitempty"` // workers that refused the job or broke under it

	Lease     *Lease       `json:"lease,omitempty"`      // the live assignment, if any
	LastAcked AssignmentID `json:"last_acked,omitempty"` // the newest assignment that was ACKed
	Attempts  []Attempt    `json:"attempts,omitempty"`   // the newest MaxAttemptsKept, oldest first

	ExitCode  *int            `json:"exit_code,omitempty"`
	Signal    string          `json:"signal,omitempty"`
	Artifacts []Artifact      `json:"artifacts,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"` // what a Go handler returned, at most MaxResult bytes

	Checkpoints       []Checkpoint `json:"checkpoints,omitempty"`        // the newest of those it saved, oldest first; none of a job that succeeded
	CheckpointRefused string       `json:"checkpoint_refused,omitempty"` // why the first since the newest of Checkpoints was not saved

	CreatedAt  time.Time  `json:"created_at"`
	EligibleAt *time.Time `json:"eligible_at,omitempty"`
	StartedAt  *time.Time `json:"started_at,omitempty"` // of the first attempt that started
	FinishedAt *time.Time `json:"finished_at,omitempty"`
	RetryAt    *time.Time `json:"retry_at,omitempty"` // when a retrying job may be requeued
}

// Lease is the time-bounded right of one worker to run one attempt. It is
// durable before the worker sees it.
type Lease struct {
	AssignmentID AssignmentID `json:"assignment_id"`
	WorkerID     WorkerID     `json:"worker_id"`
	Incarnation  uint64       `json:"incarnation"` // of the agent that claimed it
	ClaimSeq     uint64       `json:"claim_seq"`
	TTL          Duration     `json:"ttl"`
	Acked        bool         `json:"acked,omitempty"`
	GrantedAt    time.Time    `json:"granted_at"`
	Resources    Resources    `json:"resources,omitempty"` // held beside one slot: of the alternative that was chosen
	GPUs         []GPUShare   `json:"gpus,omitempty"`      // the GPUs the attempt owns, by index
}

// Attempt is one assignment of a job and what came of it.
type Attempt struct {
	Number       int          `json:"number"`
	AssignmentID AssignmentID `json:"assignment_id"`
	WorkerID     WorkerID     `json:"worker_id"`
	AssignedAt   time.Time    `json:"assigned_at"`
	StartedAt    *time.Time   `json:"started_at,omitempty"` // nil: never ACKed
	EndedAt      *time.Time   `json:"ended_at,omitempty"`
	End          AttemptEnd   `json:"end,omitempty"`
	Counted      string       `json:"counted,omitempty"` // "failure", "loss", or "": which budget it spent
	Reason       Reason       `json:"reason,omitempty"`
	Message      string       `json:"message,omitempty"`
	ExitCode     *int         `json:"exit_code,omitempty"`
	Signal       string       `json:"signal,omitempty"`
	Answer       Verdict      `json:"answer,omitempty"` // the answer its completion got; repeats get the same
	Reattached   int          `json:"reattached,omitempty"`
	Late         bool         `json:"late,omitempty"` // its completion arrived after its lease had ended
	Usage        *Usage       `json:"usage,omitempty"`
	Resources    Resources    `json:"resources,omitempty"` // as its lease held them
	GPUs         []GPUShare   `json:"gpus,omitempty"`
}

// AttemptEnd says how an attempt ended.
type AttemptEnd string

// The ends of an attempt; "" while it is live.
const (
	EndSucceeded AttemptEnd = "succeeded"
	EndFailed    AttemptEnd = "failed"
	EndLost      AttemptEnd = "lost"
	EndReleased  AttemptEnd = "released"
	EndPreempted AttemptEnd = "preempted"
	EndCanceled  AttemptEnd = "canceled"
)

// Usage is what the operating system counted for an attempt's processes.
type Usage struct {
	UserCPU   Duration `json:"user_cpu,omitzero"`
	SystemCPU Duration `json:"system_cpu,omitzero"`
	MaxRSS    int64    `json:"max_rss_bytes,omitempty"`
	Wall      Duration `json:"wall,omitzero"`
}

const (
	// MaxAttemptsKept bounds Job.Attempts. A completion of an older attempt is superseded.
	MaxAttemptsKept = 32
	// MaxResult bounds Completion.Result, in bytes.
	MaxResult = 64 << 10
	// MaxMessage bounds every Message, in bytes; longer ones are cut.
	MaxMessage = 1 << 10
	// MaxJobArtifacts bounds the artifacts of one attempt.
	MaxJobArtifacts = 10_000
)

// Clone returns a copy of j that shares nothing Apply may change.
func (j *Job) Clone() *Job {
	c := *j
	c.LossOn = slices.Clone(j.LossOn)
	c.Excluded = slices.Clone(j.Excluded)
	c.Attempts = slices.Clone(j.Attempts)
	if j.Lease != nil {
		l := *j.Lease
		c.Lease = &l
	}
	return &c
}

// Queue and tenant with their defaults.
func (s *JobSpec) queue() string  { return orDefault(s.Queue, DefaultQueue) }
func (s *JobSpec) tenant() string { return orDefault(s.Tenant, DefaultTenant) }

// QueueName returns the queue of the job, never "".
func (j *Job) QueueName() string { return j.Spec.queue() }

// TenantName returns the tenant of the job, never "".
func (j *Job) TenantName() string { return j.Spec.tenant() }

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

// Priority returns the priority the job is queued with.
func (j *Job) Priority() int {
	if j.PriorityNow != nil {
		return *j.PriorityNow
	}
	return j.Spec.Priority
}

// AckTimeoutOrDefault returns how long a worker has to ACK an assignment.
func (s *JobSpec) AckTimeoutOrDefault() time.Duration {
	return orDefaultDuration(s.AckTimeout, DefaultAckTimeout)
}

// Retried reports whether the job takes up a retry slot: it is queued or runs
// after an attempt that failed or was lost.
func (j *Job) Retried() bool {
	if j.State != Pending && j.State != Assigned && j.State != Running {
		return false
	}
	return slices.ContainsFunc(j.Attempts, func(a Attempt) bool { return a.End == EndFailed || a.End == EndLost })
}

// LastAttempt returns the newest attempt, or nil.
func (j *Job) LastAttempt() *Attempt {
	if len(j.Attempts) == 0 {
		return nil
	}
	return &j.Attempts[len(j.Attempts)-1]
}

// shown returns the attempt that stands for the job, or nil. After a reattachment
// or a late result it is not the newest.
func (j *Job) shown() *Attempt {
	if j.Lease != nil {
		return j.attempt(j.Lease.AssignmentID)
	}
	for i := len(j.Attempts) - 1; i >= 0; i-- {
		if j.Attempts[i].End != EndReleased {
			return &j.Attempts[i]
		}
	}
	return j.LastAttempt()
}

// Summary returns j as a listing shows it: of its attempts only the one that
// stands for it. It shares the rest with j.
func (j *Job) Summary() *Job {
	c := *j
	c.Attempts = nil
	if a := j.shown(); a != nil {
		c.Attempts = []Attempt{*a}
	}
	return &c
}

// attempt returns the attempt of an assignment, or nil.
func (j *Job) attempt(id AssignmentID) *Attempt {
	for i := len(j.Attempts) - 1; i >= 0; i-- {
		if j.Attempts[i].AssignmentID == id {
			return &j.Attempts[i]
		}
	}
	return nil
}

// jobJSON is the flat form of a job in the API: every field of the contract is
// present, null when it has no value.
type jobJSON struct {
	ID              JobID             `json:"id"`
	Name            *string           `json:"name"`
	State           State             `json:"state"`
	Reason          *Reason           `json:"reason"`
	Message         *string           `json:"message"`
	Queue           string            `json:"queue"`
	Tenant          string            `json:"tenant"`
	Priority        int               `json:"priority"`
	Labels          map[string]string `json:"labels"`
	Command         []string          `json:"command"`
	Handler         *string           `json:"handler"`
	Attempt         int               `json:"attempt"`
	Failures        int               `json:"failures"`
	Losses          int               `json:"losses"`
	Held            bool              `json:"held"`
	Blocked         bool              `json:"blocked"`
	CancelRequested bool              `json:"cancel_requested"`
	AssignmentID    *AssignmentID     `json:"assignment_id"`
	WorkerID        *WorkerID         `json:"worker_id"`
	ExitCode        *int              `json:"exit_code"`
	Signal          *string           `json:"signal"`
	RetryOf         *JobID            `json:"retry_of"`
	CreatedAt       time.Time         `json:"created_at"`
	EligibleAt      *time.Time        `json:"eligible_at"`
	StartedAt       *time.Time        `json:"started_at"`
	FinishedAt      *time.Time        `json:"finished_at"`
	RetryAt         *time.Time        `json:"retry_at"`
	Version         uint64            `json:"version"`
	Artifacts       []Artifact        `json:"artifacts"`
	Result          json.RawMessage   `json:"result"`
	Attempts        []Attempt         `json:"attempts"`
	Checkpoints     []Checkpoint      `json:"checkpoints"`
	Refused         *string           `json:"checkpoint_refused"`
	Excluded        []WorkerID        `json:"excluded"`
	Principal       *string           `json:"principal"`
	Array           *ArraySummary     `json:"array"`
	Spec            *JobSpec          `json:"spec"`
}

func nullable[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// MarshalJSON writes the flat object of the API, with null for what is absent.
// AssignmentID and WorkerID are those of the attempt that holds the lease; without
// one, of the newest attempt that was not merely given back.
func (j *Job) MarshalJSON() ([]byte, error) {
	v := jobJSON{
		ID: j.ID, Name: nullable(j.Spec.Name), State: j.State, Reason: nullable(j.Reason), Message: nullable(j.Message),
		Queue: j.QueueName(), Tenant: j.TenantName(), Priority: j.Priority(), Labels: j.Spec.Labels,
		Command: j.Spec.Command, Handler: nullable(j.Spec.Handler),
		Attempt: j.Attempt, Failures: j.Failures, Losses: j.Losses, Held: j.Held, Blocked: j.Blocked, CancelRequested: j.CancelRequested,
		ExitCode: j.ExitCode, Signal: nullable(j.Signal), RetryOf: nullable(j.Spec.RetryOf),
		CreatedAt: j.CreatedAt, EligibleAt: j.EligibleAt, StartedAt: j.StartedAt, FinishedAt: j.FinishedAt, RetryAt: j.RetryAt,
		Version: j.Version, Artifacts: j.Artifacts, Result: j.Result, Attempts: j.Attempts, Excluded: j.Excluded,
		Principal: nullable(j.Principal), Array: j.Array, Spec: &j.Spec,
		Checkpoints: j.Checkpoints, Refused: nullable(j.CheckpointRefused),
	}
	if a := j.shown(); a != nil {
		v.AssignmentID, v.WorkerID = nullable(a.AssignmentID), nullable(a.WorkerID)
	}
	return json.Marshal(v)
}

// UnmarshalJSON reads the flat object of the API. What that object does not
// carry (the lease, the bookkeeping of losses) stays zero.
func (j *Job) UnmarshalJSON(b []byte) error {
	var v jobJSON
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*j = Job{
		ID: v.ID, Version: v.Version, State: v.State, Reason: value(v.Reason), Message: value(v.Message), Principal: value(v.Principal),
		Array: v.Array, Held: v.Held, Blocked: v.Blocked, CancelRequested: v.CancelRequested, Attempt: v.Attempt, Failures: v.Failures, Losses: v.Losses,
		Excluded: v.Excluded, Attempts: v.Attempts, ExitCode: v.ExitCode, Signal: value(v.Signal), Artifacts: v.Artifacts, Result: v.Result,
		CreatedAt: v.CreatedAt, EligibleAt: v.EligibleAt, StartedAt: v.StartedAt, FinishedAt: v.FinishedAt, RetryAt: v.RetryAt,
		Checkpoints: v.Checkpoints, CheckpointRefused: value(v.Refused),
	}
	if v.Spec != nil {
		j.Spec = *v.Spec
	}
	if v.Priority != j.Spec.Priority {
		j.PriorityNow = &v.Priority
	}
	return nil
}

// jobRecord is Job without its API form: what the journal stores.
type jobRecord Job

// EncodeRecord returns the journal's record of j, without the spec, which
// [Job.EncodeSpec] gives. Equal jobs have equal records, byte for byte.
func (j *Job) EncodeRecord() ([]byte, error) { return encodeRecord((*jobRecord)(j)) }

// EncodeSpec returns the journal's form of j.Spec.
func (j *Job) EncodeSpec() ([]byte, error) { return encodeSpec(&j.Spec) }

// DecodeJob rebuilds a job from what EncodeRecord and EncodeSpec returned.
func DecodeJob(record, spec []byte) (*Job, error) {
	j := new(Job)
	if err := json.Unmarshal(record, (*jobRecord)(j)); err != nil {
		return nil, err
	}
	return j, json.Unmarshal(spec, &j.Spec)
}

// Matches reports whether a worker with these labels may run the job, as far as
// Require goes.
func (s *JobSpec) Matches(labels map[string]string) bool { return carries(labels, s.Require) }

// Matches reports whether a worker with these labels carries those that are needed.
func (n *Need) Matches(labels map[string]string) bool { return carries(labels, n.Require) }

func carries(labels, require map[string]string) bool {
	for k, want := range require {
		if got, ok := labels[k]; !ok || got != want {
			return false
		}
	}
	return true
}

// RequireKey returns a canonical text of s.Require: equal requirements have
// equal keys, so that the scheduler can group jobs by them.
func (s *JobSpec) RequireKey() string {
	if len(s.Require) == 0 {
		return ""
	}
	b := make([]byte, 0, 64)
	for _, k := range slices.Sorted(maps.Keys(s.Require)) {
		b = append(b, k...)
		b = append(b, '=')
		b = append(b, s.Require[k]...)
		b = append(b, 0)
	}
	return string(b)
}
