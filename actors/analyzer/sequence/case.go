package sequence

import (
	"math/bits"

	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// countBuckets is the number of buckets of how often a step occurs in a case:
// exactly up to 15, then by powers of two.
const countBuckets = 32

func countBucket(n int) int {
	if n < 16 {
		return n
	}
	return min(countBuckets-1, 11+bits.Len(uint(n)))
}

// countTable says in how many cases a step occurred so and so often. Never is
// what is left of the number of cases.
type countTable struct {
	seen     [countBuckets]float32 // [0] is not used
	distinct float64
	total    float64
}

func (t *countTable) add(n int) {
	b := countBucket(n)
	if t.seen[b] == 0 {
		t.distinct++
	}
	t.seen[b]++
	t.total++
}

func (t *countTable) halve() {
	t.total /= 2
	for b := range t.seen {
		t.seen[b] /= 2
	}
}

// probability returns how probable n occurrences are, by the interpolation of
// Witten and Bell with the uniform distribution.
func (t *countTable) probability(n int, cases float64) float64 {
	never := max(0, cases-t.total)
	c, u := never, t.distinct
	if n > 0 {
		c = float64(t.seen[countBucket(n)])
	}
	if never > 0 {
		u++
	}
	if u == 0 {
		return 1.0 / countBuckets
	}
	return (c + u/countBuckets) / (cases + u)
}

// CaseSurprise says how surprising a whole case is, and by what.
type CaseSurprise struct {
	Bits   float64 `json:"bits"` // the larger of Order and Count
	Mean   float64 `json:"mean"` // of the transitions, bits per event
	Order  float64 `json:"order"`
	Count  float64 `json:"count"`
	From   string  `json:"from"` // the most surprising transition
	To     string  `json:"to"`
	Step   string  `json:"step"` // the step that occurs a surprising number of times
	Times  int     `json:"times"`
	Events int     `json:"events"`
}

// LearnCase counts a whole case.
func (m *Model) LearnCase(steps []string) {
	var c Context
	for _, step := range steps {
		s := m.intern(step)
		m.Learn(c, s)
		c = c.Then(s)
	}
	m.Learn(c, End)
	m.LearnCounts(steps)
}

// UnlearnCase takes back the transitions of a whole case.
func (m *Model) UnlearnCase(steps []string) {
	var c Context
	for _, step := range steps {
		s, _ := m.Symbol(step)
		m.Unlearn(c, s)
		c = c.Then(s)
	}
	m.Unlearn(c, End)
}

// LearnCounts counts how often each step occurs in a whole case, whose
// transitions were learned one by one.
func (m *Model) LearnCounts(steps []string) {
	occurs := make(map[Symbol]int, 16)
	for _, step := range steps {
		occurs[m.intern(step)]++
	}
	for s, n := range occurs {
		m.table(s).add(n)
	}
	if m.cases++; m.cases >= halveAt {
		m.cases /= 2
		for i := range m.counts {
			m.counts[i].halve()
		}
	}
}

func (m *Model) table(s Symbol) *countTable {
	for int(s) >= len(m.counts) {
		m.counts = append(m.counts, countTable{})
	}
	return &m.counts[s]
}

// Case returns how surprising a whole case is. It learns nothing.
func (m *Model) Case(steps []string) CaseSurprise {
	var c Context
	r := CaseSurprise{Events: len(steps)}
	sum := 0.0
	transition := func(s Symbol, name string) {
		b := m.Surprisal(c, s)
		if sum += b; b > r.Order {
			r.Order, r.From, r.To = b, m.Name(c[0]), name
		}
		c = c.Then(s)
	}
	for _, step := range steps {
		s, _ := m.Symbol(step)
		transition(s, step)
	}
	transition(End, m.Name(End))
	r.Mean = sum / float64(len(steps)+1)
	m.Counted(steps, &r)
	r.Bits = max(r.Order, r.Count)
	return r
}

// Counted writes into r the step that occurs the most surprising number of times
// in a case.
func (m *Model) Counted(steps []string, r *CaseSurprise) {
	occurs := make([]int, len(m.names)+int(firstStep))
	for _, step := range steps {
		s, _ := m.Symbol(step)
		occurs[s]++
	}
	for s, n := range occurs {
		if s < int(Other) || s == int(Other) && n == 0 {
			continue
		}
		var p float64
		if s < len(m.counts) {
			p = m.counts[s].probability(n, m.cases)
		} else {
			p = new(countTable).probability(n, m.cases)
		}
		if b := stat.Surprisal(p); b > r.Count {
			r.Count, r.Step, r.Times = b, m.Name(Symbol(s)), n
		}
	}
}

// Usual returns how often a step occurs in most cases, and their share.
func (m *Model) Usual(step string) (times int, share float64) {
	s, ok := m.Symbol(step)
	if !ok || int(s) >= len(m.counts) || m.cases == 0 {
		return 0, 1
	}
	t := &m.counts[s]
	most := m.cases - t.total
	for n, seen := range t.seen[:16] {
		if float64(seen) > most {
			times, most = n, float64(seen)
		}
	}
	return times, most / m.cases
}
