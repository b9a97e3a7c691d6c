package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/entropy-fabric/entropy"
)

// Message is a message to publish, or one that was consumed.
type Message struct {
	Subject string
	// ID names the message to the server: a second of the same ID within the
	// stream's window is acknowledged and not stored. "" is never a duplicate.
	ID   string
	Data []byte
	// Header holds further headers; of a consumed message, all of them.
	Header map[string][]string
	// TTL removes the message from its stream after that time; 0: never. A server
	// older than 2.11 does not know it.
	TTL time.Duration

	// Of a consumed message: the stream it is in, its sequence there, when the server
	// stored it, by the server's clock, and how often it was delivered, from 1.
	Stream     string
	Seq        uint64
	Stored     time.Time
	Deliveries uint64
	// Note is what the key function of [Parallel] has found out about it.
	Note any
}

// The headers that mean something to the server.
const (
	headerID        = nats.MsgIdHdr
	headerExpectSeq = nats.ExpectedLastSeqHdr
	headerTTL       = "Nats-TTL"
	headerBatch     = "Nats-Batch-Id"
	headerBatchSeq  = "Nats-Batch-Sequence"
	headerCommit    = "Nats-Batch-Commit"

	maxBatch = 256 // messages of one atomic batch; the server's limit is 1000
)

// Publish stores a message on the subject's stream. When it returns nil the server
// has acknowledged it: on a synced stream it is on the disk. A repeat with the same
// msgID does no harm. It returns an [entropy.Error]: CodeTooLarge, CodeDiskFull when
// the stream or the disk is full, CodeUnavailable when the server is not there; a
// message that was refused as unavailable may have been stored all the same.
func (b *Bus) Publish(ctx context.Context, subject, msgID string, data []byte) error {
	return b.PublishMessage(ctx, Message{Subject: subject, ID: msgID, Data: data})
}

