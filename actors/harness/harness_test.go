package harness

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seed      = flag.Uint64("seed", 1, "the seed of the first history")
	histories = flag.Int("histories", 0, "how many histories to run; 0 means 500, and 20 under the race detector")
	show      = flag.Bool("show", false, "log the whole trace of every history")
)

// spent is the time that each part of the tests took.
var spent sync.Map

// TestMain says which part of the time went where.
func TestMain(m *testing.M) {
	code := m.Run()
	all := time.Duration(0)
	spent.Range(func(_, d any) bool {
		all += d.(time.Duration)
		return true
	})
	spent.Range(func(part, d any) bool {
		fmt.Printf("%s: %.1f s, %.0f %% of this package's time\n", part, d.(time.Duration).Seconds(), 100*float64(d.(time.Duration))/float64(all))
		return true
	})
	os.Exit(code)
}

// count is how many histories to run.
func count(n, underRace int) int {
	switch {
	case *histories > 0:
		return *histories
	case raceEnabled:
		return underRace
	}
	return n
}

// sum is what came of many histories.
type sum struct {
	mu      sync.Mutex
	n       int
	events  int
	turns   int
	virtual time.Duration
	hash    uint64 // of all of them, in whatever order they ran
	slowest report
	tally   tally
}

func (s *sum) add(r *report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	s.events += r.events
	s.turns += r.turns
	s.virtual += r.virtual
	s.hash += r.hash * (2*r.seed + 1)
	s.tally.add(r.tally)
	if r.wall > s.slowest.wall {
		s.slowest = *r
	}
}

const (
	// lanes is how many histories run side by side.
	lanes = 2
	// enough is how many broken histories end a run.
	enough = 10
	// wedged is how long one history may take. Nothing in a bubble notices if a
	// goroutine in it never comes to rest.
	wedged = 3 * time.Minute
)

// each runs n histories and calls f with every report.
func each(t *testing.T, o options, n int, f func(t *testing.T, r *report)) {
	t.Helper()
	began := time.Now()
	var broken atomic.Int64
	t.Run("lanes", func(t *testing.T) {
		for lane := range lanes {
			t.Run(fmt.Sprint(lane), func(t *testing.T) {
				t.Parallel()
				for i := lane; i < n && broken.Load() < enough; i += lanes {
					one := o
					one.seed += uint64(i)
					r := watched(t, one)
					if f(t, &r); r.broken != nil {
						broken.Add(1)
					}
				}
			})
		}
	})
	spent.Store(t.Name(), time.Since(began))
}

// watched runs one history and says which, should it never end.
func watched(t *testing.T, o options) report {
	t.Helper()
	began := time.Now()
	dog := time.AfterFunc(wedged, func() { panic(fmt.Sprintf("the history of seed %d has been running for %s", o.seed, wedged)) })
	defer dog.Stop()
	r := history(t, o)
	r.wall = time.Since(began)
	return r
}

// proves INV-1 to INV-14, INV-17, LIV-1, LIV-2, J-3 to J-7, J-10, J-11, J-14, L-1 to L-3, L-5 to L-7, W-2 to W-5, W-7, W-8, H-1, H-3, H-9, H-13 for the real actors, in virtual time
func TestHarness(t *testing.T) {
	n := count(500, 20)
	began := time.Now()
	total := sum{tally: make(tally)}
	each(t, options{seed: *seed, verbose: *show}, n, func(t *testing.T, r *report) {
		total.add(r)
		if *show {
			t.Log("\n" + strings.Join(r.all, "\n"))
		}
		if r.broken != nil {
			t.Errorf("seed %d: %v\n%s\nagain: go test ./actors/harness -run 'Harness$' -seed %d -histories 1 -show -v", r.seed, r.broken, strings.Join(r.tail, "\n"), r.seed)
		}
	})
	wall := time.Since(began)
	t.Logf("%d histories, %d events, %d turns, %s of virtual time in %s: %.0f histories/s, hash %x; the slowest is seed %d with %s\n%s",
		total.n, total.events, total.turns, total.virtual.Round(time.Second), wall.Round(time.Millisecond), float64(total.n)/wall.Seconds(),
		total.hash, total.slowest.seed, total.slowest.wall.Round(time.Millisecond), total.tally)
	if missing := total.tally.missing(); n >= 500 && !t.Failed() && len(missing) > 0 {
		t.Errorf("these hard states were never reached, so little was shown of them: %q", missing)
	}
}

// proves that a seed decides everything: what happened once happens again, to the
// last turn and the last message
func TestHarnessReplays(t *testing.T) {
	each(t, options{seed: *seed, verbose: true}, count(100, 5), func(t *testing.T, r *report) {
		again := watched(t, options{seed: r.seed, verbose: true})
		if r.hash != again.hash || r.turns != again.turns {
			t.Errorf("seed %d: hash %x in %d turns, then %x in %d%s", r.seed, r.hash, r.turns, again.hash, again.turns, firstDifference(r.all, again.all))
		}
	})
}

func firstDifference(a, b []string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "\n" + strings.Join(a[max(0, i-10):i], "\n") + "\nthen\n" + a[i] + "\nor\n" + b[i]
		}
	}
	return ""
}

// proves that the checker sees what it should: each protection that is taken away,
// in the journal, on the network or at a worker, is missed within 200 histories
func TestHarnessMutants(t *testing.T) {
	if raceEnabled {
		t.Skip("many histories, and nothing in them is concurrent")
	}
	began := time.Now()
	t.Run("each", func(t *testing.T) {
		for _, m := range mutants {
			t.Run(string(m), func(t *testing.T) {
				t.Parallel()
				for i := range 200 {
					if r := watched(t, options{seed: *seed + uint64(i), mutant: m}); r.broken != nil {
						t.Logf("history %d (seed %d): %v", i+1, r.seed, r.broken)
						return
					}
				}
				t.Error("was not caught in 200 histories")
			})
		}
	})
	spent.Store(t.Name(), time.Since(began))
}
