package analyzer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/baseline"
	"github.com/entropy-fabric/entropy/actors/analyzer/detect"
	"github.com/entropy-fabric/entropy/actors/analyzer/sketch"
)

// View is what is known of one series, copied: the newest window that has closed
// beside what was expected of it. Where none has closed, the one that is filling.
type View struct {
	Entity, Step string
	N            float64   // observations the baseline is worth
	Tested       bool      // it has learned enough to be tested by itself
	Deviating    time.Time // since when; zero: it does not
	Channel      string    // of that deviation
	From, To     time.Time // of the window
	Now          []float64 // counts by bucket, of the window
	Normal       []float64 // expected probabilities by bucket, for the hours of the window
	Result       detect.Result
	Why          []string              // in words; nil when the window holds nothing
	Hours        []float64             // share of the events by hour of the week
	Recent       []baseline.Summary    // the normal windows before, the newest last
	Next         *baseline.Expectation // until the next step of the case; nil: unknown
	Again        *baseline.Expectation // until the same step again, where there are no cases
	Outcomes     map[string][2]float64 // by word: normal share, count in the window that is filling
	Ended        float64               // outcomes that the normal shares are from
	examples     []string
}

// Cases returns examples of the window, the slowest.
func (v *View) Cases() []string { return v.examples }

// View returns what is known of a series; the entity "<kind>:*" is the whole kind.
// False when it is not remembered. It changes nothing.
func (a *Analyzer) View(entity, step string) (View, bool) {
	e, ok := a.series.items[seriesOf(entity, step)]
	if !ok {
		return View{}, false
	}
	s := e.Value.(*entry[seriesID, *series]).value
	v := View{Entity: s.name(), Step: s.step, N: s.base.N(), Tested: s.tested, Deviating: s.opened, Channel: s.as, Recent: s.past.Recent()}
	if x := s.outcomes; x != nil {
		v.Outcomes = make(map[string][2]float64)
		for _, c := range x.base {
			v.Outcomes[c.word] = [2]float64{c.n / max(1e-9, x.base.total()), 0}
		}
		for _, c := range x.now {
			v.Outcomes[c.word] = [2]float64{v.Outcomes[c.word][0], c.n}
		}
		v.Tested = v.Tested || x.tested
		if v.Deviating.IsZero() && !x.opened.IsZero() {
			v.Deviating, v.Channel = x.opened, Outcome
		}
		v.Ended = x.n()
	}
	if x, ok := s.next.Expect(); ok {
		v.Next = &x
	}
	if x, ok := s.self.Expect(); ok {
		v.Again = &x
	}
	if s.base.Weight() > 0 || s.now.n > 0 {
		a.viewTimes(&v, s)
	}
	return v, true
}

// viewTimes fills in what is known of how long a series' steps take, and when.
func (a *Analyzer) viewTimes(v *View, s *series) {
	w := s.shown
	if w == nil || w.n == 0 {
		w = &s.now
	}
	in := a.input(s, w)
	if w.n == 0 {
		in.N = a.expected(s, in.Expected)
	} else {
		v.Result = detect.Compare(in)
		v.Why = detect.Explain(&v.Result)
	}
	v.From, v.To, v.Now, v.Normal, v.examples = w.from, w.to, in.Counts, in.Expected, w.examples()
	v.Hours = s.base.Starts(make([]float64, baseline.Hours))
	if total := sum(v.Hours); total > 0 {
		for i := range v.Hours {
			v.Hours[i] /= total
		}
	}
}

// seriesOf returns the series that an entity and a step name.
func seriesOf(name, step string) seriesID {
	class, id := entropy.SplitEntity(name)
	if id == "*" {
		return seriesID{class, step, true}
	}
	return seriesID{entity: name, step: step}
}

// Steps returns the steps that are known of an entity, in order; all when there
// are fewer than limit.
func (a *Analyzer) Steps(entity string, limit int) []string {
	want := seriesOf(entity, "")
	var steps []string
	for id := range a.series.items {
		if id.entity == want.entity && id.kind == want.kind {
			steps = append(steps, id.step)
		}
	}
	slices.Sort(steps)
	return steps[:min(len(steps), limit)]
}

// Digest returns a hash of all that was learned: two analyzers that saw the same
// have the same. It is for tests and for support; it costs as much as a copy.
func (a *Analyzer) Digest() string {
	h := sha256.New()
	counts, hours := make([]float64, sketch.Buckets), make([]float64, baseline.Hours)
	for e := a.series.order.Front(); e != nil; e = e.Next() {
		s := e.Value.(*entry[seriesID, *series]).value
		next, _ := s.next.Expect()
		self, _ := s.self.Expect()
		fmt.Fprintf(h, "%q %q %v %v %v %v %v %v %v %d %d %d\n", s.entity, s.step, s.kind, s.base.Counts(counts), s.base.Starts(hours), next, self,
			s.past.Recent(), s.now.cells, s.now.n, s.opened.UnixNano(), s.wait.due.UnixNano())
		if x := s.outcomes; x != nil {
			fmt.Fprintf(h, "%v %v %v %v\n", x.base, x.now, x.scores, x.openFrom.UnixNano())
		}
	}
	for e := a.cases.order.Front(); e != nil; e = e.Next() {
		c := e.Value.(*entry[string, *openCase]).value
		fmt.Fprintf(h, "%q %q %d %d %q\n", c.id, c.class, c.at.UnixNano(), c.wait.stage, c.steps)
	}
	health := a.Health()
	fmt.Fprintf(h, "%+v\n", health)
	return hex.EncodeToString(h.Sum(nil))
}

func sum(x []float64) (t float64) {
	for _, v := range x {
		t += v
	}
	return t
}
