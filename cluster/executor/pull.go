package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/entropy-fabric/entropy"
)

const (
	ordersStream = "ACTIONS_ORDERS"
	pullFor      = 30 * time.Second // how long one pull waits at the server
	ackWait      = 30 * time.Second // of the shared consumers, if they do not say; see docs/PROTOCOL.md
	callTimeout  = 5 * time.Second
	maxKind      = 64 // bytes
)

// pull fetches orders of a command, one at a time and only while a slot is free,
// until ctx ends. What arrives when another command has taken the last slot goes
// back at once, for any executor of the command.
func (r *run) pull(ctx context.Context, h *handler) {
	var consumer jetstream.Consumer
	pause := time.Duration(0)
	for ctx.Err() == nil {
		if pause > 0 {
			r.sleep(ctx, pause)
		}
		if r.slots.wait(ctx) != nil {
			return
		}
		var err error
		if consumer == nil {
			consumer, err = r.consumer(ctx, h.command)
		}
		var msg jetstream.Msg
		if err == nil {
			msg, err = r.next(ctx, consumer)
		}
		switch {
		case err != nil && ctx.Err() == nil:
			consumer = nil // it may have been made anew
			pause = min(max(2*pause, 100*time.Millisecond), 5*time.Second)
			r.log.Warn("no orders can be had now", slog.String("command", h.command), slog.Any("error", err))
			for _, call := range []string{"INFO", "MSG.NEXT"} {
				r.checkForbidden(fmt.Sprintf("$JS.API.CONSUMER.%s.%s.exec-%s", call, ordersStream, h.command))
			}
		case msg == nil:
			pause = 0
		case !r.slots.take():
			pause = 0
			msg.Nak()
		default:
			pause = 0
			wait := consumer.CachedInfo().Config.AckWait
			r.hand.Go(func() {
				defer r.slots.give()
				r.take(h, msg, wait)
			})
		}
	}
}

// sleep waits, but not once the connection is back.
func (r *run) sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-r.back():
	case <-t.C:
	}
}

func (r *run) consumer(ctx context.Context, command string) (jetstream.Consumer, error) {
	ctx, done := context.WithTimeout(ctx, callTimeout)
	defer done()
	return r.js.Consumer(ctx, ordersStream, "exec-"+command)
}

// next waits for one order. It returns nil when none came, or when the
// connection was lost and is back: then the server has forgotten the request.
func (r *run) next(ctx context.Context, c jetstream.Consumer) (jetstream.Msg, error) {
	ctx, done := context.WithTimeout(ctx, pullFor)
	defer done()
	back := r.back()
	batch, err := c.Fetch(1, jetstream.FetchContext(ctx))
	if err != nil {
		return nil, err
	}
	select {
	case msg := <-batch.Messages():
		if msg != nil {
			return msg, nil
		}
		if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return nil, err
		}
		return nil, nil
	case <-back:
		return nil, nil
	}
}

// decode reads an order. Only the control plane can have written it, so one that
// cannot be read is of a version that this program does not know.
func decode(data []byte, command string) (*record, error) {
	r := new(record)
	if err := json.Unmarshal(data, &r.Event); err != nil {
		return nil, fmt.Errorf("the envelope: %w", err)
	}
	if err := json.Unmarshal(r.Event.Attrs, &r.Order); err != nil {
		return nil, fmt.Errorf("the order: %w", err)
	}
	r.Event.Attrs = nil
	switch o := &r.Order; {
	case o.ActionID == "" || o.AttemptID == "":
		return nil, errors.New("it names no action or no attempt")
	case o.Command != command:
		return nil, fmt.Errorf("it is of the command %q", o.Command)
	case o.RemainingMS < 0 || o.TimeoutMS < 0 || o.HeartbeatMS < 0:
		return nil, errors.New("it has negative times")
	}
	most := entropy.MaxTTL.Milliseconds() // more would overflow a duration sooner or later
	r.Order.RemainingMS, r.Order.TimeoutMS = min(r.Order.RemainingMS, most), min(r.Order.TimeoutMS, most)
	return r, nil
}

// envelope wraps a report.
func (r *run) envelope(typ string, rec *record, rep entropy.ActionReport) *entropy.Event {
	rep.ActionID, rep.AttemptID, rep.Executor = rec.Order.ActionID, rec.Order.AttemptID, r.conf.Name
	attrs, err := json.Marshal(rep)
	if err != nil {
		panic(fmt.Sprintf("a report has no JSON: %v", err)) // Result is JSON, Percent is a number
	}
	return &entropy.Event{ID: entropy.NewID(), TS: time.Now().UTC(), Type: typ, EntityID: rec.Event.EntityID,
		CorrelationID: rec.Event.CorrelationID, CausationID: rec.Event.ID,
		Source: entropy.Source{System: "executor", NS: map[string]string{"executor": r.conf.Name}},
		Tags:   rec.Event.Tags, Attrs: attrs, Schema: 1}
}

// failed makes the report of a failure.
func (r *run) failed(rec *record, f Failure, took time.Duration) *entropy.Event {
	return r.envelope(entropy.ActionFailedType, rec, entropy.ActionReport{
		Error: clip(f.Error(), entropy.MaxMessage), Kind: clip(f.Kind, maxKind), Final: f.Final,
		RetryAfter: min(max(f.After, 0), entropy.MaxTTL).Milliseconds(), DurationMS: took.Milliseconds()})
}
