package rule

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

const acting = `
storm: {limit: 5 per 10m, quiet: 10m}
rules:
  - name: fix
    when: channel == "location"
    mode: act
    reversible: true
    do: {command: fix_it, args: {id: "{id}", n: "{repeats}", deep: [1, {why: "{why}!"}]}, reason: "{entity} {bits}", priority: high, ttl: 60s}
`

// proves E-5: a rule in each mode does what the mode says, and what is asked for
// carries the deviation as its cause, its correlation and one key.
func TestModes(t *testing.T) {
	for mode, want := range map[string]int{"observe": 0, "suggest": 0, "ask": 1, "act": 1} {
		w := newWorld(t, strings.Replace(acting, "mode: act", "mode: "+mode, 1))
		id := w.deviate("feed:a", "send", "location")
		w.deviate("feed:a", "send", "shape")
		w.pass(time.Minute)
		if len(w.acted) != want {
			t.Errorf("%s: %d actions", mode, len(w.acted))
		}
		if n := w.events(entropy.SuggestedType); (n == 1) != (mode != "observe") {
			t.Errorf("%s: %d suggestions", mode, n)
		}
		if r := w.engine.Report(w.now).Rules[0]; r.Matched != 1 || r.Fired != 1 {
			t.Errorf("%s: %+v", mode, r)
		}
		if want == 0 {
			continue
		}
		request, err := Request(w.acted[0])
		if err != nil {
			t.Fatal(err)
		}
		q, err := request.Read(w.now)
		if err != nil {
			t.Fatal(err)
		}
		if q.Event.CausationID != id || q.Event.CorrelationID != "win:feed:a:1" || q.Event.Source.NS["component"] != "rules" || q.Event.Source.System != "entropy" ||
			q.Spec.Command != "fix_it" || string(q.Spec.Args) != `{"deep":[1,{"why":"slower!"}],"id":"a","n":0}` || q.Spec.Approval != (mode == "ask") || q.Priority != 10 || q.Spec.TTL != 60 {
			t.Errorf("%s: %+v %s", mode, q.Event, q.Spec.Args)
		}
		if w.acted[0].Reason != "feed:a 20" || w.acted[0].Tenant != "acme" {
			t.Errorf("%+v", w.acted[0])
		}
	}
}

// proves E-5: a rule passes from idle to pending, fires, cools, and is idle again.
func TestMachine(t *testing.T) {
	const file = `
effect: 0s
entity_cooldown: 0s
rules:
  - {name: third, when: step == "a", for: 3, cooldown: 30m, do: {command: c}}
  - {name: held, when: step == "b", for: 10m, cooldown: 30m, do: {command: c}}`
	w := newWorld(t, file)
	for range 2 {
		w.deviate("k:1", "a", "location")
	}
	w.deviate("k:1", "b", "location")
	w.deviate("k:2", "b", "location")
	w.pass(5 * time.Minute)
	w.want()
	r := w.engine.Report(w.now).Rules
	if len(r[0].Entities) != 1 || r[0].Entities[0].State != "pending" || r[0].Entities[0].Matches != 2 || len(r[1].Entities) != 2 || !r[1].Entities[0].Until.Equal(noon.Add(10*time.Minute)) {
		t.Errorf("%+v", r)
	}
	w.recover("k:2", "b", "location")
	w.pass(6 * time.Minute)
	w.want("held suggest k:1")
	if s := w.engine.Suggestions(entropy.SuggestionFilter{}, w.now); !s[0].At.Equal(noon.Add(10 * time.Minute)) {
		t.Errorf("held fired as of %v", s[0].At)
	}
	w.deviate("k:1", "a", "location")
	w.pass(time.Minute)
	w.want("held suggest k:1", "third suggest k:1")
	for range 5 {
		w.deviate("k:1", "a", "location")
	}
	w.pass(28 * time.Minute)
	if n := w.suppressed("third", "cooldown"); n != 5 || len(w.decided()) != 2 {
		t.Errorf("%d were suppressed while it cools; %q", n, w.decided())
	}
	w.pass(3 * time.Minute)
	for range 3 {
		w.deviate("k:1", "a", "location")
	}
	w.pass(time.Minute)
	w.want("held suggest k:1", "third suggest k:1", "third suggest k:1")
}

