package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/rule"
)

// ruler is a control plane that applies rules.
type ruler struct {
	entropy.Service
	report   entropy.RuleReport
	list     []entropy.Suggestion
	filter   entropy.SuggestionFilter
	answered []string
	err      error
}

func (r *ruler) Rules(context.Context) (entropy.RuleReport, error) { return r.report, r.err }

func (r *ruler) Suggestions(_ context.Context, f entropy.SuggestionFilter) ([]entropy.Suggestion, error) {
	r.filter = f
	return r.list, r.err
}

func (r *ruler) AcceptSuggestion(_ context.Context, id string) (entropy.Suggestion, error) {
	r.answered = append(r.answered, "accept "+id)
	return entropy.Suggestion{ID: id, State: entropy.SuggestionRequested, ActionID: entropy.ActionID("act-" + id)}, r.err
}

func (r *ruler) DismissSuggestion(_ context.Context, id string) (entropy.Suggestion, error) {
	r.answered = append(r.answered, "dismiss "+id)
	return entropy.Suggestion{ID: id, State: entropy.SuggestionDismissed}, r.err
}

func (r *ruler) ResetRule(_ context.Context, name string) error {
	r.answered = append(r.answered, "reset "+name)
	return r.err
}

func rulesBench(t *testing.T) (*bench, *ruler) {
	t.Helper()
	half, since := 0.5, noon.Add(-time.Minute)
	r := &ruler{report: entropy.RuleReport{File: "/etc/rules.yaml", Deviations: 12, CaughtUp: true, Problem: "rules: line 2: no\x1b[31m",
		Storm: entropy.StormReport{On: true, Since: &since, Within: 20, AtMost: 20, Window: entropy.Duration(10 * time.Minute)},
		Rules: []entropy.RuleStatus{{Name: "a", When: "bits > 3", Mode: entropy.RuleAct, Command: "c", Matched: 9, Fired: 2, Suppressed: map[string]int64{"own_effect": 3, "cooldown": 4},
			Errors: 1, LastError: "index out of range", Entities: []entropy.RuleEntityState{{Entity: "feed:a", State: "cooling"}, {Entity: "feed:b", State: "pending"}}}},
		Harm:  []entropy.HarmReport{{Rule: "a", Command: "c", Kind: "feed", Worse: 5, Evidence: 10.5, Demoted: true}},
		Worth: []entropy.WorthReport{{Command: "c", Kind: "feed", Channel: "late", Treated: 4, Untreated: 7, Precision: &half}}},
		list: []entropy.Suggestion{
			{ID: "sug-1", At: noon.Add(-time.Minute), Rule: "a", Mode: entropy.RuleSuggest, Wanted: entropy.RuleAct, Because: "storm", State: entropy.SuggestionOpen, Command: "c", Target: "feed:a", Bits: 20.4, Reason: "late", Benefit: "it comes"},
			{ID: "sug-0", At: noon.Add(-time.Hour), Rule: "a", Mode: entropy.RuleAct, State: entropy.SuggestionRequested, Outcome: entropy.ActionSucceeded, Verdict: "better", Command: "c", Target: "feed:b\x1b[2J", Bits: 30}}}
	b := newBench(t)
	b.app.dial = func(entropy.ClientConfig) (entropy.Service, error) { return r, nil }
	return b, r
}

// proves I-2: rules and suggestions are shown with what a person needs to know, and
// cannot move the cursor.
func TestRulesAreShown(t *testing.T) {
	b, r := rulesBench(t)
	var out strings.Builder
	for _, args := range [][]string{{"rules"}, {"suggestions", "--state", "open", "--rule", "a", "--entity", "feed:a", "--limit", "7"}, {"suggestions", "accept", "sug-1", "sug-2"},
		{"suggestions", "dismiss", "sug-3"}, {"rules", "reset", "a"}} {
		if code := b.run(args...); code != exitOK {
			t.Fatalf("%v: %d %s", args, code, b.stderr.String())
		}
		fmt.Fprintf(&out, "$ entropy %s\n%s%s\n", strings.Join(args, " "), b.stderr.String(), b.stdout.String())
	}
	golden(t, "rules.txt", out.String())
	if got := strings.Join(r.answered, ", "); got != "accept sug-1, accept sug-2, dismiss sug-3, reset a" {
		t.Error(got)
	}
	if r.filter != (entropy.SuggestionFilter{State: "open", Rule: "a", Entity: "feed:a", Limit: 7}) {
		t.Errorf("%+v", r.filter)
	}
	if code := b.run("suggestions", "-o", "json"); code != exitOK || !json.Valid(b.stdout.Bytes()) {
		t.Error(code, b.stdout.String())
	}
	r.err = entropy.Errorf(entropy.CodeConflict, "it has expired")
	for _, args := range [][]string{{"suggestions", "accept", "sug-1"}, {"rules", "reset", "a"}, {"rules"}, {"suggestions"}} {
		if code := b.run(args...); code != exitConflict {
			t.Errorf("%v: %d", args, code)
		}
	}
	for _, args := range [][]string{{"suggestions", "accept"}, {"suggestions", "accept", "../x"}, {"rules", "reset"}, {"rules", "nope"}, {"suggestions", "nope"}} {
		if code := b.run(args...); code != exitUsage {
			t.Errorf("%v: %d", args, code)
		}
	}
}

