package executortest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/entropy-fabric/entropy"
)

// Config says which executors there are and what goes wrong.
type Config struct {
	// Executors by name, with the commands that each may carry out.
	Executors map[string][]string
	// Verdict is called with each report that arrives and the verdict on it, and
	// returns after which time to send it, for each time that it is sent: nothing
	// loses it. Nil means once, at once. It is called from several goroutines.
	Verdict func(report *entropy.Event, v entropy.ActionVerdict) []time.Duration
	// StartWithin is the time from acceptance to start after which another attempt is
	// issued; 0 means for ever.
	StartWithin time.Duration
	// AckWait is that of the consumers of orders; 0 means 30 s.
	AckWait time.Duration
}

// Once is a verdict that is sent once, at once.
func Once() []time.Duration { return []time.Duration{0} }

// Control plays the control plane.
type Control struct {
	*Server
	conf Config

	mu      sync.Mutex
	changed chan struct{}
	actions map[entropy.ActionID]*Action
}

// Action is what became of an action.
type Action struct {
	ID       entropy.ActionID
	State    entropy.ActionState
	Attempts []*Attempt
	Last     entropy.ActionReport // the one that ended it
	Cancel   bool                 // it was asked to end
	Ends     int                  // reports that were taken as its end

	max int
	req entropy.ActionOrder
}

// Attempt is one issue of an action.
type Attempt struct {
	ID       entropy.AttemptID
	Executor string   // that it is bound to
	Story    []string // the event types that were reported, each report once, as they came
	Progress []entropy.ActionReport

	seen    map[string]entropy.ActionVerdict // by report
	issued  time.Time
	started bool
}

// Start starts a server and a control plane on it, until the test ends.
func Start(tb testing.TB, conf Config) *Control {
	tb.Helper()
	c := &Control{Server: startServer(tb, conf), conf: conf, changed: make(chan struct{}), actions: map[entropy.ActionID]*Action{}}
	for _, commands := range conf.Executors {
		for _, command := range commands {
			c.EnsureCommand(command)
		}
	}
	for _, stream := range []string{progress, results} {
		consumer, err := c.js.CreateOrUpdateConsumer(context.Background(), stream, jetstream.ConsumerConfig{
			Durable: "control", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second})
		if err != nil {
			tb.Fatal(err)
		}
		consuming, err := consumer.Consume(c.report, jetstream.PullHeartbeat(500*time.Millisecond), jetstream.PullExpiry(2*time.Second))
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(consuming.Stop)
	}
	return c
}

// Issue asks for an action: order says its command and arguments; what it leaves
// out is filled in. It is tried max times.
func (c *Control) Issue(order entropy.ActionOrder, max int) entropy.ActionID {
	c.tb.Helper()
	if order.ActionID == "" {
		order.ActionID = entropy.ActionID(entropy.NewID())
	}
	if order.RemainingMS == 0 {
		order.RemainingMS = 60_000
	}
	if order.TimeoutMS == 0 {
		order.TimeoutMS = 60_000
	}
	c.mu.Lock()
	a := &Action{ID: order.ActionID, State: entropy.ActionRequested, max: max, req: order}
	c.actions[a.ID] = a
	msg := c.next(a)
	c.mu.Unlock()
	c.send(msg)
	return a.ID
}

type outgoing struct {
	subject, id string
	data        []byte
}

// next makes another attempt.
func (c *Control) next(a *Action) outgoing {
	t := &Attempt{ID: entropy.AttemptID(entropy.NewID()), seen: map[string]entropy.ActionVerdict{}, issued: time.Now()}
	a.Attempts = append(a.Attempts, t)
	o := a.req
	o.AttemptID, o.Attempt = t.ID, len(a.Attempts)
	ev := entropy.Event{ID: entropy.NewID(), TS: time.Now().UTC(), Type: "action.requested", EntityID: "job:abc123",
		CorrelationID: "slot:2025-08-10T16:30Z", IdempotencyKey: "act:" + string(a.ID), Source: entropy.Source{System: "entropy"},
		Tags: map[string]string{"action": o.Command}, Attrs: mustJSON(o), Schema: 1}
	return outgoing{"actions.requested." + o.Command, string(t.ID), mustJSON(ev)}
}

