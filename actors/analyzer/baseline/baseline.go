package baseline

import (
	"math"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/sketch"
)

// HalfLife is how long it takes until an observation counts half.
const HalfLife = 7 * 24 * time.Hour

// The numbers of observations of a parent that are mixed into a child: the a of
// p = (c + a p_parent) / (n + a), a Dirichlet prior around the parent. Hours of
// one series resemble each other more than the series of one kind do.
const (
	HourPrior = 50
	KindPrior = 10
)

// Young is the number of observations, each weighing by its age, below which
// nothing is said about a series from its own data.
const Young = 20

// Baseline is the distribution of a series' durations: over everything, and by
// hour of the week. It decays forward (Cormode et al., ICDE 2009): what comes
// later weighs more, so that nothing has to be aged. The zero value has
// learned nothing.
type Baseline struct {
	all     sketch.Histogram
	slots   map[uint8]*sketch.Histogram
	starts  sketch.Histogram // by hour of the week
	origin  time.Time        // where the weight is 1
	current float64          // the weight at the newest observation
}

// rescaleAt is the weight at which everything is scaled back to 1.
const rescaleAt = 1 << 20

// weight returns the weight of an observation at a time, and rescales before
// weights grow large. What is older than the origin weighs 1.
func (b *Baseline) weight(at time.Time) float64 {
	if b.origin.IsZero() {
		b.origin, b.current = at, 1
	}
	w := math.Exp2(max(0, at.Sub(b.origin).Hours()) / HalfLife.Hours())
	if w > rescaleAt {
		b.all.Scale(1 / w)
		b.starts.Scale(1 / w)
		for slot, h := range b.slots {
			if h.Scale(1 / w); h.Total() == 0 {
				delete(b.slots, slot)
			}
		}
		b.origin, b.current, w = at, 1, 1
	}
	b.current = max(b.current, w)
	return w
}

// Learn counts n durations of a bucket that began at a time, in an hour of the
// week.
func (b *Baseline) Learn(at time.Time, hourOfWeek, bucket int, n float64) {
	w := b.weight(at)
	hour := uint8(hourOfWeek)
	b.all.AddN(bucket, n, w)
	b.starts.AddN(int(hour), n, w)
	if b.slots == nil {
		b.slots = make(map[uint8]*sketch.Histogram)
	}
	h := b.slots[hour]
	if h == nil {
		h = new(sketch.Histogram)
		b.slots[hour] = h
	}
	h.AddN(bucket, n, w)
}

// N returns how many observations of full weight the baseline is worth.
func (b *Baseline) N() float64 {
	if b.current == 0 {
		return 0
	}
	return min(b.all.NEff(), b.all.Total()/b.current)
}

// Weight returns the total weight, the newest observation weighing 1.
func (b *Baseline) Weight() float64 {
	if b.current == 0 {
		return 0
	}
	return b.all.Total() / b.current
}

// Median returns the duration that half of the observations are within.
func (b *Baseline) Median() time.Duration { return b.all.Within(0.5) }

// Counts writes the weights by bucket into into, the newest observation
// weighing 1, and returns it.
func (b *Baseline) Counts(into []float64) []float64 {
	b.all.Dense(into)
	if b.current > 0 {
		for i := range into {
			into[i] /= b.current
		}
	}
	return into
}

// Root writes the distribution that is assumed before anything is known into
// q: every bucket equally.
func Root(q []float64) {
	for i := range q {
		q[i] = 1 / float64(len(q))
	}
}

// Shrink replaces the parent's distribution q by the child's over all hours:
// (c + KindPrior q) / (n + KindPrior). The root is trusted as one observation
// only.
func (b *Baseline) Shrink(q []float64, parentIsRoot bool) {
	prior := float64(KindPrior)
	if parentIsRoot {
		prior = 1
	}
	b.mix(q, prior, &b.all)
}

// ShrinkHour replaces the distribution q over all hours by that of one hour of
// the week, through the same hour of every day.
func (b *Baseline) ShrinkHour(q []float64, hour int) {
	var day [7]*sketch.Histogram
	for d := range day {
		day[d] = b.slots[uint8(d*24+hour%24)]
	}
	b.mix(q, HourPrior, day[:]...)
	b.mix(q, HourPrior, b.slots[uint8(hour)])
}

// Knows reports whether enough of what n observations in an hour of the week
// would be compared with was seen at that hour: of the week, or of any day.
func (b *Baseline) Knows(hour int, ofWeek bool, n float64) bool {
	if b.current == 0 {
		return false
	}
	var seen float64
	if ofWeek {
		seen = b.starts.Weight(hour)
	} else {
		for d := range 7 {
			seen += b.starts.Weight(d*24 + hour%24)
		}
	}
	return seen/b.current >= min(Young, n/2)
}

// mix replaces q by (c + prior q) / (n + prior) of the histograms together.
func (b *Baseline) mix(q []float64, prior float64, from ...*sketch.Histogram) {
	if b.current == 0 {
		return
	}
	var n float64
	for _, h := range from {
		if h != nil {
			n += h.Total() / b.current
		}
	}
	for i := range q {
		q[i] *= prior / (n + prior)
	}
	for _, h := range from {
		if h == nil {
			continue
		}
		for _, c := range h.Cells() {
			q[c.Bucket] += float64(c.Weight) / b.current / (n + prior)
		}
	}
}

// Probability returns P(bucket) over all hours, shrunk to the parent's p.
func (b *Baseline) Probability(bucket int, p float64) float64 {
	if b.current == 0 {
		return p
	}
	return (b.all.Weight(bucket)/b.current + KindPrior*p) / (b.all.Total()/b.current + KindPrior)
}

// Start returns how probable it is that an event of the series begins in an
// hour of the week, with one observation spread over the week.
func (b *Baseline) Start(hour int) float64 {
	if b.current == 0 {
		return 1.0 / Hours
	}
	return (b.starts.Weight(hour)/b.current + 1.0/Hours) / (b.starts.Total()/b.current + 1)
}

// Starts writes the weights by hour of the week into into, which has room for
// Hours, and returns it.
func (b *Baseline) Starts(into []float64) []float64 { return b.starts.Dense(into) }
