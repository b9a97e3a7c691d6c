package analyzer

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// tickets feeds n cases of a help desk, ten minutes apart: opened, then one to
// three answers, then closed, sometimes escalated; odd ones are made by the caller.
func tickets(a *Analyzer, r *stat.Rand, at *time.Time, n int, odd func(i int) []string) (found []Deviation) {
	for i := range n {
		steps := []string{"open"}
		for range 1 + int(r.Float64()*3) {
			steps = append(steps, "answer")
		}
		if r.Float64() < 0.1 {
			steps = append(steps, "escalate", "answer")
		}
		steps = append(steps, "close")
		if s := odd(i); s != nil {
			steps = s
		}
		c := chain(r, fmt.Sprint("t", at.Unix()), *at, steps...)
		for j := range c { // cases overlap nothing and are late for nothing
			c[j].At = at.Add(time.Duration(j) * time.Second)
		}
		found = append(found, feed(a, c)...)
		*at = at.Add(10 * time.Minute)
	}
	return found
}

func normal(int) []string { return nil }

// proves E-4: cases that end as others do stay silent, case after case; one whose
// steps are each usual and together not is reported when it ends, with the step
// and what is usual; it teaches nothing, so the next one is reported too.
func TestOddCases(t *testing.T) {
	withoutRace(t)
	a, r, at := New(Config{}), stat.NewRand(21), monday
	for _, d := range tickets(a, r, &at, 8000, normal) {
		if d.Channel == Sequence || d.Channel == Unseen {
			t.Fatalf("a normal case: %+v", d)
		}
	}
	answers := slices.Repeat([]string{"answer"}, 14)
	for round := range 3 {
		found := tickets(a, r, &at, 1, func(int) []string { return slices.Concat([]string{"open"}, answers, []string{"close"}) })
		if len(found) != 1 || found[0].Channel != Sequence || found[0].Direction != "count" || found[0].Step != "answer" || !found[0].Bounded {
			t.Fatalf("round %d: %+v", round, found)
		}
		if d := found[0]; d.Entity != "order:*shop" || len(d.Why) != 1 || !strings.Contains(d.Why[0], "answer came 14 times") || d.P > d.Limit {
			t.Errorf("%+v", d)
		}
		tickets(a, r, &at, 50, normal)
	}
	if found := tickets(a, r, &at, 500, normal); len(found) > 0 {
		t.Errorf("normal again: %+v", found[0])
	}
}

// proves E-4: what was said of a step when it came is not said again of its case.
func TestOddCaseIsSaidOnce(t *testing.T) {
	a, r, at := New(Config{}), stat.NewRand(22), monday
	tickets(a, r, &at, 3000, normal)
	found := tickets(a, r, &at, 1, func(int) []string { return []string{"open", "close"} })
	if len(found) != 1 || found[0].Channel != Unseen {
		t.Errorf("%+v", found)
	}
}

// proves E-3: odd cases do not become normal unseen, and do when they are a third
// of all, or have been there for as long as what is adopted.
func TestOddCasesAreAdopted(t *testing.T) {
	withoutRace(t)
	long := slices.Concat([]string{"open"}, slices.Repeat([]string{"answer"}, 14), []string{"close"})
	count := func(found []Deviation) (n int) {
		for _, d := range found {
			if d.Channel == Sequence {
				n++
			}
		}
		return n
	}
	a, r, at := New(Config{}), stat.NewRand(23), monday
	tickets(a, r, &at, 8000, normal)
	third := func(i int) []string {
		if i%3 == 0 {
			return long
		}
		return nil
	}
	if n := count(tickets(a, r, &at, 300, third)); n < oddCases-1 || n > 40 {
		t.Errorf("a third of 300 cases is another: reported %d times", n)
	}
	a, at = New(Config{}), monday
	tickets(a, r, &at, 8000, normal)
	rare := func(i int) []string {
		if i%100 == 0 {
			return long
		}
		return nil
	}
	first := count(tickets(a, r, &at, 14*144, rare)) // two weeks
	tickets(a, r, &at, 10*144, rare)
	if after := count(tickets(a, r, &at, 14*144, rare)); first < 15 || after > 3 {
		t.Errorf("one in a hundred: reported %d times in two weeks, %d times in two after three", first, after)
	}
}
