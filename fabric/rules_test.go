package fabric_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
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
	r, err := client.Rules(t.Context())
	if err != nil || len(r.Rules) != 3 || r.File != file || r.Deviations != 3 || r.Rules[0].Matched != 1 {
		t.Errorf("%+v %v", r, err)
	}
	if err := client.ResetRule(t.Context(), "replace"); entropy.ErrorCode(err) != entropy.CodeNotFound {
		t.Error(err)
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
