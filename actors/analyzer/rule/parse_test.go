package rule

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// bad are files of rules that are wrong, by what is wrong with them.
var bad = []struct{ name, text string }{
	{"a misspelled field", "rules:\n  - {name: a, when: 'chanel == \"late\"', do: {command: c}}"},
	{"a misspelled setting", "rules:\n  - name: a\n    wen: bits > 3\n    do: {command: c}"},
	{"a field of another type", "rules: [{name: a, when: 'bits == \"x\"', do: {command: c}}]"},
	{"no truth", "rules: [{name: a, when: 'bits + 1', do: {command: c}}]"},
	{"an empty expression", "rules: [{name: a, when: '', do: {command: c}}]"},
	{"no expression", "rules: [{name: a, when: 'bits >', do: {command: c}}]"},
	{"an unknown function", "rules: [{name: a, when: 'sleep(3) == 1', do: {command: c}}]"},
	{"a function that makes much of little", "rules: [{name: a, when: 'len(repeat(step, 1000000)) > 1', do: {command: c}}]"},
	{"a loop", "rules: [{name: a, when: 'all(1..1000000, all(1..1000000, true))', do: {command: c}}]"},
	{"a range", "rules: [{name: a, when: '3 in 1..1000000', do: {command: c}}]"},
	{"a doubling", "rules: [{name: a, when: 'let a = step + step; a == \"x\"', do: {command: c}}]"},
	{"a count without a duration", "rules:\n  - {name: a, when: 'count(\"10 minutes\") > 3', do: {command: c}}\n  - {name: b, when: 'count(step) > 3', do: {command: c}}"},
	{"a large expression", "rules: [{name: a, when: '" + strings.Repeat("bits > 1 && ", 400) + "true', do: {command: c}}]"},
	{"many nodes", "rules: [{name: a, when: '" + strings.Repeat("1<2&&", 600) + "true', do: {command: c}}]"},
	{"no name, when nor do", "rules: [{}]"},
	{"a bad name", "rules: [{name: 'a b/c', when: 'true', do: {command: c}}]"},
	{"two of a name", "rules: [{name: a, when: 'true', do: {command: c}}, {name: a, when: 'true', do: {command: c}}]"},
	{"a mode that is none", "rules: [{name: a, when: 'true', mode: kill, do: {command: c}}]"},
	{"acting without a word about undoing", "rules: [{name: a, when: 'true', mode: act, do: {command: c}}]"},
	{"a bad command", "rules: [{name: a, when: 'true', do: {command: 'rm -rf'}}]"},
	{"no command", "rules: [{name: a, when: 'true', do: {reason: x}}]"},
	{"bad durations", "rules: [{name: a, when: 'true', cooldown: 5, for: soon, at_most: 3 an hour, do: {command: c, ttl: 1ms}}]"},
	{"a bad template", "rules: [{name: a, when: 'true', do: {command: c, reason: '{why', benefit: 'why}', entity: '{wy}', args: {x: '{bits +}'}}}]"},
	{"aliases", "rules: [{name: a, when: 'true', do: {command: c, args: {x: &x [1], y: *x}}}]"},
	{"args that are a list", "rules: [{name: a, when: 'true', do: {command: c, args: [1]}}]"},
	{"deep args", "rules: [{name: a, when: 'true', do: {command: c, args: {x: " + strings.Repeat("[", 30) + strings.Repeat("]", 30) + "}}}]"},
	{"many args", "rules: [{name: a, when: 'true', do: {command: c, args: {x: [" + strings.Repeat("1,", 600) + "]}}}]"},
	{"rules that are text", "rules: everything"},
	{"a list", "- name: a"},
	{"no YAML", "rules: [}"},
	{"a tab", "rules:\n\t- name: a"},
	{"two documents", "rules: []\n---\nrules: []"},
	{"a zone that is none", "zone: Mars/Olympus"},
	{"a storm that is none", "storm: {limit: many, quiet: -3m}\njudge: 1s\neffect: forever"},
	{"everything twice", "zone: UTC\nzone: UTC"},
	{"thirty mistakes", "rules:\n" + strings.Repeat("  - {nam: a}\n", 30)},
}

// proves I-4: of a bad file every line that is wrong is named, with what was expected.
func TestBadFiles(t *testing.T) {
	var b strings.Builder
	for _, c := range bad {
		_, err := Parse([]byte(c.text))
		if entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		fmt.Fprintf(&b, "# %s\n%v\n\n", c.name, err)
	}
	golden := filepath.Join("testdata", "bad.golden")
	if *rewrite {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the messages are\n%s\nand not those of %s; -rewrite writes them", b.String(), golden)
	}
	if _, err := Parse(make([]byte, MaxFile+1)); entropy.ErrorCode(err) != entropy.CodeTooLarge {
		t.Errorf("too large: %v", err)
	}
	if _, err := Parse([]byte("rules: \xff")); entropy.ErrorCode(err) != entropy.CodeInvalid {
		t.Errorf("no UTF-8: %v", err)
	}
}

