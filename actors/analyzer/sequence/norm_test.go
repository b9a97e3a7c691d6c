package sequence

import (
	"math"
	"reflect"
	"testing"

	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// loops returns a case of a process with loops of random length.
func loops(r *stat.Rand) []string {
	steps := []string{"a"}
	for r.Float64() < 0.2 {
		steps = append(steps, "b")
	}
	if r.Float64() < 0.02 {
		steps = append(steps, "x", "y")
	}
	for r.Float64() < 0.5 {
		steps = append(steps, "c")
	}
	return append(steps, "d")
}

// proves E-4: judged one after the other by what was known before, normal cases are
// called as improbable as they are, or less so, in each channel; and a case that
// never came is called improbable.
func TestNormIsCalibrated(t *testing.T) {
	for seed := range uint64(4) {
		r := stat.NewRand(seed)
		m := New(Config{})
		var n Norm
		below := map[float64][3]int{}
		const cases = 60_000
		for i := range cases {
			steps := loops(r)
			x := m.Case(steps)
			for ch := ByOrder; ch <= ByWhole && i >= 10_000; ch++ {
				for _, alpha := range []float64{1e-2, 1e-3, 1e-4} {
					if n.P(x, ch) <= alpha {
						c := below[alpha]
						c[ch]++
						below[alpha] = c
					}
				}
			}
			m.LearnCase(steps)
			if i > 50 {
				n.Learn(x)
			}
		}
		for alpha, c := range below {
			expected := alpha * 50_000
			for ch, k := range c {
				if float64(k) > expected+4*math.Sqrt(expected)+2 {
					t.Errorf("seed %d, channel %d: %d of 50,000 cases have p <= %v", seed, ch, k, alpha)
				}
			}
		}
		for ch, steps := range map[Channel][]string{ByOrder: {"a", "d", "a", "d"}, ByCount: {"a", "b", "b", "b", "b", "b", "b", "b", "b", "b", "b", "b", "b", "d"}} {
			if p := n.P(m.Case(steps), ch); p > 1e-4 {
				t.Errorf("seed %d: %v has p = %v", seed, steps, p)
			}
		}
	}
}

// proves that what is taken back leaves nothing behind.
func TestUnlearn(t *testing.T) {
	r := stat.NewRand(5)
	m := New(Config{})
	for range 500 {
		m.LearnCase(loops(r))
	}
	before := m.Transitions()
	odd := []string{"a", "d", "new", "a", "b", "new", "new"}
	var c Context
	for _, s := range odd {
		symbol, _ := m.Step(c, s, true)
		c = c.Then(symbol)
	}
	m.Learn(c, End)
	if reflect.DeepEqual(before, m.Transitions()) {
		t.Fatal("nothing was learned")
	}
	m.UnlearnCase(odd)
	if !reflect.DeepEqual(before, m.Transitions()) {
		t.Error("something of the case is left")
	}
	if p := m.Probability(Context{}, Other); math.IsNaN(p) || p <= 0 {
		t.Errorf("P is %v", p)
	}
	m.UnlearnCase(odd) // again, which was never learned
	if p := m.Probability(Context{}.Then(firstStep), firstStep+1); math.IsNaN(p) || p < 0 || p > 1 {
		t.Errorf("P is %v", p)
	}
}