// PublishMessage is Publish of a message with headers or a time to live.
func (b *Bus) PublishMessage(ctx context.Context, m Message) error {
	if err := b.noRoom(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	_, err := b.js.PublishMsg(ctx, b.natsMsg(m))
	return b.published(m.Subject, err)
}

// PublishBatch stores messages of one stream in order: all or none where the server
// has batches and the stream is synced, with one flush of the disk; else one after
// the other, and after an error some may be there.
func (b *Bus) PublishBatch(ctx context.Context, messages []Message) error {
	for len(messages) > 0 {
		n := min(len(messages), maxBatch)
		if err := b.publishAll(ctx, messages[:n], nil); err != nil {
			return err
		}
		messages = messages[n:]
	}
	return nil
}

// Tell sends a message to whoever listens at this moment, and does not wait.
func (b *Bus) Tell(subject string, data []byte) error {
	if err := b.nc.Publish(subject, data); err != nil {
		return busError("tell "+subject, err)
	}
	return nil
}

// publishAll publishes at most maxBatch messages of one stream. After, when it is
// set, is the stream's last sequence as it has to be before the first of them, and
// is moved on when all are stored.
func (b *Bus) publishAll(ctx context.Context, messages []Message, after *uint64) (err error) {
	if err := b.noRoom(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if len(messages) > 1 && b.level.Load() >= levelBatch && b.batches(messages[0].Subject) {
		err = b.publishBatch(ctx, messages, after)
		if !isDuplicateInBatch(err) {
			return b.published(messages[0].Subject, err)
		}
	}
	return b.published(messages[0].Subject, b.publishEach(ctx, messages, after))
}

// batches reports whether the stream of a subject takes batches.
func (b *Bus) batches(subject string) bool {
	for _, s := range streamTable(b.cfg.Sources) {
		for _, filter := range s.subjects {
			if s.synced && covers(filter, subject) {
				return true
			}
		}
	}
	return false
}

// publishEach publishes without waiting for one before the next.
func (b *Bus) publishEach(ctx context.Context, messages []Message, after *uint64) error {
	futures := make([]jetstream.PubAckFuture, len(messages))
	for i, m := range messages {
		msg := b.natsMsg(m)
		if after != nil {
			msg.Header.Set(headerExpectSeq, strconv.FormatUint(*after+uint64(i), 10))
		}
		var err error
		if futures[i], err = b.js.PublishMsgAsync(msg, jetstream.WithStallWait(stallWait), jetstream.WithRetryAttempts(0)); err != nil {
			return err
		}
	}
	var last uint64
	for _, f := range futures {
		select {
		case ack := <-f.Ok():
			if ack.Duplicate && after != nil {
				return errors.New("a message is in the stream already, and its place was not known")
			}
			last = ack.Sequence
		case err := <-f.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if after != nil {
		*after = last
	}
	return nil
}

// batchAck answers the last message of a batch.
type batchAck struct {
	Error *jetstream.APIError `json:"error"`
	Seq   uint64              `json:"seq"`
	Count int                 `json:"count"`
}

// publishBatch publishes atomically: every message carries the batch's ID and its
// place, and the last asks for the commit.
func (b *Bus) publishBatch(ctx context.Context, messages []Message, after *uint64) error {
	id := nuid.Next()
	for i, m := range messages {
		msg := b.natsMsg(m)
		msg.Header.Set(headerBatch, id)
		msg.Header.Set(headerBatchSeq, strconv.Itoa(i+1))
		if i == 0 && after != nil {
			msg.Header.Set(headerExpectSeq, strconv.FormatUint(*after, 10))
		}
		if i < len(messages)-1 {
			if err := b.nc.PublishMsg(msg); err != nil {
				return err
			}
			continue
		}
		msg.Header.Set(headerCommit, "1")
		answer, err := b.nc.RequestMsgWithContext(ctx, msg)
		if err != nil {
			return err
		}
		var ack batchAck
		if err := json.Unmarshal(answer.Data, &ack); err != nil {
			return fmt.Errorf("the answer to a batch: %w", err)
		}
		if ack.Error != nil {
			return ack.Error
		}
		if ack.Count != len(messages) {
			return fmt.Errorf("of a batch of %d messages %d were stored", len(messages), ack.Count)
		}
		if after != nil {
			*after = ack.Seq
		}
	}
	return nil
}

// isDuplicateInBatch reports whether a batch was refused as one of it is stored
// already: each is then published by itself.
func isDuplicateInBatch(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == 10201
}

// noRoom says at once what a stream that is frozen for want of room would answer
// with silence.
func (b *Bus) noRoom() error {
	if err := b.Problem(); entropy.ErrorCode(err) == entropy.CodeDiskFull {
		return err
	}
	return nil
}

// published says in the fabric's words how a publication went. When there is no
// stream, they are looked at.
func (b *Bus) published(subject string, err error) error {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, jetstream.ErrStreamNotFound) {
		b.turnOver()
	}
	if err != nil && b.embedded != nil && entropy.ErrorCode(busError("", err)) == entropy.CodeUnavailable {
		if sick := b.embedded.health(); sick != nil { // a frozen stream does not answer
			return embeddedError(sick, b.cfg.Dir)
		}
	}
	return busError("publish on "+subject, err)
}

func (b *Bus) natsMsg(m Message) *nats.Msg {
	msg := &nats.Msg{Subject: m.Subject, Data: m.Data, Header: make(nats.Header, len(m.Header)+5)}
	maps.Copy(msg.Header, m.Header)
	if m.ID != "" {
		msg.Header.Set(headerID, m.ID)
	}
	if m.TTL > 0 && b.level.Load() >= levelTTL { // whole seconds, and never too few
		msg.Header.Set(headerTTL, strconv.FormatInt(int64((m.TTL+time.Second-1)/time.Second), 10))
	}
	return msg
}

// covers reports whether a filter of a stream takes a subject.
func covers(filter, subject string) bool {
	for filter != "" {
		f, restF := cutToken(filter)
		s, restS := cutToken(subject)
		if f == ">" {
			return subject != ""
		}
		if subject == "" || f != "*" && f != s {
			return false
		}
		filter, subject = restF, restS
	}
	return subject == ""
}

func cutToken(s string) (token, rest string) {
	for i := range len(s) {
		if s[i] == '.' {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
