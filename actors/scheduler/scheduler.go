package scheduler

import (
	"log/slog"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

// Jobs is how the scheduler reaches the jobs' actors. It must not block.
type Jobs interface {
	// Offer offers a job a lease. The answer comes as an [Answer].
	Offer(id entropy.JobID, lease entropy.Assign, claim uint64, replyTo es.Ref)
}

// Config configures the [Actor]. Jobs, Load and Logger are required.
type Config struct {
	Jobs Jobs
	// Load calls f with every pending job. It is called when the actor starts.
	Load     func(f func(Ready)) error
	LeaseTTL time.Duration
	Logger   *slog.Logger
}

// Enqueue tells the scheduler of jobs that have become pending, in commit order.
type Enqueue struct{ Jobs []Ready }

// Claim asks for up to Want assignments; the asker gets a [Granted] as soon as
// there is one, or when Wait has passed.
type Claim struct {
	Worker      Worker
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

// Depth asks how many entries are queued; the answer is an int.
type Depth struct{}

// Answer is a job's answer to an offer: Err is nil when it took the lease. Job
// is the job now, nil if that is unknown.
type Answer struct {
	Claim uint64
	ID    entropy.JobID
	Job   *entropy.Job
	Err   error
}

// claim is a claim that has not been answered.
type claim struct {
	Claim
	number  uint64
	reply   es.Reply
	offered map[entropy.JobID]Ready // offers without an answer yet
	rank    map[entropy.JobID]int   // the order in which jobs were chosen
	got     []*entropy.Job
	closed  bool // takes no more offers
}

type closeClaim struct{ number uint64 }

// putBack returns entries to the queue whose jobs could not be assigned though
// they are pending: the journal had no room, say.
type putBack struct{ jobs []Ready }

// putBackDelay keeps a journal without room from being asked in a tight loop.
const putBackDelay = time.Second

// Actor owns the queue of pending jobs and the waiting claims.
type Actor struct {
	cfg     Config
	queue   *Queue
	claims  map[uint64]*claim
	waiting []*claim // in order of arrival; they have room and no offer pending
	last    uint64
}

// New returns the actor.
func New(cfg Config) *Actor { return &Actor{cfg: cfg} }

// Receive handles one message.
func (a *Actor) Receive(c *es.Context) {
	switch m := c.Message().(type) {
	case es.Started:
		a.start()
	case *Enqueue:
		for _, r := range m.Jobs {
			a.queue.Push(r)
		}
		a.match(c)
	case *Claim:
		a.onClaim(c, m)
	case *Answer:
		a.onAnswer(c, m)
	case closeClaim:
		if cl := a.claims[m.number]; cl != nil {
			a.close(cl)
		}
	case putBack:
		for _, r := range m.jobs {
			a.queue.Push(r)
		}
		a.match(c)
	case Withdraw:
		a.onWithdraw(m)
	case Depth:
		c.Reply(a.queue.Len(), nil)
	}
}

func (a *Actor) start() {
	a.queue, a.claims = NewQueue(), make(map[uint64]*claim)
	if err := a.cfg.Load(a.queue.Push); err != nil {
		a.cfg.Logger.Error("load queued jobs", "error", err)
		panic(err) // the supervisor tries again
	}
}

func (a *Actor) onClaim(c *es.Context, m *Claim) {
	a.last++
	cl := &claim{Claim: *m, number: a.last, reply: c.Defer(), offered: make(map[entropy.JobID]Ready), rank: make(map[entropy.JobID]int)}
	a.claims[cl.number] = cl
	c.After(m.Wait, closeClaim{cl.number})
	if !m.Idle {
		a.waiting = append(a.waiting, cl)
		a.match(c)
	}
}

// match offers queued jobs to the waiting claims, one claim after the other.
func (a *Actor) match(c *es.Context) {
	rest := a.waiting[:0]
	for _, cl := range a.waiting {
		if !cl.reply.Waiting() {
			delete(a.claims, cl.number) // it has no offers out, so nothing is lost
			continue
		}
		if !a.offer(c, cl) {
			rest = append(rest, cl)
		}
	}
	clear(a.waiting[len(rest):])
	a.waiting = rest
}

// offer offers jobs to a claim and reports whether any fitted.
func (a *Actor) offer(c *es.Context, cl *claim) bool {
	picked := a.queue.Pick(cl.Worker, cl.Want-len(cl.got))
	for _, r := range picked {
		a.cfg.Jobs.Offer(r.ID, entropy.Assign{AssignmentID: entropy.AssignmentID(entropy.NewID()), WorkerID: cl.Worker.ID,
			Incarnation: cl.Incarnation, ClaimSeq: cl.Seq, TTL: a.cfg.LeaseTTL}, cl.number, c.Self())
	}
	for _, r := range picked {
		cl.offered[r.ID], cl.rank[r.ID] = r, len(cl.rank)
	}
	return len(picked) > 0
}

func (a *Actor) onAnswer(c *es.Context, m *Answer) {
	cl := a.claims[m.Claim]
	if cl == nil {
		return // asked before a crash of this actor: the worker's silence releases it
	}
	entry := cl.offered[m.ID]
	delete(cl.offered, m.ID)
	if m.Err == nil {
		cl.got = append(cl.got, m.Job)
	} else {
		a.refused(c, m, entry)
	}
	if len(cl.offered) > 0 {
		return
	}
	if len(cl.got) > 0 || cl.closed {
		a.finish(cl)
		return
	}
	a.waiting = append(a.waiting, cl) // every offer was stale
	a.match(c)
}

// refused handles an offer that was not taken. A job that is no longer pending
// is none of the scheduler's business; one that still is must not be forgotten.
func (a *Actor) refused(c *es.Context, m *Answer, entry Ready) {
	conflict := entropy.ErrorCode(m.Err) == entropy.CodeConflict
	if conflict && (m.Job == nil || m.Job.State != entropy.Pending || m.Job.Held) {
		return
	}
	if !conflict {
		a.cfg.Logger.Warn("offer failed", "job", m.ID, "error", m.Err)
	}
	if m.Job != nil {
		entry.Excluded = m.Job.Excluded
	}
	c.After(putBackDelay, putBack{[]Ready{entry}})
}

// finish answers a claim. Answering twice is impossible: it leaves the map.
func (a *Actor) finish(cl *claim) {
	delete(a.claims, cl.number)
	slices.SortFunc(cl.got, func(x, y *entropy.Job) int { return cl.rank[x.ID] - cl.rank[y.ID] })
	cl.reply.Send(&Granted{Jobs: cl.got}, nil)
}

func (a *Actor) onWithdraw(m Withdraw) {
	for _, cl := range a.claims {
		if cl.Worker.ID == m.Worker {
			a.close(cl)
		}
	}
}

// close answers a claim with what it has, once its offers are answered.
func (a *Actor) close(cl *claim) {
	cl.closed = true
	for i, w := range a.waiting {
		if w == cl {
			a.waiting = append(a.waiting[:i], a.waiting[i+1:]...)
			break
		}
	}
	if len(cl.offered) == 0 {
		a.finish(cl)
	}
}
