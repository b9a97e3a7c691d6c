package sequence

import (
	"math"
)

// The buckets of a Norm: of a quarter of a bit, up to 64 bits.
const (
	normBuckets   = 256
	bucketsPerBit = 4
)

// Norm learns how surprising normal cases are, one at a time, where a Judge
// learns it from a training set. Each case is judged by what was known before
// it, so nothing has to be held out. It keeps the last cases, the newest weighing
// most: whenever normHalf are counted, all of them are halved. The zero value has
// learned nothing; it is owned by one goroutine.
type Norm struct {
	counts  [3][normBuckets]float32 // by channel
	total   float64
	beyond  [3]float64 // by how many bits the tail is heavier than 2^-bits
	rate    float64    // bits per event of normal cases
	learned int
}

const normHalf = 20_000

// N returns how many cases it is worth.
func (n *Norm) N() float64 { return n.total }

// Learn counts a normal case.
func (n *Norm) Learn(c CaseSurprise) {
	for ch := range n.counts {
		n.counts[ch][normBucket(n.evidence(c, Channel(ch)))]++
	}
	n.total++
	n.rate += (c.Mean - n.rate) * max(1/n.total, 1.0/normHalf)
	if n.learned++; n.total >= normHalf {
		n.total /= 2
		for ch := range n.counts {
			for b := range n.counts[ch] {
				n.counts[ch][b] /= 2
			}
		}
	}
	if n.learned%refit == 0 || n.learned < refit {
		n.fit()
	}
}

// refit is after how many cases the tails are fitted anew.
const refit = 32

// evidence returns the bits that speak against a case being normal: those of its
// most surprising transition, those of its most surprising count, or by how many
// all of its transitions are above what so many usually have. Of the last, the
// likelihood ratio against any other process exceeds 2^x with a probability of at
// most 2^-x (Ville's inequality), as the others by their definition do.
func (n *Norm) evidence(c CaseSurprise, channel Channel) float64 {
	switch channel {
	case ByOrder:
		return c.Order
	case ByCount:
		return c.Count
	}
	return (c.Mean - n.rate) * float64(c.Events+1)
}

func normBucket(bits float64) int {
	return int(max(0, min(normBuckets-1, bits*bucketsPerBit)))
}

// fit finds for each channel the least c with P(bits >= x) <= 2^(c - x) for all x
// that were seen.
func (n *Norm) fit() {
	for ch := range n.counts {
		n.beyond[ch] = 0
		var tail float64
		for b := normBuckets - 1; b >= 0; b-- {
			if n.counts[ch][b] == 0 {
				continue
			}
			tail += float64(n.counts[ch][b])
			n.beyond[ch] = max(n.beyond[ch], float64(b+1)/bucketsPerBit+math.Log2(tail/n.total))
		}
	}
}

// P returns how probable it is that a normal case is at least as surprising in a
// channel: the share that was, or, where that is more, the upper envelope of what
// was seen that falls by half with each bit, as a calibrated surprisal does. So
// many cases that one was as surprising are needed to say that it is not, and
// none to say that one is.
func (n *Norm) P(c CaseSurprise, channel Channel) float64 {
	bits := n.evidence(c, channel)
	var as float64
	for _, w := range n.counts[channel][normBucket(bits):] {
		as += float64(w)
	}
	return min(1, max(as/max(1, n.total), math.Exp2(n.beyond[channel]-bits)))
}

// Channel is a way in which a case can be surprising.
type Channel int

// The channels of a case.
const (
	ByOrder Channel = iota // a single transition
	ByCount                // how often a step occurs
	ByWhole                // all transitions together
)
