package sequence

import (
	"cmp"
	"math"
	"slices"

	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// DriftConfig sets a Drift. The zero value is the one frozen setting that the
// benchmarks are run at.
type DriftConfig struct {
	Window       int     // cases before and after a point that are compared; 0 means 250
	Step         int     // a point is looked at every so many cases; 0 means 10
	Permutations int     // of the cases, to learn how G varies when nothing has changed; 0 means 100
	Bits         float64 // of surprise, from which a point is a change; 0 means 20, one in a million
	Symbols      int     // different steps told apart; 0 means 1,024
}

func (c DriftConfig) withDefaults() DriftConfig {
	if c.Window <= 0 {
		c.Window = 250
	}
	if c.Step <= 0 {
		c.Step = 10
	}
	if c.Permutations <= 1 {
		c.Permutations = 100
	}
	if c.Bits <= 0 {
		c.Bits = 20
	}
	if c.Symbols <= 0 {
		c.Symbols = 1024
	}
	return c
}

// Change is a point in a stream of cases at which the order of steps became
// another one.
type Change struct {
	Case int     `json:"case"` // the first case after the change, from 0
	Z    float64 `json:"z"`    // standard deviations above what permuted cases give
	Bits float64 `json:"bits"` // -log2 p, 64 at most
	Why  []Shift `json:"why"`  // the transitions that changed most
}

// Shift is one transition whose share changed.
type Shift struct {
	After string  `json:"after"`
	Then  string  `json:"then"`
	Was   float64 `json:"was"` // share of what follows After, before the change
	Is    float64 `json:"is"`  // after it
	G     float64 `json:"g"`   // its part of the statistic
}

// Drift finds changes in a stream of cases, one case at a time and within
// bounded memory: it keeps the last two windows of cases. At every Step-th
// case the window before a point and the window after it are compared by
//
//	G = 2 sum O ln(O / E)
//
// over which step follows which. The events of a case depend on each other, so
// chi-square does not tell how large G becomes by chance: the cases of both
// windows are permuted and G is taken again (a permutation test with whole
// cases as the units; Good, Permutation Tests, ch. 3). To the mean and the
// variance of these a scaled chi-square is fitted (Satterthwaite 1946), whose
// tail says how surprising the actual G is far beyond what so few permutations
// could count. The generator of the permutations is seeded by the position, so
// the same stream gives the same changes.
//
// A point is reported when it is the highest within a window on both sides:
// what happened is known one to two windows of cases later. It is owned by one
// goroutine.
type Drift struct {
	config DriftConfig
	model  *Model // for its names
	ids    map[[2]Symbol]int32
	pairs  [][2]Symbol // by id: a step and the one after it
	cases  []profile   // the last two windows
	seen   int
	peak   *Change
	last   int // the case of the last change; two windows from it nothing is looked for
}

// profile is a case as counts of transitions, in order of their ids.
type profile []pairCount

type pairCount struct {
	id    int32
	count float32
}

// NewDrift returns a detector that has seen no case.
func NewDrift(c DriftConfig) *Drift {
	c = c.withDefaults()
	return &Drift{config: c, model: New(Config{Symbols: c.Symbols}), ids: map[[2]Symbol]int32{}}
}

// Observe takes the next case and returns the change that it confirms, or nil.
func (d *Drift) Observe(steps []string) *Change {
	w := d.config.Window
	if len(d.cases) == 2*w {
		copy(d.cases, d.cases[1:])
		d.cases = d.cases[:2*w-1]
	}
	d.cases = append(d.cases, d.profile(steps))
	d.seen++
	if len(d.cases) < 2*w || d.seen%d.config.Step != 0 {
		return nil
	}
	return d.consider(d.seen - w)
}

// Flush returns the change that was found and not yet confirmed because the
// stream ended, or nil.
func (d *Drift) Flush() *Change {
	p := d.peak
	d.peak = nil
	return p
}

// consider looks at a point, keeps the highest, and returns that once a window
// has passed without a higher one.
func (d *Drift) consider(point int) *Change {
	var confirmed *Change
	if d.peak != nil && point-d.peak.Case >= d.config.Window {
		confirmed, d.peak = d.peak, nil
		d.last = confirmed.Case
	}
	if d.last > 0 && point-d.last < 2*d.config.Window {
		return confirmed
	}
	z, bits := d.deviation()
	if bits >= d.config.Bits && (d.peak == nil || z > d.peak.Z) {
		d.peak = &Change{Case: point, Z: z, Bits: bits, Why: d.explain()}
	}
	return confirmed
}

func (d *Drift) profile(steps []string) profile {
	counts := map[int32]float32{}
	before := Start
	then := func(s Symbol) {
		pair := [2]Symbol{before, s}
		id, ok := d.ids[pair]
		if !ok {
			id = int32(len(d.pairs))
			d.ids[pair] = id
			d.pairs = append(d.pairs, pair)
		}
		counts[id]++
		before = s
	}
	for _, step := range steps {
		then(d.model.intern(step))
	}
	then(End)
	p := make(profile, 0, len(counts))
	for id, n := range counts {
		p = append(p, pairCount{id, n})
	}
	slices.SortFunc(p, func(a, b pairCount) int { return int(a.id) - int(b.id) })
	return p
}

// deviation returns by how many standard deviations, and by how many bits, the
// two windows differ more than permuted ones. Most points are told from a few
// permutations.
func (d *Drift) deviation() (z, bits float64) {
	t := newContrast(d)
	order := make([]int, len(d.cases))
	for i := range order {
		order[i] = i
	}
	actual := t.g(order)
	rand := stat.NewRand(uint64(d.seen))
	var n, sum, squares float64
	for k := range d.config.Permutations {
		rand.Shuffle(order)
		g := t.g(order)
		n, sum, squares = n+1, sum+g, squares+g*g
		if k != fewPermutations && k != d.config.Permutations-1 {
			continue
		}
		mean := sum / n
		variance := max(0, squares/n-mean*mean) * n / (n - 1)
		if variance <= 0 {
			return 0, 0
		}
		z = (actual - mean) / math.Sqrt(variance)
		bits = stat.Surprisal(stat.ChiSquareTail(2*mean*actual/variance, 2*mean*mean/variance))
		if bits < d.config.Bits/2 {
			break
		}
	}
	return z, bits
}

const fewPermutations = 20

// contrast is what is common to all orders of the cases of two windows.
type contrast struct {
	drift        *Drift
	pooled       []float64 // of each pair, in both windows
	both         []float64 // of each step, how often it was followed by any
	first, onces []float64 // the same of the first window
}

func newContrast(d *Drift) *contrast {
	t := &contrast{drift: d, pooled: make([]float64, len(d.pairs)), first: make([]float64, len(d.pairs))}
	for _, p := range d.cases {
		for _, c := range p {
			t.pooled[c.id] += float64(c.count)
		}
	}
	symbols := int(firstStep) + len(d.model.names)
	t.both, t.onces = make([]float64, symbols), make([]float64, symbols)
	for id, pair := range d.pairs {
		t.both[pair[0]] += t.pooled[id]
	}
	return t
}

// g returns the statistic of the cases in an order: its first half against the
// second.
func (t *contrast) g(order []int) float64 {
	clear(t.first)
	clear(t.onces)
	for _, i := range order[:t.drift.config.Window] {
		for _, c := range t.drift.cases[i] {
			t.first[c.id] += float64(c.count)
		}
	}
	for id, pair := range t.drift.pairs {
		t.onces[pair[0]] += t.first[id]
	}
	var g float64
	for id := range t.pooled {
		g += t.part(id)
	}
	return g
}

// part returns what one pair adds to the statistic.
func (t *contrast) part(id int) float64 {
	step := t.drift.pairs[id][0]
	all, one := t.both[step], t.onces[step]
	a, b := t.first[id], t.pooled[id]-t.first[id]
	var g float64
	if a > 0 {
		g += 2 * a * math.Log(a*all/(t.pooled[id]*one))
	}
	if b > 0 {
		g += 2 * b * math.Log(b*all/(t.pooled[id]*(all-one)))
	}
	return g
}

// explain returns the three transitions that changed most between the windows.
func (d *Drift) explain() []Shift {
	t := newContrast(d)
	order := make([]int, len(d.cases))
	for i := range order {
		order[i] = i
	}
	t.g(order)
	why := make([]Shift, 0, len(d.pairs))
	for id, pair := range d.pairs {
		s := Shift{After: d.model.Name(pair[0]), Then: d.model.Name(pair[1]), G: t.part(id)}
		if one := t.onces[pair[0]]; one > 0 {
			s.Was = t.first[id] / one
		}
		if two := t.both[pair[0]] - t.onces[pair[0]]; two > 0 {
			s.Is = (t.pooled[id] - t.first[id]) / two
		}
		why = append(why, s)
	}
	slices.SortStableFunc(why, func(a, b Shift) int { return cmp.Compare(math.Abs(b.G), math.Abs(a.G)) })
	return why[:min(3, len(why))]
}
