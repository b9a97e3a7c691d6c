package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/entropy-fabric/entropy"
)

// DeadLetter is a message that was given up, as it came, and why.
type DeadLetter struct {
	ID         string    `json:"id"` // of this dead letter: the same however often it is buried
	Stream     string    `json:"stream"`
	Seq        uint64    `json:"seq"` // in the stream
	Subject    string    `json:"subject"`
	MessageID  string    `json:"message_id,omitempty"`
	Consumer   string    `json:"consumer"`
	Deliveries uint64    `json:"deliveries"`
	Stored     time.Time `json:"stored"` // by the server's clock
	Reason     string    `json:"reason"`
	Data       []byte    `json:"data"` // the original bytes, in base64
}

// DeadLetterType is the type of the event that a dead letter is published as, when
// no other place is given for it.
const DeadLetterType = "action.dead_letter"

// DeadLetterFunc keeps a dead letter. It may be called again for one that it has
// kept already: ID says so.
type DeadLetterFunc func(ctx context.Context, d DeadLetter) error

// bury keeps a message that is given up, before it is removed from its stream.
func (b *Bus) bury(ctx context.Context, consumer string, m Message, reason string) error {
	if !utf8.ValidString(reason) {
		reason = printable(reason)
	}
	d := DeadLetter{
		ID: fmt.Sprintf("dlq-%s-%d-%d", m.Stream, m.Stored.UnixNano(), m.Seq), Stream: m.Stream, Seq: m.Seq, Subject: m.Subject, MessageID: m.ID,
		Consumer: consumer, Deliveries: m.Deliveries, Stored: m.Stored.UTC(), Reason: reason[:min(len(reason), 1024)], Data: m.Data,
	}
	if b.cfg.DeadLetter != nil {
		return b.cfg.DeadLetter(ctx, d)
	}
	return b.PublishDeadLetter(ctx, d)
}

// PublishDeadLetter publishes on actions.dlq, whose stream makes room for the newest.
// A message as large as the server takes
// does not fit in one with its reason: its bytes are cut, and the reason says so.
func (b *Bus) PublishDeadLetter(ctx context.Context, d DeadLetter) error {
	if room := int(b.nc.MaxPayload())/4*3 - 8<<10; len(d.Data) > room {
		d.Reason += fmt.Sprintf(" (of its %d bytes the first %d are kept)", len(d.Data), room)
		d.Data = d.Data[:room]
	}
	attrs, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode a dead letter: %w", err)
	}
	e := entropy.Event{
		ID: d.ID, TS: d.Stored, Type: DeadLetterType, EntityID: entropy.Entity("letter", d.ID), Schema: 1,
		Source: entropy.Source{System: "entropy", NS: map[string]string{"component": "bus"}}, Attrs: attrs,
	}
	data, err := json.Marshal(&e)
	if err != nil {
		return fmt.Errorf("encode a dead letter: %w", err)
	}
	return b.PublishMessage(ctx, Message{Subject: SubjectDeadLetter, ID: d.ID, Data: data, Header: cloudHeaders(&e)})
}