// proves that every setting is read, and that what is left out has its default.
func TestGoodFiles(t *testing.T) {
	s, err := Parse([]byte(`
zone: Europe/Berlin
storm: {limit: 7 per 3m, quiet: 4m}
effect: 5m
entity_cooldown: 6m
judge: 2h
rules:
  - name: a
    when: |
      kind in ["feed"] && tags.tenant != "x" && hour >= 8 && weekday not in ["saturday", "sunday"]
        && count("10m") >= 2 && last_action.ago > 60 && "late" in channels && len(cases) < 3 && phi < 9
    mode: ask
    for: 90s
    cooldown: 1m
    at_most: 3 per 1h
    do: {command: c, priority: -7, ttl: 1m, timeout: 2m, dry_run: true, args: {x: 3, y: "{{{id}}}", z: null, t: 2026-01-31}}
  - {name: b, when: "true", mode: observe}
`))
	if err != nil {
		t.Fatal(err)
	}
	a := s.Rules[0]
	if s.Zone.String() != "Europe/Berlin" || s.Storm != (Storm{Limit{7, 3 * time.Minute}, 4 * time.Minute}) || s.Effect != 5*time.Minute || s.EntityCooldown != 6*time.Minute ||
		s.Judge != 2*time.Hour || a.Mode != entropy.RuleAsk || a.Hold != 90*time.Second || a.Cooldown != time.Minute || a.AtMost != (Limit{3, time.Hour}) ||
		a.Do.Priority != "-7" || a.Do.TTL != time.Minute || a.Do.Timeout != 2*time.Minute || !a.Do.DryRun {
		t.Errorf("%+v %+v", s, a)
	}
	e := New(s)
	d, _ := readDeviation(&entropy.Event{ID: "d", EntityID: "feed:x", Source: entropy.Source{System: "entropy"}, Attrs: []byte(`{"channel":"late"}`)})
	v := e.environment(d, time.Date(2026, 7, 1, 6, 30, 0, 0, time.UTC))
	if v.Hour != 8 || v.Weekday != "wednesday" {
		t.Errorf("%d o'clock on a %s", v.Hour, v.Weekday)
	}
	args, err := a.Do.args.render(v)
	if err != nil || string(args) != `{"t":"2026-01-31","x":3,"y":"{x}","z":null}` {
		t.Errorf("%s, %v", args, err)
	}
	for range 2 {
		e.remember(d, noon)
	}
	v = e.environment(d, noon)
	if yes, err := a.when.holds(v); !yes || err != nil {
		t.Error(yes, err)
	}
	if s, err := Parse(nil); err != nil || len(s.Rules) != 0 || s.Storm.AtMost != DefaultStorm || s.Judge != DefaultJudge {
		t.Errorf("empty: %+v, %v", s, err)
	}
}

// proves E-5: the rules that come along only suggest, and know the four commands.
func TestStandard(t *testing.T) {
	s, err := Parse(Standard())
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, r := range s.Rules {
		if r.Mode != entropy.RuleSuggest {
			t.Errorf("rule %s does more than suggest", r.Name)
		}
		commands = append(commands, r.Do.Command)
	}
	if got := strings.Join(commands, " "); got != "quarantine_worker retry_step notify_supplier restart_job" {
		t.Error(got)
	}
	w := newWorld(t, string(Standard()))
	ofCase := func(c string) func(*entropy.Event, map[string]any) {
		return func(e *entropy.Event, _ map[string]any) { e.CorrelationID = c }
	}
	w.deviate("worker:w1", "run", "outcome")
	w.deviate("jobs:nightly", "run", "outcome")
	w.deviate("jobs:nightly", "run", "location", ofCase("j1"))
	w.deviate("supplier:acme", "sent", "missing")
	w.deviate("order:7", "packed", "missing", ofCase("o7"))
	w.deviate("order:8", "packed", "location")
	w.pass(time.Minute)
	w.want("quarantine-worker suggest worker:w1", "retry-slow-failing-step suggest jobs:nightly", "notify-supplier suggest supplier:acme", "restart-late-job suggest order:7")
}

// proves that an expression which fails when it runs is counted, and stops nothing.
func TestRuntimeErrors(t *testing.T) {
	w := newWorld(t, `
rules:
  - {name: index, when: 'cases[3] == "x"', do: {command: c}}
  - {name: infinite, when: 'true', do: {command: c, args: {x: "{1/0}"}}}
  - {name: far, when: 'true', do: {command: c, entity: "`+strings.Repeat("x", 300)+`"}}
  - {name: fine, when: 'true', do: {command: c}}`)
	w.deviate("k:1", "a", "late")
	w.pass(time.Minute)
	w.want("fine suggest k:1")
	for _, r := range w.engine.Report(w.now).Rules[:3] {
		if r.Errors != 1 || r.LastError == "" || strings.Contains(r.LastError, "\n") {
			t.Errorf("%+v", r)
		}
	}
}

// FuzzParse: no file makes the reader panic, and what it takes can be applied.
func FuzzParse(f *testing.F) {
	for _, c := range bad {
		f.Add([]byte(c.text))
	}
	f.Add(Standard())
	f.Add([]byte(acting))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			if entropy.ErrorCode(err) == "" {
				t.Fatalf("no code: %v", err)
			}
			return
		}
		e := New(s)
		for i, c := range []string{"late", "location", "outcome"} {
			ev := entropy.Event{ID: fmt.Sprint(i), Type: DeviationType, EntityID: "worker:x", Source: entropy.Source{System: "entropy"},
				Attrs: []byte(`{"step":"s","bits":12,"channel":"` + c + `"}`)}
			for _, o := range e.Apply(Row{noon, ev}, true) {
				if o.Ask != nil {
					if r, err := Request(o.Ask); err != nil {
						t.Fatal(err)
					} else if _, err := r.Read(noon); err != nil {
						t.Fatalf("%s: %v", r.Envelope, err)
					}
				}
			}
		}
	})
}
