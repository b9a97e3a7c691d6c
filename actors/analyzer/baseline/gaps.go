package baseline

import (
	"math"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/sketch"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// Gaps is the distribution of the time until something follows, and how often
// nothing did. The zero value has learned nothing.
type Gaps struct {
	hist    sketch.Histogram
	started float64 // how many began
	ended   float64 // how many of them ended
	origin  time.Time
	current float64
}

// Begin counts that a gap began.
func (g *Gaps) Begin() { g.started++ }

// Forgive takes back a Begin whose end is a deviation and must not teach.
func (g *Gaps) Forgive() { g.started = max(0, g.started-1) }

// Learn counts a gap that ended at a time.
func (g *Gaps) Learn(at time.Time, gap time.Duration) {
	if g.origin.IsZero() {
		g.origin = at
	}
	w := math.Exp2(max(0, at.Sub(g.origin).Hours()) / HalfLife.Hours())
	if w > rescaleAt {
		g.hist.Scale(1 / w)
		g.origin, g.current, w = at, 1, 1
	}
	g.current = max(g.current, w)
	g.hist.Add(sketch.Bucket(gap), w)
	g.ended++
}

// Continued returns how many gaps have ended, all counting alike.
func (g *Gaps) Continued() float64 { return g.hist.NEff() }

// Expectation says until when the end of a gap is expected.
type Expectation struct {
	P50     time.Duration `json:"p50"`
	P90     time.Duration `json:"p90"`
	P99     time.Duration `json:"p99"` // the learned 99 % gap
	Late    time.Duration `json:"late"`
	Missing time.Duration `json:"missing"`
	N       float64       `json:"n"`
}

// Least is how long is waited for anything: what is there within a second was not
// late for anybody.
const Least = time.Second

// Patience times the learned 99 % gap is when what has not come is missing.
const Patience = 1.5

// Expect returns the expectation, or false when it cannot be said: fewer than
// Young gaps have ended, or more than one in a hundred never did, so that
// nothing following is not surprising.
//
// Late is where the survival S = P(T > a) falls to one in a thousand, by a
// log-normal tail beyond the 99 % gap; missing is Patience times the 99 % gap.
func (g *Gaps) Expect() (Expectation, bool) {
	n := g.Continued()
	if n < Young || g.started-g.ended > max(1, 0.01*g.started) {
		return Expectation{}, false
	}
	e := Expectation{N: n, P50: g.quantile(0.5), P90: g.quantile(0.9), P99: g.quantile(0.99)}
	e.Missing = max(Least, time.Duration(Patience*float64(e.P99)))
	e.Late = max(Least, min(e.Until(0.001), e.Missing))
	return e, true
}

// Tail returns P(T > gap) by a log-normal through the 99 % gap, whose spread is
// the larger of that between the median and the 90 % quantile and that between
// the 90 % quantile and the 99 % gap.
func (e Expectation) Tail(gap time.Duration) float64 {
	return stat.NormalTail(zHundredth + math.Log(float64(max(1, gap))/float64(e.P99))/e.spread())
}

// Until returns the gap that a share p of gaps is longer than, by the same.
func (e Expectation) Until(p float64) time.Duration {
	return time.Duration(min(math.MaxInt64/2, float64(e.P99)*math.Exp((stat.NormalQuantile(1-p)-zHundredth)*e.spread())))
}

// spread is the standard deviation of the logarithm of the gaps; not so small
// that the width of a bucket would not be in it.
func (e Expectation) spread() float64 {
	body := math.Log(float64(e.P90)/float64(e.P50)) / zTenth
	tail := math.Log(float64(e.P99)/float64(e.P90)) / (zHundredth - zTenth)
	return max(body, tail, minSpread)
}

const minSpread = 0.05

// The quantiles of the standard normal distribution that one in ten and one in
// a hundred lie beyond.
const (
	zTenth     = 1.281552
	zHundredth = 2.326348
)

// Survival returns P(T > gap) from the counts, with half an observation beyond
// everything seen.
func (g *Gaps) Survival(gap time.Duration) float64 {
	if g.current == 0 {
		return 1
	}
	bucket, beyond := int16(sketch.Bucket(gap)), 0.5
	for _, c := range g.hist.Cells() {
		if c.Bucket > bucket {
			beyond += float64(c.Weight) / g.current
		}
	}
	return beyond / (g.hist.Total()/g.current + 0.5)
}

// quantile returns where the share q of the gaps lies, interpolated within its
// bucket.
func (g *Gaps) quantile(q float64) time.Duration {
	want, below := q*g.hist.Total(), 0.0
	for _, c := range g.hist.Cells() {
		w := float64(c.Weight)
		if below+w < want {
			below += w
			continue
		}
		from, to := sketch.Bounds(int(c.Bucket))
		if from == 0 {
			return to
		}
		return time.Duration(float64(from) * math.Pow(float64(to)/float64(from), (want-below)/w))
	}
	_, to := sketch.Bounds(g.hist.Quantile(q))
	return to
}
