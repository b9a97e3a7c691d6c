package action

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/entropy-fabric/entropy"
)

// plane is one life of the control plane: what it holds in memory is lost with it.
type plane struct {
	w     *world
	up    bool
	line  *Line
	heard map[entropy.ActionID]time.Time
}

// boot starts the control plane from the disk.
func (w *world) boot() {
	c := &plane{w: w, up: true, heard: map[entropy.ActionID]time.Time{}}
	c.line = NewLine(func(string) entropy.CommandPolicy {
		return entropy.CommandPolicy{Rate: 20, Burst: 5, BreakAfter: 40, BreakFor: entropy.Duration(2 * time.Second)}
	})
	w.control = c
	for _, id := range w.disk.order {
		a := w.disk.state[id]
		if w.mutant == staleState && w.disk.older[id] != nil && a.State.Terminal() && w.r.IntN(10) == 0 {
			a = w.disk.older[id]
			w.disk.state[id] = a
		}
		if a.State.Terminal() || w.mutant == noRevive && a.State == entropy.ActionStarted {
			continue
		}
		c.heard[id] = w.now
		c.follow(a)
		c.issue(a)
	}
	c.turns()
}

// kill ends the control plane, and starts another a moment later.
func (w *world) kill() {
	if !w.control.up {
		return
	}
	w.stats["kills"]++
	w.control.up = false
	w.after(time.Duration(1+w.r.IntN(6000))*time.Millisecond, w.boot)
}

// commit makes events durable. It reports false when the control plane was killed
// before or after; nobody is answered then.
func (c *plane) commit(a *entropy.Action, events []entropy.Event) (*entropy.Action, bool) {
	w := c.w
	if w.chance(2000) {
		w.kill()
		return a, false
	}
	next, err := a.Next(events)
	if err != nil {
		w.fail("what was decided does not follow: %v", err)
		return a, false
	}
	id := next.ID
	if a == nil {
		w.disk.order = append(w.disk.order, id)
	} else if !a.State.Terminal() {
		w.disk.older[id] = a
	}
	w.disk.state[id], w.disk.log[id] = next, append(w.disk.log[id], events...)
	c.follow(next)
	if a != nil && !a.State.Terminal() && next.State == entropy.ActionFailed {
		c.consequences(next)
	}
	if w.chance(2000) {
		w.kill()
		return next, false
	}
	return next, c.up
}

func (c *plane) consequences(a *entropy.Action) {
	w := c.w
	if a.DeadLetter() != nil {
		w.disk.letter[a.ID] = true
	}
	id, events, err := a.Compensation(func(string) entropy.CommandPolicy { return entropy.CommandPolicy{} }, w.now)
	if err != nil {
		w.fail("no compensation: %v", err)
	}
	if id == "" || w.disk.state[id] != nil {
		return
	}
	comp, err := (*entropy.Action)(nil).Next(events)
	if err != nil {
		w.fail("the compensation does not follow: %v", err)
		return
	}
	w.disk.order = append(w.disk.order, id)
	w.disk.state[id], w.disk.log[id] = comp, events
	w.stats["compensations"]++
	c.follow(comp)
}

// follow tells the line, and arms the timer.
func (c *plane) follow(a *entropy.Action) {
	if c.w.mutant == noOrder {
		free := *a
		free.Target = ""
		c.line.Follow(&free, c.w.now)
	} else {
		c.line.Follow(a, c.w.now)
	}
	at := a.WakeAt(c.heard[a.ID])
	if !at.IsZero() {
		c.w.after(max(at.Sub(c.w.now), 0), func() { c.wake(a.ID) })
	}
}

func (c *plane) wake(id entropy.ActionID) {
	a := c.w.disk.state[id]
	if !c.up || a.State.Terminal() {
		return
	}
	events, err := a.Wake(c.heard[id], c.w.now)
	if err != nil {
		c.w.fail("wake: %v", err)
	}
	switch at := a.WakeAt(c.heard[id]); {
	case len(events) > 0:
		c.commit(a, events)
		c.turns()
	case at.After(c.w.now):
		c.w.after(at.Sub(c.w.now), func() { c.wake(id) })
	}
}

// turns gives the turns that are due.
func (c *plane) turns() {
	if !c.up {
		return
	}
	ids, again := c.line.Next(c.w.now)
	for _, id := range ids {
		a := c.w.disk.state[id]
		c.w.n++
		events, err := a.Issue(entropy.AttemptID(fmt.Sprintf("t%d", c.w.n)), c.w.now)
		if err != nil {
			c.w.fail("issue: %v", err)
		}
		if len(events) == 0 {
			continue
		}
		c.checkTurn(a)
		if next, ok := c.commit(a, events); ok {
			c.issue(next)
		}
	}
	if !again.IsZero() {
		c.w.after(max(again.Sub(c.w.now), time.Millisecond), c.turns)
	}
}

