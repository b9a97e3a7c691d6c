package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/entropy-fabric/entropy"
)

// attempt is one that this process holds.
type attempt struct {
	rec *record
	h   *handler
	log *slog.Logger

	mu     sync.Mutex
	bound  bool                    // the control plane has said that it is ours
	cancel context.CancelCauseFunc // ends the handler; nil before it began
	cause  error                   // why it is to end
}

// end asks that the attempt end. The first reason stays.
func (a *attempt) end(why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cause == nil {
		a.cause = why
	}
	if a.cancel != nil {
		a.cancel(a.cause)
	}
}

// take carries out one order, from its arrival to its spooled result;
// wait is how long NATS waits for its ACK, or for a word that it is in hand.
func (r *run) take(h *handler, msg jetstream.Msg, wait time.Duration) {
	arrived := time.Now()
	rec, err := decode(msg.Data(), h.command)
	if err != nil {
		r.log.Error("an order cannot be understood", slog.String("command", h.command), slog.Any("error", err))
		msg.TermWithReason("not understood: " + err.Error())
		return
	}
	a := &attempt{rec: rec, h: h, log: r.log.With(slog.String("command", h.command),
		slog.String("action", string(rec.Order.ActionID)), slog.String("attempt", string(rec.Order.AttemptID)))}
	if !r.hold(a, msg) {
		return
	}
	defer r.drop(a)
	if wait <= 0 {
		wait = ackWait
	}
	if !r.bind(a, msg, wait, arrived.Add(time.Duration(rec.Order.RemainingMS)*time.Millisecond)) {
		return
	}
	r.deliver(r.carryOut(a))
}

// hold remembers that the attempt is in hand. False: it is already, or its result
// waits for an answer, so this is the redelivery of an order whose ACK was lost.
func (r *run) hold(a *attempt, msg jetstream.Msg) bool {
	id := a.rec.Order.AttemptID
	r.mu.Lock()
	old := r.attempts[id]
	begun := r.spool.has(id)
	if old == nil && !begun {
		r.attempts[id] = a
	}
	r.mu.Unlock()
	if old == nil && !begun {
		return true
	}
	if old != nil {
		old.mu.Lock()
		begun = begun || old.bound
		old.mu.Unlock()
	}
	if begun {
		a.log.Debug("an order came again")
		msg.Ack()
	}
	return false // not bound yet: whoever asks will ACK it
}

func (r *run) drop(a *attempt) {
	r.mu.Lock()
	delete(r.attempts, a.rec.Order.AttemptID)
	r.mu.Unlock()
}

// bind asks the control plane whether the attempt is ours, until the deadline,
// and tells NATS that the order is in hand meanwhile. False: it is not. An
// executor that stops still waits for the answer, for the grace: it may be bound
// already, and nobody else could then carry the attempt out.
func (r *run) bind(a *attempt, msg jetstream.Msg, wait time.Duration, deadline time.Time) bool {
	asking, done := context.WithDeadlineCause(r.work, deadline, errTimeout)
	defer done()
	go func() {
		tick := time.NewTicker(max(wait/3, 10*time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-asking.Done():
				return
			case <-tick.C:
				msg.InProgress()
			}
		}
	}()
	v, err := r.report(asking, r.envelope(entropy.ActionAcceptedType, a.rec, entropy.ActionReport{}))
	switch {
	case errors.Is(err, errTimeout):
		// The verdict may have been lost after the attempt was bound to us, so the
		// control plane is told rather than left to find out.
		r.ack(a, msg)
		f := Failure{Err: errors.New("no verdict came within the TTL"), Kind: KindExpired}
		rec := &record{Order: a.rec.Order, Event: a.rec.Event, Result: r.failed(a.rec, f, 0)}
		if err := r.spool.put(rec); err != nil {
			a.log.Error("could not write to the spool", slog.Any("error", err))
		}
		r.deliver(rec)
		return false
	case err != nil: // we stop; the order goes to another
		msg.Nak()
		return false
	case v.Verdict != entropy.ReportAccepted:
		a.log.Info("the order is not ours", slog.String("verdict", v.Verdict), slog.String("why", v.Message))
		r.ack(a, msg)
		return false
	}
	a.mu.Lock()
	a.bound = true
	a.mu.Unlock()
	r.hand.Go(func() { r.ack(a, msg) }) // the work need not wait: an order that comes again is known
	return true
}

// ack tells NATS that the order is settled, and waits until it has heard it. If it
// has not, the order comes again, and is known then.
func (r *run) ack(a *attempt, msg jetstream.Msg) {
	ctx, done := context.WithTimeout(r.work, callTimeout)
	defer done()
	if err := msg.DoubleAck(ctx); err != nil {
		a.log.Warn("an ACK was not confirmed", slog.Any("error", err))
	}
}

