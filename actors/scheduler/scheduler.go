package scheduler

import (
	"log/slog"
	"math/rand/v2"
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
	// Load calls f with every pending job. It is called when the actor starts, and
	// when much of what is queued has ended.
	Load     func(f func(Ready)) error
	LeaseTTL time.Duration
	Logger   *slog.Logger
}

// Enqueue tells the scheduler of jobs that have become pending, in commit order,
// and of how many have ended or gone back to their worker while pending.
type Enqueue struct {
	Jobs []Ready
	Left int
}

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

// Depth asks how many entries are queued; the answer is an int, or an error while
// the queue could not be loaded.
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

// abandon ends a closed claim some of whose offers were never answered.
type abandon struct{ number uint64 }

// answerWithin is how long a closed claim waits for the answers to its offers: a
// job's actor may have crashed, the journal may be stuck.
const answerWithin = 10 * time.Second

// reload loads the queue anew.
type reload struct{}

// reloadDelay keeps a journal that cannot be read from being asked in a tight loop.
const reloadDelay = time.Second

// minStale is how many entries must be stale before the queue is loaded anew.
const minStale = 1024

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
	stale   int   // about how many entries are of jobs that are no longer pending
	broken  error // why the queue is not loaded
}

// New returns the actor. It numbers its claims from a random start, so that an
// answer to an offer of before a crash is not taken for one of after it.
func New(cfg Config) *Actor {
	return &Actor{cfg: cfg, claims: make(map[uint64]*claim), last: rand.Uint64()}
}

// Receive handles one message.
func (a *Actor) Receive(c *es.Context) {
	switch m := c.Message().(type) {
	case es.Started, reload:
		a.load(c)
	case *Enqueue:
		a.push(m.Jobs)
		a.stale += m.Left
		if a.stale >= minStale && 2*a.stale > a.queue.Len() {
			a.load(c)
		}
		a.match(c)
	case *Claim:
		a.onClaim(c, m)
	case *Answer:
		a.onAnswer(c, m)
	case closeClaim:
		if cl := a.claims[m.number]; cl != nil {
			a.close(c, cl)
		}
	case abandon:
		if cl := a.claims[m.number]; cl != nil {
			a.abandon(cl)
			a.match(c)
		}
	case putBack:
		a.push(m.jobs)
		a.match(c)
	case Withdraw:
		a.onWithdraw(c, m)
	case Depth:
		c.Reply(a.queue.Len(), a.broken)
	}
}

// load fills the queue from the journal. What is on its way to this actor, or
// offered, may be in it twice after that: a hint too many does no harm.
func (a *Actor) load(c *es.Context) {
	a.queue, a.stale = NewQueue(), 0
	if a.broken = a.cfg.Load(a.queue.Push); a.broken != nil {
		a.cfg.Logger.Error("load queued jobs", "error", a.broken)
		c.After(reloadDelay, reload{})
		return
	}
	a.match(c)
}

func (a *Actor) push(jobs []Ready) {
	for _, r := range jobs {
		a.queue.Push(r)
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
	if a.queue.Len() == 0 {
		return
	}
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
	entry, ok := cl.offered[m.ID]
	if !ok {
		return // two entries of one job were offered, and the other answer was first
	}
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
	if conflict && m.Job != nil && (m.Job.State != entropy.Pending || m.Job.Held) {
		a.stale = max(a.stale-1, 0)
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

func (a *Actor) onWithdraw(c *es.Context, m Withdraw) {
	for _, cl := range a.claims {
		if cl.Worker.ID == m.Worker {
			a.close(c, cl)
		}
	}
}

// abandon answers a claim with an error, since it is not known what it got: the
// journal knows what a repeat should get. The jobs may still be pending.
func (a *Actor) abandon(cl *claim) {
	delete(a.claims, cl.number)
	for _, r := range cl.offered {
		a.queue.Push(r)
	}
	cl.reply.Send(nil, entropy.Errorf(entropy.CodeUnknown, "%d jobs did not answer in time whether they were assigned", len(cl.offered)).
		WithHint("repeat the claim with the same claim_seq"))
}

// close answers a claim with what it has, once its offers are answered.
func (a *Actor) close(c *es.Context, cl *claim) {
	if cl.closed {
		return
	}
	cl.closed = true
	for i, w := range a.waiting {
		if w == cl {
			a.waiting = append(a.waiting[:i], a.waiting[i+1:]...)
			break
		}
	}
	if len(cl.offered) == 0 {
		a.finish(cl)
		return
	}
	c.After(answerWithin, abandon{cl.number})
}
