package detect

import (
	"math"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/baseline"
	"github.com/entropy-fabric/entropy/actors/analyzer/sketch"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// The ways in which a window can deviate.
const (
	Location = "location" // slower or faster
	Shape    = "shape"    // another distribution
	Spread   = "spread"   // chaotic, or stuck
	Tail     = "tail"     // more beyond the 99 % than there should be
)

// The tests, in the order of Result.Tests.
var channels = [4]string{Location, Shape, Spread, Tail}

// MinSpread is the number of observations from which the spread is tested:
// below it the normal approximation of the entropy's distribution is too
// optimistic.
const MinSpread = 40

// Input is a window and what is normal for it.
type Input struct {
	Counts   []float64      // by bucket, of the window
	Expected []float64      // probabilities by bucket, for the hours the window lay in
	N        float64        // observations the expectation is worth
	Past     *baseline.Past // the normal windows before
}

// Test is one of the four tests of a window.
type Test struct {
	Channel string  `json:"channel"`
	Score   float64 `json:"score"` // standard deviations, G / phi, or observations in the tail
	P       float64 `json:"p"`
}

// Result is how a window compares with what is normal.
type Result struct {
	Tests       [4]Test          `json:"tests"`
	P           float64          `json:"p"` // min(1, 4 min p): of the window as a whole
	N           float64          `json:"n"`
	Entropy     float64          `json:"entropy"`         // of the window, bits
	Normal      float64          `json:"baselineEntropy"` // bits
	Divergence  float64          `json:"jsd"`             // Jensen-Shannon, bits
	Ratio       float64          `json:"ratio"`           // of the medians, now over then
	Was, Is     Quantiles        `json:"-"`
	Material    bool             `json:"material"` // the effect is large enough to matter
	Channel     string           `json:"channel"`
	Direction   string           `json:"direction"`
	Summary     baseline.Summary `json:"-"` // to be remembered when the window was normal
	Counts      []float64        `json:"-"`
	Expectation []float64        `json:"-"`
}

// Quantiles are two points of a distribution of durations.
type Quantiles struct{ P50, P95 time.Duration }

// The effects that matter; a significant change smaller than all of them is
// not worth anyone's attention.
const (
	minDivergence = 0.02 // bits
	minEntropy    = 0.2  // bits
)

var (
	minRatio   = math.Log(1.1)
	plainRatio = math.Log(1.5) // which anyone would call slower or faster
)

// Compare tests a window. All four tests take the window's counts against the
// expected probabilities, and are made no surer than the past windows allow:
// observations that depend on each other, and a season that the baseline does
// not know, show there as scores that scatter more than theory says.
func Compare(in Input) Result {
	n := sum(in.Counts)
	r := Result{N: n, Counts: in.Counts, Expectation: in.Expected, P: 1}
	if n == 0 {
		return r
	}
	counts := weighted(in.Expected, in.N)
	r.Divergence = stat.Divergence(in.Counts, in.Expected)
	r.Was, r.Is = quantiles(in.Expected), quantiles(in.Counts)
	r.Ratio = float64(interpolated(in.Counts)) / float64(interpolated(in.Expected))
	r.Entropy = stat.Grassberger(in.Counts)
	var p [4]float64
	var score [4]float64
	score[0], p[0] = r.location(in, n)
	score[1], p[1] = r.shape(in, n)
	score[2], p[2] = r.spread(in, counts, n)
	score[3], p[3] = r.tail(in, n)
	for i := range p {
		r.Tests[i] = Test{channels[i], score[i], p[i]}
		r.P = min(r.P, 4*p[i])
	}
	r.Material = r.Divergence >= minDivergence || math.Abs(math.Log(r.Ratio)) >= minRatio || math.Abs(r.Entropy-r.Normal) >= minEntropy
	r.name()
	return r
}

// location is the test of Mann and Whitney on the ranks of buckets, those of
// one bucket sharing their rank: the mean rank of the window under the
// expected distribution is 1/2, with the variance (1 - sum q^3) / 12 of one
// observation.
func (r *Result) location(in Input, n float64) (z, p float64) {
	var mean, below, cubes float64
	for b, q := range in.Expected {
		mean += in.Counts[b] / n * (below + q/2)
		below += q
		cubes += q * q * q
	}
	v := max(1e-6, (1-cubes)/12) * (1/n + 1/max(1, in.N))
	z = (mean - 0.5) / math.Sqrt(v)
	r.Summary.Location = float32(z)
	if in.Past.N() >= baseline.Windows {
		past := in.Past.Location()
		z = (z - clamp(past.Median, 2)) / max(1, past.Scale)
	}
	return z, stat.TwoSided(z)
}

// shape is the G test against the expected distribution with Williams'
// correction (1976), neighboring buckets pooled until each expects 3. G is
// divided by phi, the median of G / df of the past windows, for what makes
// them scatter more than independent observations.
func (r *Result) shape(in Input, n float64) (g, p float64) {
	var cells, o, e float64
	for b, q := range in.Expected {
		o, e = o+in.Counts[b], e+n*q
		if e >= minCell {
			g, cells = g+term(o, e), cells+1
			o, e = 0, 0
		}
	}
	g += term(o, max(e, 1e-9))
	if e > 0 {
		cells++
	}
	df := cells - 1
	if df < 1 {
		return 0, 1
	}
	g = 2 * max(0, g) / (1 + (cells+1)/(6*n)) / (1 + n/max(1, in.N))
	r.Summary.Dispersion = float32(g / df)
	if in.Past.N() > 0 {
		g /= max(1, in.Past.Dispersion().Median)
	}
	return g, stat.ChiSquareTail(g, df)
}

const minCell = 3

// term is O ln(O / E), plus what keeps the sum right where cells do not add up
// to the same totals.
func term(o, e float64) float64 {
	if o <= 0 {
		return 0
	}
	return o * math.Log(o/e)
}

// spread compares the entropy of the window with that of the expectation, both
// corrected for their sizes, on both sides: up is chaotic, down is stuck. By how
// much windows normally differ from their expectation is learned from the past.
func (r *Result) spread(in Input, counts []float64, n float64) (z, p float64) {
	r.Normal = stat.Grassberger(counts)
	r.Summary.Excess = float32(r.Entropy - r.Normal)
	v := stat.EntropyVariance(counts)
	if in.Past.N() >= baseline.Windows {
		past := in.Past.Excess()
		r.Normal, v = r.Normal+past.Median, max(v, past.Scale*past.Scale)
	}
	if n < MinSpread {
		return 0, 1
	}
	v += max(stat.EntropyVariance(in.Counts), stat.EntropyVariance(in.Expected)/n)
	z = (r.Entropy - r.Normal) / math.Sqrt(max(v, 1e-4))
	return z, stat.TwoSided(z)
}

// tail asks how probable so many observations beyond the expected 99 % are.
func (r *Result) tail(in Input, n float64) (k, p float64) {
	var below float64
	b := 0
	for ; b < len(in.Expected) && below < 0.99; b++ {
		below += in.Expected[b]
	}
	for ; b < len(in.Counts); b++ {
		k += in.Counts[b]
	}
	share := max(1-below, 0.5/(in.N+1))
	r.Summary.Tail = float32(k / n)
	if in.Past.N() >= baseline.Windows {
		past := in.Past.Tail()
		share = max(share, past.Median+past.Scale)
	}
	phi := max(1, in.Past.Dispersion().Median)
	return k, stat.BinomialTail(k/phi, n/phi, share)
}

// name says by which test the window is best described: slower or faster when
// that is sure, else chaotic or stuck, else the tail, else the shape.
func (r *Result) name() {
	const sure = 1e-4
	up := r.Ratio > 1
	best := math.Max(r.P/4, 1e-300)
	near := func(i int) bool { return r.Tests[i].P <= sure && math.Log(r.Tests[i].P+1e-300) <= 0.3*math.Log(best) }
	far := math.Abs(math.Log(r.Ratio))
	moved := near(0) && far >= minRatio || r.Tests[0].P <= 0.01 && far >= plainRatio
	switch {
	case moved && up:
		r.Channel, r.Direction = Location, "slower"
	case moved:
		r.Channel, r.Direction = Location, "faster"
	case near(2) && r.Entropy-r.Normal >= minEntropy:
		r.Channel, r.Direction = Spread, "chaotic"
	case near(2) && r.Normal-r.Entropy >= minEntropy:
		r.Channel, r.Direction = Spread, "stuck"
	case near(3):
		r.Channel, r.Direction = Tail, "heavier"
	default:
		r.Channel, r.Direction = Shape, "changed"
	}
}

// quantiles returns the median and the 95 % quantile of weights by bucket.
func quantiles(weights []float64) Quantiles {
	return Quantiles{sketch.Middle(at(weights, 0.5)), sketch.Middle(at(weights, 0.95))}
}

func at(weights []float64, q float64) int {
	want, s := q*sum(weights), 0.0
	for b, w := range weights {
		if s += w; s >= want && s > 0 {
			return b
		}
	}
	return len(weights) - 1
}

// interpolated returns the median, interpolated within its bucket, so that a
// ratio of medians is finer than the buckets.
func interpolated(weights []float64) time.Duration {
	b := at(weights, 0.5)
	half, below := sum(weights)/2, 0.0
	for _, w := range weights[:b] {
		below += w
	}
	from, to := sketch.Bounds(b)
	if b == 0 {
		return to
	}
	share := (half - below) / weights[b]
	return time.Duration(float64(from) * math.Pow(float64(to)/float64(from), share))
}

func weighted(q []float64, n float64) []float64 {
	w := make([]float64, len(q))
	for i, v := range q {
		w[i] = v * n
	}
	return w
}

func sum(v []float64) (s float64) {
	for _, x := range v {
		s += x
	}
	return s
}

func clamp(x, limit float64) float64 { return max(-limit, min(limit, x)) }
