package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/entropy-fabric/entropy"
)

// headerPosition is on every fact: its place in the journal, "epoch:seq".
const headerPosition = "Entropy-Position"

// Sink publishes what the journal has as facts: every event on
// events.normalized.entropy.<kind>, those of actions on their own subjects too. It is
// the only publisher of these streams: each message says which it follows, so that a
// second publisher, or a message that arrives late, is refused rather than put in the
// wrong place. An event that is in a stream already is not published there again. Its
// methods are for one goroutine at a time.
type Sink struct {
	bus   *Bus
	epoch uint64

	mu        sync.Mutex
	heads     map[string]*head // by stream; nil: to be read from the server
	rebuilt   uint64           // up to this seq the streams may lack facts
	published uint64
}

// head is where a stream stands.
type head struct {
	last uint64 // its last sequence
	pos  entropy.Position
	// unknown says that there were messages, and none is left to say how far they came.
	unknown    bool
	rebuilding bool
}

// NewSink returns the sink of the journal of an epoch.
func NewSink(b *Bus, epoch uint64) *Sink { return &Sink{bus: b, epoch: epoch} }

// factStreams are the streams that the sink writes. Events comes last: what is in it
// says that the others have it too.
var factStreams = []string{StreamProgress, StreamResult, StreamDeadLetters, StreamEvents}

// Last returns up to which position the facts are published; the zero position when
// there are none, or when a stream of them was made anew. CodeUnknown says that the
// bus cannot tell: what it had is too old to be kept.
func (s *Sink) Last(ctx context.Context) (entropy.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(ctx); err != nil {
		s.heads = nil
		return entropy.Position{}, busError("ask how far the facts are published", err)
	}
	for _, h := range s.heads {
		if h.rebuilding {
			return entropy.Position{}, nil
		}
	}
	events := s.heads[StreamEvents]
	if events.unknown {
		return entropy.Position{}, entropy.Errorf(entropy.CodeUnknown, "the stream %s is empty, and was not always", StreamEvents)
	}
	return events.pos, nil
}

// load reads the heads.
func (s *Sink) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s.heads, s.rebuilt = make(map[string]*head, len(factStreams)), 0
	for _, name := range factStreams {
		stream, err := s.bus.js.Stream(ctx, name)
		if err != nil {
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				s.bus.miss()
			}
			return err
		}
		info := stream.CachedInfo()
		h := &head{last: info.State.LastSeq, rebuilding: info.Config.Metadata[rebuilding] != ""}
		if info.State.Msgs > 0 {
			m, err := stream.GetMsg(ctx, info.State.LastSeq)
			switch {
			case errors.Is(err, jetstream.ErrMsgNotFound): // removed by hand
				h.unknown = true
			case err != nil:
				return err
			default:
				h.pos, _ = entropy.ParsePosition(m.Header.Get(headerPosition)) // a message of another has none
			}
		} else {
			h.unknown = info.State.LastSeq > 0
		}
		s.heads[name] = h
		if h.pos.Epoch == s.epoch {
			s.rebuilt = max(s.rebuilt, h.pos.Seq)
		}
	}
	return nil
}

// Deliver publishes events that follow each other in the journal. When it returns nil
// the server has all of them. After an error it is to be called again, with events
// after what Last then says.
func (s *Sink) Deliver(ctx context.Context, events []entropy.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heads == nil {
		if err := s.load(ctx); err != nil {
			s.heads = nil
			return busError("ask how far the facts are published", err)
		}
	}
	batches := make(map[string][]Message, len(factStreams))
	for i := range events {
		if err := s.sort(&events[i], batches); err != nil {
			return err
		}
	}
	for _, name := range factStreams {
		if err := s.publish(ctx, name, batches[name]); err != nil {
			s.heads = nil // some may be there
			return err
		}
	}
	if len(events) > 0 {
		s.published += uint64(len(events))
		return s.settle(ctx, events[len(events)-1].Seq)
	}
	return nil
}

