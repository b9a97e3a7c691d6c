package outbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entropy-fabric/entropy"
)

// source is a journal of events that say nothing.
type source struct {
	epoch uint64
	seq   atomic.Uint64
	reads atomic.Int64
	dated func(seq uint64) time.Time // nil: they are not
}

func (s *source) Epoch() uint64 { return s.epoch }
func (s *source) Seq() uint64   { return s.seq.Load() }

func (s *source) Events(_ context.Context, f entropy.EventFilter) (p entropy.EventPage, err error) {
	s.reads.Add(1)
	newest := s.seq.Load()
	if f.After != (entropy.Position{}) && f.After.Epoch != s.epoch || f.After.Seq > newest {
		return p, entropy.Errorf(entropy.CodeConflict, "position %s", f.After)
	}
	for seq := f.After.Seq + 1; seq <= newest && len(p.Events) < f.Limit; seq++ {
		e := entropy.Event{ID: fmt.Sprint(seq), Seq: seq}
		if s.dated != nil {
			e.TS = s.dated(seq)
		}
		p.Events = append(p.Events, e)
	}
	return p, nil
}

// sink keeps what it gets, and does what a test tells it.
type sink struct {
	mu       sync.Mutex
	got      []uint64
	epoch    uint64 // of what it has
	down     error
	unknown  bool
	partly   bool // the next delivery fails after its first half
	takes    time.Duration
	attempts int
	resets   int
	changed  chan struct{} // a token after each delivery
}

func newSink(epoch uint64) *sink { return &sink{epoch: epoch, changed: make(chan struct{}, 1)} }

func (s *sink) Deliver(_ context.Context, events []entropy.Event) error {
	if s.takes > 0 {
		pass(s.takes)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts++
	if s.down != nil {
		return s.down
	}
	if s.partly {
		s.partly = false
		for _, e := range events[:len(events)/2] {
			s.got = append(s.got, e.Seq)
		}
		return errors.New("the connection broke")
	}
	for _, e := range events {
		s.got = append(s.got, e.Seq)
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return nil
}

func (s *sink) Last(context.Context) (entropy.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts++
	switch {
	case s.down != nil:
		return entropy.Position{}, s.down
	case s.unknown:
		return entropy.Position{}, entropy.Errorf(entropy.CodeUnknown, "who knows")
	case len(s.got) == 0:
		return entropy.Position{}, nil
	}
	return entropy.Position{Epoch: s.epoch, Seq: s.got[len(s.got)-1]}, nil
}

func (s *sink) Reset(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got, s.epoch = nil, s.epoch+1
	s.resets++
	return nil
}

func (s *sink) set(f func(*sink)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

func (s *sink) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempts
}

// pass lets virtual time pass.
func pass(d time.Duration) { <-time.After(d) }

// wantAll checks that the sink has 1 to n, each once, in order.
func wantAll(t *testing.T, s *sink, n int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.got) != n || !slices.IsSorted(s.got) || n > 0 && (s.got[0] != 1 || s.got[n-1] != uint64(n)) {
		t.Fatalf("the sink has %d events, want 1 to %d in order: %v", len(s.got), n, s.got[:min(len(s.got), 20)])
	}
}

// run runs a relay in a bubble of virtual time, until the function that it returns
// is called.
func run(t *testing.T, cfg Config) (r *Relay, stop func()) {
	t.Helper()
	cfg.Name = "test"
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	return r, func() { cancel(); <-done }
}

func at(t *testing.T, n uint64) (*source, *sink, string) {
	src := &source{epoch: 1}
	src.seq.Store(n)
	return src, newSink(1), filepath.Join(t.TempDir(), "cursors", "test")
}

// proves H-4: everything is delivered once and in order, what comes later too, and a
// relay that is started again goes on.
func TestDelivers(t *testing.T) {
	src, dst, cursor := at(t, 1000)
	synctest.Test(t, func(t *testing.T) {
		r, stop := run(t, Config{Source: src, Sink: dst, Cursor: cursor, Batch: 64})
		synctest.Wait()
		wantAll(t, dst, 1000)
		src.seq.Store(1500)
		r.Wake()
		synctest.Wait()
		wantAll(t, dst, 1500)
		if s := r.Stats(); s.Lag != 0 || s.LagFor != 0 || s.Delivered != 1500 || s.Problem != "" || s.Position != (entropy.Position{Epoch: 1, Seq: 1500}) {
			t.Errorf("stats are %+v", s)
		}
		stop()
		src.seq.Store(1600)
		_, stop = run(t, Config{Source: src, Sink: dst, Cursor: cursor})
		synctest.Wait()
		wantAll(t, dst, 1600)
		stop()
	})
	if pos, err := readCursor(cursor); err != nil || pos.Seq != 1600 {
		t.Errorf("the cursor is at %v, %v", pos, err)
	}
}

// proves H-4: while events come faster than they are delivered the relay leaves the
// machine to those who write them, until it is too far behind; what is old, as after
// an outage, is delivered as fast as it can be.
func TestGivesWay(t *testing.T) {
	for name, c := range map[string]struct {
		age, want time.Duration
	}{
		"fresh": {0, 40 * 9 * time.Millisecond}, // a quarter of the time: the tenth page is not a full one
		"old":   {time.Minute, 0},
	} {
		src, dst, cursor := at(t, 9*64+1)
		dst.takes = 10 * time.Millisecond
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			dst.changed = make(chan struct{}, 1) // of this bubble
			src.dated = func(uint64) time.Time { return start.Add(-c.age) }
			_, stop := run(t, Config{Source: src, Sink: dst, Cursor: cursor, Batch: 64, GiveWay: 10 * time.Second})
			for dst.count() < 9*64+1 {
				<-dst.changed
			}
			took := time.Since(start)
			if want := 10 * dst.takes; c.want == 0 && took != want || c.want > 0 && took != c.want+dst.takes {
				t.Errorf("%s: it took %s", name, took)
			}
			wantAll(t, dst, 9*64+1)
			stop()
		})
	}
}

