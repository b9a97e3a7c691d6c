package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/entropy-fabric/entropy"
)

// fakeAnalyzer is a control plane whose analyzer knows what a test put in.
type fakeAnalyzer struct {
	*fakeService
	found  []entropy.Deviation
	status entropy.EntropyStatus
	filter entropy.DeviationFilter
	effect entropy.EffectQuery
}

func (f *fakeAnalyzer) Entropy(context.Context, bool) (entropy.EntropyStatus, error) {
	return f.status, f.call("entropy")
}

func (f *fakeAnalyzer) Deviations(_ context.Context, filter entropy.DeviationFilter) ([]entropy.Deviation, error) {
	f.filter = filter
	return f.found, f.call("deviations")
}

func (f *fakeAnalyzer) EntropySeries(_ context.Context, entity, step string) (entropy.EntropySeries, error) {
	if entity != "supplier:3" {
		return entropy.EntropySeries{}, entropy.Errorf(entropy.CodeNotFound, "nothing is known of step %q of %q", step, entity).WithHint("its steps are …")
	}
	s := entropy.EntropySeries{EntityID: entity, Step: step, N: 812, Tested: true, Open: true, Channel: "location", Window: entropy.TimeWindow{From: *ago(time.Hour), To: noon},
		P50: 2760, P95: 11800, NormalP50: 903, NormalP95: 3100, Entropy: 3.1, Normal: 3.0, JSDBits: 0.41, P: 1e-12, Hours: make([]float64, 168),
		Why: []string{"slower: half now take up to 2.76 s, normally 903 ms (× 2.94)"}, Examples: []string{"3-17"}, Found: f.found[:1],
		Next: &entropy.ExpectedGap{P50: 60_000, P99: 300_000, Late: 400_000}, Outcomes: []entropy.OutcomeShare{{Outcome: "succeeded", Normal: 0.98, Now: 12}}}
	for i := range 40 {
		s.Buckets = append(s.Buckets, entropy.EntropyRange{From: float64(int(100) << (i / 4)), To: float64(int(100)<<(i/4)) * 1.25, Normal: 0.05 - 0.001*float64(i), Now: 0.001 * float64(i)})
	}
	for h := range s.Hours {
		s.Hours[h] = float64(h%24) / 12 / 168
	}
	return s, f.call("series")
}

func (f *fakeAnalyzer) Predict(_ context.Context, id string) (entropy.EntropyPrediction, error) {
	deadline := noon.Add(time.Minute)
	return entropy.EntropyPrediction{Case: id, PredictedAttrs: entropy.PredictedAttrs{Step: "packed", Since: noon, Next: []entropy.ExpectedStep{{Step: "sent", P: 0.97}, {Step: "(end)", P: 0.03}},
		Expected: &entropy.ExpectedGap{P50: 20_000, P99: 55_000}, Deadline: &deadline, Confidence: 0.9}}, f.call("predict")
}

func (f *fakeAnalyzer) EntropyEffect(_ context.Context, q entropy.EffectQuery) (entropy.EntropyEffect, error) {
	f.effect = q
	return entropy.EntropyEffect{Before: 5, After: 3, EventsBefore: 100, EventsAfter: 90, ControlBefore: 2, ControlAfter: 2.5, ControlEventsBefore: 10, ControlEventsAfter: 11, Change: -2.5}, f.call("effect")
}

func (f *fakeAnalyzer) Action(_ context.Context, id entropy.ActionID) (entropy.ActionInfo, error) {
	x := entropy.ActionInfo{Action: entropy.Action{ID: id, Target: "job:7"}}
	if id != "open" {
		x.FinishedAt = ago(time.Hour)
	}
	return x, f.call("action")
}

// EntropyGraph knows the kind "supplier" only.
func (f *fakeAnalyzer) EntropyGraph(_ context.Context, kind string, _, _ int) (entropy.EntropyGraph, error) {
	if kind != "supplier" {
		return entropy.EntropyGraph{}, entropy.Errorf(entropy.CodeNotFound, "no case of the kind %q was seen", kind)
	}
	return entropy.EntropyGraph{Kind: kind, Cases: 3, Nodes: []entropy.GraphNode{{ID: "n0", Role: "start", Step: "(start)"}, {ID: "n1", Role: "step", Step: "pick"}},
		Edges: []entropy.GraphEdge{{From: "n0", To: "n1", Count: 3, P: 1}}}, nil
}