// proves E-5: a storm of 10,000 deviations asks for what the guard allows, falls to
// suggestions, which are bounded too, says so once, and ends by itself.
func TestStorm(t *testing.T) {
	w := newWorld(t, acting)
	for i := range 10_000 {
		w.deviate(fmt.Sprintf("feed:%d", i), "send", "location")
		if i%100 == 0 {
			w.pass(time.Second)
		}
	}
	w.pass(0)
	if len(w.acted) != 5 {
		t.Errorf("%d actions", len(w.acted))
	}
	if n := w.events(entropy.SuggestedType); n != 5+flood.AtMost {
		t.Errorf("%d suggestions", n)
	}
	if n := w.events(entropy.RuleStormType); n != 1 || !w.engine.Storming(w.now) {
		t.Errorf("the storm was said %d times", n)
	}
	if n := w.suppressed("fix", "flood"); n != 10_000-5-int64(flood.AtMost) {
		t.Errorf("%d were suppressed", n)
	}
	w.restart()
	if r := w.engine.Report(w.now).Storm; !r.On || r.Within != 5 || r.AtMost != 5 {
		t.Errorf("after a restart: %+v", r)
	}
	w.pass(9 * time.Minute)
	w.deviate("feed:x", "send", "location")
	w.pass(9 * time.Minute)
	if !w.engine.Storming(w.now) {
		t.Error("the storm ended while a rule wanted to act")
	}
	w.pass(2 * time.Minute)
	if w.engine.Storming(w.now) || w.events(entropy.RuleStormType) != 2 {
		t.Error("the storm does not end")
	}
	w.deviate("feed:y", "send", "location")
	w.pass(time.Minute)
	if len(w.acted) != 6 {
		t.Error("it does not act again")
	}
}

// proves E-5: for one entity, as what deviates or as what an action is for, there is one
// action at a time, whichever rules want more.
func TestEntityCooldown(t *testing.T) {
	w := newWorld(t, `
effect: 0s
entity_cooldown: 10m
rules:
  - {name: first, when: 'true', mode: act, reversible: true, cooldown: 0s, do: {command: a}}
  - {name: second, when: 'true', mode: ask, cooldown: 0s, do: {command: b}}
  - {name: other, when: 'step == "b"', mode: act, reversible: true, cooldown: 0s, do: {command: c, entity: "feed:a"}}`)
	w.deviate("feed:a", "a", "location")
	w.pass(5 * time.Minute)
	w.want("first act feed:a")
	w.deviate("feed:b", "b", "location") // first acts on it; other wants feed:a
	w.deviate("feed:a", "a", "shape")
	w.pass(5*time.Minute + time.Second)
	w.want("first act feed:a", "first act feed:b")
	if a, b, c := w.suppressed("first", "entity"), w.suppressed("second", "entity"), w.suppressed("other", "entity"); a != 1 || b != 3 || c != 1 {
		t.Errorf("%d, %d and %d were held back", a, b, c)
	}
	w.deviate("feed:a", "a", "tail")
	w.pass(time.Minute)
	w.want("first act feed:a", "first act feed:b", "first act feed:a")
}

// proves E-5: a rule fires as often as it says, over all entities.
func TestAtMost(t *testing.T) {
	w := newWorld(t, "rules: [{name: r, when: 'true', at_most: 3 per 1h, do: {command: c}}]")
	for i := range 10 {
		w.deviate(fmt.Sprint("feed:", i), "a", "late")
		w.pass(time.Minute)
	}
	w.want("r suggest feed:0", "r suggest feed:1", "r suggest feed:2")
	if n := w.suppressed("r", "limit"); n != 7 {
		t.Errorf("%d were held back", n)
	}
	w.restart()
	w.pass(50 * time.Minute) // the first is an hour ago
	w.deviate("feed:x", "a", "late")
	w.deviate("feed:y", "a", "late")
	w.pass(time.Second)
	w.want("r suggest feed:0", "r suggest feed:1", "r suggest feed:2", "r suggest feed:x")
}

