package journal

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/entropy-fabric/entropy"
)

// eventBody is what the column body holds: the envelope without what the other
// columns hold.
type eventBody struct {
	ID             string            `json:"id"`
	TS             time.Time         `json:"ts"`
	CorrelationID  string            `json:"correlation_id,omitempty"`
	CausationID    string            `json:"causation_id,omitempty"`
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
	Source         entropy.Source    `json:"source"`
	Tags           map[string]string `json:"tags,omitempty"`
	Attrs          json.RawMessage   `json:"attrs,omitempty"`
	Schema         int               `json:"schema"`
}

// appendBody appends e as the JSON of an eventBody. It is written by hand because
// encoding/json would parse the attrs again, which were encoded a moment ago, and
// that is half of the cost of an append in its caller.
func appendBody(b []byte, e *entropy.Event) (_ []byte, err error) {
	b = appendString(append(b, `{"id":`...), e.ID)
	b = append(b, `,"ts":"`...)
	if b, err = e.TS.AppendText(b); err != nil {
		return nil, err
	}
	b = append(b, '"')
	for _, f := range []struct{ name, value string }{
		{`,"correlation_id":`, e.CorrelationID}, {`,"causation_id":`, e.CausationID}, {`,"idempotency_key":`, e.IdempotencyKey},
	} {
		if f.value != "" {
			b = appendString(append(b, f.name...), f.value)
		}
	}
	b = appendString(append(b, `,"source":{"system":`...), e.Source.System)
	if b, err = appendMap(b, `,"ns":`, e.Source.NS); err != nil {
		return nil, err
	}
	b = append(b, '}')
	if b, err = appendMap(b, `,"tags":`, e.Tags); err != nil {
		return nil, err
	}
	if len(e.Attrs) > 0 {
		b = append(append(b, `,"attrs":`...), e.Attrs...)
	}
	b = strconv.AppendInt(append(b, `,"schema":`...), int64(e.Schema), 10)
	return append(b, '}'), nil
}

func appendMap(b []byte, name string, m map[string]string) ([]byte, error) {
	if len(m) == 0 {
		return b, nil
	}
	text, err := json.Marshal(m)
	return append(append(b, name...), text...), err
}

// appendString appends s as a JSON string. What is not plain ASCII is left to
// encoding/json.
func appendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			text, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string has no error
			}
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// decodeRow rebuilds an event from its row of eventColumns.
func decodeRow(row []driver.Value) (entropy.Event, error) {
	var b eventBody
	seq := uint64(num(row[0]))
	if err := json.Unmarshal([]byte(str(row[4])), &b); err != nil {
		return entropy.Event{}, fmt.Errorf("event %d: %w", seq, err)
	}
	return entropy.Event{ID: b.ID, Seq: seq, TS: b.TS, Type: str(row[3]), EntityID: str(row[1]), Version: uint64(num(row[2])),
		CorrelationID: b.CorrelationID, CausationID: b.CausationID, IdempotencyKey: b.IdempotencyKey, Source: b.Source,
		Tags: b.Tags, Attrs: b.Attrs, Schema: b.Schema}, nil
}