// EntropyDue knows one due time.
func (f *fakeAnalyzer) EntropyDue(context.Context, string) ([]entropy.EntropyDue, error) {
	return []entropy.EntropyDue{{EntityID: "job:report", Step: "ran", Status: "EXPECTED", DueAt: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC), N: 25}}, nil
}

var _ entropy.EntropyService = (*fakeAnalyzer)(nil)

func newSurpriseBench(t *testing.T) (*bench, *fakeAnalyzer) {
	b := newBench(t)
	f := &fakeAnalyzer{fakeService: b.service}
	b.app.dial = func(entropy.ClientConfig) (entropy.Service, error) { return f, nil }
	ended := noon.Add(-time.Minute)
	f.found = []entropy.Deviation{
		{ID: "ent-1", EntityID: "supplier:3", DeviationAttrs: entropy.DeviationAttrs{Step: "process", Channel: "location", Direction: "slower", Bits: 25.24, At: *ago(time.Hour),
			Why: []string{"slower: half now take up to 2.76 s, normally 903 ms (× 2.94)"}, Examples: []string{}, Suggested: []entropy.SuggestedAction{}}, Open: true},
		{ID: "ent-2", EntityID: "evil:\x1b[31m" + strings.Repeat("x", 60), DeviationAttrs: entropy.DeviationAttrs{Step: "a\nb", Channel: "missing", Bits: 10.5, At: *ago(2 * time.Hour)}, EndedAt: &ended, Ended: "came"},
	}
	f.status = entropy.EntropyStatus{State: entropy.EntropyLive, Phi: 3.32, Health: entropy.EntropyHealth{Events: 62033, Series: 84}, Kinds: []entropy.KindEntropy{{Kind: "supplier", Phi: 3.32, Events: 102}}}
	for i := range 200 {
		f.status.Hours = append(f.status.Hours, entropy.PhiPoint{At: noon.Add(time.Duration(i-200) * time.Hour), Phi: 3 + float64(i%24)/24, Events: 10})
	}
	return b, f
}

// proves E-5, O-3: the ranked table, one series in a wide and in a narrow terminal, and
// the entropy over time, as people see them.
func TestSurprise(t *testing.T) {
	b, f := newSurpriseBench(t)
	var shown strings.Builder
	for _, args := range []string{"surprise", "surprise show supplier:3 process", "surprise predict 3-17", "surprise phi"} {
		for _, columns := range []string{"120", "36"} {
			b.env["COLUMNS"] = columns
			if code := b.run(strings.Fields(args)...); code != 0 {
				t.Fatalf("%s: exit %d: %s", args, code, b.stderr.String())
			}
			if strings.Contains(b.stdout.String(), "\x1b") {
				t.Errorf("%s: a name from outside moves the cursor", args)
			}
			if columns == "36" && (args != "surprise predict 3-17") {
				for _, line := range strings.Split(b.stdout.String(), "\n") {
					if strings.ContainsAny(line, "█▁%") && !strings.Contains(line, "half") && !strings.Contains(line, "ends") && !strings.Contains(line, "hours of") && utf8.RuneCountInString(line) > 44 {
						t.Errorf("%s: a line of %d columns: %s", args, utf8.RuneCountInString(line), line)
					}
				}
			}
			shown.WriteString("$ entropy " + args + "   (" + columns + " columns)\n" + b.stdout.String() + "\n")
		}
	}
	golden(t, "surprise.golden", shown.String())
	if !f.filter.Bounded || f.filter.Limit != 20 {
		t.Errorf("asked with %+v", f.filter)
	}
}

