package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The subjects. A bare one is the control plane's word, or the producers' wish; one
// with a suffix is addressed.
const (
	SubjectRequested  = "actions.requested" // .<command>: what is issued to its executors
	SubjectProgress   = "actions.progress"  // .<executor>: what it reports
	SubjectResult     = "actions.result"    // .<executor>: what it reports
	SubjectVerdict    = "actions.verdict"   // .<executor>: what it is answered
	SubjectDeadLetter = "actions.dlq"
	SubjectNormalized = "events.normalized" // and below: events from outside; below .entropy: our own

	SubjectEntropy = "entropy" // .<deviation, recovered, …>.<kind>: what the analyzer finds

	ownToken      = "entropy"
	subjectEvents = SubjectNormalized + "." + ownToken // .<kind>
)

// The streams.
const (
	StreamRequested       = "ACTIONS_REQUESTED"
	StreamOrders          = "ACTIONS_ORDERS"
	StreamReportsProgress = "ACTIONS_REPORTS_PROGRESS"
	StreamReportsResult   = "ACTIONS_REPORTS_RESULT"
	StreamProgress        = "ACTIONS_PROGRESS"
	StreamResult          = "ACTIONS_RESULT"
	StreamDeadLetters     = "ACTIONS_DLQ"
	StreamEvents          = "EVENTS"
	StreamEventsIn        = "EVENTS_IN"
	StreamEntropy         = "ENTROPY"
)

// rebuilding is the metadata of a stream of facts that may lack some: it was made
// anew, and not all that the journal has was published since.
const rebuilding = "entropy_rebuilding"

// stream is a stream as it should be.
type stream struct {
	name     string
	subjects []string
	share    int64 // of MaxStore, in percent
	age      time.Duration
	window   time.Duration // within which a message ID is remembered
	synced   bool          // an acknowledged message survives power loss
	full     jetstream.DiscardPolicy
	work     bool // a message is gone once it is acknowledged
	facts    bool // from the journal: rebuilt by the outbox
	open     bool // read by anybody
}

const day = 24 * time.Hour

// streamTable lists the streams. What nobody keeps elsewhere is synced and refuses
// more when it is full; what somebody does, the journal or an executor that waits
// for its verdict, makes room for newer.
func streamTable(sources []string) []stream {
	in := []string{SubjectNormalized, SubjectNormalized + ".*"} // not below: that would be ours too
	for _, s := range sources {
		in = append(in, SubjectNormalized+"."+s+".>")
	}
	one := func(s string) []string { return []string{s} }
	return []stream{
		{name: StreamRequested, subjects: one(SubjectRequested), share: 15, age: 7 * day, window: 10 * time.Minute, synced: true, full: jetstream.DiscardNew},
		{name: StreamOrders, subjects: one(SubjectRequested + ".*"), share: 15, age: 31 * day, window: 10 * time.Minute, synced: true, full: jetstream.DiscardNew, work: true},
		{name: StreamReportsProgress, subjects: one(SubjectProgress + ".*"), share: 5, age: day, window: 2 * time.Minute},
		{name: StreamReportsResult, subjects: one(SubjectResult + ".*"), share: 15, age: 7 * day, window: 10 * time.Minute, synced: true},
		{name: StreamProgress, subjects: one(SubjectProgress), share: 4, age: 7 * day, window: factWindow, facts: true, open: true},
		{name: StreamResult, subjects: one(SubjectResult), share: 8, age: 30 * day, window: factWindow, synced: true, facts: true, open: true},
		{name: StreamDeadLetters, subjects: one(SubjectDeadLetter), share: 8, age: 30 * day, window: 10 * time.Minute, synced: true, facts: true, open: true},
		{name: StreamEvents, subjects: one(subjectEvents + ".>"), share: 18, age: 30 * day, window: factWindow, facts: true, open: true},
		{name: StreamEntropy, subjects: one(SubjectEntropy + ".>"), share: 2, age: 30 * day, window: 10 * time.Minute, synced: true, open: true},
		{name: StreamEventsIn, subjects: in, share: 10, age: 7 * day, window: 10 * time.Minute, synced: true, full: jetstream.DiscardNew},
	}
}

// factWindow is short, as remembering IDs costs memory at the rate of a rebuild: the
// sink keeps duplicates out by the stream's last sequence.
const factWindow = 5 * time.Second

