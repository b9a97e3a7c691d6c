package analyzer

import (
	"fmt"
	"maps"
	"math/bits"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/sequence"
)

// surprise is how surprising the transitions of an open case were, each by what
// was known before it.
type surprise struct {
	seen     sequence.CaseSurprise // but for what is counted at its end
	sum      float64               // of the transitions' bits
	n        int
	expected sequence.Expected // instead of the most surprising one
	said     bool              // that one was reported when it came
}

// leastExpected is from how many bits on it is remembered what was expected
// instead.
const leastExpected = 3

// transition takes in one more transition of a case.
func (s *surprise) transition(m *sequence.Model, before sequence.Context, step string, bits float64) {
	s.sum += bits
	s.n++
	if bits <= s.seen.Order {
		return
	}
	s.seen.Order, s.seen.From, s.seen.To = bits, m.Name(before[0]), step
	s.expected = sequence.Expected{}
	if bits < leastExpected {
		return
	}
	if e := m.Expect(before, 1); len(e) > 0 {
		s.expected = e[0]
	}
}

// How many cases of a kind must have ended before others teach how surprising
// cases are, and how many must have taught before one is judged.
const (
	judgeCases  = 50
	judgeNormal = 100
)

// oddCases of the last 32: so many reported ones are not odd cases any more but
// another process, which is to be learned.
const oddCases = 10

// oddID is a way of being odd; maxOdd bounds how many of a kind are remembered.
type oddID struct {
	by             sequence.Channel
	from, to, step string
}

const maxOdd = 256

// oddWay is since when cases have been odd in a way, and how many.
type oddWay struct {
	since time.Time
	times int
}

// oddTimes is how often cases are called odd in one way before it is known.
const oddTimes = 20

// judge compares a case that has ended with those before it: by its most
// surprising transition, by the step that occurred a surprising number of times,
// and by all transitions together. How surprising normal ones are is learned from
// those that are not odd. An odd one teaches nothing, also not its transitions,
// unless many of the last cases were odd, or this way of being so is as old as
// what is adopted, or was said often.
func (a *Analyzer) judge(k *kind, c *openCase, at time.Time) {
	x := c.seen
	x.Events, x.Mean = len(c.steps), c.sum/float64(max(1, c.n))
	k.model.Counted(c.steps, &x)
	odd := false
	if k.norm.N() >= judgeNormal {
		odd = a.judged(k, c, &x, at)
	}
	k.odd <<= 1
	if odd {
		k.odd |= 1
	}
	if odd && bits.OnesCount32(k.odd) < oddCases && !a.adoptOdd(k, &x, at) {
		if len(c.steps) < maxSteps { // else its end is not known
			k.model.UnlearnCase(c.steps)
		}
		return
	}
	k.model.LearnCounts(c.steps)
	if k.cases > judgeCases {
		k.norm.Learn(x)
	}
}

// adoptOdd reports whether cases have been odd in the same way for so long, or so
// often, that this is the new normal.
func (a *Analyzer) adoptOdd(k *kind, x *sequence.CaseSurprise, at time.Time) bool {
	id := oddID{from: x.From, to: x.To}
	if x.Count > x.Order {
		id = oddID{by: sequence.ByCount, step: x.Step}
	}
	way, ok := k.odds[id]
	if k.odds == nil {
		k.odds = make(map[oddID]oddWay)
	}
	if !ok {
		way.since = at
		if len(k.odds) >= maxOdd {
			oldest := at
			for _, w := range k.odds {
				if w.since.Before(oldest) {
					oldest = w.since
				}
			}
			maps.DeleteFunc(k.odds, func(_ oddID, w oddWay) bool { return !w.since.After(oldest) })
		}
	}
	way.times++
	k.odds[id] = way
	return way.times > oddTimes || at.Sub(way.since) >= a.config.Adopt
}

// judged tests a case, and reports it when it is odd; what was said of one of its
// transitions when that came is not said again.
func (a *Analyzer) judged(k *kind, c *openCase, x *sequence.CaseSurprise, at time.Time) bool {
	by, least := sequence.ByOrder, 1.0
	for ch := sequence.ByOrder; ch <= sequence.ByWhole; ch++ {
		if p := k.norm.P(*x, ch); p < least {
			by, least = ch, p
		}
	}
	p := min(1, 3*least)
	a.whole.Note(at, p)
	if p > a.config.singles().Q { // the limit is never above it
		return false
	}
	limit := a.whole.Share()
	if p > limit {
		return false
	}
	if c.said && by != sequence.ByCount {
		return true
	}
	d := Deviation{
		Entity: c.last.name(), Step: x.To, Channel: Sequence, At: at, From: c.from, To: c.at,
		Bits: surprisal(p), P: p, Limit: limit, Bounded: true, N: k.norm.N(), Cases: []string{c.id},
	}
	transition := fmt.Sprintf("%s came after %s: %.1f bits", x.To, x.From, x.Order)
	if c.expected.Step != "" {
		transition += fmt.Sprintf("; %s was expected, as in %.0f %% of the cases", c.expected.Step, 100*c.expected.P)
	}
	switch by {
	case sequence.ByOrder:
		d.Direction, d.Why = "order", []string{transition}
	case sequence.ByCount:
		usual, share := k.model.Usual(x.Step)
		d.Step, d.Direction = x.Step, "count"
		d.Why = []string{fmt.Sprintf("%s came %d times: %.1f bits; it comes %d times in %.0f %% of the cases", x.Step, x.Times, x.Count, usual, 100*share)}
	default:
		d.Direction = "whole"
		d.Why = []string{fmt.Sprintf("its %d steps are %.2f bits each, together more than any one: %.1f bits beyond what is normal", x.Events, x.Mean, surprisal(p)), transition}
	}
	a.found = append(a.found, d)
	return true
}