// proves E-5: what the rules' own actions bring about is counted and not acted on:
// of what they touch, in their time; of their cases, and by their cause, always.
func TestOwnEffects(t *testing.T) {
	const file = `
entity_cooldown: 0s
storm: {limit: 1000 per 10m}
rules:
  - {name: fix, when: bits > 0, mode: act, reversible: true, cooldown: 0s, do: {command: restart_job, args: {job_id: "{case_id}"}}}`
	ofCase := func(c string) func(*entropy.Event, map[string]any) {
		return func(e *entropy.Event, _ map[string]any) { e.CorrelationID = c }
	}
	examples := func(c ...string) func(*entropy.Event, map[string]any) {
		return func(_ *entropy.Event, at map[string]any) { at["cases"] = c }
	}
	w := newWorld(t, file)
	w.deviate("jobs:nightly", "run", "missing", ofCase("job-7"))
	w.pass(2 * time.Minute)
	if len(w.acted) != 1 {
		t.Fatalf("%d actions", len(w.acted))
	}
	act := string(w.acted[0].ActionID)
	own := []func(){
		func() { w.deviate("jobs:nightly", "run", "location") },                    // the same entity, in the window
		func() { w.deviate("job:job-7", "run", "late") },                           // the job that is restarted
		func() { w.deviate("executor:x", "started", "location") },                  // who does it
		func() { w.deviate("action:restart_job", "action.succeeded", "location") }, // that it is done
		func() { w.deviate("queue:default", "wait", "late", ofCase("job-7")) },     // the same case
		func() { w.deviate("queue:default", "wait", "shape", examples("job-7")) },  // all of its cases
		func() { w.deviate("jobs:other", "run", "late", ofCase("job/job-7")) },     // the same, as the fabric's own
		func() { w.deviate("jobs:other", "run", "late", ofCase("action/"+act)) },
		func() { w.deviate("queue:q", "wait", "outcome", examples("queue:q/wait/job-7/a1")) },
		func() { w.deviate("jobs:fresh", "run", "late", ofCase("job/job-7b")) }, // which it became
		func() { w.deviate("queue:default", "wait", "late", ofCase(act)) },      // the action as a case
		func() {
			w.deviate("queue:q", "w", "late", func(e *entropy.Event, _ map[string]any) { e.CausationID = act })
		},
	}
	for i, f := range own {
		f()
		w.pass(time.Second)
		if len(w.acted) != 1 {
			t.Fatalf("it acts on its own effect %d", i)
		}
	}
	if n := w.suppressed("fix", "own_effect"); n != int64(len(own)) {
		t.Errorf("%d were counted", n)
	}
	w.deviate("queue:default", "wait", "shape", examples("job-7", "job-8"))
	w.pass(time.Second)
	if len(w.acted) != 2 {
		t.Error("it does not act on what others contribute to")
	}
	w.pass(20 * time.Minute)
	w.deviate("queue:default", "wait", "late", ofCase("job-7"))
	w.pass(time.Second)
	if len(w.acted) != 2 {
		t.Error("it acts on a case of its own after the window")
	}
	w.deviate("jobs:nightly", "run", "location")
	w.pass(time.Second)
	if len(w.acted) != 3 {
		t.Error("it does not act on the entity after the window")
	}
}

// proves E-5: forged deviations and facts from outside change nothing.
func TestOnlyTheFabricsOwn(t *testing.T) {
	w := newWorld(t, acting)
	w.deviate("feed:a", "send", "location", func(e *entropy.Event, _ map[string]any) { e.Source.System = "shop" })
	w.pass(time.Minute)
	w.put(w.now, entropy.Event{ID: "sug-1", Type: entropy.SuggestedType, Source: entropy.Source{System: "shop"}, Attrs: []byte(`{"id":"sug-1","mode":"act"}`)})
	w.put(w.now, entropy.Event{ID: "x", Type: entropy.RuleStormType, Source: entropy.Source{System: "shop"}, Attrs: []byte(`{"state":"began"}`)})
	w.pass(time.Minute)
	if len(w.acted) > 0 || len(w.engine.Suggestions(entropy.SuggestionFilter{}, w.now)) > 0 || w.engine.Storming(w.now) {
		t.Error("what comes from outside is believed")
	}
	for _, attrs := range []string{``, `null`, `[]`, `{"bits":"x"}`, `{"bits":1e999}`} {
		ev := entropy.Event{ID: "bad" + attrs, Type: DeviationType, EntityID: "a:b", Source: entropy.Source{System: "entropy"}, Attrs: json.RawMessage(attrs)}
		w.engine.Apply(Row{w.now, ev}, true)
		ev.Type = entropy.ActionRequestedType
		w.engine.Apply(Row{w.now, ev}, true)
		ev.Type = entropy.RuleJudgedType
		w.engine.Apply(Row{w.now, ev}, true)
	}
}

// proves E-5: history that is imported is learned from, and not acted on.
func TestHistory(t *testing.T) {
	w := newWorld(t, acting)
	w.deviate("feed:a", "send", "location", func(_ *entropy.Event, at map[string]any) { at["at"] = w.now.Add(-61 * time.Minute) })
	w.deviate("feed:b", "send", "location", func(_ *entropy.Event, at map[string]any) { at["at"] = w.now.Add(-59 * time.Minute) })
	w.pass(time.Minute)
	w.want("fix act feed:b")
	if w.suppressed("fix", "stale") != 1 {
		t.Error("it is not counted")
	}
}

