package sequence

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// proves E-2: what may follow a context adds up to one, whatever was learned.
func TestProbabilitiesSumToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(Config{Order: rapid.IntRange(1, MaxOrder).Draw(t, "order")})
		word := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, 8)
		for _, c := range rapid.SliceOfN(word, 1, 12).Draw(t, "cases") {
			m.LearnCase(c)
		}
		var c Context
		for _, step := range word.Draw(t, "context") {
			s, _ := m.Symbol(step)
			c = c.Then(s)
		}
		sum := m.Probability(c, End) + m.Probability(c, Other)
		for s := firstStep; s < firstStep+Symbol(len(m.names)); s++ {
			sum += m.Probability(c, s)
		}
		if math.Abs(sum-1) > 1e-9 {
			t.Fatalf("%v", sum)
		}
	})
}

// proves E-2: surprisals of a known process, worked out by hand.
func TestSurprisalKnownAnswers(t *testing.T) {
	m := New(Config{Order: 1})
	for range 999 {
		m.LearnCase([]string{"a", "b"})
	}
	a, _ := m.Symbol("a")
	b, _ := m.Symbol("b")
	ctx := Context{a}
	if s := m.Surprisal(ctx, b); s > 0.01 {
		t.Errorf("what always follows: %v bits", s)
	}
	// After a: 999 b, one successor. p(a|a) = 1 p0(a) / 1000, and p0(a) =
	// (999 + 3/4) / (2997 + 3): four outcomes with the unseen one.
	if got, want := m.Surprisal(ctx, a), -math.Log2((999+0.75)/3000/1000); math.Abs(got-want) > 1e-9 {
		t.Errorf("what never follows: %v bits, want %v", got, want)
	}
	if h := m.EntropyRate(); h > 0.01 {
		t.Errorf("a process without choice has %v bits an event", h)
	}
	coin, r := New(Config{Order: 1}), stat.NewRand(1)
	for range 4000 {
		c := []string{"x", "left"}
		if r.Float64() < 0.5 {
			c[1] = "right"
		}
		coin.LearnCase(c)
	}
	if h := coin.EntropyRate(); math.Abs(h-1.0/3) > 0.01 { // one bit in three events
		t.Errorf("one coin a case: %v bits an event", h)
	}
}

// proves E-2: limits are kept, and what they cost is counted.
func TestLimits(t *testing.T) {
	m := New(Config{Symbols: 10, Contexts: 20})
	for i := range 1000 {
		m.LearnCase([]string{string(rune('a' + i%26)), string(rune('a' + i%25))})
	}
	if len(m.names) != 10 || len(m.contexts) > 20 || m.Dropped() == 0 {
		t.Errorf("%d steps, %d contexts, %d dropped", len(m.names), len(m.contexts), m.Dropped())
	}
}

// process returns n cases of a small process with a choice and a loop, the
// choice falling on b with probability p.
func process(r *stat.Rand, n int, p float64) [][]string {
	all := make([][]string, n)
	for i := range all {
		c := []string{"start"}
		for again := true; again; again = r.Float64() < 0.1 {
			if r.Float64() < p {
				c = append(c, "b", "check")
			} else {
				c = append(c, "c", "check")
			}
		}
		all[i] = append(c, "done")
	}
	return all
}

// proves E-4: a change of the order is found at its place and explained, and
// none where there is none.
func TestDrift(t *testing.T) {
	find := func(cases [][]string) (found []Change) {
		d := NewDrift(DriftConfig{})
		for _, c := range cases {
			if x := d.Observe(c); x != nil {
				found = append(found, *x)
			}
		}
		if x := d.Flush(); x != nil {
			found = append(found, *x)
		}
		return found
	}
	r := stat.NewRand(1)
	if found := find(process(r, 4000, 0.5)); len(found) > 0 {
		t.Errorf("nothing changed: %+v", found)
	}
	found := find(slices.Concat(process(r, 1000, 0.5), process(r, 1000, 0.85), process(r, 1000, 0.5)))
	if len(found) != 2 || math.Abs(float64(found[0].Case-1000)) > 50 || math.Abs(float64(found[1].Case-2000)) > 50 {
		t.Fatalf("%+v", found)
	}
	if w := found[0].Why[0]; w.Then != "b" && w.Then != "c" || math.Abs(w.Was-w.Is) < 0.2 {
		t.Errorf("%+v", found[0].Why)
	}
	again := find(slices.Concat(process(stat.NewRand(1), 4000, 0.5)[:0], process(stat.NewRand(8), 1000, 0.5), process(stat.NewRand(9), 1000, 0.9)))
	if len(again) != 1 || again[0].Bits < 20 {
		t.Errorf("%+v", again)
	}
}

// proves E-2: cases that differ in order, in count or throughout are told from
// normal ones by a judge that saw only those.
func TestJudge(t *testing.T) {
	r := stat.NewRand(3)
	j := NewJudge(Config{}, process(r, 3000, 0.5))
	wrong := 0
	for _, c := range process(r, 3000, 0.5) {
		if j.Excess(c) > 0 {
			wrong++
		}
	}
	if wrong > 12 {
		t.Errorf("%d of 3,000 normal cases are called abnormal", wrong)
	}
	for name, c := range map[string]string{
		"cut off": "start b", "a step that never was": "start b check x done", "out of order": "start check b done",
		"far too often": "start" + strings.Repeat(" b check", 40) + " done",
	} {
		if e := j.Excess(strings.Fields(c)); e <= 0 {
			t.Errorf("%s: %.1f bits", name, e)
		}
	}
}
