package sim

import (
	"strconv"
	"time"

	"github.com/entropy-fabric/entropy"
)

// saveInterval is how often the control plane saves who was heard when.
const saveInterval = 500 * time.Millisecond

// control is one life of the control plane's process, from its start to its crash.
type control struct {
	w           *world
	dead        bool
	pausedUntil time.Duration
	journal     journal
	clock       clock
	planner     Planner

	jobs     map[entropy.JobID]*actor
	order    []*actor // oldest first
	sessions []*session
	waiting  map[entropy.JobID][]entropy.JobID // by the job that they wait for
	calls    []*call                           // not yet answered
	doing    map[string]bool                   // operations
	asking   []*actor                          // for a place under the limit of retries, in order

	listenBase time.Duration // listening time at listenFrom
	listenFrom time.Duration
	reboots    map[entropy.WorkerID]time.Duration
	matching   bool // a match is due
	ticks      int
}

// actor is one job's place in the control plane: it decides one command at a time.
type actor struct {
	id       entropy.JobID
	job      *entropy.Job // as committed
	busy     bool         // an append is under way
	queue    []func()
	granting bool // a lease is being granted

	assignment entropy.AssignmentID
	renewedAt  time.Duration // listening time
	ackBy      time.Duration // 0 once ACKed
	leaseTimer uint64
	wakeTimer  uint64
	wakeAt     time.Time
	waking     bool      // it is being woken
	wokenFor   time.Time // what had come when it was
}

// startControl starts the process: it recovers, sweeps, and then serves.
func (w *world) startControl() {
	c := &control{w: w, jobs: make(map[entropy.JobID]*actor), reboots: make(map[entropy.WorkerID]time.Duration),
		waiting: make(map[entropy.JobID][]entropy.JobID), doing: make(map[string]bool), listenBase: w.disk.listening, listenFrom: w.now}
	c.journal.c = c
	for _, wk := range w.workers {
		c.sessions = append(c.sessions, newSession(c, wk.id))
	}
	w.ctl = c
	w.check.listens(true)
	w.happens('s', "control")
	w.note("control starts with %d events", w.disk.seq)
	c.startClock()
	c.recover()
	c.every(saveInterval, c.save)
	c.every(w.shape.heartbeat/2, c.tick)
}

// recover rebuilds every state from the disk and arms every timer, before any
// request is served.
func (c *control) recover() {
	if c.w.mutant(TornRecovery) {
		c.w.disk.tear()
	}
	if d := &c.w.disk; c.w.mutant(SeqReused) && d.seq > 0 {
		d.seq--
	}
	for _, entity := range c.w.disk.order {
		h := c.w.disk.heads[entity]
		switch kind, id := entropy.SplitEntity(entity); kind {
		case entropy.KindWorker:
			s := c.session(entropy.WorkerID(id))
			s.worker = h.recoverWorker()
			s.heard = c.heardBefore(s.id)
		case entropy.KindJob:
			a := c.actor(entropy.JobID(id))
			a.job = h.recoverJob()
		}
	}
	c.w.check.recovered(c)
	c.newPlanner()
	for _, a := range c.order {
		if c.w.mutant(WakeForgotten) {
			a.wakeAt = a.job.WakeAt()
		}
		c.follow(a, &entropy.Decision{})
		c.watch(a)
		if l := a.job.Lease; l != nil {
			a.renewedAt = c.heardBefore(l.WorkerID)
			c.arm(a)
		}
	}
	for _, a := range c.order {
		c.settleSoon(a)
	}
}

func (h *head) recoverJob() *entropy.Job {
	if h.record == nil {
		return h.job.Clone()
	}
	return must(entropy.DecodeJob(h.record, h.spec))
}

func (h *head) recoverWorker() *entropy.Worker {
	if h.record == nil {
		return h.worker.Clone()
	}
	return must(entropy.DecodeWorker(h.record))
}

// heardBefore returns the latest listening time at which a worker can have been
// heard before the restart: its last saved heartbeat, and those that may have
// followed it unsaved; see onHeard.
func (c *control) heardBefore(id entropy.WorkerID) time.Duration {
	if c.w.mutant(RestartForgets) {
		return c.w.disk.heard[id]
	}
	return c.w.disk.heard[id] + c.w.shape.heartbeat + saveInterval
}

