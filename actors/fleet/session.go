package fleet

import (
	"context"
	"log/slog"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

// Journal is what a session needs of the journal.
type Journal interface {
	Append(ctx context.Context, changes ...entropy.Change) (entropy.Position, error)
}

// Jobs is how a session reaches the jobs. Only the methods that return a value
// block; they are called outside the actor's turn.
type Jobs interface {
	// Renew tells a job that a heartbeat named its assignment. What is not as it
	// should be comes back as a [Verdict].
	Renew(h entropy.Held, w *entropy.Worker, at time.Duration, replyTo es.Ref)
	// Reattach decides on an assignment that a worker still runs.
	Reattach(ctx context.Context, h entropy.Held, w *entropy.Worker) (entropy.Verdict, entropy.Reason, error)
	// EndLease ends an assignment that its worker no longer has.
	EndLease(ctx context.Context, id entropy.JobID, end entropy.EndLease) error
	// Leased returns the assignments that a worker holds by the journal.
	Leased(ctx context.Context, w entropy.WorkerID) ([]entropy.Held, error)
	// Live returns the job if the assignment is its live lease, else nil.
	Live(ctx context.Context, h entropy.Held) (*entropy.Job, error)
	// LastClaim returns the newest claim of a worker by the journal.
	LastClaim(ctx context.Context, w entropy.WorkerID) (incarnation, seq uint64, items []entropy.Held, err error)
}

// Claims is how a session asks the scheduler. Claim blocks and is called outside
// the actor's turn; Withdraw does not.
type Claims interface {
	Claim(ctx context.Context, w *entropy.Worker, r entropy.ClaimRequest) ([]*entropy.Job, error)
	Withdraw(w entropy.WorkerID)
}

// Config is what all sessions share. Every field is required.
type Config struct {
	Registry  *Registry
	Journal   Journal
	Jobs      Jobs
	Claims    Claims
	Listening func() time.Duration
	Now       func() time.Time
	LeaseTTL  time.Duration
	Heartbeat time.Duration
	Epoch     uint64
	ClusterID string
	Logger    *slog.Logger
}

// Verdict tells a session what came of an assignment that a heartbeat named.
type Verdict struct {
	AssignmentID entropy.AssignmentID
	Verdict      entropy.Verdict
	Stop         entropy.Reason
}

// The questions a session answers. Their answers are those of the methods of
// entropy.WorkerService and entropy.Service with the same names.
type (
	// Register introduces an agent process.
	Register struct{ entropy.Registration }
	// Claim asks for work.
	Claim struct{ entropy.ClaimRequest }
	// Beat is a heartbeat.
	Beat struct{ entropy.Heartbeat }
	// Poll waits for directives.
	Poll struct{ entropy.DirectivesRequest }
	// Leave says goodbye.
	Leave struct{ entropy.LeaveRequest }
	// SetMode drains, resumes or quarantines.
	SetMode struct {
		Mode      entropy.WorkerMode
		Op        entropy.Operation
		Operation *entropy.OperationRecord
	}
	// Judge says that a job ended well at a worker on probation, or not. It is told.
	Judge struct {
		Good bool
		Why  string
	}
	// Check asks whether an incarnation is the newest. The answer is an error or nil.
	Check struct{ Incarnation uint64 }
)

// Session is the actor of one worker.
type Session struct {
	cfg    *Config
	id     entropy.WorkerID
	worker *entropy.Worker // shared once set: nobody may change it

	busy   bool      // an append is under way
	queued []waiting // what must wait for it

	beatSeq uint64
	heard   time.Duration // listening time of the last sign of life
	met     bool          // heard since the control plane started

	claim *openClaim

	directives directives
}

// waiting is a message set aside, with the one who waits for its answer.
type waiting struct {
	msg   any
	reply es.Reply
}

// NewSession returns the actor of a worker. W is its state by the journal, or a
// zero state with only the ID; heard is when it was last heard by listening time.
func NewSession(cfg *Config, w *entropy.Worker, heard time.Duration) *Session {
	return &Session{cfg: cfg, id: w.ID, worker: w, heard: heard, directives: newDirectives()}
}

// checkSilence is the timer by which a silent worker is noticed.
type checkSilence struct{}

// Receive handles one message.
func (s *Session) Receive(c *es.Context) {
	switch m := c.Message().(type) {
	case es.Started:
		if w, ok := s.cfg.Registry.Info(s.id); ok && m.Again {
			s.worker, s.heard = &w.Worker, s.cfg.Listening() // when it was heard is forgotten
		}
		s.cfg.Registry.attach(s.id, c.Self())
		if s.worker.State != "" {
			s.cfg.Registry.set(s.worker)
		}
		s.directives.drain = !s.worker.Schedulable() && s.worker.State == entropy.WorkerAlive
		c.After(s.cfg.Heartbeat/2, checkSilence{})
	case *Beat:
		c.Reply(s.onBeat(c, &m.Heartbeat))
	case *Poll:
		s.onPoll(c, m)
	case *Claim:
		s.onClaim(c, m)
	case *Check:
		err := s.check(m.Incarnation)
		if err == nil { // an ACK renews its lease: what a restart knows must not be older
			s.cfg.Registry.greet(s.id, s.cfg.Listening())
		}
		c.Reply(nil, err)
	case stopAssignment:
		s.directives.add(m.StopDirective)
	case *Verdict:
		s.onVerdict(m)
	case *Register, *Leave, *SetMode, *Judge:
		s.mutate(c, waiting{m, c.Defer()})
	case *appended:
		s.onAppended(c, m)
	case *claimed:
		s.onClaimed(m)
	case pollOver:
		s.directives.over(m)
	case checkSilence:
		s.onSilence(c)
	case witnessed:
		s.weigh(c)
	}
}

func (s *Session) check(incarnation uint64) error {
	if s.worker.State == "" || incarnation != s.worker.Incarnation {
		return entropy.Errorf(entropy.CodeStale, "incarnation %d of worker %s is not the newest (%d)", incarnation, s.id, s.worker.Incarnation).
			WithHint("register again")
	}
	return nil
}

func (s *Session) onBeat(c *es.Context, h *entropy.Heartbeat) (*entropy.HeartbeatReply, error) {
	if err := s.check(h.Incarnation); err != nil {
		return nil, err
	}
	if h.Seq > s.beatSeq { // else a repeat, or overtaken by a newer one
		s.beatSeq, s.heard, s.met = h.Seq, s.cfg.Listening(), true
		s.cfg.Registry.beat(s.id, h, s.heard, s.cfg.Now())
		for _, held := range h.Held {
			s.cfg.Jobs.Renew(held, s.worker, s.heard, c.Self())
		}
		s.directives.prune(h.Held)
		if s.worker.State == entropy.WorkerLost {
			s.mutate(c, waiting{mark{entropy.WorkerReturned, ""}, es.Reply{}})
		}
	}
	return &entropy.HeartbeatReply{Epoch: s.cfg.Epoch, Directives: s.directives.now()}, nil
}

func (s *Session) onVerdict(m *Verdict) {
	switch {
	case m.Stop != "":
		s.directives.add(entropy.StopDirective{AssignmentID: m.AssignmentID, Reason: m.Stop})
	case m.Verdict == entropy.VerdictStop:
		s.directives.add(entropy.StopDirective{AssignmentID: m.AssignmentID, Reason: entropy.ReasonSuperseded})
	}
}

func (s *Session) onSilence(c *es.Context) {
	c.After(s.cfg.Heartbeat/2, checkSilence{})
	if s.worker.State == entropy.WorkerAlive && s.cfg.Listening()-s.heard > s.cfg.LeaseTTL {
		s.mutate(c, waiting{mark{entropy.WorkerWentLost, "no heartbeat for " + s.cfg.LeaseTTL.String()}, es.Reply{}})
		return
	}
	s.weigh(c)
}