func (c *Control) send(m outgoing) {
	ctx, done := context.WithTimeout(context.Background(), readyIn)
	defer done()
	for { // a server that is just back may lose a call; the message's ID makes a repeat harmless
		try, end := context.WithTimeout(ctx, readyIn/10)
		_, err := c.js.Publish(try, m.subject, m.data, jetstream.WithMsgID(m.id))
		end()
		if err == nil || ctx.Err() != nil {
			if err != nil {
				c.tb.Errorf("issue: %v", err)
			}
			return
		}
	}
}

// Redeliver publishes the order of the newest attempt again, as if its ACK had
// been lost.
func (c *Control) Redeliver(id entropy.ActionID) {
	c.mu.Lock()
	a := c.actions[id]
	t := a.Attempts[len(a.Attempts)-1]
	o := a.req
	o.AttemptID, o.Attempt = t.ID, len(a.Attempts)
	m := outgoing{"actions.requested." + o.Command, entropy.NewID(),
		mustJSON(entropy.Event{ID: entropy.NewID(), Type: "action.requested", EntityID: "job:abc123", Attrs: mustJSON(o), Schema: 1})}
	c.mu.Unlock()
	c.send(m)
}

// Cancel asks that an action end; the verdicts on its reports say so.
func (c *Control) Cancel(id entropy.ActionID) {
	c.mu.Lock()
	a := c.actions[id]
	a.Cancel = true
	t := a.Attempts[len(a.Attempts)-1]
	v := entropy.ActionVerdict{ActionID: id, AttemptID: t.ID, Verdict: entropy.ReportAccepted, Cancel: true}
	c.mu.Unlock()
	if t.Executor != "" {
		c.nc.Publish("actions.verdict."+t.Executor, mustJSON(v))
	}
}

// CancelQuietly is Cancel, but the executor hears of it only from the verdict on
// its next report.
func (c *Control) CancelQuietly(id entropy.ActionID) {
	c.mu.Lock()
	c.actions[id].Cancel = true
	c.mu.Unlock()
}

// Supersede lets another attempt take over.
func (c *Control) Supersede(id entropy.ActionID) {
	c.mu.Lock()
	msg := c.next(c.actions[id])
	c.mu.Unlock()
	c.send(msg)
}

// report judges one message of an executor.
func (c *Control) report(msg jetstream.Msg) {
	defer msg.Ack()
	var ev entropy.Event
	var rep entropy.ActionReport
	if err := json.Unmarshal(msg.Data(), &ev); err != nil {
		c.tb.Errorf("a report is not an envelope: %v", err)
		return
	}
	if err := json.Unmarshal(ev.Attrs, &rep); err != nil {
		c.tb.Errorf("a report's attrs: %v", err)
		return
	}
	if msg.Subject() != "actions.progress."+rep.Executor && msg.Subject() != "actions.result."+rep.Executor {
		c.tb.Errorf("a report of %q came on %s", rep.Executor, msg.Subject())
	}
	if msg.Headers().Get("Nats-Msg-Id") == "" && ev.Type != entropy.ActionProgressType {
		c.tb.Errorf("%s has no Nats-Msg-Id", ev.Type)
	}
	c.mu.Lock()
	v, again := c.judge(&ev, rep)
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	after := Once()
	if c.conf.Verdict != nil {
		after = c.conf.Verdict(&ev, v)
	}
	say := func() { c.nc.Publish("actions.verdict."+rep.Executor, mustJSON(v)) }
	for _, d := range after {
		if d == 0 {
			say()
		} else {
			time.AfterFunc(d, say)
		}
	}
	if again != nil {
		c.send(*again)
	}
}

