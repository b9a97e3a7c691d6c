package job

import (
	"context"
	"log/slog"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

// Journal is what the actor needs of the journal.
type Journal interface {
	Append(ctx context.Context, changes ...entropy.Change) (entropy.Position, error)
	Job(ctx context.Context, id entropy.JobID) (*entropy.Job, error)
}

// Fleet is what the actor needs to know of the workers. Its methods do not block.
type Fleet interface {
	// Eligible returns how many workers could run the spec now.
	Eligible(spec *entropy.JobSpec) int
	// NobodyLeft reports whether every known worker that could run the job is
	// excluded from it, counting also as excluded.
	NobodyLeft(j *entropy.Job, also entropy.WorkerID) bool
	// Stop asks a worker to end an assignment.
	Stop(w entropy.WorkerID, d entropy.StopDirective)
}

// Retries is how the actor asks for a retry slot. Its methods do not block.
type Retries interface {
	// RetrySlot grants a slot to a job whose backoff is over. If there is none the
	// job is woken when there is.
	RetrySlot(j *entropy.Job) bool
}

// Config is what all job actors share. Every field is required.
type Config struct {
	Journal   Journal
	Fleet     Fleet
	Retries   Retries
	Now       func() time.Time
	Settled   func() bool          // whether Now may be trusted by what names a time of day (H-12)
	Listening func() time.Duration // see fleet.Listening
	TTL       time.Duration        // of a reattached lease
	Logger    *slog.Logger
}

// postponed is how long an expiry waits that could not be written to the journal.
const postponed = 2 * time.Second

// Actor is the actor of one job.
type Actor struct {
	cfg *Config
	id  entropy.JobID

	job *entropy.Job // nil: not loaded

	// Of the live lease.
	assignment entropy.AssignmentID
	renewedAt  time.Duration // listening time
	ackBy      time.Duration // likewise; 0 once ACKed
	timer      *time.Timer

	unsure bool // the state could not be read or its last change is unknown: stay, and look again
}

// New returns the actor of a job; it loads its state at its first message.
func New(cfg *Config, id entropy.JobID) *Actor { return &Actor{cfg: cfg, id: id} }

// tick is the lease timer's message.
type tick struct{ assignment entropy.AssignmentID }

// lookAgain is the message of the timer of an unsure actor.
type lookAgain struct{}

// Receive handles one message.
func (a *Actor) Receive(c *es.Context) {
	switch m := c.Message().(type) {
	case *Command:
		c.Reply(a.onCommand(c, m))
	case *Offer:
		a.onOffer(c, m)
	case *Renew:
		a.onRenew(c, m)
	case *MayAccept:
		c.Reply(nil, a.onMayAccept(c, m))
	case *Revive:
		a.onRevive(c, m)
	case tick:
		a.onTick(c, m)
	case lookAgain:
		a.unsure = false
		_ = a.reload(c) // on an error it looks again
	case es.Started:
		if m.Again {
			a.onRevive(c, &Revive{RenewedAt: a.cfg.Listening()})
		}
	case es.Stopped:
		a.stopTimer()
	}
}

// Idle reports that a job without a lease has nothing to wait for; an ended one
// need not even linger. One whose state is unknown may hold a lease, and stays.
func (a *Actor) Idle() (idle, now bool) {
	if a.job == nil {
		gone := !a.unsure && a.assignment == ""
		return gone, gone
	}
	return a.job.Lease == nil && !a.unsure, a.job.State.Terminal()
}

func (a *Actor) onCommand(c *es.Context, m *Command) (*Outcome, error) {
	if !m.Fresh && a.job != nil && a.job.State == "" {
		a.job = nil // it may have been made in a group since, without this actor
	}
	if m.Fresh && a.job == nil {
		a.job = &entropy.Job{ID: a.id}
	}
	d, err := a.execute(c, m.Cmd, m.Operation)
	if err != nil {
		return nil, err
	}
	return &Outcome{Job: a.job, Decision: d}, nil
}

// execute is the loop of the fabric: load, decide, append, apply. It returns when
// the decision is durable.
func (a *Actor) execute(c *es.Context, cmd entropy.JobCommand, op *entropy.OperationRecord) (entropy.Decision, error) {
	for again := false; ; again = true {
		if err := a.reload(c); err != nil {
			return entropy.Decision{}, err
		}
		d, err := a.job.Decide(a.informed(cmd), a.cfg.Now())
		if err != nil {
			return d, err
		}
		if err = a.commit(d.Events, op); err == nil {
			a.follow(c, &d)
			return d, nil
		}
		// Another writer, or a job that was thought new: look again, once.
		if entropy.ErrorCode(err) != entropy.CodeConflict || again {
			if a.job == nil {
				_ = a.reload(c) // what is on record decides whether a timer is due
			}
			return entropy.Decision{}, err
		}
	}
}

// informed completes a command with what only the fleet knows.
func (a *Actor) informed(cmd entropy.JobCommand) entropy.JobCommand {
	fleet := a.cfg.Fleet
	switch m := cmd.(type) {
	case entropy.EndLease:
		m.Eligible, m.NobodyLeft = fleet.Eligible(&a.job.Spec), a.nobodyLeft()
		return m
	case entropy.Complete:
		if m.Outcome != entropy.OutcomeStopped && m.Reason != entropy.ReasonWorkerError {
			return cmd // it cannot count as a loss
		}
		m.Eligible, m.NobodyLeft = fleet.Eligible(&a.job.Spec), fleet.NobodyLeft(a.job, m.WorkerID) // a late one holds no lease
		return m
	case entropy.Wake:
		m.NoRetrySlot = a.job.State == entropy.Retrying && !a.job.WakeAt().After(a.cfg.Now()) && !a.cfg.Retries.RetrySlot(a.job)
		m.Unsettled = !a.cfg.Settled()
		return m
	case entropy.Release:
		m.NobodyLeft = m.Cause == entropy.CauseRefused && a.nobodyLeft()
		return m
	}
	return cmd
}

// nobodyLeft reports whether nobody could run the job if the worker that has it
// now were excluded.
func (a *Actor) nobodyLeft() bool {
	return a.job.Lease != nil && a.cfg.Fleet.NobodyLeft(a.job, a.job.Lease.WorkerID)
}

// reload loads the state if it is not there, and brings the timer in line with
// it. On an error the actor stays in memory and looks again by itself: the job
// may hold a lease, and nobody else would see it end.
func (a *Actor) reload(c *es.Context) error {
	if a.job != nil {
		return nil
	}
	if err := a.load(); err != nil {
		if !a.unsure {
			a.unsure = true
			c.After(postponed, lookAgain{})
		}
		return err
	}
	a.unsure = false
	a.follow(c, &entropy.Decision{})
	return nil
}

func (a *Actor) load() error {
	j, err := a.cfg.Journal.Job(context.Background(), a.id)
	switch {
	case err == nil:
		a.job = j
	case entropy.ErrorCode(err) == entropy.CodeNotFound:
		a.job = &entropy.Job{ID: a.id}
	default:
		return err
	}
	return nil
}

// commit makes events durable and then applies them. On an error after which
// something else may be on record the state is dropped, so that it is read anew.
func (a *Actor) commit(events []entropy.JobEvent, op *entropy.OperationRecord) error {
	if len(events) == 0 {
		return a.note(op)
	}
	next, err := a.job.Next(events)
	if err != nil {
		panic(err) // Decide must never emit what Apply refuses
	}
	ch := entropy.Change{Entity: entropy.Entity(entropy.KindJob, string(a.id)), Expected: a.job.Version,
		Before: a.job, State: next, Operation: op, Events: make([]entropy.Event, len(events))}
	for i := range events {
		if ch.Events[i], err = events[i].Envelope(); err != nil {
			return err
		}
	}
	if _, err = a.cfg.Journal.Append(context.Background(), ch); err != nil {
		switch entropy.ErrorCode(err) {
		case entropy.CodeDiskFull, entropy.CodeOverloaded, entropy.CodeUnavailable: // nothing was recorded
		default:
			a.job = nil
		}
		return err
	}
	a.job = next
	return nil
}

// note records an operation that changed nothing, so that a duplicate which comes
// late, when it would change something, is known for what it is (J-5).
func (a *Actor) note(op *entropy.OperationRecord) error {
	if op == nil {
		return nil
	}
	_, err := a.cfg.Journal.Append(context.Background(), entropy.Change{Entity: op.Entity, Expected: a.job.Version, Operation: op})
	return err
}

// follow brings the timer in line with the lease and passes on a stop.
func (a *Actor) follow(c *es.Context, d *entropy.Decision) {
	l := a.job.Lease
	switch {
	case l == nil:
		a.stopTimer()
		a.assignment = ""
	case l.AssignmentID != a.assignment:
		a.assignment, a.renewedAt = l.AssignmentID, a.cfg.Listening()
		a.ackBy = 0
		if !l.Acked {
			a.ackBy = a.renewedAt + a.ackTimeout()
		}
		a.arm(c)
	case l.Acked && a.ackBy != 0:
		// The ACK renews the lease. The timer stays: it looks again when it fires,
		// and most jobs have ended by then.
		a.ackBy, a.renewedAt = 0, a.cfg.Listening()
		if a.timer == nil {
			a.arm(c)
		}
	}
	if d.Stop != "" && l != nil {
		a.cfg.Fleet.Stop(l.WorkerID, entropy.StopDirective{AssignmentID: l.AssignmentID, Reason: d.Stop})
	}
}

func (a *Actor) ackTimeout() time.Duration { return a.job.Spec.AckTimeoutOrDefault() }
