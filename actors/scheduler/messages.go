package scheduler

import (
	"context"
	"log/slog"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

// Jobs is how the scheduler reaches the jobs' actors. Offer and Preempt must not
// block; Look is called outside the actor's turn.
type Jobs interface {
	// Offer offers a job a lease. The answer comes as an [Answer].
	Offer(id entropy.JobID, lease entropy.Assign, claim uint64, replyTo es.Ref)
	// Preempt asks a job to make room. What comes of it shows in its state.
	Preempt(id entropy.JobID, cmd entropy.Preempt)
	// Look returns a job as the journal has it.
	Look(ctx context.Context, id entropy.JobID) (*entropy.Job, error)
}

// Snapshot is what a scheduler starts from.
type Snapshot struct {
	Policy  *entropy.Policy
	Workers []*entropy.Worker
	// Each calls f with every job that is queued or has a lease.
	Each func(f func(*entropy.Job)) error
}

// Config configures the [Actor]. Every field is required.
type Config struct {
	Jobs Jobs
	// Load reads where things stand. It is called when the actor starts.
	Load     func() (Snapshot, error)
	LeaseTTL time.Duration
	Now      func() time.Time
	Logger   *slog.Logger
}

// Commit tells the scheduler what was committed, in commit order: jobs that have
// become queued, are no longer, or have got or lost a lease otherwise than by an
// offer; workers that have changed; the policy.
type Commit struct {
	Jobs    []*entropy.Job
	Workers []*entropy.Worker
	Policy  *entropy.Policy // nil: as it was
}

// Concerns reports whether the scheduler must be told of a change of a job. What
// an offer has led to it learns by the [Answer].
func Concerns(before, after *entropy.Job) bool {
	was, is := queued(before), queued(after)
	switch {
	case is:
		return !was || before.Priority() != after.Priority() || len(before.Excluded) != len(after.Excluded) || !before.EligibleAt.Equal(*after.EligibleAt)
	case was && after.State != entropy.Assigned:
		return true
	case before != nil && before.Lease != nil:
		return after.Lease == nil || after.Lease.AssignmentID != before.Lease.AssignmentID
	}
	return after.Lease != nil && after.State == entropy.Running // taken up again
}

func queued(j *entropy.Job) bool { return j != nil && j.State == entropy.Pending && !j.Held }

// Claim asks for up to Want assignments; the asker gets a [Granted] as soon as
// there is one, or when Wait has passed.
type Claim struct {
	Worker      entropy.WorkerID
	Incarnation uint64
	Seq         uint64
	Want        int
	Wait        time.Duration
	Idle        bool // the worker may get nothing now: only wait
}

// Granted is the answer to a [Claim].
type Granted struct{ Jobs []*entropy.Job }

// Withdraw ends the waiting claims of a worker with what they have.
type Withdraw struct{ Worker entropy.WorkerID }

// Depth asks how many jobs are queued; the answer is an int, or an error while
// the queue could not be loaded.
type Depth struct{}

// Explain asks what keeps a queued job from running; the answer is an [*Explained].
type Explain struct{ ID entropy.JobID }

// Explained is the answer to [Explain].
type Explained struct {
	Hurdles []entropy.Hurdle
	Never   bool // nothing that the fleet has could ever run it
}

// Answer is a job's answer to an offer: Err is nil when it took the lease. Job
// is the job now, nil if that is unknown.
type Answer struct {
	Claim uint64
	ID    entropy.JobID
	Job   *entropy.Job
	Err   error
}

type (
	// closeClaim ends a claim's wait.
	closeClaim struct{ number uint64 }
	// abandon ends a closed claim some of whose offers were never answered.
	abandon struct{ number uint64 }
	// reload reads everything anew.
	reload struct{}
	// look reads anew a job whose offer came to nothing that is known.
	look struct{ id entropy.JobID }
	// looked is what a look has found.
	looked struct {
		id  entropy.JobID
		job *entropy.Job
		err error
	}
	// round is the timer of reservations and preemptions.
	round struct{}
)

const (
	// answerWithin is how long a closed claim waits for the answers to its offers:
	// a job's actor may have crashed, the journal may be stuck.
	answerWithin = 10 * time.Second
	// reloadDelay and lookDelay keep a journal that cannot be read, or has no room,
	// from being asked in a tight loop.
	reloadDelay = time.Second
	lookDelay   = time.Second
	// roundInterval is how often reservations and preemptions are looked at.
	roundInterval = time.Second
)
