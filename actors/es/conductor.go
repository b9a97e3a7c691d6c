package es

import "github.com/asynkron/protoactor-go/actor"

// Conductor decides which goroutine goes on when several could, so that a run
// can be repeated from a seed. A system under a conductor has one goroutine at a
// time that runs: each of its waits, for a turn, an answer or a timer, ends at
// the conductor. Its methods must be safe for concurrent use.
type Conductor interface {
	// Enter is called by the running goroutine where a wait begins: its own, or
	// that of a goroutine it starts. Whoever has waited calls wait when the wait is
	// over; it returns when that goroutine may run. Wait may never be called.
	Enter() (wait func())
	// Deliver is told of every message just before its actor handles it. It may
	// let others run first.
	Deliver(actor string, msg any)
}

// Enter is [Conductor.Enter] of the system's conductor. Without one, wait does
// nothing.
func (s *System) Enter() (wait func()) {
	if s.conductor == nil {
		return goOn
	}
	return s.conductor.Enter()
}

func goOn() {}

// bare returns what a message is about, without what this package wraps it in.
func bare(msg any) any {
	for {
		switch m := msg.(type) {
		case *numbered:
			msg = m.msg
		case *request:
			msg = m.msg
		default:
			return msg
		}
	}
}

// conducted starts each turn when the conductor says so.
type conducted struct{ Conductor }

var _ actor.Dispatcher = conducted{}

// Schedule runs turn on a goroutine of its own.
func (c conducted) Schedule(turn func()) {
	wait := c.Enter()
	go func() {
		wait()
		turn()
	}()
}

// Throughput is how many messages a turn handles before it lets others run;
// under a conductor [Conductor.Deliver] decides that.
func (conducted) Throughput() int { return 1 << 30 }