// proves E-5: a file is tried without a control plane, on deviations that are made up,
// on those of a ledger, and on events in which they are found first.
func TestRulesCheck(t *testing.T) {
	b := newBench(t)
	standard := writeFile(t, "standard.yaml", string(rule.Standard()))
	if code := b.run("rules", "check", standard); code != exitOK {
		t.Fatal(code, b.stderr.String())
	}
	golden(t, "rules_check.txt", b.stdout.String())

	act := writeFile(t, "act.yaml", "rules: [{name: r, when: 'channel == \"late\"', mode: act, reversible: true, do: {command: c, args: {who: '{id}'}}}]")
	var ledger strings.Builder
	for i, at := range []int{0, 1, 40} { // minutes: the second is in the cooldown
		e := fmt.Sprintf(`{"id":"d%d","ts":"2026-01-05T10:%02d:00Z","event_type":"entropy.deviation","entity_id":"feed:a","source":{"system":"entropy"},"attrs":{"step":"s","channel":"late","bits":20}}`, i, at)
		if i == 1 {
			e = `{"row":3,"received_at":"2026-01-05T10:01:00Z","origin":"analyzer","event":` + e + `}` // as entropy ledger events prints it
		}
		ledger.WriteString(e + "\n\n")
	}
	if code := b.run("rules", "check", act, "--against", writeFile(t, "ledger.jsonl", ledger.String()), "-o", "json"); code != exitOK {
		t.Fatal(code, b.stderr.String())
	}
	var out rule.Rehearsal
	if err := json.Unmarshal(b.stdout.Bytes(), &out); err != nil || len(out.Suggestions) != 2 || !strings.Contains(string(out.Suggestions[0].Args), `"who": "a"`) || out.Report.Rules[0].Suppressed["own_effect"] != 1 {
		t.Errorf("%v %s", err, b.stdout.String())
	}

	var events strings.Builder // a step of a second, a hundred times a day, that then takes a minute
	at := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	for i := range 1500 {
		ms := 900 + 37*(i%7)
		if i > 1300 {
			ms *= 60
		}
		fmt.Fprintf(&events, "{\"id\":\"e%d\",\"ts\":%q,\"event_type\":\"send\",\"entity_id\":\"feed:a\",\"attrs\":{\"duration_ms\":%d}}\n", i, at.Add(time.Duration(i)*10*time.Minute).Format(time.RFC3339), ms)
	}
	slow := writeFile(t, "slow.yaml", "rules: [{name: r, when: 'channel == \"location\" && direction == \"slower\"', do: {command: c}}]")
	if code := b.run("rules", "check", slow, "--against", writeFile(t, "events.jsonl", events.String())); code != exitOK || !strings.Contains(b.stdout.String(), "feed:a send location") {
		t.Errorf("%d %s%s", code, b.stdout.String(), b.stderr.String())
	}
}

// proves I-4: what is wrong with a file of rules, or of events, is said with its line.
func TestRulesCheckBadFiles(t *testing.T) {
	good := writeFile(t, "good.yaml", "rules: []")
	for want, args := range map[string][]string{
		"line 1: when: there is no chanel": {writeFile(t, "a.yaml", "rules: [{name: a, when: 'chanel == \"late\"', do: {command: c}}]")},
		"no such file":                     {good + "x"},
		"is a directory":                   {t.TempDir()},
		"line 2: it has no ts":             {good, "--against", writeFile(t, "e.jsonl", "\n{\"a\":1}\n")},
		"line 1: invalid character":        {good, "--against", writeFile(t, "f.jsonl", "rubbish\n")},
		"line 1 is longer than":            {good, "--against", writeFile(t, "g.jsonl", strings.Repeat("x", 1<<20))},
		"not both":                         {"-", "--against", "-"},
	} {
		b := newBench(t)
		if code := b.run(append([]string{"rules", "check"}, args...)...); code == exitOK || !strings.Contains(b.stderr.String(), want) {
			t.Errorf("%v: %d, %q has no %q", args, code, b.stderr.String(), want)
		}
	}
	b := newBench(t)
	b.app.stdin = strings.NewReader("rules: [{name: a, when: 'true', mode: observe}]")
	if code := b.run("rules", "check", "-"); code != exitOK {
		t.Error(code, b.stderr.String())
	}
}