// judge decides about a report. A repeated one gets the first answer.
func (c *Control) judge(ev *entropy.Event, rep entropy.ActionReport) (v entropy.ActionVerdict, again *outgoing) {
	v = entropy.ActionVerdict{Report: ev.ID, ActionID: rep.ActionID, AttemptID: rep.AttemptID, Verdict: entropy.ReportSuperseded}
	a := c.actions[rep.ActionID]
	if a == nil {
		v.Verdict, v.Message = entropy.ReportRefused, "no such action"
		return v, nil
	}
	i := slices.IndexFunc(a.Attempts, func(t *Attempt) bool { return t.ID == rep.AttemptID })
	if i < 0 {
		v.Verdict, v.Message = entropy.ReportRefused, "no such attempt"
		return v, nil
	}
	t := a.Attempts[i]
	if old, ok := t.seen[ev.ID]; ok {
		old.Cancel = a.Cancel && !a.State.Terminal()
		return old, nil
	}
	current := i == len(a.Attempts)-1 && !a.State.Terminal()
	if ev.Type == entropy.ActionProgressType {
		t.Progress = append(t.Progress, rep)
	} else {
		t.Story = append(t.Story, ev.Type)
	}
	switch ev.Type {
	case entropy.ActionAcceptedType:
		late := time.Since(t.issued) > time.Duration(a.req.RemainingMS)*time.Millisecond
		if current && !late && (t.Executor == "" || t.Executor == rep.Executor) {
			if t.Executor == "" && c.conf.StartWithin > 0 {
				time.AfterFunc(c.conf.StartWithin, func() { c.notStarted(a, t) })
			}
			t.Executor, v.Verdict = rep.Executor, entropy.ReportAccepted
			if !t.started {
				a.State = entropy.ActionAccepted
			}
		}
	case entropy.ActionStartedType, entropy.ActionProgressType:
		if current && t.Executor == rep.Executor {
			a.State, t.started, v.Verdict = entropy.ActionStarted, true, entropy.ReportAccepted
		}
	default:
		again = c.result(a, t, ev, rep, current, &v)
	}
	v.Cancel = a.Cancel && !a.State.Terminal()
	t.seen[ev.ID] = v
	return v, again
}

func (c *Control) result(a *Action, t *Attempt, ev *entropy.Event, rep entropy.ActionReport, current bool, v *entropy.ActionVerdict) *outgoing {
	if a.State.Terminal() || !current && ev.Type != entropy.ActionSucceededType || t.Executor != rep.Executor {
		return nil
	}
	v.Verdict, a.Last = entropy.ReportAccepted, rep
	t.started = true
	switch {
	case ev.Type == entropy.ActionSucceededType:
		a.State = entropy.ActionSucceeded
	case ev.Type == entropy.ActionCanceledType:
		a.State = entropy.ActionCanceled
	case !rep.Final && len(a.Attempts) < a.max:
		a.State = entropy.ActionRetrying
		m := c.next(a)
		return &m
	default:
		a.State = entropy.ActionFailed
	}
	a.Ends++
	return nil
}

// Action returns a copy of what is known of an action.
func (c *Control) Action(id entropy.ActionID) Action {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := *c.actions[id]
	a.Attempts = nil
	for _, t := range c.actions[id].Attempts {
		u := *t
		u.Story, u.Progress = slices.Clone(t.Story), slices.Clone(t.Progress)
		a.Attempts = append(a.Attempts, &u)
	}
	return a
}

// Until waits until an action is as it should be, and returns it.
func (c *Control) Until(id entropy.ActionID, what string, ok func(a Action) bool) Action {
	c.tb.Helper()
	limit := time.After(readyIn)
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		a := c.Action(id)
		if ok(a) {
			return a
		}
		select {
		case <-changed:
		case <-limit:
			c.tb.Fatalf("not %s in time: the action is %s after %s", what, a.State, story(a))
		}
	}
}

// Done waits until an action has ended.
func (c *Control) Done(id entropy.ActionID) Action {
	c.tb.Helper()
	return c.Until(id, "ended", func(a Action) bool { return a.State.Terminal() })
}

// notStarted gives up an attempt that was accepted and not begun.
func (c *Control) notStarted(a *Action, t *Attempt) {
	c.mu.Lock()
	if t.started || a.State.Terminal() || a.Attempts[len(a.Attempts)-1] != t {
		c.mu.Unlock()
		return
	}
	m := c.next(a)
	c.mu.Unlock()
	c.send(m)
}

func story(a Action) string {
	var s string
	for _, t := range a.Attempts {
		s += fmt.Sprintf("%v by %q; ", t.Story, t.Executor)
	}
	return s
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
