package sequence

import "github.com/entropy-fabric/entropy/actors/analyzer/stat"

// Norm learns how surprising normal cases are, one at a time, where a Judge
// learns it from a training set. Each case is judged by what was known before
// it, so nothing has to be held out. The zero value has learned nothing; it is
// owned by one goroutine.
type Norm struct {
	tails [3]stat.Envelope // by channel
	rate  float64          // bits per event of normal cases
}

// N returns how many cases it is worth.
func (n *Norm) N() float64 { return n.tails[ByOrder].N() }

// Learn counts a normal case.
func (n *Norm) Learn(c CaseSurprise) {
	for ch := range n.tails {
		n.tails[ch].Learn(n.evidence(c, Channel(ch)))
	}
	n.rate += (c.Mean - n.rate) * max(1/n.N(), 1.0/stat.EnvelopeHalf)
}

// P returns how probable it is that a normal case is at least as surprising in a
// channel.
func (n *Norm) P(c CaseSurprise, channel Channel) float64 {
	return n.tails[channel].P(n.evidence(c, channel))
}

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

// Channel is a way in which a case can be surprising.
type Channel int

// The channels of a case.
const (
	ByOrder Channel = iota // a single transition
	ByCount                // how often a step occurs
	ByWhole                // all transitions together
)
