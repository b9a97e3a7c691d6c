package entropy

import (
	"encoding/json"
	"math"
	"strings"
	"time"
)

// This file says what of an event is counted, so that the ledger and the analyzer
// count the same.

// LatencyGrowth is the ratio of two neighboring bounds of the buckets in which
// durations are counted. With 1.25 a value is known to 11 %,
// (LatencyGrowth-1)/(LatencyGrowth+1), and 97 buckets reach from a millisecond to
// 30 days. The mapping is that of DDSketch (Masson, Rim & Lee, PVLDB 12(12), 2019).
const LatencyGrowth = 1.25

// LatencyBuckets is the number of buckets: 0 holds everything up to LatencyUnit,
// the last everything from 30 days on.
const LatencyBuckets = 98

// LatencyUnit is the upper bound of bucket 0. Zero and negative durations are in it.
const LatencyUnit = time.Millisecond

var logLatencyGrowth = math.Log(LatencyGrowth)

// LatencyBucket returns the bucket of d: ceil(ln(d / LatencyUnit) / ln LatencyGrowth),
// limited to 0 ... LatencyBuckets-1.
func LatencyBucket(d time.Duration) int {
	if d <= LatencyUnit {
		return 0
	}
	return min(LatencyBuckets-1, int(math.Ceil(math.Log(float64(d)/float64(LatencyUnit))/logLatencyGrowth-1e-9)))
}

// FindingPrefix begins the types of the events that the analyzer's findings become.
// They are not counted: the layer does not feed on itself.
const FindingPrefix = "entropy."

// Finding reports whether e is one of the analyzer's own.
func (e *Event) Finding() bool { return strings.HasPrefix(e.Type, FindingPrefix) }

// Own reports whether the fabric itself states e.
func (e *Event) Own() bool { return e.Source.System == fabricSource.System }

// Step returns what happened in e: the tag "step", else the type.
func (e *Event) Step() string {
	if step := e.Tags["step"]; step != "" {
		return step
	}
	return e.Type
}

// Latency returns how long the step of e took, when it says so: the attribute
// latency_ms, duration_ms or latency_sec. Negative ones, of clocks that disagree,
// count as 0.
func (e *Event) Latency() (d time.Duration, stated bool) {
	var attrs struct {
		LatencyMS  *float64 `json:"latency_ms"`
		DurationMS *float64 `json:"duration_ms"`
		LatencySec *float64 `json:"latency_sec"`
	}
	if len(e.Attrs) == 0 || json.Unmarshal(e.Attrs, &attrs) != nil {
		return 0, false
	}
	switch {
	case attrs.LatencyMS != nil:
		return milliseconds(*attrs.LatencyMS), true
	case attrs.DurationMS != nil:
		return milliseconds(*attrs.DurationMS), true
	case attrs.LatencySec != nil:
		return milliseconds(1000 * *attrs.LatencySec), true
	}
	return 0, false
}

func milliseconds(ms float64) time.Duration {
	const most = float64(math.MaxInt64) / float64(time.Millisecond)
	return time.Duration(max(0, min(ms, most/2)) * float64(time.Millisecond))
}
