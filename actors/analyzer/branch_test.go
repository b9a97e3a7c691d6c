package analyzer

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// forked returns one case of a process whose second step waits a minute for
// "quick" and an hour for "slow"; which comes is told by the first step when
// the context knows, else by chance.
func forked(r *stat.Rand, i int, at time.Time, context bool) []Observation {
	first, next, median := "web", "quick", time.Minute
	slow := r.Float64() < 0.3
	if slow {
		next, median = "slow", time.Hour
	}
	if context && slow {
		first = "mail"
	}
	check := at.Add(10 * time.Second)
	end := check.Add(time.Duration(float64(median) * math.Exp(0.2*r.Normal())))
	o := func(step string, at time.Time) Observation {
		return Observation{Entity: "order:shop", Step: step, Case: fmt.Sprint("c", i), At: at, Last: step == next}
	}
	return []Observation{o(first, at), o("check", check), o(next, end)}
}

// learnForked feeds cases, three hours apart, and returns what was found after
// the first 300 and when the next would begin.
func learnForked(a *Analyzer, r *stat.Rand, n int, context bool) (found []Deviation, at time.Time) {
	for i := range n {
		at = monday.Add(time.Duration(i) * 3 * time.Hour)
		if d := feed(a, forked(r, i, at, context)); i >= 300 {
			found = append(found, d...)
		}
	}
	return found, at.Add(3 * time.Hour)
}

// proves E-8: where the context says which step comes, late is judged by how
// long that step takes, and not by all that may follow elsewhere.
func TestLateGivenTheNextStep(t *testing.T) {
	a, r := New(Config{}), stat.NewRand(8)
	found, at := learnForked(a, r, 1500, true)
	if len(found) > 4 { // late ones, each wrong for one in a thousand
		t.Fatalf("%d deviations in 1,200 quiet cases, the first %+v", len(found), found[0])
	}
	for first, within := range map[string]time.Duration{"web": 4 * time.Minute, "mail": 4 * time.Hour} {
		id := "open-" + first
		feed(a, []Observation{{Entity: "order:shop", Step: first, Case: id, At: at}, {Entity: "order:shop", Step: "check", Case: id, At: at.Add(10 * time.Second)}})
		p, ok := a.Predict(id)
		late := p.Deadline.Sub(p.Since)
		if !ok || late < within/4 || late > within {
			t.Errorf("after %s: late after %v, at most %v wanted; %+v", first, late, within, p)
		}
	}
	early := a.Advance(at.Add(10 * time.Minute))
	if len(early) != 2 || early[0].Cases[0] != "open-web" || early[1].Cases[0] != "open-web" {
		t.Errorf("ten minutes later: %+v", early)
	}
}

// proves E-8: where chance decides, the survival is that of the mixture, to a
// fifth, and not that of one log-normal through both humps.
func TestSurvivalOfAMixture(t *testing.T) {
	a, r := New(Config{}), stat.NewRand(9)
	_, at := learnForked(a, r, 1500, false)
	feed(a, []Observation{{Entity: "order:shop", Step: "web", Case: "open", At: at}, {Entity: "order:shop", Step: "check", Case: "open", At: at}})
	p, _ := a.Predict("open")
	for gap, want := range map[time.Duration]float64{
		10 * time.Minute: 0.3,
		time.Hour:        0.15,
		90 * time.Minute: 0.3 * stat.NormalTail(math.Log(1.5)/0.2),
	} {
		if got := p.Expect.Tail(gap); math.Abs(got-want) > 0.2*want+0.01 {
			t.Errorf("P(longer than %v) is %.4f, not %.4f", gap, got, want)
		}
	}
	until := p.Expect.Until(0.001)
	if back := p.Expect.Tail(until); math.Abs(back-0.001) > 1e-5 {
		t.Errorf("one in a thousand is longer than %v, of which %.6f are", until, back)
	}
	// One in a thousand of all is one in 300 of the slow.
	want := time.Duration(float64(time.Hour) * math.Exp(0.2*stat.NormalQuantile(1-0.001/0.3)))
	if ratio := float64(until) / float64(want); ratio < 0.85 || ratio > 1.3 {
		t.Errorf("until %v, by the process itself %v", until, want)
	}
}

// proves E-2: a step with any number of successors keeps gaps for a few.
func TestBranchesAreBounded(t *testing.T) {
	withoutRace(t)
	a := New(Config{})
	for i := range 2000 {
		at := monday.Add(time.Duration(i) * time.Minute)
		id := fmt.Sprint(i)
		feed(a, []Observation{{Entity: "order:shop", Step: "a", Case: id, At: at},
			{Entity: "order:shop", Step: fmt.Sprint("b", i%500), Case: id, At: at.Add(time.Second), Last: true}})
	}
	own, all := a.at(seriesID{entity: "order:shop", step: "a"}), a.at(seriesID{"order", "a", true})
	if len(own.then.each) != maxBranches || len(all.then.each) != maxKindBranches {
		t.Errorf("%d and %d", len(own.then.each), len(all.then.each))
	}
	if n := own.next.Continued(); n < 1900 {
		t.Errorf("only %.0f gaps were learned", n)
	}
}