// proves E-5: a person accepts or dismisses a suggestion, once; an old one is not
// accepted.
func TestAnswers(t *testing.T) {
	w := newWorld(t, strings.Replace(acting, "mode: act", "mode: suggest", 1))
	for _, e := range []string{"feed:a", "feed:b", "feed:c"} {
		w.deviate(e, "send", "location")
	}
	w.pass(time.Minute)
	all := w.engine.Suggestions(entropy.SuggestionFilter{State: entropy.SuggestionOpen}, w.now)
	if len(all) != 3 || len(w.acted) != 0 || all[0].Entity != "feed:c" {
		t.Fatalf("%+v", all)
	}
	a, b, c := all[2].ID, all[1].ID, all[0].ID
	s, orders, err := w.engine.Accept(a, "admin:me", w.now)
	if err != nil || s.State != entropy.SuggestionRequested || s.By != "admin:me" || len(orders) != 1 || !w.perform(orders) {
		t.Fatal(s, orders, err)
	}
	if _, again, err := w.engine.Accept(a, "admin:you", w.now); err != nil || len(again) != 0 {
		t.Error("it is accepted twice", err)
	}
	if _, _, err := w.engine.Dismiss(a, "admin:me", w.now); entropy.ErrorCode(err) != entropy.CodeConflict {
		t.Error(err)
	}
	if _, orders, err = w.engine.Dismiss(b, "admin:me", w.now); err != nil || !w.perform(orders) {
		t.Error(err)
	}
	if _, _, err := w.engine.Accept(b, "admin:me", w.now); entropy.ErrorCode(err) != entropy.CodeConflict {
		t.Error(err)
	}
	if _, _, err := w.engine.Accept("sug-nope", "admin:me", w.now); entropy.ErrorCode(err) != entropy.CodeNotFound {
		t.Error(err)
	}
	w.pass(time.Minute)
	w.deviate("feed:a", "send", "location") // now it is an effect of what was accepted
	w.pass(time.Minute)
	if w.suppressed("fix", "own_effect") != 1 {
		t.Error("what a person accepted is not the rules' own")
	}
	w.restart()
	if s, _ := w.engine.Suggestion(a, w.now); s.Outcome != entropy.ActionSucceeded || s.By != "admin:me" {
		t.Errorf("after a restart: %+v", s)
	}
	if _, _, err := w.engine.Accept(c, "admin:me", w.now.Add(25*time.Hour)); entropy.ErrorCode(err) != entropy.CodeConflict {
		t.Error(err)
	}
	if s, _ := w.engine.Suggestion(c, w.now.Add(25*time.Hour)); s.State != entropy.SuggestionExpired {
		t.Error(s.State)
	}
}

