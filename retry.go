package entropy

import (
	"hash/fnv"
	"math"
	"slices"
	"time"
)

// RetryPolicy says how often a job may be tried again. The zero value means the
// defaults: 3 failures, 5 losses, backoff from 1 s doubling to 5 min.
type RetryPolicy struct {
	MaxAttempts  int      `json:"max_attempts,omitempty"`  // failures allowed before the job fails; 0 means 3
	MaxLosses    int      `json:"max_losses,omitempty"`    // losses allowed before the job fails; 0 means 5
	NoRetry      bool     `json:"no_retry,omitempty"`      // once ACKed, never run again for any reason
	LostTimeout  Duration `json:"lost_timeout,omitzero"`   // with NoRetry: how long a lost job waits for its worker's word; 0 means 24 h
	Backoff      Duration `json:"backoff,omitzero"`        // before the second attempt; 0 means 1 s
	BackoffCap   Duration `json:"backoff_cap,omitzero"`    // 0 means 5 min
	NonRetryable []int    `json:"non_retryable,omitempty"` // exit codes that fail the job at once
}

// Defaults of [RetryPolicy].
const (
	DefaultMaxAttempts = 3
	DefaultMaxLosses   = 5
	DefaultBackoff     = time.Second
	DefaultBackoffCap  = 5 * time.Minute
	DefaultLostTimeout = 24 * time.Hour
)

func (p RetryPolicy) maxAttempts() int {
	if p.NoRetry {
		return 1
	}
	return orDefaultInt(p.MaxAttempts, DefaultMaxAttempts)
}

func (p RetryPolicy) maxLosses() int { return orDefaultInt(p.MaxLosses, DefaultMaxLosses) }

func (p RetryPolicy) lostTimeout() time.Duration {
	return orDefaultDuration(p.LostTimeout, DefaultLostTimeout)
}

func (p RetryPolicy) retryable(exitCode *int) bool {
	return exitCode == nil || !slices.Contains(p.NonRetryable, *exitCode)
}

// Delay returns how long to wait before the attempt that follows n ended ones
// (n ≥ 1): Backoff · 2ⁿ⁻¹, at most BackoffCap, spread over the upper half of
// that span ("equal jitter") by the seed, so that jobs that failed together do
// not return together. It is a pure function of its arguments.
func (p RetryPolicy) Delay(n int, seed string) time.Duration {
	base := orDefaultDuration(p.Backoff, DefaultBackoff)
	limit := orDefaultDuration(p.BackoffCap, DefaultBackoffCap)
	span := float64(base) * math.Pow(2, float64(max(n, 1)-1))
	span = min(span, float64(limit))

	h := fnv.New64a()
	h.Write([]byte(seed))
	h.Write([]byte{byte(n), byte(n >> 8)})
	jitter := float64(mix(h.Sum64())>>11) / (1 << 53) // in [0, 1)
	return time.Duration(span/2 + span/2*jitter)
}

// mix spreads every bit of h over all others (the finalizer of MurmurHash3):
// FNV leaves seeds that differ only at their end close together.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

func orDefaultInt(v, d int) int {
	if v == 0 {
		return d
	}
	return v
}

func orDefaultDuration(v Duration, d time.Duration) time.Duration {
	if v == 0 {
		return d
	}
	return v.D()
}