// The API levels of servers that the bus makes use of.
const (
	levelTTL   = 1 // 2.11: a message may have its own time to live
	levelBatch = 2 // 2.12: batches that are stored whole or not at all, and streams that are not synced
)

func (b *Bus) streamConfig(s stream) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: s.name, Subjects: s.subjects, Storage: jetstream.FileStorage, Replicas: int(b.replicas.Load()),
		MaxAge: s.age, MaxBytes: b.cfg.MaxStore * s.share / 100, MaxMsgSize: -1, Discard: s.full, Duplicates: s.window,
		AllowDirect: s.open, Metadata: map[string]string{},
	}
	if s.work {
		c.Retention = jetstream.WorkQueuePolicy
		c.AllowMsgTTL = b.level.Load() >= levelTTL
	}
	switch {
	case b.level.Load() < levelBatch:
	case s.synced:
		c.AllowAtomicPublish = true
	case b.replicas.Load() == 1:
		c.PersistMode = jetstream.AsyncPersistMode
	}
	return c
}

// ensure makes the streams and the commands' consumers that are missing. It is
// idempotent, and one at a time.
func (b *Bus) ensure(ctx context.Context) error {
	b.ensuring.Lock()
	defer b.ensuring.Unlock()
	fresh := false
	for _, s := range streamTable(b.cfg.Sources) {
		made, err := b.ensureStream(ctx, s)
		if err != nil {
			return fmt.Errorf("stream %s: %w", s.name, err)
		}
		fresh = fresh || made && s.facts
	}
	b.mu.Lock()
	commands := maps.Clone(b.commands)
	b.mu.Unlock()
	for c := range commands {
		if err := b.ensureCommand(ctx, c); err != nil {
			return err
		}
	}
	if fresh {
		go b.cfg.Rebuild()
	}
	return nil
}

func (b *Bus) ensureStream(ctx context.Context, s stream) (made bool, err error) {
	want := b.streamConfig(s)
	have, err := b.js.Stream(ctx, s.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if s.facts {
			want.Metadata[rebuilding] = "yes"
		}
		_, err = b.js.CreateStream(ctx, want)
		return true, err
	}
	if err != nil {
		return false, err
	}
	old := have.CachedInfo().Config
	want.Metadata = old.Metadata
	want.Replicas = old.Replicas       // an operator's choice, once it is there
	want.PersistMode = old.PersistMode // cannot be changed
	want.AllowAtomicPublish = old.AllowAtomicPublish || want.AllowAtomicPublish && old.PersistMode == want.PersistMode
	if _, err = b.js.UpdateStream(ctx, want); err != nil && ctx.Err() == nil && b.nc.IsConnected() {
		b.cfg.Logger.Warn("a stream is left as it is, it cannot be changed to what it should be", "stream", s.name, "error", err)
		return false, nil
	}
	return false, err
}

// CommandConsumer returns the name of the consumer that the executors of a command
// share.
func CommandConsumer(command string) string { return "exec-" + command }

// ackWait is how long a message may be worked on before it is delivered again.
const ackWait = 30 * time.Second

// EnsureCommand makes the consumer that the executors of a command share, if it is
// not there. It comes back by itself with a server whose store was wiped.
func (b *Bus) EnsureCommand(ctx context.Context, command string) error {
	if !tokenPattern.MatchString(command) {
		return invalidToken("command", command)
	}
	b.mu.Lock()
	known := b.commands[command]
	b.mu.Unlock()
	if known {
		return nil
	}
	if err := b.ensureCommand(ctx, command); err != nil {
		return err
	}
	b.mu.Lock()
	b.commands[command] = true
	b.mu.Unlock()
	return nil
}

func (b *Bus) ensureCommand(ctx context.Context, command string) error {
	_, err := b.js.CreateOrUpdateConsumer(ctx, StreamOrders, jetstream.ConsumerConfig{
		Durable: CommandConsumer(command), FilterSubject: SubjectRequested + "." + command,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1, MaxAckPending: 1024,
	})
	if err != nil {
		return busError("make the consumer of the command "+command, err)
	}
	return nil
}

// streamConfigured returns a stream's configuration as it is.
func (b *Bus) streamConfigured(ctx context.Context, name string) (jetstream.StreamConfig, jetstream.StreamState, error) {
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return jetstream.StreamConfig{}, jetstream.StreamState{}, err
	}
	info := s.CachedInfo()
	return info.Config, info.State, nil
}