// carryOut runs the handler of a bound attempt and returns what to report, which is
// in the spool then.
func (r *run) carryOut(a *attempt) *record {
	rec := &record{Order: a.rec.Order, Event: a.rec.Event}
	if rec.Order.DryRun && !a.h.dryRun {
		f := Failure{Err: fmt.Errorf("%s has no dry run", a.h.command), Kind: KindUnsupported, Final: true}
		rec.Result = r.failed(rec, f, 0)
		r.keep(a, rec)
		return rec
	}
	// From here on a crash is known to the next process, and the handler is not
	// called again for this attempt.
	if err := r.spool.put(a.rec); err != nil {
		rec.Result = r.failed(rec, Failure{Err: err, Kind: KindError}, 0)
		r.keep(a, rec)
		return rec
	}
	ctx, cancel := context.WithCancelCause(r.work)
	defer cancel(nil)
	if ms := rec.Order.TimeoutMS; ms > 0 {
		var done context.CancelFunc
		ctx, done = context.WithTimeoutCause(ctx, time.Duration(ms)*time.Millisecond, errTimeout)
		defer done()
	}
	a.mu.Lock()
	a.cancel = cancel
	cause := a.cause
	a.mu.Unlock()
	if cause != nil { // it was canceled before it began
		cancel(cause)
	}
	t := &Task{Order: rec.Order, Event: rec.Event, Log: a.log, news: make(chan struct{}, 1)}

	answered, enough := r.start(a)
	telling := make(chan struct{})
	ended := make(chan struct{})
	go func() { defer close(telling); r.heartbeat(ctx, ended, a, t) }()
	begin := time.Now()
	var result any
	var err error
	if cause == nil {
		result, err = call(ctx, a, t)
	} else {
		err = cause
	}
	took := time.Since(begin)
	close(ended)
	<-telling
	rec.Result = r.outcome(ctx, a, rec, result, err, took)
	r.keep(a, rec) // meanwhile the start may be answered
	r.settle(ctx, answered)
	enough()
	return rec
}

// keep writes what ended the attempt into the spool.
func (r *run) keep(a *attempt, rec *record) {
	if err := r.spool.put(rec); err != nil {
		a.log.Error("the result is kept in memory only", slog.Any("error", err))
	}
}

// start reports that the attempt has begun, while the handler runs already. The
// channel is closed when that was answered; enough ends the repetition.
func (r *run) start(a *attempt) (answered <-chan struct{}, enough context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.work)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := r.report(ctx, r.envelope(entropy.ActionStartedType, a.rec, entropy.ActionReport{})); err != nil {
			a.log.Debug("that the attempt started was not answered", slog.Any("error", err))
		}
	}()
	return done, cancel
}

// settle lets the answer to the start come before the result goes out, so that the
// journal tells the story in order, but not for long: the result says it all.
func (r *run) settle(ctx context.Context, answered <-chan struct{}) {
	if ctx.Err() != nil {
		return
	}
	t := time.NewTimer(max(2*r.conf.Resend, time.Second))
	defer t.Stop()
	select {
	case <-answered:
	case <-ctx.Done():
	case <-t.C:
	}
}

// quiet is between two words of an attempt that asks for no heartbeat: they are
// what a cancel rides on when its own message was lost.
const quiet = 30 * time.Second

// heartbeat tells that the attempt is alive and how far it is, three times in each
// interval that was asked for, and at once when the handler has news, though not
// more often than ten times a second. It ends with the handler, or when its time
// is over: a handler that ignores that must not look alive.
func (r *run) heartbeat(ctx context.Context, ended <-chan struct{}, a *attempt, t *Task) {
	every := quiet
	if ms := a.rec.Order.HeartbeatMS; ms > 0 {
		every = max(time.Duration(ms)*time.Millisecond/3, 10*time.Millisecond)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	const spacing = 100 * time.Millisecond
	var last time.Time
	var soon <-chan time.Time
	for {
		select {
		case <-ended:
			return
		case <-ctx.Done():
			return
		case <-t.news:
			if wait := spacing - time.Since(last); wait > 0 && !last.IsZero() {
				if soon == nil {
					soon = time.After(wait)
				}
				continue
			}
		case <-soon:
			soon = nil
		case <-tick.C:
		}
		last = time.Now()
		percent, message := t.progress()
		ev := r.envelope(entropy.ActionProgressType, a.rec, entropy.ActionReport{Percent: percent, Message: message})
		if err := r.tell(ev); err != nil {
			a.log.Debug("progress could not be told", slog.Any("error", err))
		}
	}
}

// call runs the handler; a panic becomes an error, and its stack is logged here
// and not reported.
func call(ctx context.Context, a *attempt, t *Task) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("the handler panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			result, err = nil, OfKind(fmt.Errorf("the handler panicked: %v", p), KindPanic)
		}
	}()
	return a.h.run(ctx, t)
}

// outcome makes the report that ends the attempt.
func (r *run) outcome(ctx context.Context, a *attempt, rec *record, result any, err error, took time.Duration) *entropy.Event {
	if err == nil {
		b, failure := encode(result)
		if failure != nil {
			return r.failed(rec, FailureOf(failure), took)
		}
		return r.envelope(entropy.ActionSucceededType, rec, entropy.ActionReport{Result: b, DurationMS: took.Milliseconds()})
	}
	f := FailureOf(err)
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errCanceled):
		return r.envelope(entropy.ActionCanceledType, rec, entropy.ActionReport{Message: clip(err.Error(), entropy.MaxMessage), DurationMS: took.Milliseconds()})
	case errors.Is(cause, errTimeout) && !f.Final:
		f.Err, f.Kind = fmt.Errorf("%w: %w", errTimeout, err), KindTimeout
	case errors.Is(cause, errStopped) && errors.Is(err, context.Canceled):
		f.Err, f.Kind = errStopped, KindStopped
	}
	return r.failed(rec, f, took)
}

// maxResult leaves room for the envelope in what a report may have.
const maxResult = entropy.MaxActionSize - 16<<10

func encode(result any) (json.RawMessage, error) {
	if result == nil {
		return nil, nil
	}
	b, err := json.Marshal(result)
	if err != nil {
		return nil, Final(fmt.Errorf("the result has no JSON: %w", err), KindBadResult)
	}
	if len(b) > maxResult {
		return nil, Final(fmt.Errorf("the result has %d bytes, at most %d are allowed", len(b), maxResult), KindBadResult)
	}
	return b, nil
}