// crash ends the process.
func (c *control) crash() {
	c.journal.crash()
	c.dead = true
	c.w.ctl = nil
	c.w.check.listens(false)
	c.w.happens('x', "control")
	c.w.note("control crashes")
}

// pause stops the process for d, as SIGSTOP does. What it is sent waits.
func (c *control) pause(d time.Duration) {
	c.pausedUntil = c.w.now + d
	c.w.check.listens(false)
	c.w.tally[ControlPaused]++
	c.w.at(c.pausedUntil, func() {
		if c.dead {
			return
		}
		if !c.w.mutant(ListeningIgnored) {
			c.listenFrom += d // a gap this long does not count
		}
		c.w.check.listens(true)
		c.w.note("control goes on")
	})
}

// guard returns f as this process would run it: not at all once it is dead, and
// not while it is paused.
func (c *control) guard(f func()) func() {
	var g func()
	g = func() {
		switch {
		case c.dead:
		case c.w.now < c.pausedUntil:
			c.w.at(c.pausedUntil, g)
		default:
			f()
		}
	}
	return g
}

func (c *control) after(d time.Duration, f func()) { c.w.after(d, c.guard(f)) }

func (c *control) every(d time.Duration, f func()) {
	c.after(d, func() {
		f()
		c.every(d, f)
	})
}

// tick does what is done every half heartbeat.
func (c *control) tick() {
	c.ticks++
	c.watchClock()
	c.lookForSilence()
	c.planner.Reserve(c.now())
	c.wantMatch()
	c.w.check.advances(c)
}

// listening returns the time in which the control plane, over all its lives,
// was running and able to hear.
func (c *control) listening() time.Duration {
	if c.w.mutant(ListeningIgnored) {
		return c.w.now
	}
	return c.listenBase + c.w.now - c.listenFrom
}

func (c *control) save() {
	if c.w.now < c.w.disk.fullUntil {
		return
	}
	c.w.disk.listening = c.listening()
	for _, s := range c.sessions {
		if s.met {
			c.w.disk.heard[s.id] = s.heard
		}
	}
}

func (c *control) actor(id entropy.JobID) *actor {
	a := c.jobs[id]
	if a == nil {
		a = &actor{id: id, job: &entropy.Job{ID: id}}
		c.jobs[id] = a
		c.order = append(c.order, a)
	}
	return a
}

func (c *control) session(id entropy.WorkerID) *session {
	for _, s := range c.sessions {
		if s.id == id {
			return s
		}
	}
	return nil
}

// informed completes a command with what only the fleet knows.
func (c *control) informed(j *entropy.Job, cmd entropy.JobCommand) entropy.JobCommand {
	switch m := cmd.(type) {
	case entropy.EndLease:
		m.Eligible = c.eligible(j)
		m.NobodyLeft = j.Lease != nil && c.nobodyLeft(j, j.Lease.WorkerID)
		return m
	case entropy.Complete:
		m.Eligible, m.NobodyLeft = c.eligible(j), c.nobodyLeft(j, m.WorkerID)
		return m
	case entropy.Release:
		m.NobodyLeft = m.Cause == entropy.CauseRefused && c.nobodyLeft(j, m.WorkerID)
		return m
	}
	return cmd
}

func (c *control) eligible(j *entropy.Job) int {
	n := 0
	for _, s := range c.sessions {
		if s.worker.Schedulable() && able(s.worker, &j.Spec) {
			n++
		}
	}
	return n
}

func (c *control) nobodyLeft(j *entropy.Job, also entropy.WorkerID) bool {
	for _, s := range c.sessions {
		if s.worker.State != "" && able(s.worker, &j.Spec) && s.id != also && !j.Excludes(s.id) {
			return false
		}
	}
	return true
}

func (c *control) newAssignment() entropy.AssignmentID {
	c.w.assignments++
	return entropy.AssignmentID("a" + strconv.Itoa(c.w.assignments))
}
