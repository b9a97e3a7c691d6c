package trial

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/score"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// proves E-4, E-7: on a generated month the analyzer keeps to its bound on
// false alarms, finds what was doubled in time, and misses what is missing.
func TestTrial(t *testing.T) {
	if raceEnabled {
		t.Skip("half a million events take too long under the race detector; make bench-entropy and the plain tests run them")
	}
	r := Run(1, 0.3)
	if r.PerThousand > 1 {
		t.Errorf("%.2f false alarms per 1,000 key-days", r.PerThousand)
	}
	if r.InTime != r.Doubled || r.Doubled != 10 {
		t.Errorf("%d of %d doubled series found in time", r.InTime, r.Doubled)
	}
	if r.LatePrecision < 0.95 || r.LateFlagged < 100 {
		t.Errorf("%d called late, %.3f of them rightly", r.LateFlagged, r.LatePrecision)
	}
	if r.MissingRecall != 1 || r.MissingMost > 1.501 || r.Missing < 10 {
		t.Errorf("%.3f of %d missing found, after %.2f times the 99 %% gap at most", r.MissingRecall, r.Missing, r.MissingMost)
	}
}

// proves E-7: the same seed gives the same measurement of the published kinds.
func TestPublishedKinds(t *testing.T) {
	r := stat.NewRand(4)
	cases := make([]score.Case, 1200)
	for i := range cases {
		steps := "a b c"
		if r.Float64() < 0.2+0.5*float64(i/600) {
			steps = "a c b"
		}
		cases[i] = score.Case{ID: fmt.Sprint(i), Steps: strings.Fields(steps)}
	}
	changes := Drift(cases)
	if len(changes) != 1 || changes[0].Case < 560 || changes[0].Case > 640 {
		t.Errorf("%+v", changes)
	}
	odd := []score.Case{{ID: "odd", Steps: strings.Fields("a a a a a a a")}}
	for _, normal := range [][]score.Case{nil, cases[:500]} {
		v := Sequences(cases[:500], normal, odd, 10_000)
		plain := make([]score.Verdict, len(v))
		for i := range v {
			plain[i] = v[i].Verdict
		}
		if s := score.Sequences(plain); s.Frozen.Recall != 1 || s.FalseRate > 0.01 {
			t.Errorf("%+v", s)
		}
	}
	s := score.Series{Name: "x"}
	for i := range 1000 {
		x := 10 + r.Normal()
		if i >= 800 && i < 810 {
			x += 100
		}
		s.Times, s.Values = append(s.Times, time.Unix(int64(i)*300, 0).UTC()), append(s.Values, x)
	}
	set := []score.Series{s}
	found := NAB(set)
	if !slices.ContainsFunc(found, func(d Detection) bool { return d.At.Equal(s.Times[800]) || d.At.Equal(s.Times[801]) }) || len(set[0].Scores) != 1000 {
		t.Errorf("%+v", found)
	}
}
