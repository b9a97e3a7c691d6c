package analyzer

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// start is when the workers begin.
var start = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// runOutcomes lets workers end jobs, one every two minutes each, failing with the
// probability that share says, for so many of them.
func runOutcomes(a *Analyzer, r *stat.Rand, from time.Time, jobs, workers int, share func(worker, job int) float64) (found []Deviation, at time.Time) {
	for j := range jobs {
		for w := range workers {
			at = from.Add(time.Duration(j)*2*time.Minute + time.Duration(w)*time.Second)
			o := Observation{Entity: fmt.Sprintf("worker:w%d", w), Step: "attempt", Case: fmt.Sprintf("a-%d-%d-%d", from.Unix(), j, w), At: at, Last: true, Outcome: "succeeded"}
			if r.Float64() < share(w, j) {
				o.Outcome = "exit"
			}
			a.Observe(o, at)
		}
		found = append(found, a.Advance(at)...)
	}
	return found, at
}

// proves E-4: known answers of the beta-binomial distribution.
func TestBetaBinomial(t *testing.T) {
	for _, tt := range []struct {
		k, n         int
		a, b         float64
		upper, lower float64
	}{
		{3, 5, 1, 1, 0.5, 4.0 / 6},                      // uniform over 0 to 5
		{0, 5, 1, 1, 1, 1.0 / 6},                        //
		{2, 2, 2, 3, 2.0 * 3 / (5 * 6), 1},              // a(a+1) / ((a+b)(a+b+1))
		{1, 10, 1e9, 9e9, 1 - math.Pow(.9, 10), 0.7361}, // the binomial of 0.1
	} {
		upper, lower := stat.BetaBinomialTails(tt.k, tt.n, tt.a, tt.b)
		if math.Abs(upper-tt.upper) > 1e-4 || math.Abs(lower-tt.lower) > 1e-4 {
			t.Errorf("k=%d n=%d a=%v b=%v: %v and %v, want %v and %v", tt.k, tt.n, tt.a, tt.b, upper, lower, tt.upper, tt.lower)
		}
	}
}

// proves E-4, E-7: workers that fail as often as they always did are silent.
func TestOutcomesAreSilentWhenNormal(t *testing.T) {
	withoutRace(t)
	const workers, days = 20, 14
	found := 0
	for seed := range uint64(2) {
		a := New(Config{})
		d, _ := runOutcomes(a, stat.NewRand(seed+1), start, days*24*30, workers, func(w, j int) float64 { return 0.01 * float64(1+w%10) })
		for _, x := range d {
			if x.Channel == Outcome {
				found++
				t.Logf("seed %d: %s %s %v", seed, x.Entity, x.Direction, x.Why)
			}
		}
	}
	if allowed := 2 * workers * days / 500; found > allowed {
		t.Errorf("%d false alarms in %d series-days, at most %d", found, 2*workers*days, allowed)
	}
}

// proves E-4: a worker whose failures become surprising is found within two
// windows, the others are not, and it ends when it is as it was.
func TestAWorkerThatBreaks(t *testing.T) {
	a, r := New(Config{}), stat.NewRand(7)
	normal := func(w, j int) float64 { return 0.02 }
	_, at := runOutcomes(a, r, start, 1500, 10, normal)
	a.Ended()
	found, at := runOutcomes(a, r, at.Add(time.Minute), 100, 10, func(w, j int) float64 {
		if w == 3 {
			return 0.5
		}
		return 0.02
	})
	var hit []Deviation
	for _, d := range found {
		if d.Channel == Outcome {
			hit = append(hit, d)
		}
	}
	if len(hit) != 1 || hit[0].Entity != "worker:w3" || hit[0].Direction != "worse" || hit[0].Bits < 10 || hit[0].Entropy <= hit[0].Normal || len(hit[0].Cases) == 0 {
		t.Fatalf("found %+v", hit)
	}
	if !strings.Contains(hit[0].Why[0], "did not end well") || !strings.Contains(hit[0].Why[1], "exit") {
		t.Errorf("why: %q", hit[0].Why)
	}
	if v, ok := a.View("worker:w3", "attempt"); !ok || v.Outcomes["succeeded"][0] < 0.9 {
		t.Errorf("what is normal was spoiled: %v %v", v.Outcomes, ok)
	}
	runOutcomes(a, r, at.Add(time.Minute), 300, 10, normal)
	ended := a.Ended()
	if len(ended) != 1 || ended[0].Entity != "worker:w3" || ended[0].How != EndedNormal || !ended[0].From.Equal(hit[0].From) || a.Health().Open != 0 {
		t.Errorf("ended %+v, open %d", ended, a.Health().Open)
	}
}

// proves E-4: rare failures that come in bursts now and then are how it is.
func TestBurstsAreLearned(t *testing.T) {
	withoutRace(t)
	a, r := New(Config{}), stat.NewRand(9)
	d, _ := runOutcomes(a, r, start, 14*24*30, 5, func(w, j int) float64 {
		if j/60%8 == w { // an eighth of the time it fails a third of all
			return 0.3
		}
		return 0.01
	})
	n := 0
	for _, x := range d {
		if x.Channel == Outcome {
			n++
		}
	}
	if n > 5 {
		t.Errorf("%d alarms over what happens all the time", n)
	}
}

// proves E-3: a deviation of a whole kind does not stay open, and keep the kind from
// learning, when its entities have become old enough to be tested by themselves.
func TestAKindIsNotOpenForEver(t *testing.T) {
	a := New(Config{})
	all := a.at(seriesID{"k", "s", true})
	all.opened, all.as, all.from = start, "location", start
	a.open = 1
	r := stat.NewRand(1)
	var ended []Ended
	for i := range 3000 {
		at := start.Add(time.Duration(i) * 10 * time.Minute)
		a.Observe(Observation{Entity: "k:1", Step: "s", Case: fmt.Sprint(i), Last: true, At: at, Timed: true, Latency: time.Duration(1e9 * (1 + r.Float64()))}, at)
		ended = append(ended, a.Ended()...)
	}
	if len(ended) != 1 || ended[0].Entity != "k:*" || ended[0].How != EndedGivenUp || a.Health().Open != 0 {
		t.Errorf("ended %+v, open %d", ended, a.Health().Open)
	}
}
