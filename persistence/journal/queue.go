package journal

import (
	"sync"
	"sync/atomic"

	"github.com/entropy-fabric/entropy"
)

// status says who may finish a request: the writer once it has taken it, the
// caller as long as it has not.
type status struct{ v atomic.Int32 }

const (
	waiting = iota
	taken
	withdrawn
)

func (s *status) take() bool     { return s.v.CompareAndSwap(waiting, taken) }
func (s *status) withdraw() bool { return s.v.CompareAndSwap(waiting, withdrawn) }

// queue holds the requests that wait for the writer.
type queue struct {
	limit int
	wake  chan struct{} // has a token when there may be something to do

	mu     sync.Mutex
	items  []*request
	bytes  int   // of items
	closed error // why nothing is accepted any more
}

func newQueue(limit int) *queue { return &queue{limit: limit, wake: make(chan struct{}, 1)} }

// push adds a request or says why not.
func (q *queue) push(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		return q.closed
	}
	if len(q.items) >= q.limit || len(q.items) > 0 && q.bytes+r.bytes > maxQueueBytes {
		return entropy.Errorf(entropy.CodeOverloaded, "%d appends wait for the journal already; nothing was recorded", len(q.items)).
			WithHint("try again in a moment; a slow disk shows in the journal's commit latency")
	}
	q.items = append(q.items, r)
	q.bytes += r.bytes
	if len(q.items) == 1 {
		q.ring()
	}
	return nil
}

// ring wakes the committer.
func (q *queue) ring() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take removes the next batch, at most maxEvents events and about maxBytes, and at
// least one request if there is any. It never waits.
func (q *queue) take(buf []*request, maxEvents, maxBytes int) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	events, bytes, n := 0, 0, 0
	for _, r := range q.items {
		if len(buf) > 0 && (events+r.events > maxEvents || bytes+r.bytes > maxBytes) {
			break
		}
		n++
		q.bytes -= r.bytes
		if r.state.take() {
			buf = append(buf, r)
			events += r.events
			bytes += r.bytes
		}
	}
	rest := copy(q.items, q.items[n:])
	clear(q.items[rest:])
	q.items = q.items[:rest]
	if rest > 0 {
		q.ring()
	}
	return buf
}

// close refuses what comes from now on with err. The first reason stays.
func (q *queue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed == nil {
		q.closed = err
	}
	q.ring()
}

// len returns how many requests wait.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}