// sort puts an event into the batches of the streams that lack it.
func (s *Sink) sort(e *entropy.Event, batches map[string][]Message) error {
	subjects := map[string]string{StreamEvents: eventSubject(e)}
	if stream, subject := actionSubject(e); stream != "" {
		subjects[stream] = subject
	}
	var m Message
	pos := entropy.Position{Epoch: s.epoch, Seq: e.Seq}
	for stream, subject := range subjects {
		if h := s.heads[stream]; h.pos.Epoch == s.epoch && e.Seq <= h.pos.Seq {
			continue
		}
		if m.Data == nil {
			var err error
			if m, err = s.message(e, pos); err != nil {
				return err
			}
		}
		m.Subject = subject
		batches[stream] = append(batches[stream], m)
	}
	return nil
}

// message renders a fact. One that the server would refuse for its size is published
// without its attrs.
func (s *Sink) message(e *entropy.Event, pos entropy.Position) (Message, error) {
	fact := *e
	fact.Attrs = exported(e)
	data, err := json.Marshal(&fact)
	if err != nil {
		return Message{}, fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	if room := int(s.bus.nc.MaxPayload()) - 16<<10; room > 0 && len(data) > room {
		fact.Attrs = withheld("it is larger than a message may be", len(e.Attrs))
		if data, err = json.Marshal(&fact); err != nil {
			return Message{}, fmt.Errorf("encode event %s: %w", e.ID, err)
		}
	}
	h := cloudHeaders(&fact)
	h[headerPosition] = []string{pos.String()}
	return Message{ID: e.ID, Data: data, Header: h}, nil
}

func (s *Sink) publish(ctx context.Context, stream string, messages []Message) error {
	h := s.heads[stream]
	for len(messages) > 0 {
		n := min(len(messages), maxBatch)
		after := &h.last
		if stream == StreamDeadLetters {
			after = nil // others publish there too; a repeat is known by its ID
		}
		if err := s.bus.publishAll(ctx, messages[:n], after); err != nil {
			return err
		}
		pos, err := entropy.ParsePosition(messages[n-1].Header[headerPosition][0])
		if err != nil {
			return err
		}
		h.pos, h.unknown = pos, false
		messages = messages[n:]
	}
	return nil
}

// settle says in the streams' metadata that they lack nothing any more, once they
// have all that any of them had when they were looked at.
func (s *Sink) settle(ctx context.Context, seq uint64) error {
	if seq < s.rebuilt {
		return nil
	}
	for name, h := range s.heads {
		if !h.rebuilding {
			continue
		}
		conf, _, err := s.bus.streamConfigured(ctx, name)
		if err != nil {
			return busError("ask for the stream "+name, err)
		}
		delete(conf.Metadata, rebuilding)
		if _, err := s.bus.js.UpdateStream(ctx, conf); err != nil {
			return busError("update the stream "+name, err)
		}
		h.rebuilding = false
	}
	return nil
}

// Reset removes the facts, to be published anew: those that are there belong to
// another history. Dead letters stay, the journal need not have them all.
func (s *Sink) Reset(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heads = nil
	for _, name := range factStreams {
		if name == StreamDeadLetters {
			continue
		}
		stream, err := s.bus.js.Stream(ctx, name)
		if err == nil {
			err = stream.Purge(ctx)
		}
		if err != nil {
			return busError("empty the stream "+name, err)
		}
	}
	return nil
}

// eventSubject is where every event goes.
func eventSubject(e *entropy.Event) string {
	kind, _ := entropy.SplitEntity(e.EntityID)
	if !entityKind.MatchString(kind) {
		kind = "other"
	}
	return subjectEvents + "." + kind
}

// actionSubject is where the events of actions go besides: an end on actions.result,
// what was given up on actions.dlq, what happens on the way on actions.progress. A
// request is on neither: it is not progress.
func actionSubject(e *entropy.Event) (stream, subject string) {
	switch kind, _ := entropy.SplitEntity(e.EntityID); kind {
	case entropy.KindDeadLetter:
		return StreamDeadLetters, SubjectDeadLetter
	case entropy.KindAction:
	default:
		return "", ""
	}
	switch e.Type {
	case "action.requested":
		return "", ""
	case entropy.ActionSucceededType, entropy.ActionFailedType, entropy.ActionCanceledType:
		return StreamResult, SubjectResult
	}
	return StreamProgress, SubjectProgress
}
