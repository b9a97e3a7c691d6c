package series

import (
	"math"

	"github.com/entropy-fabric/entropy/actors/analyzer/sketch"
)

// buckets is the number of log-spaced magnitudes on each side of zero: with
// sketch.Growth they reach twelve orders of magnitude above the smallest.
const buckets = 128

var logGrowth = math.Log(sketch.Growth)

// tail is the distribution of the signed residuals of one view: their
// magnitudes in log-spaced buckets for each side, forgetting forward.
type tail struct {
	sides  [2][buckets]float64 // above and below zero
	most   [2]float64          // the largest magnitude of each
	total  float64
	weight float64 // of the next one
}

// side returns the side and the magnitude of a residual.
func side(r float64) (int, float64) {
	if r < 0 {
		return 1, -r
	}
	return 0, r
}

// bucket returns the bucket of a magnitude; what is at most the scale is in
// the first.
func bucket(magnitude, scale float64) int {
	if magnitude <= scale {
		return 0
	}
	return min(buckets-1, 1+int(math.Log(magnitude/scale)/logGrowth))
}

// bits returns how surprising a residual is: -log2 of the share of the past
// that lay at least as far on the same side, prior being the weight of what
// was never seen. Beyond everything seen the share falls as a power of the
// distance (Pareto), by alpha.
func (t *tail) bits(r, scale, alpha, prior float64) float64 {
	s, magnitude := side(r)
	var beyond float64
	for b := bucket(magnitude, scale); b < buckets; b++ {
		beyond += t.sides[s][b]
	}
	p := (beyond/t.weight + prior) / (t.total/t.weight + 2*prior)
	if most := max(t.most[s], scale); magnitude > most {
		p *= math.Pow(magnitude/most, -alpha)
	}
	return max(0, -math.Log2(2*p)) // of both sides
}

// learn counts a residual; each weighs growth times the one before.
func (t *tail) learn(r, scale, growth float64) {
	t.weight *= growth
	if t.weight > rescaleAt {
		for s := range t.sides {
			for b := range t.sides[s] {
				t.sides[s][b] /= t.weight
			}
		}
		t.total /= t.weight
		t.weight = 1
	}
	s, magnitude := side(r)
	t.sides[s][bucket(magnitude, scale)] += t.weight
	t.most[s] = max(t.most[s], magnitude)
	t.total += t.weight
}

const rescaleAt = 1e100
