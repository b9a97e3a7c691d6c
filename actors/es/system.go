package es

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/entropy-fabric/entropy"
)

// Actor is what runs. Receive is called with one message at a time, never
// concurrently; it switches on c.Message and returns. A panic crashes the actor:
// its supervisor makes a new one by the function it was spawned with, and the
// messages that wait in its mailbox are kept.
type Actor interface {
	Receive(c *Context)
}

// Config configures a [System]. The zero value works.
type Config struct {
	Logger *slog.Logger
	// Conductor makes a run repeatable; see there. Nil means that whoever can run
	// runs: one goroutine per busy actor, kept for the next.
	Conductor Conductor
}

// System hosts actors. Its methods are safe for concurrent use.
type System struct {
	actors *actor.ActorSystem
	log    *slog.Logger
	opts   []actor.PropsOption
	closed chan struct{}
	once   sync.Once

	dispatcher actor.Dispatcher
	conductor  Conductor // nil: none
}

// Restarts of one actor allowed within restartWindow before it is stopped.
const (
	maxRestarts   = 10
	restartWindow = 10 * time.Second
)

// New returns a system without actors.
func New(cfg Config) *System {
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	quiet := slog.New(slog.DiscardHandler) // crashes are logged here, with their stack
	s := &System{
		log:    log,
		closed: make(chan struct{}),
		actors: actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return quiet })),
	}
	s.opts = append(s.opts, actor.WithSupervisor(actor.NewOneForOneStrategy(maxRestarts, restartWindow,
		func(any) actor.Directive { return actor.RestartDirective })))
	if s.conductor = cfg.Conductor; s.conductor != nil {
		s.dispatcher = conducted{s.conductor}
	} else {
		s.dispatcher = newPool(s.closed)
	}
	s.opts = append(s.opts, actor.WithDispatcher(s.dispatcher))
	return s
}

// Ref addresses an actor. The zero Ref addresses nobody; telling it is a no-op.
type Ref struct {
	pid *actor.PID
	sys *System
}

// Tell sends msg and returns at once. A nil message is not sent, and nothing is
// sent once the system is closed.
func (r Ref) Tell(msg any) {
	if r.pid != nil && msg != nil && !r.sys.isClosed() {
		r.sys.actors.Root.Send(r.pid, msg)
	}
}

// Close ends all sending: timers fall silent and those who still wait for an
// answer are told that the outcome is unknown. Stop the actors after it.
func (s *System) Close() { s.once.Do(func() { close(s.closed) }) }

func (s *System) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// Spawn starts an actor of the given name, made by newActor now and after every
// crash. The name must be new.
func (s *System) Spawn(name string, newActor func() Actor) (Ref, error) {
	pid, err := s.actors.Root.SpawnNamed(s.props(name, newActor), name)
	if err != nil {
		return Ref{}, fmt.Errorf("spawn actor %s: %w", name, err)
	}
	return Ref{pid: pid, sys: s}, nil
}

func (s *System) props(name string, newActor func() Actor) *actor.Props {
	made := 0 // the producer is only called by the actor's own goroutine
	return actor.PropsFromProducer(func() actor.Actor {
		made++
		return &shell{sys: s, name: name, inner: newActor(), again: made > 1}
	}, s.opts...)
}

// spawn starts an actor whose name is only for logs.
func (s *System) spawn(name string, newActor func() Actor) Ref {
	return Ref{pid: s.actors.Root.Spawn(s.props(name, newActor)), sys: s}
}

// stop stops an actor once it has handled the message it is at. What waits in its
// mailbox is dropped.
func (r Ref) stop() { r.sys.actors.Root.Stop(r.pid) }

// Stop stops actors and waits until they have stopped. What waits in their
// mailboxes is dropped.
func (s *System) Stop(refs ...Ref) {
	ends := make([]actor.Future, 0, len(refs))
	for _, r := range refs {
		if r.pid != nil {
			ends = append(ends, s.actors.Root.StopFuture(r.pid))
		}
	}
	for _, end := range ends {
		_ = end.Wait() // an error only means that it had stopped already
	}
}

// shell adapts an Actor to protoactor.
type shell struct {
	sys   *System
	name  string
	inner Actor
	again bool // made anew after a crash
	ctx   Context
}

// Receive implements protoactor's actor.
func (s *shell) Receive(pc actor.Context) {
	c := &s.ctx
	*c = Context{pc: pc, sys: s.sys, msg: pc.Message()}
	switch m := c.msg.(type) {
	case *actor.Started:
		c.msg = Started{Again: s.again}
	case *actor.Stopped:
		c.msg = Stopped{}
	case *actor.Stopping, *actor.Restarting, *actor.Terminated:
		return
	case *request:
		c.msg, c.req = m.msg, m
	}
	if s.sys.conductor != nil {
		s.sys.conductor.Deliver(s.name, bare(c.msg))
	}
	defer s.crash(c)
	s.inner.Receive(c)
}

// crash answers the one who waits, says where it happened, and lets protoactor
// supervise.
func (s *shell) crash(c *Context) {
	r := recover()
	if r == nil {
		return
	}
	s.sys.log.Error("actor crashed", "actor", s.name, "message", fmt.Sprintf("%T", c.msg), "panic", r, "stack", string(debug.Stack()))
	if c.req != nil {
		c.req.answer(nil, entropy.Errorf(entropy.CodeUnknown, "the fabric's actor %s crashed; the outcome is unknown", s.name).
			WithHint("repeat the call with the same identifiers; the log of the control plane has the stack"))
	}
	panic(r)
}

// Started is the first message of an actor. Again says that it was made anew
// after a crash: what it held in memory, timers included, is gone.
type Started struct{ Again bool }

// Stopped is the last message of an actor.
type Stopped struct{}