// checkTurn looks that no other action of the entity is out, and that no older one
// still waits.
func (c *plane) checkTurn(a *entropy.Action) {
	for _, id := range c.w.disk.order {
		b := c.w.disk.state[id]
		if b.Target != a.Target || b.ID == a.ID || b.State.Terminal() {
			continue
		}
		if len(b.Attempts) > 0 {
			c.w.fail("%s is issued while %s of the same entity is out", a.ID, b.ID)
		}
	}
	for _, id := range c.w.disk.order {
		b := c.w.disk.state[id]
		if b.ID == a.ID || a.Compensates != "" {
			return
		}
		if b.Target == a.Target && !b.State.Terminal() && len(a.Attempts) == 0 {
			c.w.fail("%s is issued before %s, which was asked for first", a.ID, b.ID)
		}
	}
}

func (c *plane) issue(a *entropy.Action) {
	if o, _, ok := a.Order(c.w.now); ok {
		c.w.post(o)
	}
}

// reissue issues again what nobody has accepted.
func (c *plane) reissue() {
	for _, id := range c.w.disk.order {
		if a := c.w.disk.state[id]; c.up && !a.State.Terminal() {
			c.issue(a)
		}
	}
}

func (c *plane) request(raw string, stored time.Time, answer func()) {
	if !c.up {
		return
	}
	w := c.w
	if w.mutant == producerClock {
		var e entropy.Event
		if err := json.Unmarshal([]byte(raw), &e); err == nil {
			stored = e.TS
		}
	}
	q, err := (&entropy.ActionRequest{Envelope: json.RawMessage(raw), StoredAt: stored}).Read(w.now)
	if err != nil {
		w.fail("request: %v", err)
		return
	}
	id := q.ID
	if known, ok := w.disk.keys[q.Key()]; ok && w.mutant != noKey {
		id = known
	}
	events, err := q.Create(w.disk.state[id], entropy.CommandPolicy{}, "producer:p", w.now)
	if err != nil {
		w.fail("request: %v", err)
		return
	}
	if len(events) > 0 {
		if w.mutant == producerClock {
			stored = w.now
		}
		w.stored[id] = stored.UTC().Truncate(time.Millisecond)
		before := len(w.disk.order)
		_, ok := c.commit(nil, events)
		if len(w.disk.order) > before {
			w.disk.keys[q.Key()] = id
		}
		if !ok {
			return
		}
		c.turns()
	}
	w.send(answer)
}

func (c *plane) cancel(key string) {
	for _, id := range c.w.disk.order {
		if a := c.w.disk.state[id]; c.up && a.IdempotencyKey == key && a.Compensates == "" {
			if events, err := a.Set(entropy.ActionCancel, "admin:a", entropy.Operation{}, c.w.now); err == nil && len(events) > 0 {
				c.commit(a, events)
				c.turns()
			}
		}
	}
}

func (c *plane) report(typ, id string, r entropy.ActionReport, answer func(entropy.ActionVerdict)) {
	w := c.w
	a := w.disk.state[r.ActionID]
	if !c.up || a == nil {
		return
	}
	original := r
	c.distort(a, typ, &r)
	events, v, err := a.Report(typ, id, r, w.now)
	if err != nil {
		w.fail("report: %v", err)
		return
	}
	v.AttemptID = original.AttemptID
	if w.mutant == begunTwice && typ == entropy.ActionAcceptedType && !a.State.Terminal() {
		v.Verdict = entropy.ReportAccepted
	}
	reply := func() {
		if typ == entropy.ActionSucceededType && v.Verdict == entropy.ReportAccepted {
			w.promised[r.ActionID] = original.AttemptID
		}
		w.send(func() { answer(v) })
	}
	if w.mutant == earlyAnswer && len(events) > 0 {
		reply()
		if w.chance(50) {
			w.kill()
			return
		}
		reply = func() {}
	}
	if len(events) > 0 {
		next, ok := c.commit(a, events)
		if !ok {
			return
		}
		a = next
	}
	if l := a.Live(); l != nil && l.ID == r.AttemptID && v.Verdict == entropy.ReportAccepted {
		c.heard[a.ID] = w.now
	}
	reply()
	c.turns()
}

// distort is what some mutants do to a report.
func (c *plane) distort(a *entropy.Action, typ string, r *entropy.ActionReport) {
	l := a.Live()
	if l == nil || l.Executor == "" {
		return
	}
	if c.w.mutant == noFence || c.w.mutant == lateFailure && typ == entropy.ActionFailedType {
		r.AttemptID, r.Executor = l.ID, l.Executor
	}
}
