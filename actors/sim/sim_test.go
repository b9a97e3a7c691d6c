package sim

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// histories is how many are run by default, or how many of those under -race,
// where they are many times slower and nothing in them is concurrent.
func histories(n int) int {
	if raceEnabled {
		return n / 100
	}
	return n
}

// describeBroken is what one needs to see a broken promise again.
func describeBroken(r *Report) string {
	small := Shrink(Config{Seed: r.Seed}, 200)
	return fmt.Sprintf("seed %d: %v\n%d workers, %d jobs; again: go run ./cmd/entropysim -n 1 -seed %d -tail 100000\nfaults needed (calm network: %t):\n%s\nlast events:\n%s",
		r.Seed, r.Violation, r.Workers, r.Jobs, r.Seed, small.Calm, faultLines(Run(small).Faults), strings.Join(r.Tail, "\n"))
}

func faultLines(faults []Fault) string {
	var lines []string
	for _, f := range faults {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n")
}

// proves INV-1 to INV-14 and INV-17, LIV-1 to LIV-4, J-3 to J-8, J-10 to J-12, J-14, L-1 to L-7, W-2 to W-5, W-8, H-1 to H-3, H-9, H-12 and H-13 in virtual time
func TestHistories(t *testing.T) {
	measured(t)
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // a history is garbage when it is over
	n := histories(20_000)
	began := time.Now()
	s := Many(t.Context(), Config{Seed: 1}, n, 1, nil)
	took := time.Since(began)
	t.Logf("%d histories, %d events, %d steps, %s of virtual time in %s: %.0f histories/s\n%s", s.Histories, s.Events, s.Steps,
		s.Virtual.Round(time.Second), took.Round(time.Millisecond), float64(s.Histories)/took.Seconds(), s.Tally)
	if s.First != nil {
		t.Fatalf("%d of %d histories broke a promise; the first:\n%s", s.Violations, n, describeBroken(s.First))
	}
	if s.Histories != n {
		t.Fatalf("%d histories ran of %d", s.Histories, n)
	}
	if rare := s.Tally.Rare(100); len(rare) > 0 && !raceEnabled {
		t.Errorf("these hard states were reached fewer than 100 times, so little was shown of them: %q", rare)
	}
}

// The checker sees what it should: each protection that is taken away is missed
// within a thousand histories, and each promise is the first to be broken by one.
func TestMutantsAreCaught(t *testing.T) {
	measured(t)
	if raceEnabled {
		t.Skip("many histories, and nothing in them is concurrent")
	}
	first, caught := make(map[string]bool), 0
	for _, m := range Mutants {
		r := untilCaught(m, 1000)
		if r.Violation == nil {
			t.Errorf("%s was not caught in 1,000 histories", m)
			continue
		}
		first[r.Violation.Invariant] = true
		caught++
		t.Logf("%-22s %-7s after %4d histories: %s", m, r.Violation.Invariant, r.Seed, strings.SplitN(r.Violation.Message, "\n", 2)[0])
	}
	t.Logf("%d of %d mutants were caught", caught, len(Mutants))
	for _, i := range Invariants {
		if !first[i] && i != Crash && i != IncarnationRises {
			t.Errorf("no mutant is first caught by %s", i)
		}
	}
}

func untilCaught(m Mutant, n uint64) (r Report) {
	for seed := uint64(1); seed <= n; seed++ {
		if r = Run(Config{Seed: seed, Mutant: m}); r.Violation != nil {
			return r
		}
	}
	return r
}

// A seed decides everything: what happened once happens again.
func TestHistoriesReplay(t *testing.T) {
	measured(t)
	for seed := uint64(1); seed <= uint64(max(histories(100), 5)); seed++ {
		a, b := Run(Config{Seed: seed}), Run(Config{Seed: seed, Trace: true})
		if a.Hash != b.Hash || a.Steps != b.Steps || a.Events != b.Events || len(b.Tail) == 0 {
			t.Fatalf("seed %d: hash %x in %d steps, then %x in %d", seed, a.Hash, a.Steps, b.Hash, b.Steps)
		}
		if a.Hash == Run(Config{Seed: seed + 1000}).Hash {
			t.Fatalf("seeds %d and %d have the same history", seed, seed+1000)
		}
	}
	one := Many(t.Context(), Config{Seed: 7}, 40, 1, nil)
	two := Many(t.Context(), Config{Seed: 7}, 40, 3, nil)
	if one.Hash != two.Hash || one.Events != two.Events {
		t.Errorf("40 histories have hash %x one by one and %x three at a time", one.Hash, two.Hash)
	}
}

// Each of these seeds once broke a promise and taught something.
func TestRegressions(t *testing.T) {
	measured(t)
	b, err := os.ReadFile("testdata/regression_seeds")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		number, lesson, _ := strings.Cut(strings.TrimSpace(line), " ")
		seed, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			t.Fatalf("regression_seeds: %v", err)
		}
		ran++
		if r := Run(Config{Seed: seed}); r.Violation != nil {
			t.Errorf("seed %d (%s): %v", seed, lesson, r.Violation)
		}
	}
	if ran < 5 {
		t.Errorf("%d regression seeds ran", ran)
	}
}

