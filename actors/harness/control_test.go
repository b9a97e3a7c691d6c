package harness

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
	"github.com/entropy-fabric/entropy/actors/es"
	"github.com/entropy-fabric/entropy/actors/fleet"
	"github.com/entropy-fabric/entropy/actors/job"
	"github.com/entropy-fabric/entropy/actors/scheduler"
)

// control is one life of the control plane's process, from its start to its crash.
type control struct {
	w       *world
	plane   *plane
	journal *journal
	sys     *actors.System // nil until it serves
	beats   map[entropy.WorkerID]*beats
}

// conducting is the conductor as a System knows it.
type conducting struct{ c *control }

var _ es.Conductor = conducting{}

// Enter begins a wait of the control plane.
func (c conducting) Enter() func() {
	wait := c.c.w.con.enter(c.c.plane)
	return func() { wait() }
}

// Deliver writes the message into the trace; before that it sometimes lets
// others run.
func (c conducting) Deliver(actor string, msg any) {
	w, p := c.c.w, c.c.plane
	if !w.con.alive(p) {
		return
	}
	if w.chance(w.shape.yield) && !w.con.enter(p)() {
		return
	}
	w.note("  %s <- %s", actor, w.describeMessage(msg))
	switch m := msg.(type) {
	case *fleet.Beat:
		c.c.beat(entropy.WorkerID(strings.TrimPrefix(actor, "worker-")), &m.Heartbeat)
	case *job.Renew:
		if strings.HasPrefix(actor, entropy.KindJob+":") { // and not its host
			c.c.renew(m)
		}
	}
	if kind, id := entropy.SplitEntity(actor); kind == entropy.KindJob && fmt.Sprintf("%T", msg) == "job.tick" {
		w.check.job(entropy.JobID(id)).ticked = w.now()
	}
}

// startControl starts the process: it recovers, and then serves.
func (w *world) startControl() {
	p := &plane{name: "control"}
	c := &control{w: w, plane: p, journal: newJournal(w, p), beats: make(map[entropy.WorkerID]*beats)}
	w.ctl = c
	w.check.listens(false)
	w.note("the control plane starts with %d events", len(w.disk.log))
	begin, back := w.con.enter(p), w.con.enter(p)
	go func() {
		if !begin() {
			return
		}
		sys, err := actors.Start(context.Background(), actors.Config{Journal: c.journal, Store: &shelf{w: w, plane: p},
			LeaseTTL: w.shape.ttl, Heartbeat: w.shape.heartbeat, Conductor: conducting{c}, Version: "harness",
			Now: func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }})
		switch {
		case !back():
			if sys != nil {
				sys.Close()
			}
		case err != nil:
			w.fail("L-7", "the control plane does not start: %v", err)
		default:
			c.sys = sys
			w.check.listens(true)
			w.note("the control plane serves")
		}
	}()
}

// crashControl ends the process where it is, and starts another after a while.
func (w *world) crashControl(down time.Duration) {
	c := w.ctl
	if c == nil {
		return
	}
	w.note("the control plane crashes")
	w.ctl = nil
	w.check.listens(false)
	c.kill()
	if w.chance(.5) {
		w.stored.loseStaged()
	}
	w.after(nil, down, func() {
		if w.ctl == nil {
			w.startControl()
		}
	})
}

// kill ends the process. What it still does, nobody sees.
func (c *control) kill() {
	c.w.con.kill(c.plane)
	c.journal.crash()
	if c.sys != nil {
		go c.sys.Close()
	}
}

// pauseControl stops the process for a while, as SIGSTOP does. What it is sent waits.
func (w *world) pauseControl() {
	c := w.ctl
	if c == nil || c.plane.paused {
		return
	}
	// A gap of less than half a heartbeat may count as listening.
	d := w.between(w.shape.heartbeat/2+200*time.Millisecond, 2*w.shape.ttl)
	w.note("the control plane is stopped for %s", d)
	w.tally[ControlPaused]++
	w.con.pause(c.plane, true)
	w.check.listens(false)
	w.after(nil, d, func() {
		w.con.pause(c.plane, false)
		if w.ctl == c {
			w.check.listens(c.sys != nil)
			w.note("the control plane goes on")
		}
	})
}

// describeMessage writes a message between actors for the trace: its kind, and
// the fields that tell it from others.
func (w *world) describeMessage(msg any) string {
	t := &w.trace
	switch m := msg.(type) {
	case *job.Command:
		return fmt.Sprintf("%T", m.Cmd) + w.describeCommand(m.Cmd)
	case *job.Offer:
		return fmt.Sprintf("offer of %s to %s (%d, %d)", t.short(string(m.AssignmentID)), m.WorkerID, m.Incarnation, m.ClaimSeq)
	case *job.Renew:
		return fmt.Sprintf("renew %s of %s", t.short(string(m.AssignmentID)), m.WorkerID)
	case *fleet.Beat:
		return fmt.Sprintf("beat (%d, %d) held=%d", m.Incarnation, m.Seq, len(m.Held))
	case *fleet.Claim:
		return fmt.Sprintf("claim (%d, %d) want=%d", m.Incarnation, m.ClaimSeq, m.Want)
	case *fleet.Register:
		return "register " + m.Nonce + " " + m.BootID
	case *fleet.Verdict:
		return fmt.Sprintf("verdict %s %s %s", t.short(string(m.AssignmentID)), m.Verdict, m.Stop)
	case *scheduler.Answer:
		return fmt.Sprintf("answer of %s: %s", m.ID, entropy.ErrorCode(m.Err))
	case *scheduler.Commit:
		s := "commit"
		for _, j := range m.Jobs {
			s += fmt.Sprintf(" %s=%s", j.ID, j.State)
		}
		return fmt.Sprintf("%s, %d workers, policy %t", s, len(m.Workers), m.Policy != nil)
	case *scheduler.Claim:
		return fmt.Sprintf("claim of %s (%d, %d) want=%d idle=%t", m.Worker, m.Incarnation, m.Seq, m.Want, m.Idle)
	}
	return fmt.Sprintf("%T", msg)
}

func (w *world) describeCommand(cmd entropy.JobCommand) string {
	t := &w.trace
	switch m := cmd.(type) {
	case entropy.Ack:
		return " " + t.short(string(m.AssignmentID))
	case entropy.Release:
		return fmt.Sprintf(" %s %s", t.short(string(m.AssignmentID)), m.Cause)
	case entropy.EndLease:
		return fmt.Sprintf(" %s %s", t.short(string(m.AssignmentID)), m.Cause)
	case entropy.Reattach:
		return fmt.Sprintf(" %s (%d)", t.short(string(m.AssignmentID)), m.Incarnation)
	case entropy.Complete:
		return fmt.Sprintf(" %s %s %s", t.short(string(m.AssignmentID)), m.Outcome, m.Reason)
	}
	return ""
}
