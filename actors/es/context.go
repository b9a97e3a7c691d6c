package es

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/entropy-fabric/entropy"
)

// Context is what an actor sees while it handles one message. It must not be
// kept after Receive returns; keep [Context.Self] or [Context.Defer]'s result.
type Context struct {
	pc  actor.Context
	sys *System
	msg any
	req *request
}

// Message returns the message being handled.
func (c *Context) Message() any { return c.msg }

// Self returns the actor's own address.
func (c *Context) Self() Ref { return Ref{pid: c.pc.Self(), sys: c.sys} }

// Reply answers the one who asked. It does nothing for a message that was told.
func (c *Context) Reply(v any, err error) {
	if c.req != nil {
		c.req.answer(v, err)
	}
}

// Defer returns a handle by which the question can be answered later, by anyone.
func (c *Context) Defer() Reply { return Reply{c.req} }

// After tells the actor msg once d has passed, unless the timer is stopped.
func (c *Context) After(d time.Duration, msg any) *time.Timer {
	self, wait := c.Self(), c.sys.Enter()
	return time.AfterFunc(d, func() {
		wait()
		self.Tell(msg)
	})
}

// Go runs work outside the actor's turn and tells the actor what it returns,
// unless that is nil. Work must not touch the actor's state.
func (c *Context) Go(work func() any) {
	self := c.Self()
	c.sys.dispatcher.Schedule(func() { self.Tell(work()) })
}

// Reply answers one question. The zero Reply answers nobody.
type Reply struct{ req *request }

// Send answers; only the first answer counts.
func (r Reply) Send(v any, err error) {
	if r.req != nil {
		r.req.answer(v, err)
	}
}

// Waiting reports whether somebody still waits for the answer.
func (r Reply) Waiting() bool {
	return r.req != nil && r.req.ctx.Err() == nil && !r.req.answered.Load()
}

// Context returns the context of the one who asked, for its principal and its
// deadline; context.Background for a message that was told.
func (r Reply) Context() context.Context {
	if r.req == nil {
		return context.Background()
	}
	return r.req.ctx
}

type request struct {
	ctx      context.Context
	msg      any
	reply    chan result
	answered atomic.Bool
}

type result struct {
	value any
	err   error
}

func (r *request) answer(v any, err error) {
	if r.answered.CompareAndSwap(false, true) {
		r.reply <- result{v, err}
	}
}

func newRequest(ctx context.Context, msg any) *request {
	return &request{ctx: ctx, msg: msg, reply: make(chan result, 1)}
}

// Question is a message whose answer is awaited elsewhere, so that many can be
// asked before the first is awaited. Never await one inside an actor.
type Question struct {
	req    *request
	closed <-chan struct{}
	wait   func() // see Conductor
}

// Ask sends msg to r; the answer is had from [Question.Await].
func (r Ref) Ask(ctx context.Context, msg any) Question {
	q := Question{newRequest(ctx, msg), r.sys.closed, r.sys.Enter()}
	r.Tell(q.req)
	return q
}

// Await returns the answer. When ctx ends first, the outcome is unknown.
func (q Question) Await(ctx context.Context) (any, error) {
	defer q.wait()
	select {
	case r := <-q.req.reply: // it may be there although ctx has ended
		return r.value, r.err
	default:
	}
	select {
	case r := <-q.req.reply:
		return r.value, r.err
	case <-q.closed:
		return nil, entropy.Errorf(entropy.CodeUnknown, "the control plane is stopping; the outcome is unknown").
			WithHint("repeat the call with the same identifiers")
	case <-ctx.Done():
		return nil, entropy.Errorf(entropy.CodeUnknown, "no answer in time (%v); the outcome is unknown", ctx.Err()).
			WithHint("repeat the call with the same identifiers")
	}
}
