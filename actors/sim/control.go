package sim

import (
	"fmt"
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

	jobs     map[entropy.JobID]*actor
	order    []*actor // oldest first
	sessions []*session

	listenBase time.Duration // listening time at listenFrom
	listenFrom time.Duration
	reboots    map[entropy.WorkerID]time.Duration
}

// actor is one job's place in the control plane: it decides one command at a time.
type actor struct {
	id    entropy.JobID
	job   *entropy.Job // as committed
	busy  bool         // an append is under way
	queue []func()

	assignment entropy.AssignmentID
	renewedAt  time.Duration // listening time
	ackBy      time.Duration // 0 once ACKed
	leaseTimer uint64
	wakeTimer  uint64
	wakeAt     time.Time
}

// startControl starts the process: it recovers, sweeps, and then serves.
func (w *world) startControl() {
	c := &control{w: w, jobs: make(map[entropy.JobID]*actor), reboots: make(map[entropy.WorkerID]time.Duration),
		listenBase: w.disk.listening, listenFrom: w.now}
	c.journal.c = c
	for _, wk := range w.workers {
		c.sessions = append(c.sessions, newSession(c, wk.id))
	}
	w.ctl = c
	w.check.listens(true)
	w.note("control starts with %d events", len(w.disk.log))
	c.recover()
	c.every(saveInterval, c.save)
	c.every(w.shape.heartbeat/2, c.lookForSilence)
}

// recover rebuilds every state from the disk and arms every timer, before any
// request is served.
func (c *control) recover() {
	if c.w.cfg.Mutant == TornRecovery {
		c.w.disk.tear()
	}
	for _, entity := range c.w.disk.order {
		h := c.w.disk.heads[entity]
		switch kind, id := entropy.SplitEntity(entity); kind {
		case entropy.KindWorker:
			s := c.session(entropy.WorkerID(id))
			s.worker = must(entropy.DecodeWorker(h.record))
			s.heard = c.heardBefore(s.id)
		case entropy.KindJob:
			a := c.actor(entropy.JobID(id))
			a.job = must(entropy.DecodeJob(h.record, h.spec))
		}
	}
	for _, a := range c.order {
		c.follow(a, &entropy.Decision{})
		if l := a.job.Lease; l != nil {
			a.renewedAt = c.heardBefore(l.WorkerID)
			c.arm(a)
		}
	}
}

// heardBefore returns the latest listening time at which a worker can have been
// heard before the restart: its last saved heartbeat, and those that may have
// followed it unsaved; see onHeard.
func (c *control) heardBefore(id entropy.WorkerID) time.Duration {
	if c.w.cfg.Mutant == RestartForgets {
		return c.w.disk.heard[id]
	}
	return c.w.disk.heard[id] + c.w.shape.heartbeat + saveInterval
}

// tear drops the newest event of the journal and the newest entity.
func (d *disk) tear() {
	if len(d.log) == 0 {
		return
	}
	d.log = d.log[:len(d.log)-1]
	last := d.order[len(d.order)-1]
	delete(d.heads, last)
	d.order = d.order[:len(d.order)-1]
}

// crash ends the process.
func (c *control) crash() {
	c.journal.crash()
	c.dead = true
	c.w.ctl = nil
	c.w.check.listens(false)
	c.w.note("control crashes")
}

// pause stops the process for d, as SIGSTOP does. What it is sent waits.
func (c *control) pause(d time.Duration) {
	c.pausedUntil = c.w.now + d
	c.w.check.listens(false)
	c.w.tally[ControlPaused]++
	c.w.note("control pauses for %s", d)
	c.w.at(c.pausedUntil, func() {
		if c.dead {
			return
		}
		if c.w.cfg.Mutant != ListeningIgnored {
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

// listening returns the time in which the control plane, over all its lives,
// was running and able to hear.
func (c *control) listening() time.Duration {
	if c.w.cfg.Mutant == ListeningIgnored {
		return c.w.now
	}
	return c.listenBase + c.w.now - c.listenFrom
}

func (c *control) save() {
	c.w.disk.listening = c.listening()
	for _, s := range c.sessions {
		if s.met {
			c.w.disk.heard[s.id] = s.heard
		}
	}
}

func (c *control) wall() time.Time { return c.w.wall() }

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

// outcome hears what came of a command, once that is durable.
type outcome func(entropy.Decision, error)

// exec has a job decide a command, after those before it.
func (c *control) exec(id entropy.JobID, cmd entropy.JobCommand, then outcome) {
	a := c.actor(id)
	if a.busy {
		a.queue = append(a.queue, func() { c.decide(a, cmd, then) })
		return
	}
	c.decide(a, cmd, then)
}

// decide is the loop of the fabric: decide, append, apply, and only then reply.
func (c *control) decide(a *actor, cmd entropy.JobCommand, then outcome) {
	base, cmd := c.w.mutate(a.job, c.informed(a.job, cmd))
	d, err := base.Decide(cmd, c.wall())
	if err != nil || len(d.Events) == 0 {
		c.follow(a, &d)
		then(d, err)
		return
	}
	base = c.w.unmutate(a.job, base)
	next, err := base.Next(d.Events)
	if err != nil {
		c.w.fail("DECIDE", "%T was decided into what Apply refuses: %v", cmd, err)
		return
	}
	c.w.check.decided(a.job, cmd, &d)
	a.busy = true
	early := c.w.cfg.Mutant == ReplyBeforeCommit
	if early {
		then(d, nil)
	}
	c.journal.append(&change{entity: entropy.Entity(entropy.KindJob, string(a.id)), events: envelopes(d.Events), job: next, done: func() {
		a.job, a.busy = next, false
		c.follow(a, &d)
		if !early {
			then(d, nil)
		}
		for len(a.queue) > 0 && !a.busy {
			f := a.queue[0]
			a.queue = a.queue[1:]
			f()
		}
		c.match()
	}})
}

func envelopes(events []entropy.JobEvent) []entropy.Event {
	out := make([]entropy.Event, len(events))
	for i := range events {
		out[i] = must(events[i].Envelope())
	}
	return out
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
		if s.worker.Schedulable() && s.worker.Offers(&j.Spec) {
			n++
		}
	}
	return n
}

func (c *control) nobodyLeft(j *entropy.Job, also entropy.WorkerID) bool {
	for _, s := range c.sessions {
		if s.worker.State != "" && s.worker.Offers(&j.Spec) && s.id != also && !j.Excludes(s.id) {
			return false
		}
	}
	return true
}

func (c *control) newAssignment() entropy.AssignmentID {
	c.w.assignments++
	return entropy.AssignmentID(fmt.Sprintf("a%d", c.w.assignments))
}
