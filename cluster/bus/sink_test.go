package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// proves H-4, H-5: every event is on its own subject once, in order, with its
// position; those of actions on their subjects too; a repeat adds nothing.
func TestSinkPublishesFacts(t *testing.T) {
	t.Parallel()
	b := start(t, Config{})
	s := NewSink(b, 1)
	last, err := s.Last(t.Context())
	must(t, err)
	if last != (entropy.Position{}) {
		t.Fatalf("an empty bus is at %v", last)
	}
	must(t, relay(t.Context(), s, 600, 256))
	must(t, s.Deliver(t.Context(), facts(1, 50)))
	must(t, NewSink(b, 1).Deliver(t.Context(), facts(500, 600)))
	wantInOrder(t, b, 600)
	count := map[string]int{}
	for _, stream := range factStreams {
		prev := uint64(0)
		for _, m := range stored(t, b, stream) {
			count[m.Subject]++
			var e entropy.Event
			must(t, json.Unmarshal(m.Data, &e))
			if got := m.Header.Get(headerPosition); got != (entropy.Position{Epoch: 1, Seq: e.Seq}).String() || e.Seq <= prev {
				t.Fatalf("%s: position %s after %d, seq %d", stream, got, prev, e.Seq)
			}
			prev = e.Seq
			parsed, err := ParseEvent(m.Header, m.Data)
			must(t, err)
			if parsed.ID != e.ID || m.Header.Get("ce-id") != e.ID || m.Header.Get("ce-type") != "io.entropy."+e.Type {
				t.Fatalf("%+v, headers %v", parsed, m.Header)
			}
		}
	}
	want := map[string]int{"events.normalized.entropy.job": 300, "events.normalized.entropy.action": 300, "actions.progress": 100, "actions.result": 100}
	for subject, n := range want {
		if count[subject] != n {
			t.Errorf("%s has %d messages, want %d", subject, count[subject], n)
		}
	}
	if len(count) != len(want) {
		t.Errorf("messages are on %v", count)
	}
	if last, err = NewSink(b, 1).Last(t.Context()); err != nil || last != (entropy.Position{Epoch: 1, Seq: 600}) {
		t.Errorf("the bus is at %v, %v", last, err)
	}
}

// proves H-4: a second publisher, which does not know of the first, is refused and
// puts nothing in the wrong place.
func TestSinkFencesASecondPublisher(t *testing.T) {
	t.Parallel()
	b := start(t, Config{})
	one, two := NewSink(b, 1), NewSink(b, 1)
	must(t, one.Deliver(t.Context(), facts(1, 10)))
	if _, err := two.Last(t.Context()); err != nil {
		t.Fatal(err)
	}
	must(t, one.Deliver(t.Context(), facts(11, 20)))
	if err := two.Deliver(t.Context(), facts(15, 30)); err == nil {
		t.Fatal("a publisher that had missed something was not refused")
	}
	must(t, relay(t.Context(), two, 30, 10))
	wantInOrder(t, b, 30)
}

// proves H-4: the directory of the server is wiped in mid-run, with the server
// running: every event is published again, in order, once.
func TestWipedStoreIsRebuilt(t *testing.T) {
	t.Parallel()
	rebuild := make(chan struct{}, 16)
	dir := t.TempDir() + "/nats"
	b := start(t, Config{Dir: dir, Rebuild: func() { rebuild <- struct{}{} }})
	receive(t, "the first streams", rebuild)
	must(t, b.EnsureCommand(t.Context(), "restart"))
	s := NewSink(b, 1)
	must(t, relay(t.Context(), s, 400, 100))
	must(t, os.RemoveAll(dir))
	receive(t, "streams made anew", rebuild)
	must(t, relay(t.Context(), s, 700, 100))
	wantInOrder(t, b, 700)
	if n := len(stored(t, b, StreamResult)); n != 117 {
		t.Errorf("%d results are there, want 117", n)
	}
	if _, err := b.js.Consumer(t.Context(), StreamOrders, CommandConsumer("restart")); err != nil {
		t.Errorf("the consumer of a command: %v", err)
	}
}

// proves H-4: one stream of several is deleted, and the process that rebuilds it dies
// half-way: what is missing comes back, what is there is not doubled.
func TestOneStreamIsRebuilt(t *testing.T) {
	t.Parallel()
	b := start(t, Config{})
	must(t, relay(t.Context(), NewSink(b, 1), 600, 100))
	must(t, b.js.DeleteStream(t.Context(), StreamResult))
	must(t, b.ensure(t.Context()))
	s := NewSink(b, 1)
	if last, err := s.Last(t.Context()); err != nil || last.Seq != 0 {
		t.Fatalf("a stream is missing, and the bus is at %v, %v", last, err)
	}
	must(t, s.Deliver(t.Context(), facts(1, 100))) // and no further
	again := NewSink(b, 1)
	if last, err := again.Last(t.Context()); err != nil || last.Seq != 0 {
		t.Fatalf("half a stream is missing, and the bus is at %v, %v", last, err)
	}
	must(t, relay(t.Context(), again, 600, 100))
	wantInOrder(t, b, 600)
	if n := len(stored(t, b, StreamResult)); n != 100 {
		t.Errorf("%d results are there, want 100", n)
	}
	if last, err := NewSink(b, 1).Last(t.Context()); err != nil || last.Seq != 600 {
		t.Errorf("the bus is at %v, %v", last, err)
	}
}

