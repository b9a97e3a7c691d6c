package journal

import (
	"sync"
	"time"
)

// commitBuckets are the upper bounds of the commit latency histogram, in seconds.
// An fsync of a good disk is in the first few; one above 0.1 s is worth an alarm.
var commitBuckets = [...]float64{0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5}

// Stats is what the journal has done since it was opened.
type Stats struct {
	Batches   uint64 // committed transactions
	Appends   uint64 // acknowledged
	Conflicts uint64 // appends refused because they contradicted what is recorded
	Full      uint64 // batches refused because the disk was full
	Events    uint64 // made durable
	Bytes     uint64 // of their bodies and of the records of jobs written with them
	Queue     int    // appends that wait now
	LastBatch int    // events in the newest transaction
	Commit    Histogram
}

// Histogram counts durations in seconds, as Prometheus does: Counts[i] is the
// number of those at or below Bounds[i], Count that of all.
type Histogram struct {
	Bounds []float64
	Counts []uint64
	Count  uint64
	Sum    float64
}

// Stats returns a snapshot of the counters.
func (j *Journal) Stats() Stats {
	s := j.stats.snapshot()
	s.Queue = j.queue.len()
	return s
}

// counters are the running figures behind Stats.
type counters struct {
	mu      sync.Mutex
	s       Stats
	buckets [len(commitBuckets)]uint64 // not cumulative
}

// decided counts the outcome of each append.
func (c *counters) decided(batch []*request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range batch {
		if r.err != nil {
			c.s.Conflicts++
		} else {
			c.s.Appends++
		}
	}
}

// committed counts a transaction and returns how many bytes it wrote.
func (c *counters) committed(batch []*request, took time.Duration) (bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.s.Batches++
	c.s.LastBatch = 0
	for _, r := range batch {
		if r.err == nil {
			c.s.LastBatch += r.events
			bytes += r.bytes
		}
	}
	c.s.Events += uint64(c.s.LastBatch)
	c.s.Bytes += uint64(bytes)
	c.s.Commit.Count++
	c.s.Commit.Sum += took.Seconds()
	for i, bound := range commitBuckets {
		if took.Seconds() <= bound {
			c.buckets[i]++
			break
		}
	}
	return bytes
}

func (c *counters) refusedFull() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.s.Full++
}

func (c *counters) snapshot() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.s
	s.Commit.Bounds = append([]float64(nil), commitBuckets[:]...)
	s.Commit.Counts = make([]uint64, len(commitBuckets))
	var sum uint64
	for i, n := range c.buckets {
		sum += n
		s.Commit.Counts[i] = sum
	}
	return s
}
