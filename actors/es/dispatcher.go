package es

import (
	"sync"

	"github.com/asynkron/protoactor-go/actor"
)

// pool runs actor turns on goroutines that are kept: a turn that encodes and
// appends needs a deep stack, and growing it anew for every turn costs more than
// the turn itself. No turn ever waits for another, because a turn may block on
// the journal. The goroutine that became idle last is the first to go on: its
// stack is still in the cache.
type pool struct {
	mu     sync.Mutex
	idle   []chan func() // of the goroutines without a turn; each has room for one
	closed bool
}

// maxIdle is how many goroutines without a turn are kept.
const maxIdle = 4096

var _ actor.Dispatcher = (*pool)(nil)

// newPool returns a pool whose idle goroutines end when closed is.
func newPool(closed <-chan struct{}) *pool {
	p := new(pool)
	go func() {
		<-closed
		p.mu.Lock()
		defer p.mu.Unlock()
		p.closed = true
		for _, ch := range p.idle {
			close(ch)
		}
		p.idle = nil
	}()
	return p
}

// Schedule runs fn on an idle goroutine, or on a new one.
func (p *pool) Schedule(fn func()) {
	p.mu.Lock()
	n := len(p.idle)
	if n == 0 {
		p.mu.Unlock()
		go p.work(fn)
		return
	}
	ch := p.idle[n-1]
	p.idle = p.idle[:n-1]
	p.mu.Unlock()
	ch <- fn
}

// Throughput is how many messages a turn handles before it lets others run.
func (p *pool) Throughput() int { return 300 }

func (p *pool) work(fn func()) {
	next := make(chan func(), 1)
	for ok := true; ok; fn, ok = <-next {
		fn()
		if !p.rest(next) {
			return
		}
	}
}

// rest lists an idle goroutine and reports whether it is to stay.
func (p *pool) rest(next chan func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= maxIdle {
		return false
	}
	p.idle = append(p.idle, next)
	return true
}
