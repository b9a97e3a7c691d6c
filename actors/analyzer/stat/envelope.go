package stat

import "math"

// The buckets of an Envelope: of a quarter of a bit, up to 64 bits.
const (
	envelopeBuckets = 256
	bucketsPerBit   = 4
)

// EnvelopeHalf is how many values an Envelope counts before it halves them all.
const EnvelopeHalf = 20_000

// Envelope learns how surprising normal things are, in bits, and says how probable
// more surprising ones are. It keeps the last ones, the newest weighing most. The
// zero value has learned nothing; it takes a KiB and is owned by one goroutine.
type Envelope struct {
	counts  [envelopeBuckets]float32
	total   float64
	beyond  float64 // by how many bits the tail is heavier than 2^-bits
	learned int
}

// N returns how many things it is worth.
func (e *Envelope) N() float64 { return e.total }

// Learn counts a normal thing.
func (e *Envelope) Learn(bits float64) {
	e.counts[envelopeBucket(bits)]++
	e.total++
	if e.learned++; e.total >= EnvelopeHalf {
		e.total /= 2
		for b := range e.counts {
			e.counts[b] /= 2
		}
	}
	if e.learned%refit == 0 || e.learned < refit {
		e.fit()
	}
}

// refit is after how many things the tail is fitted anew.
const refit = 32

func envelopeBucket(bits float64) int {
	return int(max(0, min(envelopeBuckets-1, bits*bucketsPerBit)))
}

// fit finds the least c with P(bits >= x) <= 2^(c - x) for all x that were seen.
func (e *Envelope) fit() {
	e.beyond = 0
	var tail float64
	for b := envelopeBuckets - 1; b >= 0; b-- {
		if e.counts[b] == 0 {
			continue
		}
		tail += float64(e.counts[b])
		e.beyond = max(e.beyond, float64(b+1)/bucketsPerBit+math.Log2(tail/e.total))
	}
}

// P returns how probable it is that something normal is at least so surprising: the
// share that was, or, where that is more, the line that falls by half with each
// bit, as a calibrated surprisal does, and lies above all that was seen.
func (e *Envelope) P(bits float64) float64 {
	var as float64
	for _, w := range e.counts[envelopeBucket(bits):] {
		as += float64(w)
	}
	return min(1, max(as/max(1, e.total), math.Exp2(e.beyond-bits)))
}
