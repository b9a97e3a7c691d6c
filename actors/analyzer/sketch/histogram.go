package sketch

import (
	"math"
	"slices"
	"time"
)

// Cell is one bucket that is not empty.
type Cell struct {
	Bucket int16
	Weight float32
}

// Histogram counts weights by bucket, sparsely and in order of the bucket. The
// zero value is empty. It is owned by one goroutine.
//
// Invariant: buckets rise strictly; weights are positive.
type Histogram struct {
	cells   []Cell
	total   float64
	squares float64 // sum of the squared weights of what was added: of NEff
}

// Add counts one observation of a weight at bucket; a weight that is not
// positive is nothing.
func (h *Histogram) Add(bucket int, weight float64) { h.AddN(bucket, 1, weight) }

// AddN counts n observations of a weight each at bucket.
func (h *Histogram) AddN(bucket int, n, weight float64) {
	if n <= 0 || weight <= 0 {
		return
	}
	h.put(int16(bucket), n*weight)
	h.total += n * weight
	h.squares += n * weight * weight
}

func (h *Histogram) put(bucket int16, weight float64) {
	i, found := slices.BinarySearchFunc(h.cells, bucket, func(c Cell, b int16) int { return int(c.Bucket) - int(b) })
	if found {
		h.cells[i].Weight += float32(weight)
		return
	}
	h.cells = slices.Insert(h.cells, i, Cell{bucket, float32(weight)})
}

// Merge adds all of o.
func (h *Histogram) Merge(o *Histogram) { h.MergeScaled(o, 1) }

// MergeScaled adds all of o, times a positive factor.
func (h *Histogram) MergeScaled(o *Histogram, factor float64) {
	for _, c := range o.cells {
		h.put(c.Bucket, float64(c.Weight)*factor)
	}
	h.total += o.total * factor
	h.squares += o.squares * factor * factor
}

// Scale multiplies every weight by a positive factor and forgets cells that
// have become negligible beside the total.
func (h *Histogram) Scale(factor float64) {
	h.squares *= factor * factor
	h.total = 0
	kept := h.cells[:0]
	for _, c := range h.cells {
		c.Weight *= float32(factor)
		if c.Weight > negligible {
			kept = append(kept, c)
			h.total += float64(c.Weight)
		}
	}
	h.cells = kept
}

// negligible is the weight below which a cell is forgotten: less than a
// thousandth of one observation.
const negligible = 1e-3

// Reset empties h and keeps its memory.
func (h *Histogram) Reset() { h.cells, h.total, h.squares = h.cells[:0], 0, 0 }

// Clone returns a copy that shares nothing with h.
func (h *Histogram) Clone() Histogram {
	c := *h
	c.cells = slices.Clone(h.cells)
	return c
}

// Total returns the sum of the weights.
func (h *Histogram) Total() float64 { return h.total }

// NEff returns how many equally weighted observations h is worth:
// (sum w)^2 / sum w^2 (Kish 1965). The weight of the newest must be 1.
func (h *Histogram) NEff() float64 {
	if h.squares <= 0 {
		return 0
	}
	return h.total * h.total / h.squares
}

// Cells returns the buckets that are not empty, in order. They are h's own:
// read, do not keep.
func (h *Histogram) Cells() []Cell { return h.cells }

// Weight returns the weight of a bucket.
func (h *Histogram) Weight(bucket int) float64 {
	i, found := slices.BinarySearchFunc(h.cells, int16(bucket), func(c Cell, b int16) int { return int(c.Bucket) - int(b) })
	if !found {
		return 0
	}
	return float64(h.cells[i].Weight)
}

// Dense writes the weights by bucket into into, which has room for all of
// them, and returns it.
func (h *Histogram) Dense(into []float64) []float64 {
	clear(into)
	for _, c := range h.cells {
		if int(c.Bucket) < len(into) {
			into[c.Bucket] += float64(c.Weight)
		}
	}
	return into
}

// Quantile returns the bucket below or in which the share q of the weight
// lies, and -1 when h is empty.
func (h *Histogram) Quantile(q float64) int {
	if len(h.cells) == 0 {
		return -1
	}
	want, sum := q*h.total, 0.0
	for _, c := range h.cells {
		if sum += float64(c.Weight); sum >= want {
			return int(c.Bucket)
		}
	}
	return int(h.cells[len(h.cells)-1].Bucket)
}

// Within returns the duration within which a share q of the weight lies,
// interpolated within its bucket; of an empty histogram the shortest.
func (h *Histogram) Within(q float64) time.Duration {
	want, below := q*h.total, 0.0
	for _, c := range h.cells {
		w := float64(c.Weight)
		if below+w < want {
			below += w
			continue
		}
		from, to := Bounds(int(c.Bucket))
		if from == 0 {
			return to
		}
		return time.Duration(float64(from) * math.Pow(float64(to)/float64(from), (want-below)/w))
	}
	_, to := Bounds(h.Quantile(q))
	return to
}
