package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// consumeAll consumes in the background and sends what came, until the test ends.
func consumeAll(t *testing.T, b *Bus, stream, durable string, h Handler, options ...ConsumeOption) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := b.Consume(ctx, stream, durable, "", h, options...); err != nil {
			t.Errorf("consume: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
}

// proves A-1: what was acknowledged to the publisher is consumed over a restart of
// the server in the middle; in order, but for what is delivered again.
func TestRestartWhileConsuming(t *testing.T) {
	t.Parallel()
	b := start(t, Config{})
	const n = 300
	var mu sync.Mutex
	got, last := map[int]bool{}, -1
	half := make(chan struct{})
	halfway := half
	consumeAll(t, b, StreamRequested, controlName, func(_ context.Context, m Message) Disposition {
		mu.Lock()
		defer mu.Unlock()
		i, err := strconv.Atoi(string(m.Data))
		if err != nil || m.Deliveries == 1 && i <= last {
			t.Errorf("message %q came after %d", m.Data, last)
		}
		if m.Deliveries == 1 {
			last = i
		}
		if got[i] = true; len(got) == n/2 && half != nil {
			close(half)
			half = nil
		}
		return Ack()
	})
	published := make(chan error, 1)
	go func() {
		for i := range n {
			for { // a producer repeats under the same ID until it is acknowledged
				if err := b.Publish(t.Context(), SubjectRequested, fmt.Sprintf("m%d", i), fmt.Append(nil, i)); err == nil {
					break
				} else if t.Context().Err() != nil {
					published <- err
					return
				}
			}
		}
		published <- nil
	}()
	receive(t, "half of the messages", halfway)
	must(t, b.embedded.restart())
	must(t, receive(t, "the publisher", published))
	eventually(t, "all messages were consumed", func() bool { mu.Lock(); defer mu.Unlock(); return len(got) == n })
}

// proves A-1: a repeat under the same ID is acknowledged and not stored, over a
// restart of the server too.
func TestDuplicatesAreDropped(t *testing.T) {
	t.Parallel()
	b := start(t, Config{})
	for range 3 {
		must(t, b.Publish(t.Context(), SubjectRequested, "same", []byte("x")))
	}
	must(t, b.embedded.restart())
	eventually(t, "the bus is back", func() bool { return b.Publish(t.Context(), SubjectRequested, "same", []byte("x")) == nil })
	if n := len(stored(t, b, StreamRequested)); n != 1 {
		t.Fatalf("%d messages are stored", n)
	}
	batch := []Message{{Subject: SubjectRequested, ID: "same", Data: []byte("x")}, {Subject: SubjectRequested, ID: "new", Data: []byte("y")}}
	must(t, b.PublishBatch(t.Context(), batch))
	must(t, b.PublishBatch(t.Context(), batch))
	if n := len(stored(t, b, StreamRequested)); n != 2 {
		t.Fatalf("%d messages are stored after a batch with a repeat in it", n)
	}
}

// proves A-4: what cannot be understood is a dead letter, with its bytes and why; so
// is what was tried too often, by an error or by a panic; what is not to blame never.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	b := start(t, Config{})
	var mu sync.Mutex
	calls := map[string]int{}
	consumeAll(t, b, StreamRequested, controlName, func(_ context.Context, m Message) Disposition {
		mu.Lock()
		defer mu.Unlock()
		s := string(m.Data)
		calls[s]++
		switch s {
		case "\xff\x00not json":
			return Dead("it is not JSON")
		case "fails":
			return Retry(time.Millisecond, "no such job")
		case "panics":
			panic("a fault in the handler")
		case "waits":
			if calls[s] < 3*MaxTries {
				return Later(time.Millisecond)
			}
		}
		return Ack()
	})
	for _, s := range []string{"fine", "\xff\x00not json", "fails", "panics", "waits", "fine too"} {
		must(t, b.Publish(t.Context(), SubjectRequested, "id-"+s[:4], []byte(s)))
	}
	eventually(t, "three dead letters", func() bool { return len(stored(t, b, StreamDeadLetters)) == 3 })
	eventually(t, "the one that waited", func() bool { mu.Lock(); defer mu.Unlock(); return calls["waits"] == 3*MaxTries })
	letters := map[string]DeadLetter{}
	for _, m := range stored(t, b, StreamDeadLetters) {
		var e entropy.Event
		var d DeadLetter
		must(t, json.Unmarshal(m.Data, &e))
		must(t, json.Unmarshal(e.Attrs, &d))
		letters[string(d.Data)] = d
	}
	for data, reason := range map[string]string{"\xff\x00not json": "it is not JSON", "fails": "given up after 5 tries: no such job", "panics": "given up after 5 tries: panic: a fault in the handler"} {
		if d, ok := letters[data]; !ok || d.Reason != reason || d.Subject != SubjectRequested || d.Stored.IsZero() || d.Seq == 0 {
			t.Errorf("%q: %+v", data, d)
		}
	}
	if calls["fails"] != MaxTries || calls["panics"] != MaxTries {
		t.Errorf("called %v", calls)
	}
}

