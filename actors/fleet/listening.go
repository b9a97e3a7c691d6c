package fleet

import (
	"sync"
	"time"
)

// Listening measures the time in which the control plane was running and able to
// hear its workers. It stands still while the process is stopped or the machine
// sleeps, so that nobody is declared dead for silence that nobody could hear.
// It is safe for concurrent use.
type Listening struct {
	mu   sync.Mutex
	tick time.Duration
	gap  time.Duration
	sum  time.Duration
	last time.Time
}

// NewListening returns a clock that continues at sum. It must be told every tick
// that it is alive; between two ticks further apart than gap, only one tick counts.
func NewListening(sum, tick, gap time.Duration, now time.Time) *Listening {
	return &Listening{tick: tick, gap: gap, sum: sum, last: now}
}

// Tick counts the time since the last tick. Now must carry a monotonic reading.
func (l *Listening) Tick(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := now.Sub(l.last)
	if d > l.gap {
		d = l.tick
	}
	l.sum += max(d, 0)
	l.last = now
}

// Elapsed returns the listening time, as of the last tick.
func (l *Listening) Elapsed() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sum
}
