package bus

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Disposition is what becomes of a consumed message. The zero value is [Ack].
type Disposition struct {
	verb   verb
	delay  time.Duration
	reason string
}

type verb int

const (
	ack verb = iota
	retry
	later
	dead
)

// Ack says that the message is done with: what it says is durable elsewhere.
func Ack() Disposition { return Disposition{} }

// Retry has the message delivered again after a delay; 0: one that grows. After
// [MaxTries] of them it is a dead letter.
func Retry(delay time.Duration, reason string) Disposition {
	return Disposition{retry, delay, reason}
}

// Later has the message delivered again after a delay; 0: one that grows. It is not
// to blame, and is kept however often that happens.
func Later(delay time.Duration) Disposition { return Disposition{verb: later, delay: delay} }

// Dead gives the message up: it cannot be understood.
func Dead(reason string) Disposition { return Disposition{verb: dead, reason: reason} }

// MaxTries is how often a message is tried before it is a dead letter.
const MaxTries = 5

// Handler takes one message. It says what becomes of it; what it wants to keep, it
// has to copy. A handler that panics has tried.
type Handler func(ctx context.Context, m Message) Disposition

// ConsumeOption changes how [Bus.Consume] works.
type ConsumeOption func(*consumer)

// Parallel calls the handler from n goroutines. Messages of one key are handled one
// after the other, in order. What the key function leaves in Note the handler has.
func Parallel(n int, key func(*Message) string) ConsumeOption {
	return func(c *consumer) { c.parallel, c.key = max(n, 1), key }
}

// consumer is one call of Consume.
type consumer struct {
	bus                     *Bus
	stream, durable, filter string
	handler                 Handler
	parallel                int
	key                     func(*Message) string
	seed                    maphash.Seed

	mu    sync.Mutex
	tries map[uint64]int // of the messages that were to be tried again, by sequence
}

// leastPause is between two tries to consume.
const leastPause = 50 * time.Millisecond

// maxPending bounds the messages that are delivered and not yet acknowledged.
const maxPending = 256

// Consume calls h with the messages of a stream that a filter takes, "" for all, until
// ctx ends. The durable name keeps the place: what was acknowledged does not come
// again, everything else does, after a restart of either side too. Without Parallel h
// is called for one message at a time, in the order of the stream, but for those that
// are delivered again: after a Retry, or when a connection broke that they were on. It makes the consumer, and makes it again when it is gone.
func (b *Bus) Consume(ctx context.Context, stream, durable, filter string, h Handler, options ...ConsumeOption) error {
	if !tokenPattern.MatchString(durable) {
		return invalidToken("name of the consumer", durable)
	}
	c := &consumer{bus: b, stream: stream, durable: durable, filter: filter, handler: h, parallel: 1, seed: maphash.MakeSeed(), tries: make(map[uint64]int)}
	for _, o := range options {
		o(c)
	}
	said := ""
	for failures := 0; ; failures++ {
		turn := b.current()
		began := time.Now()
		err := c.run(ctx, turn)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > 10*time.Second {
			failures, said = 0, ""
		}
		if err == nil {
			continue
		}
		if text := err.Error(); text != said { // once for a row of failures that look the same
			b.cfg.Logger.Warn("consuming from the bus is tried again", "stream", stream, "consumer", durable, "error", err)
			said = text
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) {
			b.miss()
		}
		// A turn ends the pause, but not at once: what is there for one may be missing
		// for another for a moment, in a cluster.
		if !pause(ctx, nil, leastPause) || !pause(ctx, turn, backoff(failures, 100*time.Millisecond, 5*time.Second)) {
			return nil
		}
	}
}

// run consumes until the bus turns over, something fails or ctx ends.
func (c *consumer) run(ctx context.Context, turn <-chan struct{}) error {
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cons, err := c.bus.js.CreateOrUpdateConsumer(asking, c.stream, jetstream.ConsumerConfig{
		Durable: c.durable, FilterSubject: c.filter, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxDeliver: -1, MaxAckPending: maxPending,
	})
	if err != nil {
		return err
	}
	c.trim(asking)
	messages, err := cons.Messages(jetstream.PullMaxMessages(min(maxPending, 32*c.parallel)))
	if err != nil {
		return err
	}
	defer messages.Stop()
	ctx, done := context.WithCancel(ctx)
	stopWaiting := context.AfterFunc(ctx, messages.Drain) // what has come is given back below
	defer stopWaiting()
	go func() { // a turn ends it as well
		select {
		case <-turn:
			done()
		case <-ctx.Done():
		}
	}()
	defer done()
	lanes := c.lanes(ctx)
	defer lanes.close()
	for handled := 1; ; handled++ {
		msg, err := messages.Next()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		lanes.put(msg)
		if handled%4096 == 0 {
			c.trim(ctx)
		}
	}
}

// delivery is a message, and what it is acknowledged by.
type delivery struct {
	Message
	msg jetstream.Msg
}

