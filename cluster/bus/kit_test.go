package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/entropy-fabric/entropy"
)

// directory is a Users that tests change.
type directory struct {
	mu    sync.Mutex
	users map[string]Credential
}

func (d *directory) User(id string) (Credential, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.users[id]
	return c, ok
}

func (d *directory) set(c Credential) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.users == nil {
		d.users = make(map[string]Credential)
	}
	d.users[c.Name] = c
	if c.PublicKey != "" {
		d.users[c.PublicKey] = c
	}
}

func (d *directory) remove(c Credential) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.users, c.Name)
	delete(d.users, c.PublicKey)
}

func testLogger(t testing.TB) *slog.Logger {
	if os.Getenv("ENTROPY_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("test", t.Name())
}

// start starts a bus that is closed at the end of the test.
func start(t testing.TB, cfg Config) *Bus {
	t.Helper()
	if cfg.URL == "" {
		if cfg.Name == "" {
			cfg.Name = "test"
		}
		if cfg.Dir == "" {
			cfg.Dir = t.TempDir()
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = testLogger(t)
	}
	if cfg.watchEvery == 0 {
		cfg.watchEvery = 50 * time.Millisecond
	}
	b, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

const loopback = "127.0.0.1:0"

// dial connects a client of a user by password, as its credential says.
func dial(t testing.TB, b *Bus, name, password string, options ...nats.Option) (*nats.Conn, error) {
	t.Helper()
	options = append([]nats.Option{nats.UserInfo(name, password), nats.CustomInboxPrefix(Inbox(name)), nats.MaxReconnects(0)}, options...)
	nc, err := nats.Connect("nats://"+b.Addr().String(), options...)
	if err == nil {
		t.Cleanup(nc.Close)
	}
	return nc, err
}

func mustDial(t testing.TB, b *Bus, name, password string, options ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := dial(t, b, name, password, options...)
	if err != nil {
		t.Fatalf("connect as %s: %v", name, err)
	}
	return nc
}

func newKey(t testing.TB) (nkeys.KeyPair, string) {
	t.Helper()
	k, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return k, public
}

// eventually polls until what is true, which another goroutine makes so.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("gave up waiting until %s", what)
		}
	}
}

func receive[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(30 * time.Second):
		t.Fatalf("gave up waiting for %s", what)
		panic("unreachable")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code entropy.Code) {
	t.Helper()
	if got := entropy.ErrorCode(err); got != code {
		t.Fatalf("got %q (%v), want code %q", got, err, code)
	}
}

// stored reads a stream from its beginning.
func stored(t testing.TB, b *Bus, stream string) (all []*jetstream.RawStreamMsg) {
	t.Helper()
	s, err := b.js.Stream(t.Context(), stream)
	must(t, err)
	state := s.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		must(t, err)
		all = append(all, m)
	}
	return all
}

// facts makes events with the sequence numbers from to upto, of jobs and actions.
func facts(from, upto uint64) (events []entropy.Event) {
	types := []string{"action.requested", "action.accepted", "action.succeeded"}
	for seq := from; seq <= upto; seq++ {
		e := entropy.Event{
			ID: fmt.Sprintf("ev-%d", seq), Seq: seq, Version: 1, TS: time.UnixMilli(int64(1_700_000_000_000 + seq)).UTC(), Schema: 1,
			Type: "job.submitted", EntityID: fmt.Sprintf("job:j%d", seq), Source: entropy.Source{System: "entropy"}, Attrs: json.RawMessage(`{"n":1}`),
		}
		if seq%2 == 0 {
			e.Type, e.EntityID = types[seq/2%3], fmt.Sprintf("action:a%d", seq)
		}
		events = append(events, e)
	}
	return events
}

// wantInOrder checks that the stream of all events holds each of facts(1, upto)
// once, in order.
func wantInOrder(t testing.TB, b *Bus, upto uint64) {
	t.Helper()
	all := stored(t, b, StreamEvents)
	if len(all) != int(upto) {
		t.Fatalf("%d events are in the stream, want %d", len(all), upto)
	}
	for i, m := range all {
		if want := fmt.Sprintf("ev-%d", i+1); m.Header.Get(nats.MsgIdHdr) != want {
			t.Fatalf("event %d is %s, want %s", i+1, m.Header.Get(nats.MsgIdHdr), want)
		}
	}
}

// relay publishes facts(1, upto) as the outbox does: from what the sink says that it
// has, again when it fails.
func relay(ctx context.Context, s *Sink, upto, step uint64) error {
	for ctx.Err() == nil {
		last, err := s.Last(ctx)
		if err != nil {
			continue
		}
		for seq := last.Seq + 1; err == nil && seq <= upto; seq += step {
			err = s.Deliver(ctx, facts(seq, min(upto, seq+step-1)))
		}
		if err == nil {
			return nil
		}
	}
	return ctx.Err()
}
