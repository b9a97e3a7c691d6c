package baseline

import (
	"math"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/sketch"
)

// Part is one of the ways in which something may go on: how probable it is,
// and how long that takes.
type Part struct {
	P    float64
	Gaps *Gaps
}

// Mix returns until when one of several ways of going on is expected, each with
// its own gaps: a semi-Markov process, in which the time in a state depends on
// the state that follows (Lévy 1954, Smith 1955),
//
//	P(T > a) = sum of P(next) P(T > a | next)
//
// so that where one successor takes a minute and another an hour, what is
// later than an hour is late, and what is later than minutes too when the
// context says that only the first may come. Each part has a log-normal tail
// of its own. The probabilities are those of going on and sum to 1; n is how
// many observations the whole is worth. The scratch is overwritten.
func Mix(parts []Part, n float64, scratch *sketch.Histogram) Expectation {
	if len(parts) == 1 {
		return parts[0].Gaps.expectation(n)
	}
	scratch.Reset()
	mix := make([]component, len(parts))
	for i, p := range parts {
		scratch.MergeScaled(&p.Gaps.hist, p.P/p.Gaps.hist.Total())
		mix[i] = component{p.P, p.Gaps.expectation(n)}
	}
	all := Gaps{hist: *scratch}
	e := Expectation{N: n, P50: all.Quantile(0.5), P90: all.Quantile(0.9), P99: all.Quantile(0.99), mix: mix}
	e.due()
	*scratch = all.hist
	return e
}

// component is one part of a mixture, as its quantiles.
type component struct {
	p float64
	Expectation
}

// tail returns P(T > gap) of the mixture.
func tail(mix []component, gap time.Duration) (p float64) {
	for i := range mix {
		p += mix[i].p * mix[i].Tail(gap)
	}
	return p
}

// until returns the gap that a share p is longer than: between the least and
// the most of the parts', by bisection of its logarithm.
func until(mix []component, p float64) time.Duration {
	low, high := math.Inf(1), math.Inf(-1)
	for i := range mix {
		x := math.Log(float64(max(1, mix[i].Until(p))))
		low, high = min(low, x), max(high, x)
	}
	for range 14 {
		middle := (low + high) / 2
		if tail(mix, time.Duration(math.Exp(middle))) > p {
			low = middle
		} else {
			high = middle
		}
	}
	return time.Duration(math.Exp(high))
}
