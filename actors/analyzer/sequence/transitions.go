package sequence

import (
	"cmp"
	"slices"
)

// Transition is that one step directly followed another, and how often.
type Transition struct {
	From, To Symbol
	Count    float64
}

// Transitions returns which step directly followed which, in order of the
// symbols. From is Start for the first step of a case, To is End after its
// last.
func (m *Model) Transitions() []Transition {
	var all []Transition
	for s := range firstStep + Symbol(len(m.names)) {
		x := m.contexts[Context{s}.key(1)]
		if x == nil {
			continue
		}
		for _, y := range x.next {
			all = append(all, Transition{From: s, To: y.symbol, Count: float64(y.count)})
		}
	}
	slices.SortFunc(all, func(a, b Transition) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return all
}