// proves I-4: the doctor says how the analyzer is: reading, waiting, short of room, or
// without a source.
func TestDoctorOfTheAnalyzer(t *testing.T) {
	for want, change := range map[string]func(*entropy.EntropyStatus){
		"84 series":              func(*entropy.EntropyStatus) {},
		"reads the past":         func(s *entropy.EntropyStatus) { s.State, s.LastRow = entropy.EntropyRebuilding, 9 },
		"cannot be kept":         func(s *entropy.EntropyStatus) { s.Problem = "there is no room" },
		"3 were forgotten":       func(s *entropy.EntropyStatus) { s.Health.Evicted = 3 },
		"source depot is silent": func(s *entropy.EntropyStatus) { s.Sources = []entropy.EntropySource{{System: "depot", Silent: true}} },
	} {
		_, f := newSurpriseBench(t)
		change(&f.status)
		var all []string
		for _, x := range examineAnalyzer(t.Context(), f) {
			all = append(all, x.Level+" "+x.Finding+" "+x.Advice)
		}
		if said := strings.Join(all, "; "); !strings.Contains(said, want) {
			t.Errorf("there is no %q in %q", want, said)
		}
	}
	if got := examineAnalyzer(t.Context(), newBench(t).service); got != nil {
		t.Errorf("without one: %+v", got)
	}
}

// proves I-4: flags become the filter, and those that cannot be are refused.
func TestSurpriseFlags(t *testing.T) {
	b, f := newSurpriseBench(t)
	if code := b.run("surprise", "--entity", "supplier:", "--step", "process", "--channel", "late", "--since", "2d", "--open", "--recent", "--all", "--limit", "3", "-o", "json"); code != 0 {
		t.Fatalf("exit %d: %s", code, b.stderr.String())
	}
	want := entropy.DeviationFilter{Entity: "supplier:", Step: "process", Channel: "late", Since: noon.Add(-48 * time.Hour), Open: true, Recent: true, Limit: 3}
	if f.filter != want {
		t.Errorf("asked with %+v", f.filter)
	}
	var all []map[string]any
	if err := json.Unmarshal(b.stdout.Bytes(), &all); err != nil || len(all) != 2 || all[0]["entity_id"] != "supplier:3" || all[0]["bits"] != 25.24 || all[0]["ended_at"] != nil {
		t.Errorf("%v: %s", err, b.stdout.String())
	}
	for _, bad := range []string{"surprise --since yesterday", "surprise --limit 0", "surprise show supplier:3", "surprise phi x", "surprise effect", "surprise effect x --at 2h", "surprise effect --at soon", "control --analyzer-zone Nowhere/At", "control --analyzer-memory x",
		"control --analyzer-memory 1M", "control --predict always"} {
		if code := b.run(strings.Fields(bad)...); code != exitUsage || !strings.Contains(b.stderr.String(), "next:") {
			t.Errorf("%s: exit %d: %s", bad, code, b.stderr.String())
		}
	}
	if code := b.run("surprise", "show", "nobody:1", "x"); code != exitNotFound {
		t.Errorf("exit %d", code)
	}
	if code := b.run("surprise", "effect", "0198c0de-0000-7000-8000-000000000002", "--after", "2h"); code != 0 || !f.effect.At.Equal(noon.Add(-time.Hour)) || f.effect.Kinds[0] != "jobs" ||
		f.effect.After != 2*time.Hour || !strings.Contains(b.stdout.String(), "change -2.50 bits") {
		t.Errorf("exit %d, asked with %+v: %s%s", code, f.effect, b.stdout.String(), b.stderr.String())
	}
	if b.run("surprise", "effect", "--at", "2d", "--kind", "supplier"); !f.effect.At.Equal(noon.Add(-48*time.Hour)) || f.effect.Kinds[0] != "supplier" {
		t.Errorf("asked with %+v: %s", f.effect, b.stderr.String())
	}
	if code := b.run("surprise", "effect", "open"); code != exitConflict {
		t.Errorf("of an action that has not ended: exit %d", code)
	}
	f.found = nil
	if b.run("surprise"); !strings.Contains(b.stdout.String(), "nothing surprising in 62033 events") {
		t.Errorf("%s", b.stdout.String())
	}
	f.status.State, f.status.Row, f.status.LastRow = entropy.EntropyRebuilding, 7, 70
	if b.run("surprise"); !strings.Contains(b.stdout.String(), "row 7 of 70") {
		t.Errorf("%s", b.stdout.String())
	}
}
