package fabric_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/bus"
	"github.com/entropy-fabric/entropy/fabric"
)

// surprise has the ledger say that something deviates, as the analyzer would.
func surprise(t *testing.T, c *fabric.Control, id, entity, channel string) {
	t.Helper()
	now := time.Now().UTC()
	attrs, _ := json.Marshal(map[string]any{"step": "send", "channel": channel, "bits": 21, "at": now, "bounded": true, "why": []string{"it is late"}})
	e := entropy.Event{ID: id, TS: now, Type: "entropy.deviation", EntityID: entity, CorrelationID: "win:" + id, Source: entropy.Source{System: "entropy"}, Attrs: attrs}
	body, _ := json.Marshal(&e)
	if _, _, err := fabric.LedgerOf(c).Record(t.Context(), now, []entropy.Observation{{Event: e, Body: body, Origin: "analyzer"}}, nil); err != nil {
		t.Fatal(err)
	}
}

// untilOnTheBus waits until so many messages of each subject are on the stream of
// findings.
func untilOnTheBus(t *testing.T, c *fabric.Control, want map[string]int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	got := map[string]int{}
	done := make(chan error, 1)
	go func() {
		done <- c.Bus().Consume(ctx, bus.StreamEntropy, "test", "", func(_ context.Context, m bus.Message) bus.Disposition {
			mu.Lock()
			defer mu.Unlock()
			if _, ok := want[m.Subject]; ok {
				got[m.Subject]++
			}
			return bus.Ack()
		})
	}()
	eventually(t, 30*time.Second, func() bool { mu.Lock(); defer mu.Unlock(); return maps.Equal(got, want) }, func() string {
		mu.Lock()
		defer mu.Unlock()
		return fmt.Sprintf("on the bus are %v, want %v", got, want)
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// metricsText returns the metrics of a control plane.
func metricsText(t *testing.T, c *fabric.Control) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+secret(t, c, fabric.AdminTokenFile))
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	b, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// told returns the events that are correlated with a surprise, by type.
func told(t *testing.T, c *fabric.Control, id string) (types []string, events []entropy.Event) {
	t.Helper()
	page, err := c.Ingest().Ledger(t.Context(), entropy.LedgerFilter{Limit: entropy.MaxIngest})
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range page.Entries {
		var e entropy.Event
		if err := json.Unmarshal(entry.Event, &e); err != nil {
			t.Fatal(err)
		}
		if e.CorrelationID == "win:"+id {
			types, events = append(types, e.Type), append(events, e)
		}
	}
	return types, events
}

const actingRules = `
rules:
  - name: replace
    when: channel == "missing"
    mode: act
    reversible: true
    do: {command: submit_job, args: {spec: {name: "instead-of-{id}", command: ["true"]}}, reason: "{why}"}
  - name: wait-for-me
    when: channel == "late"
    mode: ask
    reversible: true
    do: {command: submit_job, args: {spec: {command: ["true"]}}}
  - name: say
    when: channel == "location"
    do: {command: notify_supplier, benefit: "somebody knows"}
`

// proves E-5, A-2: a deviation becomes an action by a rule, which an executor carries
// out; the ledger tells the story under one correlation id; after a restart nothing is
// asked for again. One that asks waits for a person; a suggestion is accepted over HTTP.
func TestSurpriseBecomesAction(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, []byte(actingRules), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg := fabric.ControlConfig{DataDir: t.TempDir(), Rules: fabric.RulesConfig{File: file}, Logger: testLogger()}
	c, stop := runBusControl(t, cfg)
	surprise(t, c, "d1", "feed:a", "missing")
	want := []string{"entropy.deviation", "entropy.suggested", "action.requested", "action.issued", "action.accepted", "action.started", "action.succeeded"}
	untilTold := func(id string, want []string) []entropy.Event {
		t.Helper()
		var got []string
		var events []entropy.Event
		eventually(t, time.Minute, func() bool { got, events = told(t, c, id); return slices.Equal(got, want) }, func() string { return fmt.Sprintf("the ledger says %q, want %q", got, want) })
		return events
	}
	events := untilTold("d1", want)
	if events[1].CausationID != "d1" || events[2].CausationID != "d1" {
		t.Errorf("the causes are %q and %q", events[1].CausationID, events[2].CausationID)
	}
	ctx := entropy.WithPrincipal(t.Context(), entropy.Principal{Role: entropy.RoleAdmin, Name: "test"})
	jobs, err := c.Service().Jobs(ctx, entropy.JobFilter{})
	if err != nil || len(jobs.Jobs) != 1 || jobs.Jobs[0].Spec.Name != "instead-of-a" {
		t.Fatalf("%+v %v", jobs.Jobs, err)
	}
	acts, err := c.Service().Actions(ctx, entropy.ActionFilter{})
	if err != nil || len(acts.Actions) != 1 || acts.Actions[0].Principal != "producer:rules" || acts.Actions[0].Target != "feed:a" {
		t.Fatalf("%+v %v", acts.Actions, err)
	}

	surprise(t, c, "d2", "feed:b", "late")
	untilTold("d2", []string{"entropy.deviation", "entropy.suggested", "action.requested"})
	acts, err = c.Service().Actions(ctx, entropy.ActionFilter{States: []entropy.ActionState{entropy.ActionAwaiting}})
	if err != nil || len(acts.Actions) != 1 {
		t.Fatalf("%+v %v", acts.Actions, err)
	}
	if _, err := c.Service().SetAction(ctx, acts.Actions[0].ID, entropy.ActionApprove, entropy.Operation{ID: "op"}); err != nil {
		t.Fatal(err)
	}
	untilTold("d2", []string{"entropy.deviation", "entropy.suggested", "action.requested", "action.approved", "action.issued", "action.accepted", "action.started", "action.succeeded"})

	stop()
	c, _ = runBusControl(t, cfg)
	surprise(t, c, "d3", "feed:c", "location")
	untilTold("d3", []string{"entropy.deviation", "entropy.suggested"})
	if got, _ := told(t, c, "d1"); !slices.Equal(got, want) {
		t.Errorf("after a restart the ledger says %q", got)
	}
	client, err := entropy.NewClient(entropy.ClientConfig{Server: c.URL(), Token: secret(t, c, fabric.AdminTokenFile)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdle()
	all, err := client.Suggestions(t.Context(), entropy.SuggestionFilter{})
	if err != nil || len(all) != 3 || all[0].State != entropy.SuggestionOpen || all[0].Benefit != "somebody knows" || all[2].Outcome != entropy.ActionSucceeded {
		t.Fatalf("%+v %v", all, err)
	}
	s, err := client.AcceptSuggestion(t.Context(), all[0].ID)
	if err != nil || s.State != entropy.SuggestionRequested {
		t.Fatalf("%+v %v", s, err)
	}
	if a, err := client.Action(t.Context(), s.ActionID); err != nil || a.Principal == "producer:rules" || a.Spec.Command != "notify_supplier" {
		t.Errorf("%+v %v", a, err)
	}
	if _, err := client.DismissSuggestion(t.Context(), s.ID); entropy.ErrorCode(err) != entropy.CodeConflict {
		t.Error(err)
	}
	untilOnTheBus(t, c, map[string]int{"entropy.suggested.feed": 3, "entropy.suggestion_accepted.feed": 1})
	r, err := client.Rules(t.Context())
	if err != nil || len(r.Rules) != 3 || r.File != file || r.Deviations != 3 || r.Rules[0].Matched != 1 {
		t.Errorf("%+v %v", r, err)
	}
	metrics := metricsText(t, c)
	for _, want := range []string{"entropy_rules_storm 0", "entropy_rules_fired_total 3", "entropy_rules_demoted 0"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	if err := client.ResetRule(t.Context(), "replace"); entropy.ErrorCode(err) != entropy.CodeNotFound {
		t.Error(err)
	}
}

// proves E-5: though the control plane is killed again and again while deviations are
// found, each has one suggestion, one action and one effect.
func TestRulesAreKilled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules.yaml")
	const text = `
max_age: 0s
storm: {limit: 1000 per 1h}
rules:
  - {name: replace, when: kind == "feed" && channel == "location" && direction == "slower", mode: act, reversible: true, cooldown: 24h,
     do: {command: submit_job, ttl: 1h, args: {spec: {name: "for-{id}", command: ["true"]}}}}
`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("RULES", file)
	l := newLab(t, 5*time.Second)
	const feeds, normal, slow = 8, 1300, 60
	begin := time.Now().Add(-(normal + slow) * 5 * time.Minute)
	report := func(from, to int, factor int) {
		t.Helper()
		for from < to {
			var items []json.RawMessage
			for ; from < to && len(items) < 800; from++ {
				at := begin.Add(time.Duration(from) * 5 * time.Minute).UTC().Format(time.RFC3339)
				for f := range feeds {
					items = append(items, fmt.Appendf(nil, `{"id":"m-%d-%d","ts":%q,"event_type":"send","entity_id":"feed:%d","source":{"system":"probe"},"attrs":{"duration_ms":%d}}`,
						f, from, at, f, factor*(100+(7*from+f)%60)))
				}
			}
			eventually(t, time.Minute, func() bool { _, err := l.client().Ingest(t.Context(), items); return err == nil }, func() string { return "nothing is taken" })
		}
	}
	report(0, normal, 1)
	for kill := range 5 {
		report(normal+kill*slow/5, normal+(kill+1)*slow/5, 5)
		l.ctl.kill()
		l.startControl()
	}
	c := l.client()
	var all []entropy.Suggestion
	eventually(t, time.Minute, func() bool {
		var err error
		all, err = c.Suggestions(t.Context(), entropy.SuggestionFilter{Limit: 1000})
		done := 0
		for _, s := range all {
			if s.Outcome == entropy.ActionSucceeded {
				done++
			}
		}
		return err == nil && done == feeds
	}, func() string { return fmt.Sprintf("%d of %d suggestions: %+v", len(all), feeds, all) })
	acts, err := c.Actions(t.Context(), entropy.ActionFilter{Limit: 1000})
	if err != nil || len(acts.Actions) != feeds {
		t.Errorf("%d actions, %v", len(acts.Actions), err)
	}
	jobs, err := c.Jobs(t.Context(), entropy.JobFilter{Limit: 1000})
	if err != nil || len(jobs.Jobs) != feeds {
		t.Errorf("%d jobs, %v", len(jobs.Jobs), err)
	}
	seen := make(map[string]bool)
	for _, j := range jobs.Jobs {
		if seen[j.Spec.Name] {
			t.Errorf("%s was done twice", j.Spec.Name)
		}
		seen[j.Spec.Name] = true
	}
}

// proves I-4: a wrong file of rules stops the start, before anything is touched.
func TestWrongRules(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(file, []byte("rules: [{name: a, when: 'chanel == 3'}]"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, rules := range []fabric.RulesConfig{{File: file}, {File: file + "x"}, {File: file, Off: true}} {
		c, err := fabric.OpenControl(t.Context(), fabric.ControlConfig{DataDir: filepath.Join(dir, "data"), Listen: "127.0.0.1:0", Rules: rules})
		if entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%+v: %v", rules, err)
		}
		if c != nil {
			c.Close()
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("a data directory was made")
	}
}