// What a broken history does not need is left out, and what is left still breaks it.
func TestShrink(t *testing.T) {
	for seed := uint64(1); seed <= 200; seed++ {
		cfg := Config{Seed: seed, Mutant: ListeningIgnored}
		r := Run(cfg)
		if r.Violation == nil || len(r.Faults) < 4 {
			continue
		}
		small := Shrink(cfg, 200)
		again := Run(small)
		if again.Violation == nil || again.Violation.Invariant != r.Violation.Invariant {
			t.Fatalf("seed %d: shrunk to %v, which breaks %v", seed, small.Without, again.Violation)
		}
		if len(again.Faults) >= len(r.Faults) {
			t.Errorf("seed %d: %d of %d faults are left", seed, len(again.Faults), len(r.Faults))
		}
		for _, f := range again.Faults { // each that is left is needed
			less := small
			less.Without = append(slices.Clone(small.Without), f.number)
			if l := Run(less); l.Violation != nil && l.Violation.Invariant == r.Violation.Invariant && len(again.Faults) > 2 {
				t.Errorf("seed %d: %s is not needed", seed, f)
			}
		}
		return
	}
	t.Fatal("no seed fit")
}

// Any planner can be put in place of the fabric's own.
func TestPlanners(t *testing.T) {
	fabric, reference := Config{Seed: 3, Planner: NewFabric}, Config{Seed: 3, Planner: NewReference}
	a, b := Many(t.Context(), fabric, 20, 1, nil), Many(t.Context(), reference, 20, 1, nil)
	if a.Violations+b.Violations > 0 || a.Hash == b.Hash {
		t.Errorf("fabric: %v, reference: %v", a.First, b.First)
	}
}

func TestManyStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ran := 0
	s := Many(ctx, Config{Seed: 1}, 1_000_000, 1, func(Report) {
		if ran++; ran == 3 {
			cancel()
		}
	})
	if s.Histories != 3 {
		t.Errorf("%d histories ran, not 3", s.Histories)
	}
}

func TestLoopOrder(t *testing.T) {
	var l loop
	var got []int
	for i, at := range []time.Duration{5, 1, 3, 1, 9, 3, 0, 5} {
		l.at(at, func() { got = append(got, i) })
	}
	l.after(2, func() { l.at(1, func() { got = append(got, 100) }) }) // the past is now
	for l.step() {
	}
	want := []int{6, 1, 3, 100, 2, 5, 0, 7, 4}
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%v, want %v", got, want)
		}
	}
	if l.now != 9 {
		t.Errorf("the time is %d", l.now)
	}
}

func BenchmarkHistory(b *testing.B) {
	for i := range b.N {
		if r := Run(Config{Seed: uint64(i)}); r.Violation != nil {
			b.Fatal(r.Seed, r.Violation)
		}
	}
}
