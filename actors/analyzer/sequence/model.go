package sequence

import (
	"cmp"
	"slices"

	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// Config bounds a Model. The zero value works.
type Config struct {
	Order    int // how many preceding steps a step is predicted from, 1 to MaxOrder; 0 means 2
	Symbols  int // how many different steps are told apart, at most MaxSymbols; 0 means 1,024
	Contexts int // how many contexts are remembered; 0 means 65,536
}

// The limits of Config.
const (
	MaxOrder   = 3
	MaxSymbols = 1<<16 - 4
)

func (c Config) withDefaults() Config {
	if c.Order <= 0 {
		c.Order = 2
	}
	if c.Symbols <= 0 {
		c.Symbols = 1024
	}
	if c.Contexts <= 0 {
		c.Contexts = 1 << 16
	}
	c.Order, c.Symbols = min(c.Order, MaxOrder), min(c.Symbols, MaxSymbols)
	return c
}

// Symbol is a step by number.
type Symbol uint16

// The symbols that are no step: the two ends of a case, and every step beyond
// the limit of a model, which are one.
const (
	Start Symbol = iota
	End
	Other
	firstStep
)

// Model predicts the next step of a case from the steps before it: prediction
// by partial matching (Cleary & Witten 1984) with the escape probability of
// Moffat's method C (1990), which is Witten and Bell's interpolation:
//
//	p_d(x) = (c(x | ctx) + u p_{d-1}(x)) / (N_ctx + u)
//
// with u the number of different successors of the context, down to the
// uniform distribution over all known steps and the end. It also counts how
// often each step occurs in a case. It is owned by one goroutine.
type Model struct {
	config   Config
	symbols  map[string]Symbol
	names    []string // of the symbols from firstStep on
	contexts map[uint64]*successors
	counts   []countTable // by symbol: how often it occurs in a case
	cases    float64
	dropped  uint64
}

// successors are the steps that followed one context.
type successors struct {
	next  []successor // in order of the symbol
	total float64
}

type successor struct {
	symbol Symbol
	count  float32
}

// New returns a model that has seen nothing.
func New(c Config) *Model {
	return &Model{config: c.withDefaults(), symbols: map[string]Symbol{}, contexts: map[uint64]*successors{}}
}

// Dropped returns how many steps or contexts were not remembered because a
// limit was reached.
func (m *Model) Dropped() uint64 { return m.dropped }

// Cases returns how many whole cases were learned.
func (m *Model) Cases() float64 { return m.cases }

// Symbol returns the number of a step and whether the model knows it.
func (m *Model) Symbol(step string) (Symbol, bool) {
	s, ok := m.symbols[step]
	if !ok {
		return Other, false
	}
	return s, true
}

// Name returns the step of a symbol.
func (m *Model) Name(s Symbol) string {
	switch {
	case s == Start:
		return "(start)"
	case s == End:
		return "(end)"
	case s == Other || int(s-firstStep) >= len(m.names):
		return "(other)"
	}
	return m.names[s-firstStep]
}

// intern returns the symbol of a step, which it makes known while there is
// room.
func (m *Model) intern(step string) Symbol {
	if s, ok := m.symbols[step]; ok {
		return s
	}
	if len(m.names) >= m.config.Symbols {
		m.dropped++
		return Other
	}
	s := firstStep + Symbol(len(m.names))
	m.symbols[step] = s
	m.names = append(m.names, step)
	return s
}

// Context is the last steps of a case, the newest first. The zero value is the
// start of a case.
type Context [MaxOrder]Symbol

// Then returns the context after one more step.
func (c Context) Then(s Symbol) Context {
	copy(c[1:], c[:])
	c[0] = s
	return c
}

// key packs a context's newest d steps, and d, into a number.
func (c Context) key(d int) uint64 {
	k := uint64(d)
	for _, s := range c[:d] {
		k = k<<16 | uint64(s)
	}
	return k
}

// Probability returns P(next | context).
func (m *Model) Probability(c Context, next Symbol) float64 {
	p := 1 / float64(len(m.names)+2) // every step, the end, and one never seen
	for d := 0; d <= m.config.Order; d++ {
		s := m.contexts[c.key(d)]
		if s == nil {
			break // a longer context was seen no more often
		}
		u := float64(len(s.next))
		p = (s.count(next) + u*p) / (s.total + u)
	}
	return p
}

// Surprisal returns -log2 P(next | context), in bits.
func (m *Model) Surprisal(c Context, next Symbol) float64 {
	return stat.Surprisal(m.Probability(c, next))
}

// Expect returns the steps that may follow a context, the most probable first,
// at most n.
func (m *Model) Expect(c Context, n int) []Expected {
	all := m.Likely(c, 0)
	slices.SortStableFunc(all, func(a, b Expected) int { return cmp.Compare(b.P, a.P) })
	return all[:min(n, len(all))]
}

// Likely returns the steps that have followed the longest known part of a
// context and are at least so probable, in order of their symbols.
func (m *Model) Likely(c Context, least float64) []Expected {
	var s *successors
	for d := m.config.Order; d >= 0 && s == nil; d-- {
		s = m.contexts[c.key(d)]
	}
	if s == nil {
		return nil
	}
	all := make([]Expected, 0, len(s.next))
	for _, x := range s.next {
		if p := m.Probability(c, x.symbol); p >= least {
			all = append(all, Expected{Step: m.Name(x.symbol), P: p, Symbol: x.symbol})
		}
	}
	return all
}

// Expected is a step that may come next.
type Expected struct {
	Step   string  `json:"step"`
	P      float64 `json:"p"`
	Symbol Symbol  `json:"-"`
}

// Seen returns how often a context of full order was followed by anything.
func (m *Model) Seen(c Context) float64 {
	if s := m.contexts[c.key(m.config.Order)]; s != nil {
		return s.total
	}
	return 0
}

// Learn counts that next followed the context.
func (m *Model) Learn(c Context, next Symbol) {
	for d := 0; d <= m.config.Order; d++ {
		k := c.key(d)
		s := m.contexts[k]
		if s == nil {
			if len(m.contexts) >= m.config.Contexts {
				m.dropped++
				return
			}
			s = new(successors)
			m.contexts[k] = s
		}
		s.add(next)
	}
}

// Unlearn takes back that next followed the context, as far as it was learned.
func (m *Model) Unlearn(c Context, next Symbol) {
	for d := 0; d <= m.config.Order; d++ {
		k := c.key(d)
		if s := m.contexts[k]; s != nil {
			if s.remove(next); len(s.next) == 0 {
				delete(m.contexts, k)
			}
		}
	}
}

// Step returns the symbol of a step and how surprising it is after a context,
// in bits, and learns both when told to.
func (m *Model) Step(c Context, step string, learn bool) (Symbol, float64) {
	s, known := m.Symbol(step)
	bits := m.Surprisal(c, s)
	if learn {
		if !known {
			s = m.intern(step)
		}
		m.Learn(c, s)
	}
	return s, bits
}

// Count returns how often next followed a context of full order.
func (m *Model) Count(c Context, next Symbol) float64 {
	if s := m.contexts[c.key(m.config.Order)]; s != nil {
		return s.count(next)
	}
	return 0
}

func (s *successors) find(x Symbol) (int, bool) {
	return slices.BinarySearchFunc(s.next, x, func(a successor, b Symbol) int { return int(a.symbol) - int(b) })
}

func (s *successors) count(x Symbol) float64 {
	if i, ok := s.find(x); ok {
		return float64(s.next[i].count)
	}
	return 0
}

func (s *successors) add(x Symbol) {
	i, ok := s.find(x)
	if !ok {
		s.next = slices.Insert(s.next, i, successor{symbol: x})
	}
	s.next[i].count++
	if s.total++; s.total >= halveAt {
		s.total = 0
		for i := range s.next {
			s.next[i].count /= 2
			s.total += float64(s.next[i].count)
		}
	}
}

func (s *successors) remove(x Symbol) {
	i, ok := s.find(x)
	if !ok {
		return
	}
	one := min(1, s.next[i].count)
	s.total -= float64(one)
	if s.next[i].count -= one; s.next[i].count <= 0 {
		s.next = slices.Delete(s.next, i, i+1)
	}
}

// halveAt is how often a context is counted before all of its counts are
// halved: old cases weigh less, and no count reaches what a float32 holds
// exactly.
const halveAt = 1 << 22

// EntropyRate returns the entropy of the next step given the one before it,
// averaged over the steps as often as they occur, in bits per event:
// h = sum pi(ctx) H(next | ctx) (Cover & Thomas, ch. 4), by Grassberger's
// estimator.
func (m *Model) EntropyRate() float64 {
	var h, n float64
	for s := range firstStep + Symbol(len(m.names)) {
		if x := m.contexts[Context{s}.key(1)]; x != nil {
			counts := make([]float64, len(x.next))
			for i, y := range x.next {
				counts[i] = float64(y.count)
			}
			h += x.total * stat.Grassberger(counts)
			n += x.total
		}
	}
	if n == 0 {
		return 0
	}
	return h / n
}