// proves H-4: a position is (epoch, seq): facts of another epoch are not taken for
// those of this one.
func TestAnotherEpoch(t *testing.T) {
	t.Parallel()
	b := start(t, Config{})
	must(t, relay(t.Context(), NewSink(b, 1), 100, 100))
	s := NewSink(b, 2)
	last, err := s.Last(t.Context())
	must(t, err)
	if last != (entropy.Position{Epoch: 1, Seq: 100}) {
		t.Fatalf("the bus is at %v", last)
	}
	must(t, s.Reset(t.Context()))
	if _, err := s.Last(t.Context()); entropy.ErrorCode(err) != entropy.CodeUnknown {
		t.Fatalf("an emptied bus: %v", err)
	}
	// The server remembers the IDs for a while: until then it takes them for repeats.
	eventually(t, "the new history is taken", func() bool { return s.Deliver(t.Context(), facts(1, 40)) == nil })
	wantInOrder(t, b, 40)
}

// proves H-4: with the server gone a delivery fails, and goes on from what is there
// when it is back.
func TestSinkOverARestart(t *testing.T) {
	t.Parallel()
	b := start(t, Config{})
	s := NewSink(b, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- relay(ctx, s, 3000, 100) }()
	for range 3 {
		must(t, b.embedded.restart())
		eventually(t, "the bus is back", func() bool { return b.nc.IsConnected() })
	}
	must(t, receive(t, "the relay", done))
	wantInOrder(t, b, 3000)
}

// proves A-1: an event larger than a message may be is published without its attrs,
// and holds up nothing.
func TestLargeEvent(t *testing.T) {
	t.Parallel()
	b := start(t, Config{})
	events := facts(1, 3)
	events[1].Attrs = json.RawMessage(`{"result":"` + strings.Repeat("x", 2<<20) + `"}`)
	must(t, NewSink(b, 1).Deliver(t.Context(), events))
	wantInOrder(t, b, 3)
	var e entropy.Event
	must(t, json.Unmarshal(stored(t, b, StreamEvents)[1].Data, &e))
	if !strings.Contains(string(e.Attrs), "larger than a message") {
		t.Errorf("attrs are %.100s", e.Attrs)
	}
}

// proves H-5: the subject of an event cannot be chosen by whoever names an entity.
func TestEventSubject(t *testing.T) {
	for entity, want := range map[string]string{
		"job:x": "events.normalized.entropy.job", "a.b:x": "events.normalized.entropy.other", ">:x": "events.normalized.entropy.other",
		"*": "events.normalized.entropy.other", "": "events.normalized.entropy.other", "job x:y": "events.normalized.entropy.other", "job:a.b.>": "events.normalized.entropy.job",
	} {
		if got := eventSubject(&entropy.Event{EntityID: entity}); got != want {
			t.Errorf("%q goes on %s, want %s", entity, got, want)
		}
	}
}

// proves A-4: what is journaled of dead letters goes on actions.dlq as well.
func TestDeadLettersAsJournaled(t *testing.T) {
	t.Parallel()
	b := start(t, Config{})
	events := facts(1, 3)
	events[0].Type, events[0].EntityID = "deadletter.added", "deadletter:x"
	s := NewSink(b, 1)
	must(t, s.Deliver(t.Context(), events))
	must(t, s.Deliver(t.Context(), events))
	if all := stored(t, b, StreamDeadLetters); len(all) != 1 || all[0].Header.Get("ce-type") != "io.entropy.deadletter.added" {
		t.Errorf("%d dead letters are there", len(all))
	}
}

// BenchmarkRelay measures facts per second into the embedded server, beside the rate
// of the same bytes with nothing of ours around them.
func BenchmarkRelay(b *testing.B) {
	const n = 256
	for _, jobs := range []bool{true, false} { // of actions, the ends go into a synced stream too
		b.Run(map[bool]string{true: "jobs", false: "half actions"}[jobs], func(b *testing.B) {
			s := NewSink(start(b, Config{}), 1)
			seq := uint64(1)
			for b.Loop() {
				events := facts(seq, seq+n-1)
				for i := range events {
					if jobs {
						events[i].EntityID, events[i].Type = "job:x", "job.submitted"
					}
				}
				if err := s.Deliver(b.Context(), events); err != nil {
					b.Fatal(err)
				}
				seq += n
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "events/s")
		})
	}
	b.Run("raw", func(b *testing.B) {
		bus := start(b, Config{})
		data, err := json.Marshal(&facts(1, 1)[0])
		must(b, err)
		for b.Loop() {
			futures := make([]interface{ Err() <-chan error }, 0, n)
			for range n {
				f, err := bus.js.PublishAsync("events.normalized.entropy.job", data)
				must(b, err)
				futures = append(futures, f)
			}
			<-bus.js.PublishAsyncComplete()
			for _, f := range futures {
				select {
				case err := <-f.Err():
					b.Fatal(err)
				default:
				}
			}
		}
		b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "events/s")
	})
}

// BenchmarkSynced measures publications that are on the disk when they are
// acknowledged, beside the rate of raw JetStream on the same server.
func BenchmarkSynced(b *testing.B) {
	data := make([]byte, 500)
	b.Run("publish", func(b *testing.B) {
		bus := start(b, Config{})
		for i := 0; b.Loop(); i++ {
			must(b, bus.Publish(b.Context(), SubjectRequested, fmt.Sprint(i), data))
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
	b.Run("raw", func(b *testing.B) {
		bus := start(b, Config{})
		for b.Loop() {
			_, err := bus.js.Publish(b.Context(), SubjectRequested, data)
			must(b, err)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
	b.Run("batch", func(b *testing.B) {
		const n = 100
		bus := start(b, Config{})
		for i := 0; b.Loop(); i++ {
			batch := make([]Message, n)
			for k := range batch {
				batch[k] = Message{Subject: SubjectRequested, ID: fmt.Sprint(i, k), Data: data}
			}
			must(b, bus.PublishBatch(b.Context(), batch))
		}
		b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "msg/s")
	})
}