// proves A-4: a dead letter that cannot be kept now keeps its message.
func TestDeadLetterIsKeptFirst(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var kept []string
	b := start(t, Config{DeadLetter: func(_ context.Context, d DeadLetter) error {
		mu.Lock()
		defer mu.Unlock()
		kept = append(kept, d.ID)
		if len(kept) < 3 {
			return entropy.Errorf(entropy.CodeDiskFull, "no room")
		}
		return nil
	}})
	must(t, b.Publish(t.Context(), SubjectRequested, "x", []byte("x")))
	consumeAll(t, b, StreamRequested, controlName, func(context.Context, Message) Disposition { return Dead("no") })
	eventually(t, "it is kept", func() bool { mu.Lock(); defer mu.Unlock(); return len(kept) == 3 })
	if kept[0] != kept[2] {
		t.Errorf("the IDs are %v", kept)
	}
}

// proves A-1: with several goroutines, what has one key stays in order.
func TestParallelKeepsTheOrderOfAKey(t *testing.T) {
	t.Parallel()
	b := start(t, Config{})
	const n, keys = 400, 7
	batch := make([]Message, 0, n)
	for i := range n {
		batch = append(batch, Message{Subject: SubjectRequested, Data: fmt.Appendf(nil, "%d:%d", i%keys, i)})
	}
	must(t, b.PublishBatch(t.Context(), batch))
	var mu sync.Mutex
	last, count := map[string]int{}, 0
	key := func(m *Message) string { return string(m.Data[:1]) }
	consumeAll(t, b, StreamRequested, controlName, func(_ context.Context, m Message) Disposition {
		mu.Lock()
		defer mu.Unlock()
		var k, i int
		if _, err := fmt.Sscanf(string(m.Data), "%d:%d", &k, &i); err != nil {
			t.Error(err)
		}
		if i < last[key(&m)] {
			t.Errorf("%d came after %d", i, last[key(&m)])
		}
		last[key(&m)] = i
		count++
		return Ack()
	}, Parallel(4, key))
	eventually(t, "all came", func() bool { mu.Lock(); defer mu.Unlock(); return count == n })
}

// proves A-1: a stream that refuses what is too much makes room of what was consumed,
// and refuses with the right word until then.
func TestFullStreamRefusesAndMakesRoom(t *testing.T) {
	t.Parallel()
	b := start(t, Config{MaxStore: minMaxStore})
	data := make([]byte, 100<<10)
	n := 0
	var err error
	for ; err == nil && n < 1000; n++ {
		err = b.Publish(t.Context(), SubjectRequested, fmt.Sprint(n), data)
	}
	wantCode(t, err, entropy.CodeDiskFull)
	var mu sync.Mutex
	seen := map[uint64]bool{}
	handler := func(_ context.Context, m Message) Disposition {
		mu.Lock()
		defer mu.Unlock()
		seen[m.Seq] = true
		return Ack()
	}
	consumeAll(t, b, StreamRequested, controlName, handler)
	eventually(t, "all were consumed", func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) == n-1 })
	c := &consumer{bus: b, stream: StreamRequested, durable: controlName}
	eventually(t, "there is room again", func() bool {
		must(t, c.tryTrim(t.Context()))
		return b.Publish(t.Context(), SubjectRequested, "more", data) == nil
	})
}

// proves A-1: a message larger than the server takes, and one to nowhere.
func TestPublishErrors(t *testing.T) {
	t.Parallel()
	b := start(t, Config{})
	wantCode(t, b.Publish(t.Context(), SubjectRequested, "big", make([]byte, MaxPayload+1)), entropy.CodeTooLarge)
	wantCode(t, b.Publish(t.Context(), "nowhere", "x", nil), entropy.CodeUnavailable)
	if _, err := Start(t.Context(), Config{Name: "x", Dir: t.TempDir(), Listen: "0.0.0.0:0"}); entropy.ErrorCode(err) != entropy.CodeInvalid {
		t.Errorf("without TLS off loopback: %v", err)
	}
	if _, err := Start(t.Context(), Config{URL: "nats://127.0.0.1:1"}); entropy.ErrorCode(err) != entropy.CodeUnavailable {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := Start(t.Context(), Config{Name: "y", Dir: t.TempDir(), Listen: start(t, Config{Listen: loopback}).Addr().String()}); entropy.ErrorCode(err) != entropy.CodeUnavailable {
		t.Errorf("a port that is taken: %v", err)
	}
}

// proves H-4: those who find their stream missing wait for it in peace, and do not wake
// each other; when it is there they go on.
func TestMissingStream(t *testing.T) {
	t.Parallel()
	b := start(t, Config{})
	before, began := b.nc.Stats().OutMsgs, time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	var consuming sync.WaitGroup
	for i := range 6 {
		consuming.Go(func() {
			if err := b.Consume(ctx, "NOT_THERE", fmt.Sprintf("c%d", i), "", func(context.Context, Message) Disposition { return Ack() }); err != nil {
				t.Error(err)
			}
		})
	}
	const messages = 1000 // each try is one, and each look at the streams two dozen
	eventually(t, "they have tried for a while", func() bool {
		return b.nc.Stats().OutMsgs-before >= messages || time.Since(began) > 2*time.Second
	})
	if n, took := b.nc.Stats().OutMsgs-before, time.Since(began); took < 2*time.Second {
		t.Errorf("%d messages in %v", n, took)
	}
	cancel()
	consuming.Wait()
}