// lanes are the goroutines that call the handler.
type lanes struct {
	c     *consumer
	queue []chan delivery
	done  sync.WaitGroup
}

func (c *consumer) lanes(ctx context.Context) *lanes {
	l := &lanes{c: c, queue: make([]chan delivery, c.parallel)}
	for i := range l.queue {
		l.queue[i] = make(chan delivery, maxPending) // all that may be pending: put never blocks for long
		l.done.Go(func() {
			for d := range l.queue[i] {
				if ctx.Err() == nil {
					c.handle(ctx, d.msg, d.Message)
				} else {
					_ = d.msg.Nak() // it comes again at once, not only when it was waited for in vain
				}
			}
		})
	}
	return l
}

func (l *lanes) put(msg jetstream.Msg) {
	d, i := delivery{consumed(msg), msg}, 0
	if len(l.queue) > 1 {
		i = int(maphash.String(l.c.seed, l.c.key(&d.Message)) % uint64(len(l.queue)))
	}
	l.queue[i] <- d
}

func (l *lanes) close() {
	for _, q := range l.queue {
		close(q)
	}
	l.done.Wait()
}

func consumed(msg jetstream.Msg) Message {
	m := Message{Subject: msg.Subject(), ID: msg.Headers().Get(headerID), Data: msg.Data(), Header: msg.Headers()}
	if meta, err := msg.Metadata(); err == nil {
		m.Stream, m.Seq, m.Stored, m.Deliveries = meta.Stream, meta.Sequence.Stream, meta.Timestamp, meta.NumDelivered
	}
	return m
}

func (c *consumer) handle(ctx context.Context, msg jetstream.Msg, m Message) {
	d := c.call(ctx, m)
	if d.verb == retry {
		c.mu.Lock()
		c.tries[m.Seq]++
		tries := c.tries[m.Seq]
		c.mu.Unlock()
		if tries >= MaxTries {
			d = Dead(fmt.Sprintf("given up after %d tries: %s", tries, d.reason))
		}
	}
	if d.verb == dead {
		if err := c.bus.bury(ctx, c.durable, m, d.reason); err != nil {
			c.bus.cfg.Logger.Warn("a dead letter cannot be kept now", "stream", m.Stream, "seq", m.Seq, "error", err)
			d = Later(0)
		}
	}
	var err error
	switch d.verb {
	case retry, later:
		wait := d.delay
		if wait <= 0 {
			wait = backoff(int(min(m.Deliveries, 16)), 250*time.Millisecond, 30*time.Second)
		}
		err = msg.NakWithDelay(wait)
	case ack:
		err = msg.Ack()
	case dead:
		err = msg.TermWithReason(printable(d.reason))
	}
	if d.verb == ack || d.verb == dead {
		c.mu.Lock()
		delete(c.tries, m.Seq)
		c.mu.Unlock()
	}
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		c.bus.cfg.Logger.Debug("an acknowledgement was not sent; the message will come again", "stream", m.Stream, "seq", m.Seq, "error", err)
	}
}

// call has a panic of the handler count as a try: one message does not take the
// others with it.
func (c *consumer) call(ctx context.Context, m Message) (d Disposition) {
	defer func() {
		if r := recover(); r != nil {
			c.bus.cfg.Logger.Error("handling a message panicked", "stream", m.Stream, "seq", m.Seq, "panic", r, "stack", string(debug.Stack()))
			d = Retry(0, fmt.Sprintf("panic: %v", r))
		}
	}()
	return c.handler(ctx, m)
}

// trim removes what was acknowledged from a stream that refuses messages when it is
// full, once it is half full: nobody reads that again.
func (c *consumer) trim(ctx context.Context) {
	if err := c.tryTrim(ctx); err != nil && ctx.Err() == nil {
		c.bus.cfg.Logger.Debug("a stream was not trimmed", "stream", c.stream, "error", err)
	}
}

func (c *consumer) tryTrim(ctx context.Context) error {
	conf, state, err := c.bus.streamConfigured(ctx, c.stream)
	if err != nil || conf.Discard != jetstream.DiscardNew || conf.Retention != jetstream.LimitsPolicy || int64(state.Bytes) < conf.MaxBytes/2 || state.Consumers != 1 {
		return err
	}
	s, err := c.bus.js.Stream(ctx, c.stream)
	if err != nil {
		return err
	}
	cons, err := s.Consumer(ctx, c.durable)
	if err != nil {
		return err
	}
	if floor := cons.CachedInfo().AckFloor.Stream; floor > state.FirstSeq {
		return s.Purge(ctx, jetstream.WithPurgeSequence(floor+1))
	}
	return nil
}

// backoff doubles from first with every failure, up to most.
func backoff(failures int, first, most time.Duration) time.Duration {
	return min(most, first<<min(failures, 20))
}

// pause waits, until the bus turns over at most; false when ctx has ended.
func pause(ctx context.Context, turn <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-turn:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
