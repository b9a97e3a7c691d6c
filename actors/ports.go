package actors

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/action"
	"github.com/entropy-fabric/entropy/actors/es"
)

// Journal is what the system needs of the journal. Its methods are safe for
// concurrent use.
type Journal interface {
	// Append makes all changes durable or none, and returns after that.
	Append(ctx context.Context, changes ...entropy.Change) (entropy.Position, error)
	// Tap registers f, called with every committed batch in commit order, before
	// the appends of the batch return. F must not block.
	Tap(f func(batch []entropy.Change))

	Job(ctx context.Context, id entropy.JobID) (*entropy.Job, error)
	Jobs(ctx context.Context, f entropy.JobFilter) (entropy.JobPage, error)
	Events(ctx context.Context, f entropy.EventFilter) (entropy.EventPage, error)
	Counts(ctx context.Context) (map[entropy.State]int64, error)
	Workers(ctx context.Context) ([]*entropy.Worker, error)
	// Retried returns how many jobs take up a retry slot, by queue.
	Retried(ctx context.Context) (map[string]int, error)
	// Document returns a document, or CodeNotFound.
	Document(ctx context.Context, entity string) (entropy.Document, error)
	// Documents calls f with every document of a kind, by ID.
	Documents(ctx context.Context, kind string, f func(entropy.Document) error) error
	// Actions lists actions, the newest first, whole.
	Actions(ctx context.Context, f entropy.ActionFilter) (entropy.ActionPage, error)
	// Leases returns the assignments that hold a lease at a worker.
	Leases(ctx context.Context, w entropy.WorkerID) ([]entropy.Held, error)
	// LastClaim returns a worker's newest claim and the set it was granted.
	LastClaim(ctx context.Context, w entropy.WorkerID) (incarnation, seq uint64, items []entropy.Held, err error)
	// Operation returns the record of a carried-out operation, or nil.
	Operation(ctx context.Context, principal, id string) (*entropy.OperationRecord, error)

	// EachQueued calls f for every pending job. Only the fields that the scheduler
	// needs are set: ID, EligibleAt, Excluded, and in Spec Priority, Require, Handler.
	EachQueued(ctx context.Context, f func(*entropy.Job) error) error
	// EachLeased calls f for every job that holds a lease.
	EachLeased(ctx context.Context, f func(*entropy.Job) error) error
	// EachWake calls f for every job whose WakeAt is set.
	EachWake(ctx context.Context, f func(id entropy.JobID, at time.Time) error) error

	// CountJobs returns how many jobs a filter selects, whatever its Limit and Cursor.
	CountJobs(ctx context.Context, f entropy.JobFilter) (int64, error)
	// States returns the state of each of the jobs that exist.
	States(ctx context.Context, ids []entropy.JobID) (map[entropy.JobID]entropy.State, error)
	// Members returns how the members of an array stand; the zero tally without any.
	Members(ctx context.Context, array entropy.JobID) (entropy.ArrayTally, error)
	// Dependents returns the jobs whose specs name a job or an array in After, the
	// oldest first, at most limit.
	Dependents(ctx context.Context, id entropy.JobID, limit int) ([]entropy.JobID, error)
	// EachBlocked calls f for every job that waits for others: its ID and Spec are set.
	EachBlocked(ctx context.Context, f func(*entropy.Job) error) error
	// EachOpenArray calls f for every array with members that have not ended, with
	// their number.
	EachOpenArray(ctx context.Context, f func(id entropy.JobID, open int) error) error

	SaveLiveness(ctx context.Context, l Liveness) error
	LoadLiveness(ctx context.Context) (Liveness, error)

	ClusterID() string
	Position() entropy.Position
	ReadOnly() bool
	// Fatal is closed when the journal can no longer be trusted: stop and recover.
	Fatal() <-chan struct{}
}

// Liveness is what must survive a restart about who was heard when.
type Liveness struct {
	Listening time.Duration                      // see fleet.Listening
	Heard     map[entropy.WorkerID]time.Duration // in listening time
}

// Store keeps inputs, artifacts and logs. Its methods are safe for concurrent use.
type Store interface {
	Put(ctx context.Context, sha256 string, size int64, r io.Reader) error
	Missing(hashes []string) []string
	Open(sha256 string) (io.ReadSeekCloser, int64, error)
	Stage(ctx context.Context, a entropy.AssignmentID, sha256 string, size, offset int64, r io.Reader) (int64, error)
	// Publish makes staged content permanent and returns the hashes it does not have.
	Publish(ctx context.Context, a entropy.AssignmentID, arts []entropy.Artifact) (missing []string, err error)
	// Discard sets staged leftovers aside as evidence.
	Discard(a entropy.AssignmentID)
	AppendLog(a entropy.AssignmentID, stream string, offset int64, p []byte) (int64, error)
	ReadLog(a entropy.AssignmentID, stream string, offset int64, limit int) (data []byte, next int64, err error)
	LogSize(a entropy.AssignmentID, stream string) int64
}

// Config configures a [System]. Journal and Store are required.
type Config struct {
	Journal Journal
	Store   Store
	// Checkpoints keeps the checkpoints of jobs. Nil means that none are saved.
	Checkpoints CheckpointStore
	// Orders issues the orders of actions to executors. Nil means that there are no
	// executors: actions wait until they expire.
	Orders action.Orders
	// MayExecute reports whether an executor may report on actions of a command: it is
	// called with the name of the credential. Nil: who reports may. It must not block.
	MayExecute func(executor, command string) bool

	// MaxActions is how many actions may be asked for that have not ended; more are
	// CodeOverloaded, so that they wait where they come from. 0 means 100,000.
	MaxActions int

	// LeaseTTL is how long a worker may be silent before its jobs are lost. 0
	// means 15 s.
	LeaseTTL time.Duration
	// Heartbeat is the interval at which workers report. 0 means a third of LeaseTTL.
	Heartbeat time.Duration
	// MaxResident is how many idle jobs may stay in memory. 0 means 20,000.
	MaxResident int

	// Shards is how many parts, each with a lock, the directory of the jobs' actors
	// has. 0 means 32.
	Shards int
	// Conductor makes a run repeatable, for the seeded harness. Nil means none.
	Conductor es.Conductor

	Version string
	Now     func() time.Time // nil means time.Now
	Logger  *slog.Logger     // nil discards
	// Alarms adds what is wrong with other parts of the control plane to the status; nil:
	// nothing does.
	Alarms func(ctx context.Context) []string
}

// DefaultLeaseTTL is the lease TTL when none is configured.
const DefaultLeaseTTL = 15 * time.Second

func (c Config) withDefaults() Config {
	if c.LeaseTTL == 0 {
		c.LeaseTTL = DefaultLeaseTTL
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = c.LeaseTTL / 3
	}
	if c.MaxActions == 0 {
		c.MaxActions = 100_000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.Journal == nil || c.Store == nil:
		return entropy.Errorf(entropy.CodeInvalid, "actors: Journal and Store are required")
	case c.LeaseTTL < 500*time.Millisecond || c.LeaseTTL > 24*time.Hour:
		return entropy.Errorf(entropy.CodeInvalid, "lease TTL %s is not in 500ms to 24h", c.LeaseTTL)
	case c.Heartbeat <= 0 || 2*c.Heartbeat > c.LeaseTTL:
		return entropy.Errorf(entropy.CodeInvalid, "heartbeat interval %s must be at most half of the lease TTL %s", c.Heartbeat, c.LeaseTTL).
			WithHint("one lost heartbeat must not cost a lease")
	}
	return nil
}
