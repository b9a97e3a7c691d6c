package sketch

import (
	"math"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Growth is the ratio of two neighboring bucket bounds. A baseline records it:
// other bounds are another baseline.
const Growth = entropy.LatencyGrowth

// Buckets is the number of buckets of durations: 0 holds everything up to
// Unit, the last everything from 30 days on.
const Buckets = entropy.LatencyBuckets

// Unit is the upper bound of bucket 0. Zero and negative durations are in it.
const Unit = entropy.LatencyUnit

// Bucket returns the bucket of d, the same in which the ledger counts it.
func Bucket(d time.Duration) int { return entropy.LatencyBucket(d) }

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