// proves A-1 (rate): under a steady flow a relay that gathers delivers many events at
// once, and after a rest the first at once; none is late by more than it may be.
func TestGathers(t *testing.T) {
	const gather = 20 * time.Millisecond
	src, s, cursor := at(t, 0)
	synctest.Test(t, func(t *testing.T) {
		s.changed = make(chan struct{}, 1)
		r, stop := run(t, Config{Source: src, Sink: s, Cursor: cursor, Gather: gather})
		defer stop()
		synctest.Wait()
		before := s.asked()
		for range 200 {
			src.seq.Add(1)
			r.Wake()
			pass(time.Millisecond)
			if lag := r.Stats().LagFor; lag > 2*gather {
				t.Fatalf("an event is %v late", lag)
			}
		}
		pass(gather)
		wantAll(t, s, 200)
		if n := s.asked() - before; n < 9 || n > 12 {
			t.Errorf("%d deliveries in 200 ms", n)
		}
		pass(time.Minute / 2)
		src.seq.Add(1)
		r.Wake()
		synctest.Wait()
		wantAll(t, s, 201)
	})
}

// proves H-4: a sink that is away for a week costs delay: few attempts, no memory,
// no reading of the journal, and a lag that says so.
func TestSinkAwayForDays(t *testing.T) {
	src, dst, cursor := at(t, 100)
	synctest.Test(t, func(t *testing.T) {
		dst.set(func(s *sink) { s.down = errors.New("no route to host") })
		r, stop := run(t, Config{Source: src, Sink: dst, Cursor: cursor})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		const days = 7
		for hour := range 24 * days {
			src.seq.Store(uint64(100 + hour*1000))
			r.Wake()
			pass(time.Hour)
		}
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
		if dst.asked() > 24*days*3600/15+20 || src.reads.Load() > 0 {
			t.Errorf("%d attempts, %d reads of the journal", dst.asked(), src.reads.Load())
		}
		s := r.Stats()
		if s.Lag != 100+(24*days-1)*1000 || s.LagFor < (24*days-1)*time.Hour || s.Problem != "no route to host" {
			t.Errorf("stats are %+v", s)
		}
		dst.set(func(s *sink) { s.down = nil })
		pass(time.Minute)
		synctest.Wait()
		wantAll(t, dst, 100+(24*days-1)*1000)
		if s := r.Stats(); s.Lag != 0 || s.LagFor != 0 || s.Problem != "" {
			t.Errorf("stats are %+v", s)
		}
		stop()
	})
}

// proves H-4: an idle relay does nothing but ask once a minute.
func TestIdle(t *testing.T) {
	src, dst, cursor := at(t, 10)
	synctest.Test(t, func(t *testing.T) {
		_, stop := run(t, Config{Source: src, Sink: dst, Cursor: cursor})
		synctest.Wait()
		reads, attempts := src.reads.Load(), dst.asked()
		pass(time.Hour + time.Second)
		synctest.Wait()
		if n := src.reads.Load() - reads; n > 61 {
			t.Errorf("%d reads of the journal in an hour", n)
		}
		if n := dst.asked() - attempts; n > 61 {
			t.Errorf("%d questions to the sink in an hour", n)
		}
		stop()
	})
}

