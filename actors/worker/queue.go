package worker

import (
	"context"
	"sync"
)

// queue is an unbounded first-in, first-out queue that many goroutines may wait
// on. Its owner bounds what is put in.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
	wake  chan struct{} // holds a token while there may be items
}

func newQueue[T any]() *queue[T] { return &queue[T]{wake: make(chan struct{}, 1)} }

func (q *queue[T]) put(items ...T) {
	if len(items) == 0 {
		return
	}
	q.mu.Lock()
	q.items = append(q.items, items...)
	q.mu.Unlock()
	q.signal()
}

func (q *queue[T]) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take blocks for at least one item and returns up to limit, or none when ctx ends.
func (q *queue[T]) take(ctx context.Context, limit int) []T {
	for {
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil
		}
		q.mu.Lock()
		n := min(limit, len(q.items))
		out := append([]T(nil), q.items[:n]...)
		q.items = q.items[n:]
		left := len(q.items)
		q.mu.Unlock()
		if left > 0 {
			q.signal()
		}
		if n > 0 {
			return out
		}
	}
}
