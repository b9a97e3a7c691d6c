package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// PublishFindings publishes what the analyzer has found and what rules made of it, events whose types begin
// with "entropy.", each on entropy.<what>.<kind of entity>. It is for one goroutine.
// When it returns nil the server has all of them; a repeat within ten minutes does no
// harm, and after that readers know one that they have by its ID.
func (b *Bus) PublishFindings(ctx context.Context, events []entropy.Event) error {
	messages := make([]Message, 0, len(events))
	for i := range events {
		m, err := b.finding(events[i])
		if err != nil {
			return err
		}
		messages = append(messages, m)
	}
	return b.PublishBatch(ctx, messages)
}

// finding renders one of them. One that the server would refuse for its size is
// published without its attrs.
func (b *Bus) finding(e entropy.Event) (Message, error) {
	kind, _ := entropy.SplitEntity(e.EntityID)
	if !entityKind.MatchString(kind) {
		kind = "other"
	}
	what := strings.ReplaceAll(strings.TrimPrefix(e.Type, SubjectEntropy+"."), ".", "_") // one token of the subject
	if !tokenPattern.MatchString(what) {
		return Message{}, entropy.Errorf(entropy.CodeInvalid, "%.80q is no finding of the analyzer's", e.Type)
	}
	data, err := json.Marshal(&e)
	if err != nil {
		return Message{}, fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	if room := int(b.nc.MaxPayload()) - 16<<10; room > 0 && len(data) > room {
		e.Attrs = withheld("it is larger than a message may be", len(e.Attrs))
		if data, err = json.Marshal(&e); err != nil {
			return Message{}, fmt.Errorf("encode event %s: %w", e.ID, err)
		}
	}
	return Message{Subject: SubjectEntropy + "." + what + "." + kind, ID: e.ID, Data: data, Header: cloudHeaders(&e)}, nil
}
