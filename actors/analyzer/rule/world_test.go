package rule

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// world is a ledger, the actions and a runner around an engine, as the fabric has
// them, and can be stopped anywhere.
type world struct {
	t       testing.TB
	set     *Set
	engine  *Engine
	now     time.Time
	rows    []Row
	ids     map[string]bool
	cursor  int // rows that were handled
	acted   []*entropy.Suggestion
	planned []Row // what executors will say, by time
	outcome func(s *entropy.Suggestion) string
	crash   func() bool // asked before each step outside; true: the process ends here
	n       int
}

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC) // a Monday

func newWorld(t testing.TB, file string) *world {
	t.Helper()
	s, err := Parse([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, set: s, now: noon, ids: map[string]bool{}, outcome: func(*entropy.Suggestion) string { return "succeeded" }, crash: func() bool { return false }}
	w.engine = New(s)
	return w
}

func (w *world) put(at time.Time, ev entropy.Event) {
	if w.ids[ev.ID] {
		return
	}
	w.ids[ev.ID] = true
	w.rows = append(w.rows, Row{At: at, Event: ev})
}

// deviate puts a deviation into the ledger, now.
func (w *world) deviate(entity, step, channel string, change ...func(*entropy.Event, map[string]any)) string {
	w.n++
	at := map[string]any{"step": step, "channel": channel, "direction": "slower", "bits": 20.0, "p": 1e-6, "n": 50, "bounded": true, "why": []string{"slower"}}
	ev := entropy.Event{ID: fmt.Sprintf("dev-%d", w.n), TS: w.now, Type: DeviationType, EntityID: entity, CorrelationID: fmt.Sprintf("win:%s:%d", entity, w.n),
		Source: entropy.Source{System: "entropy"}, Tags: map[string]string{"tenant": "acme"}}
	for _, c := range change {
		c(&ev, at)
	}
	ev.Attrs, _ = json.Marshal(at)
	w.put(w.now, ev)
	return ev.ID
}

func (w *world) recover(entity, step, channel string, ofCase ...string) {
	w.n++
	attrs, _ := json.Marshal(map[string]string{"step": step, "channel": channel})
	w.put(w.now, entropy.Event{ID: fmt.Sprintf("rec-%d", w.n), TS: w.now, Type: RecoveredType, EntityID: entity, CorrelationID: strings.Join(ofCase, ""), Source: entropy.Source{System: "entropy"}, Attrs: attrs})
}

func (w *world) action(at time.Time, typ string, s *entropy.Suggestion, state entropy.ActionState) entropy.Event {
	request, err := Request(s)
	if err != nil {
		w.t.Fatal(err)
	}
	attrs, _ := json.Marshal(map[string]any{"action_id": s.ActionID, "command": s.Command, "target": s.Target, "state": state, "executor": "x", "request": request.Envelope,
		"result": map[string]string{"job_id": "job-7", "new_job_id": "job-7b"}})
	return entropy.Event{ID: fmt.Sprintf("%s-%s", typ, s.ActionID), TS: at, Type: typ, EntityID: "action:" + string(s.ActionID), CorrelationID: s.CorrelationID,
		Source: entropy.Source{System: "entropy"}, Attrs: attrs}
}

// perform does what the engine wants; false: the process has ended on the way.
func (w *world) perform(orders []Order) bool {
	for _, o := range orders {
		if w.crash() {
			return false
		}
		w.put(w.now, o.Event)
		if o.Ask == nil {
			continue
		}
		if w.crash() {
			return false
		}
		s := o.Ask
		if slices.ContainsFunc(w.acted, func(x *entropy.Suggestion) bool { return x.ActionID == s.ActionID }) {
			continue // asked for before
		}
		w.acted = append(w.acted, s)
		w.put(w.now, w.action(w.now, "action.requested", s, "requested"))
		w.planned = append(w.planned, Row{w.now.Add(time.Second), w.action(w.now.Add(time.Second), "action.started", s, "started")},
			Row{w.now.Add(30 * time.Second), w.action(w.now.Add(30*time.Second), "action."+w.outcome(s), s, entropy.ActionState(w.outcome(s)))})
	}
	return true
}

// settle handles all rows; false: the process has ended on the way.
func (w *world) settle() bool {
	for w.cursor < len(w.rows) {
		r := w.rows[w.cursor]
		if !w.perform(w.engine.Apply(r, true)) {
			return false
		}
		w.cursor++
	}
	return true
}

// pass lets time go by, a minute a step, and handles what comes up.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	for end := w.now.Add(d); ; {
		for !w.settle() {
			w.restart()
		}
		for !w.perform(w.engine.Advance(w.now, true)) {
			w.restart()
		}
		for !w.settle() {
			w.restart()
		}
		if !w.now.Before(end) {
			return
		}
		w.now = w.now.Add(min(time.Minute, end.Sub(w.now)))
		slices.SortStableFunc(w.planned, func(a, b Row) int { return a.At.Compare(b.At) })
		for len(w.planned) > 0 && !w.planned[0].At.After(w.now) {
			w.put(w.now, w.planned[0].Event)
			w.planned = w.planned[1:]
		}
	}
}

// restart forgets everything but the ledger and the cursor.
func (w *world) restart() {
	w.engine = New(w.set)
	is := func(types []string, typ string) bool {
		return slices.ContainsFunc(types, func(f string) bool { return f == typ || strings.HasSuffix(f, ".") && strings.HasPrefix(typ, f) })
	}
	for _, r := range w.rows {
		if is(Facts(), r.Event.Type) {
			w.engine.Recall(&r.Event)
		}
	}
	for _, r := range w.rows[:w.cursor] {
		if is(Findings(), r.Event.Type) {
			if o := w.engine.Apply(r, false); len(o) > 0 {
				w.t.Fatalf("what was decided is decided again: %v", o)
			}
		}
	}
	if !w.perform(w.engine.Unasked(w.now)) {
		w.restart()
	}
}

// events counts the events of a type in the ledger.
func (w *world) events(typ string) (n int) {
	for _, r := range w.rows {
		if r.Event.Type == typ {
			n++
		}
	}
	return n
}

// decided returns the suggestions in the ledger, each as rule/mode/entity, in order.
func (w *world) decided() (all []string) {
	for _, r := range w.rows {
		if r.Event.Type == entropy.SuggestedType {
			var s entropy.Suggestion
			if err := json.Unmarshal(r.Event.Attrs, &s); err != nil {
				w.t.Fatal(err)
			}
			all = append(all, fmt.Sprintf("%s %s %s", s.Rule, s.Mode, s.Entity))
		}
	}
	return all
}

func (w *world) suppressed(rule, why string) int64 {
	for _, r := range w.engine.Report(w.now).Rules {
		if r.Name == rule {
			return r.Suppressed[why]
		}
	}
	w.t.Fatalf("no rule %s", rule)
	return 0
}

func (w *world) want(what ...string) {
	w.t.Helper()
	if got := w.decided(); !slices.Equal(got, what) {
		w.t.Errorf("decided %q, want %q", got, what)
	}
}
