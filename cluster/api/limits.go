package api

import (
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
)

// flight counts the open requests of each principal. It holds an entry only
// while a request is open, so it is bounded by the connections.
type flight struct {
	mu    sync.Mutex
	limit int
	open  map[entropy.Principal]int
}

func newFlight(limit int) *flight { return &flight{limit: limit, open: map[entropy.Principal]int{}} }

func (f *flight) enter(p entropy.Principal) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[p] >= f.limit {
		return false
	}
	f.open[p]++
	return true
}

func (f *flight) leave(p entropy.Principal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[p]--; f.open[p] == 0 {
		delete(f.open, p)
	}
}

// bucketAddresses bounds the addresses a bucket remembers; the rest share one.
const bucketAddresses = 4096

// bucket limits failed authentications per address: burst at once, then one per
// refill interval.
type bucket struct {
	mu     sync.Mutex
	burst  int
	refill time.Duration
	now    func() time.Time
	full   map[string]time.Time // when the address's bucket is full again
}

func newBucket(burst int, refill time.Duration, now func() time.Time) *bucket {
	return &bucket{burst: burst, refill: refill, now: now, full: map[string]time.Time{}}
}

// take spends one token of the address and reports whether there was one.
func (b *bucket) take(address string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if _, known := b.full[address]; !known && len(b.full) >= bucketAddresses {
		b.forget(now)
		if len(b.full) >= bucketAddresses {
			address = "" // the shared bucket of the rest
		}
	}
	full := b.full[address]
	if full.Before(now) {
		full = now
	}
	full = full.Add(b.refill)
	if full.Sub(now) > time.Duration(b.burst)*b.refill {
		return false
	}
	b.full[address] = full
	return true
}

func (b *bucket) forget(now time.Time) {
	for a, full := range b.full {
		if !full.After(now) {
			delete(b.full, a)
		}
	}
}
