package sketch

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// proves E-2: buckets are a millisecond to 30 days in 97 steps, and each value
// lies in its own.
func TestBuckets(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want int
	}{
		{-time.Hour, 0}, {0, 0}, {time.Millisecond, 0}, {1100 * time.Microsecond, 1},
		{1250 * time.Microsecond, 1}, {1251 * time.Microsecond, 2}, {time.Second, 31}, {365 * 24 * time.Hour, Buckets - 1},
	} {
		if got := Bucket(tt.d); got != tt.want {
			t.Errorf("Bucket(%v) = %d, want %d", tt.d, got, tt.want)
		}
	}
	if _, to := Bounds(Buckets - 1); to < 28*24*time.Hour {
		t.Errorf("the last bucket ends at %v", to)
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(int64(2*time.Millisecond), int64(27*24*time.Hour)).Draw(t, "d"))
		b := Bucket(d)
		from, to := Bounds(b)
		if float64(d) <= float64(from)*(1-1e-6) || float64(d) > float64(to)*(1+1e-6) {
			t.Fatalf("%v is in bucket %d, %v to %v", d, b, from, to)
		}
		if e := math.Abs(float64(Middle(b))-float64(d)) / float64(d); e > 0.119 {
			t.Fatalf("%v is taken for %v: %.3f off", d, Middle(b), e)
		}
	})
}

// proves E-2: a histogram is what a plain map of the same additions is.
func TestHistogramAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h, other Histogram
		plain := map[int]float64{}
		var squares float64
		for _, b := range rapid.SliceOfN(rapid.IntRange(0, Buckets-1), 1, 200).Draw(t, "buckets") {
			w := float64(1 + b%3)
			target := &h
			if b%2 == 0 {
				target = &other
			}
			target.Add(b, w)
			plain[b] += w
			squares += w * w
		}
		h.Merge(&other)
		var total float64
		for b, w := range plain {
			if h.Weight(b) != w {
				t.Fatalf("bucket %d: %v, want %v", b, h.Weight(b), w)
			}
			total += w
		}
		if h.Total() != total || math.Abs(h.NEff()-total*total/squares) > 1e-9 {
			t.Fatalf("total %v of %v, effective %v", h.Total(), total, h.NEff())
		}
		if !slices.IsSortedFunc(h.Cells(), func(a, b Cell) int { return int(a.Bucket) - int(b.Bucket) }) {
			t.Fatal("cells are out of order")
		}
		q := rapid.Float64Range(0.01, 1).Draw(t, "q")
		at, below := h.Quantile(q), 0.0
		for b, w := range plain {
			if b < at {
				below += w
			}
		}
		if below >= q*total || below+h.Weight(at) < q*total-1e-9 {
			t.Fatalf("quantile %v is %d with %v below of %v", q, at, below, total)
		}
		c := h.Clone()
		h.Scale(0.5)
		if math.Abs(h.Total()-total/2) > 1e-6 || c.Total() != total || math.Abs(h.NEff()-c.NEff()) > 1e-6 {
			t.Fatalf("scaled to %v of %v", h.Total(), total)
		}
	})
}
