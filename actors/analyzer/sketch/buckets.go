package sketch

import (
	"math"
	"time"
)

// Growth is the ratio of two neighboring bucket bounds. With 1.25 a value is
// known to 11 %, (Growth-1)/(Growth+1), and 97 buckets reach from a
// millisecond to 30 days. The mapping is that of DDSketch (Masson, Rim & Lee,
// PVLDB 12(12), 2019). A baseline records it: other bounds are another
// baseline.
const Growth = 1.25

// Buckets is the number of buckets of durations: 0 holds everything up to
// Unit, the last everything from 30 days on.
const Buckets = 98

// Unit is the upper bound of bucket 0. Zero and negative durations are in it.
const Unit = time.Millisecond

var logGrowth = math.Log(Growth)

// Bucket returns the bucket of d: ceil(ln(d / Unit) / ln Growth), limited to
// 0 ... Buckets-1.
func Bucket(d time.Duration) int {
	if d <= Unit {
		return 0
	}
	return min(Buckets-1, int(math.Ceil(math.Log(float64(d)/float64(Unit))/logGrowth-1e-9)))
}

// Bounds returns the durations between which bucket b lies: more than from, at
// most to.
func Bounds(b int) (from, to time.Duration) {
	if b <= 0 {
		return 0, Unit
	}
	return bound(b - 1), bound(b)
}

// Middle returns the geometric middle of bucket b, the value of least relative
// error.
func Middle(b int) time.Duration {
	if b <= 0 {
		return Unit
	}
	return time.Duration(float64(Unit) * math.Pow(Growth, float64(b)-0.5))
}

func bound(b int) time.Duration {
	return time.Duration(float64(Unit) * math.Pow(Growth, float64(b)))
}
