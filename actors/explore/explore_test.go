package explore

import (
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// configs are the scenarios to their end, and one that has none for a while.
var configs = append(Scenarios(), Config{Name: "three assignments", Spec: Scenarios()[0].Spec, Assignments: 3, Depth: 9})

// proves INV-1, INV-3, INV-5 to INV-7, INV-10, INV-11, INV-14, INV-17, LIV-1, J-4, J-7, J-10 and J-11 for every state there is
func TestEveryState(t *testing.T) {
	if raceEnabled {
		t.Skip("nothing in it is concurrent")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // the states are kept, so that collecting finds little
	for _, cfg := range configs {
		began := time.Now()
		r := Run(cfg)
		t.Logf("%-26s %s in %s", cfg.Name, r, time.Since(began).Round(time.Millisecond))
		if r.Violation != nil {
			t.Errorf("%s: %v\n%s", cfg.Name, r.Violation, strings.Join(r.Violation.Path, "\n"))
			continue
		}
		if wide := cfg.Assignments == 3; r.Exhausted == wide || r.States < 10_000 {
			t.Errorf("%s: %s", cfg.Name, r)
		}
	}
}

// Each protection that is taken away is missed, by the shortest way there is.
func TestMutantsAreFound(t *testing.T) {
	if raceEnabled {
		t.Skip("nothing in it is concurrent")
	}
	for _, m := range []struct {
		mutant    Mutant
		config    int
		invariant string
	}{
		{NoFencing, 0, "INV-10"},
		{DuplicateCompletion, 0, "INV-7"},
		{DoubleAssign, 0, "INV-5"},
		{ForgottenEndsStop, 1, "J-11"},
		{GossipEndsStop, 1, "J-11"},
		{NoRetryIgnored, 2, "J-7"},
		{DependencyOnFailure, 5, "J-10"},
		{IdentityFromBody, 0, "INV-14"},
	} {
		cfg := configs[m.config]
		cfg.Mutant = m.mutant
		r := Run(cfg)
		if r.Violation == nil || r.Violation.Invariant != m.invariant {
			t.Errorf("%s: %v", m.mutant, r.Violation)
			continue
		}
		t.Logf("%-22s %s after %d states\n\t%s", m.mutant, r.Violation, r.States, strings.Join(r.Violation.Path, "\n\t"))
	}
}

// The search is bounded, and says so.
func TestLimits(t *testing.T) {
	r := Run(Config{Spec: Scenarios()[0].Spec, MaxStates: 500})
	if r.Exhausted || r.States != 500 || r.Violation != nil {
		t.Errorf("%s, %v", r, r.Violation)
	}
	r = Run(Config{Spec: Scenarios()[0].Spec, Depth: 3})
	if again := Run(Config{Spec: Scenarios()[0].Spec, Depth: 3}); r.Exhausted || r.Depth != 3 || again.String() != r.String() {
		t.Errorf("%s, then %s", r, again)
	}
}
