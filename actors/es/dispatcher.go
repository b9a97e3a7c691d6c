package es

import (
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
)

// pool runs actor turns on goroutines that are kept: a turn that encodes and
// appends needs a deep stack, and growing it anew for every turn costs more than
// the turn itself. No turn ever waits for another, because a turn may block on
// the journal.
type pool struct {
	turns  chan func()
	idle   atomic.Int64
	closed <-chan struct{}
}

// maxIdle is how many goroutines without a turn are kept.
const maxIdle = 4096

var _ actor.Dispatcher = (*pool)(nil)

func newPool(closed <-chan struct{}) *pool {
	return &pool{turns: make(chan func()), closed: closed}
}

// Schedule runs fn on an idle goroutine, or on a new one.
func (p *pool) Schedule(fn func()) {
	select {
	case p.turns <- fn:
	default:
		go p.work(fn)
	}
}

// Throughput is how many messages a turn handles before it lets others run.
func (p *pool) Throughput() int { return 300 }

func (p *pool) work(fn func()) {
	for {
		fn()
		if p.idle.Add(1) > maxIdle {
			p.idle.Add(-1)
			return
		}
		select {
		case fn = <-p.turns:
			p.idle.Add(-1)
		case <-p.closed:
			p.idle.Add(-1)
			return
		}
	}
}