// proves H-4: a delivery that broke off half-way goes on from what the sink has.
func TestBrokenDelivery(t *testing.T) {
	src, dst, cursor := at(t, 500)
	synctest.Test(t, func(t *testing.T) {
		dst.partly = true
		_, stop := run(t, Config{Source: src, Sink: dst, Cursor: cursor, Batch: 100})
		pass(time.Minute)
		synctest.Wait()
		wantAll(t, dst, 500)
		stop()
	})
}

// proves H-4: a sink that lost everything is filled again: at the start, when it is
// told, and by itself within a minute.
func TestWipedSink(t *testing.T) {
	src, dst, cursor := at(t, 300)
	synctest.Test(t, func(t *testing.T) {
		r, stop := run(t, Config{Source: src, Sink: dst, Cursor: cursor})
		synctest.Wait()
		dst.set(func(s *sink) { s.got = nil })
		r.Audit()
		synctest.Wait()
		wantAll(t, dst, 300)
		dst.set(func(s *sink) { s.got = s.got[:200] })
		pass(time.Minute + time.Second)
		synctest.Wait()
		wantAll(t, dst, 300)
		stop()
		dst.set(func(s *sink) { s.got = s.got[:10] })
		_, stop = run(t, Config{Source: src, Sink: dst, Cursor: cursor})
		synctest.Wait()
		wantAll(t, dst, 300)
		stop()
	})
}

// proves H-4: a sink that cannot say where it stands gets what follows the cursor; if
// the cursor is damaged, of another epoch or ahead of the journal, everything.
func TestCursor(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want int
	}{
		"none": {"", 100}, "good": {"1:60 " + checksum("1:60") + "\n", 40}, "damaged": {"1:60 00000000\n", 100}, "rubbish": {"\x00\xff", 100},
		"another epoch": {"7:60 " + checksum("7:60"), 100}, "ahead": {"1:600 " + checksum("1:600"), 100},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst, cursor := at(t, 100)
			if c.text != "" {
				if err := os.MkdirAll(filepath.Dir(cursor), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(cursor, []byte(c.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Test(t, func(t *testing.T) {
				dst.unknown = true
				_, stop := run(t, Config{Source: src, Sink: dst, Cursor: cursor})
				synctest.Wait()
				stop()
			})
			if dst.count() != c.want {
				t.Errorf("%d events were delivered, want %d", dst.count(), c.want)
			}
			if pos, err := readCursor(cursor); err != nil || pos != (entropy.Position{Epoch: 1, Seq: 100}) {
				t.Errorf("the cursor is at %v, %v", pos, err)
			}
		})
	}
}

// proves H-4, H-8: a position is (epoch, seq). A sink of an older epoch begins anew;
// one that is ahead of the journal, or of a newer epoch, gets nothing and keeps all.
func TestEpochs(t *testing.T) {
	src, dst, cursor := at(t, 50)
	synctest.Test(t, func(t *testing.T) {
		src.epoch = 2
		dst.got = []uint64{1, 2, 3}
		_, stop := run(t, Config{Source: src, Sink: dst, Cursor: cursor})
		synctest.Wait()
		stop()
		wantAll(t, dst, 50)
		if dst.resets != 1 {
			t.Errorf("%d resets", dst.resets)
		}
	})
	for name, change := range map[string]func(*source, *sink){
		"ahead": func(src *source, _ *sink) { src.seq.Store(49) }, "newer": func(src *source, _ *sink) { src.epoch = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src.epoch = 2
				src.seq.Store(50)
				change(src, dst)
				r, stop := run(t, Config{Source: src, Sink: dst, Cursor: cursor})
				pass(time.Hour)
				if s := r.Stats(); s.Problem == "" || dst.count() != 50 || dst.resets != 1 {
					t.Errorf("stats are %+v, the sink has %d events", s, dst.count())
				}
				stop()
			})
		})
	}
}

// proves the limits of Config.
func TestConfig(t *testing.T) {
	src, dst, cursor := at(t, 1)
	for _, c := range []Config{{}, {Name: "x", Source: src, Sink: dst, Cursor: cursor, Batch: -1}, {Name: "x", Source: src, Sink: dst, Cursor: cursor, MaxBackoff: 1}} {
		if _, err := New(c); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// proves H-4: a cursor that cannot be written holds up nothing.
func TestUnwritableCursor(t *testing.T) {
	src, dst, _ := at(t, 100)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		_, stop := run(t, Config{Source: src, Sink: dst, Cursor: filepath.Join(file, "cursor")})
		synctest.Wait()
		stop()
		wantAll(t, dst, 100)
	})
}