// proves E-5: a rule whose actions make it worse asks instead of acting; that is said
// once, survives restarts, and a person resets it. One whose actions help is left alone.
func TestHarm(t *testing.T) {
	const file = `
effect: 1m
entity_cooldown: 0s
rules:
  - {name: fix, when: channel == "location", mode: act, reversible: true, cooldown: 0s, do: {command: fix_it}}`
	run := func(after, others int) *world {
		w := newWorld(t, file)
		for i := range 8 {
			e := fmt.Sprintf("feed:%d", i)
			w.deviate(e, "send", "location")
			w.deviate(fmt.Sprintf("feed:other-%d", i), "send", "shape") // the control: as before, after
			w.pass(5 * time.Minute)
			for range after {
				w.deviate(e, "send", "shape")
			}
			w.deviate(fmt.Sprintf("feed:other-%d", i), "send", "shape")
			for k := range others * 8 {
				w.deviate(fmt.Sprintf("feed:other-%d", k%8), "send", "shape")
			}
			w.pass(2 * time.Hour)
		}
		return w
	}
	good := run(0, 0)
	if h := good.engine.Report(good.now).Harm; len(h) != 1 || h[0].Better != 8 || h[0].Worse != 0 || h[0].Demoted || len(good.acted) != 8 {
		t.Errorf("%+v", h)
	}
	// When all of the kind became worse, as much, it was not the action.
	if h := run(3, 8).engine.Report(noon).Harm; len(h) != 1 || h[0].Worse != 0 || h[0].Demoted {
		t.Errorf("everything became worse: %+v", h)
	}
	w := run(3, 0)
	h := w.engine.Report(w.now).Harm
	if len(h) != 1 || !h[0].Demoted || h[0].Rule != "fix" || h[0].Kind != "feed" || h[0].Worse != 8 || w.events(entropy.RuleDemotedType) != 1 {
		t.Fatalf("%+v, %d events", h, w.events(entropy.RuleDemotedType))
	}
	if got := w.decided(); got[4] != "fix act feed:4" || got[5] != "fix ask feed:5" || got[7] != "fix ask feed:7" {
		t.Errorf("%q", got)
	}
	w.restart()
	w.deviate("feed:z", "send", "location")
	w.deviate("disk:z", "send", "location") // another kind: nothing is known against it
	w.pass(time.Minute)
	if s := w.acted[8]; s.Mode != entropy.RuleAsk || s.Wanted != entropy.RuleAct || s.Because != "harm" || w.acted[9].Mode != entropy.RuleAct {
		t.Errorf("after a restart: %+v", s)
	}
	if w.engine.Advance(w.now.Add(20*24*time.Hour), true); w.events(entropy.RuleDemotedType) != 1 {
		t.Error("it is said again too soon")
	}
	orders := w.engine.Advance(w.now.Add(31*24*time.Hour), true)
	if len(orders) != 1 || orders[0].Event.Type != entropy.RuleDemotedType || !w.perform(orders) {
		t.Errorf("it is not said again before the ledger forgets it: %+v", orders)
	}
	w.restart()
	orders, err := w.engine.Reset("fix", "admin:me", w.now)
	if err != nil || !w.perform(orders) {
		t.Fatal(err)
	}
	w.pass(time.Hour + 5*time.Minute)
	w.restart()
	w.deviate("feed:zz", "send", "location")
	w.pass(time.Minute)
	if s := w.acted[10]; s.Mode != entropy.RuleAct {
		t.Errorf("after the reset: %+v", s)
	}
	if _, err := w.engine.Reset("nope", "", w.now); entropy.ErrorCode(err) != entropy.CodeNotFound {
		t.Error(err)
	}
}

// proves the e-value: it is a fair bet under one half, and pays for harm.
func TestEvidence(t *testing.T) {
	for n := range 40 {
		mean, choose := 0.0, 1.0
		for k := 0; k <= n; k++ {
			mean += choose * math.Pow(0.5, float64(n)) * evidence(k, n)
			choose *= float64(n-k) / float64(k+1)
		}
		if math.Abs(mean-1) > 1e-9 {
			t.Errorf("n = %d: the mean is %v, not 1", n, mean)
		}
	}
	if e := evidence(5, 5); math.Abs(e-2*32*(1-math.Pow(0.5, 6))/6) > 1e-9 { // the integral of p^5 by hand
		t.Errorf("5 of 5: %v", e)
	}
	if e := evidence(10, 20); e > 1 {
		t.Errorf("10 of 20: %v", e)
	}
}

// proves A-8: precision and recall of interventions, against what was not treated.
func TestWorth(t *testing.T) {
	w := newWorld(t, `
entity_cooldown: 0s
storm: {limit: 1000 per 10m}
rules:
  - {name: fix, when: tags.treat == "yes", mode: act, reversible: true, do: {command: fix_it}}`)
	spell := func(i int, treat string, d time.Duration) {
		e := fmt.Sprintf("feed:%s%d", treat, i)
		w.deviate(e, "send", "location", func(e *entropy.Event, _ map[string]any) { e.Tags = map[string]string{"treat": treat} })
		w.pass(d)
		w.recover(e, "send", "location")
		w.pass(time.Minute)
	}
	for i := range 4 {
		spell(i, "no", 60*time.Minute)
	}
	spell(1, "yes", 10*time.Minute)
	if r := w.engine.Report(w.now).Worth; len(r) != 1 || r[0].Precision != nil || r[0].Recall != nil || r[0].Treated != 1 || r[0].Untreated != 4 {
		t.Fatalf("of four: %+v", r)
	}
	spell(4, "no", 60*time.Minute)
	spell(2, "yes", 20*time.Minute)
	spell(3, "yes", 30*time.Minute)
	spell(4, "yes", 100*time.Minute)
	r := w.engine.Report(w.now).Worth
	if len(r) != 1 || r[0].Precision == nil || *r[0].Precision != 0.75 || *r[0].Recall != 3.0/8 || r[0].Command != "fix_it" || r[0].Kind != "feed" || r[0].Channel != "location" {
		b, _ := json.Marshal(r)
		t.Errorf("%s", b)
	}
	w.restart()
	if again := w.engine.Report(w.now).Worth; len(again) != 1 || *again[0].Precision != 0.75 {
		t.Errorf("after a restart: %+v", again)
	}
}
