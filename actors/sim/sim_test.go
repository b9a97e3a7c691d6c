package sim

import (
	"context"
	"strings"
	"testing"
	"time"
)

// histories is how many are run by default, or how many of those under -race.
func histories(n int) int {
	if raceEnabled {
		return n / 20
	}
	return n
}

// proves INV-1 to INV-13, LIV-1, LIV-2, J-3, J-4, J-6, J-7, J-11, L-3, W-2 to W-5, H-1 and H-13 in virtual time
func TestHistories(t *testing.T) {
	n := histories(2500)
	began := time.Now()
	s := Many(t.Context(), Config{Seed: 1}, n, 2, nil)
	t.Logf("%d histories, %d events, %s of virtual time in %s\n%s", s.Histories, s.Events, s.Virtual.Round(time.Second), time.Since(began).Round(time.Millisecond), s.Tally)
	if s.First != nil {
		t.Fatalf("seed %d: %v (%d of %d histories)\n%s", s.First.Seed, s.First.Violation, s.Violations, n, strings.Join(s.First.Tail, "\n"))
	}
	if s.Histories != n {
		t.Fatalf("%d histories ran of %d", s.Histories, n)
	}
	if missing := s.Tally.Missing(); len(missing) > 0 && !raceEnabled {
		t.Errorf("these hard states were never reached, so little was shown of them: %q", missing)
	}
}

// The checker sees what it should: each protection that is taken away is missed
// within a thousand histories.
func TestMutantsAreCaught(t *testing.T) {
	if raceEnabled {
		t.Skip("many histories, and nothing in them is concurrent")
	}
	for _, m := range Mutants {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= 1000; seed++ {
				if r := Run(Config{Seed: seed, Mutant: m}); r.Violation != nil {
					t.Logf("seed %d: %v", seed, r.Violation)
					return
				}
			}
			t.Error("was not caught in 1,000 histories")
		})
	}
}

// A seed decides everything: what happened once happens again.
func TestHistoriesReplay(t *testing.T) {
	for seed := uint64(1); seed <= uint64(max(histories(50), 5)); seed++ {
		a, b := Run(Config{Seed: seed}), Run(Config{Seed: seed})
		if a.Hash != b.Hash || a.Steps != b.Steps || strings.Join(a.Tail, "\n") != strings.Join(b.Tail, "\n") {
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

// Each of these seeds once broke a promise and taught something: a registration
// that arrives twice, late, or between two restarts must not end or shorten what
// its worker was given since.
func TestRegressions(t *testing.T) {
	for _, seed := range []uint64{249, 492, 14340} {
		if r := Run(Config{Seed: seed}); r.Violation != nil {
			t.Errorf("seed %d: %v", seed, r.Violation)
		}
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
