package bus

import (
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// Read returns up to limit messages of a stream with sequences after one, oldest
// first; fewer than limit mean that these are the last. It takes nothing from the
// stream. CodeUnavailable when there is no such stream, or no server.
func (b *Bus) Read(ctx context.Context, stream string, after uint64, limit int) ([]Message, error) {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return nil, busError("read the stream "+stream, err)
	}
	state := s.CachedInfo().State
	var messages []Message
	for seq := max(after+1, state.FirstSeq); seq <= state.LastSeq && len(messages) < limit; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return messages, busError("read the stream "+stream, err)
		}
		messages = append(messages, Message{Subject: m.Subject, ID: m.Header.Get(headerID), Data: slices.Clone(m.Data), Header: m.Header,
			Stream: stream, Seq: m.Sequence, Stored: m.Time})
	}
	return messages, nil
}
