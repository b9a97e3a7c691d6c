package clickhouse_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
	"github.com/entropy-fabric/entropy/persistence/ledger/clickhouse"
	"github.com/entropy-fabric/entropy/persistence/ledger/clickhouse/chdbtest"
	"github.com/entropy-fabric/entropy/persistence/ledger/ledgertest"
	"github.com/entropy-fabric/entropy/persistence/ledger/sqlite"
)

// same compares all answers of two ledgers.
func same(t *testing.T, got, want ledger.Analytics) {
	t.Helper()
	differ := func(what, d string, errs ...error) {
		if err := errors.Join(errs...); err != nil || d != "" {
			t.Errorf("%s: %s %v", what, d, err)
		}
	}
	all := ledger.StepFilter{Limit: ledger.MaxSteps}
	gs, err1 := got.Steps(t.Context(), all)
	ws, err2 := want.Steps(t.Context(), all)
	differ("steps", ledgertest.Differ(gs, ws), err1, err2)
	gt, err1 := got.Transitions(t.Context(), all)
	wt, err2 := want.Transitions(t.Context(), all)
	differ("transitions", ledgertest.Differ(gt, wt), err1, err2)
	ga, err1 := got.ActionStats(t.Context(), entropy.ActionStatsFilter{})
	wa, err2 := want.ActionStats(t.Context(), entropy.ActionStatsFilter{})
	differ("actions", ledgertest.Differ(ga, wa), err1, err2)
	if len(gs) == 0 || len(gt) == 0 || len(ga) == 0 {
		t.Error("there is nothing to compare")
	}
}

// flaky is a ClickHouse whose answers, or what is sent to it, get lost.
type flaky struct {
	*httptest.Server
	inserts atomic.Int64
	lose    func(insert int64) (before, after bool) // the request; the answer
}

func newFlaky(t *testing.T, s *chdbtest.Server, lose func(insert int64) (before, after bool)) *flaky {
	f := &flaky{lose: lose}
	target, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(target)
	forward.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { panic(http.ErrAbortHandler) }
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Query().Get("query"), ".event") {
			forward.ServeHTTP(w, r)
			return
		}
		before, after := f.lose(f.inserts.Add(1))
		if before {
			panic(http.ErrAbortHandler)
		}
		if !after {
			forward.ServeHTTP(w, r)
			return
		}
		forward.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(f.Close)
	return f
}

// proves E-6: whatever gets lost between the two, requests, answers, or the note that
// a batch was sent, each row is there once, and counted once.
func TestOnce(t *testing.T) {
	s := chdbtest.Start(t)
	l := embedded(t, filepath.Join(t.TempDir(), "ledger.db"))
	g := ledgertest.NewGenerator(2)
	record(t, l, g.Next(3000))
	f := newFlaky(t, s, func(n int64) (before, after bool) { return n%5 == 1, n%5 == 2 || n%5 == 4 })
	cfg := config(s)
	cfg.URL, cfg.Batch = f.URL, 700
	c := connect(t, cfg)
	source := &forgetful{Ledger: l}
	for range 8 { // the process, again and again
		record(t, l, g.Next(1537)) // which would make other batches
		m, err := clickhouse.NewMirror(t.Context(), c, source)
		if err != nil {
			t.Fatal(err)
		}
		ctx, crash := context.WithCancel(t.Context())
		source.crash = crash
		source.left = 3 // the fourth crashes it: two batches are more
		if err := m.Run(ctx); err != nil {
			t.Fatal(err)
		}
	}
	source.left = 1 << 30
	mirrorThrough(t, c, source, 100)
	same(t, c, l)
	if n := f.inserts.Load(); n < 15 {
		t.Errorf("only %d inserts: nothing was repeated", n)
	}
}

// forgetful crashes when its state was kept a number of times, before it is kept again.
type forgetful struct {
	*sqlite.Ledger
	left  int
	crash func()
}

func (f *forgetful) SetMirror(ctx context.Context, name string, s ledger.MirrorState) error {
	if f.left--; f.left < 0 {
		f.crash()
		return errors.New("crashed")
	}
	return f.Ledger.SetMirror(ctx, name, s)
}

// proves E-6: a server that is killed in the middle of inserts has everything once
// when it is back.
func TestKilledServer(t *testing.T) {
	s := chdbtest.Start(t)
	l := embedded(t, filepath.Join(t.TempDir(), "ledger.db"))
	record(t, l, ledgertest.NewGenerator(3).Next(12_000))
	cfg := config(s)
	cfg.Batch = 1000
	c := connect(t, cfg)
	for kill := range 3 {
		m, err := clickhouse.NewMirror(t.Context(), c, l)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		until(t, func() bool {
			st, err := m.Stats(ctx, time.Now())
			return err == nil && st.Behind <= uint64(12_000-3000*(kill+1))
		})
		s.Kill()
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	mirror(t, c, l)
	same(t, c, l)
}

// until waits for a condition, for a minute.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	tick, end := time.NewTicker(time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("it did not come to that within a minute")
		}
	}
}

// proves E-6: ClickHouse away for an hour under load costs delay and disk. It is said,
// and when it is back it has everything once.
func TestAwayForAnHour(t *testing.T) {
	s := chdbtest.Start(t)
	l := embedded(t, filepath.Join(t.TempDir(), "ledger.db"))
	g := ledgertest.NewGenerator(4)
	record(t, l, g.Next(1000))
	cfg := config(s)
	c := connect(t, cfg)
	mirror(t, c, l)
	s.Kill()
	began := at.Add(time.Minute)
	m, err := clickhouse.NewMirror(t.Context(), c, l)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	now := began
	for range 60 { // a minute each
		if _, _, err := l.Record(t.Context(), now, g.Next(500), nil); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
	}
	var st clickhouse.Stats
	until(t, func() bool {
		st, err = m.Stats(t.Context(), now)
		return err != nil || st.Failures > 0
	})
	last, lerr := l.Last(t.Context())
	if err != nil || lerr != nil || st.For != time.Hour || st.Behind+1000 < last || st.Error == "" || st.Down.IsZero() {
		t.Errorf("%+v, %v", st, errors.Join(err, lerr))
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	m = mirror(t, c, l)
	if st, err = m.Stats(t.Context(), now); err != nil || st.Behind != 0 || st.For != 0 || st.Error != "" {
		t.Errorf("%+v, %v", st, err)
	}
	same(t, c, l)
}

// mirrorThrough is mirror over something that fails so many times.
func mirrorThrough(t *testing.T, c *clickhouse.Ledger, source ledger.Mirrored, failures uint64) {
	t.Helper()
	m, err := clickhouse.NewMirror(t.Context(), c, source)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	until(t, func() bool {
		s, err := m.Stats(ctx, time.Now())
		if err != nil || s.Failures > failures {
			t.Fatalf("%+v %v", s, err)
		}
		return s.Met && s.Behind == 0
	})
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// copyFile copies the file of a closed ledger.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// proves E-6: an embedded ledger that was lost, or restored from an older copy, and a
// ClickHouse that was emptied, come together again: nothing is twice, nothing that
// either has is missing.
func TestReplaced(t *testing.T) {
	s := chdbtest.Start(t)
	c := connect(t, config(s))
	dir := t.TempDir()
	path, older := filepath.Join(dir, "ledger.db"), filepath.Join(dir, "older.db")
	g := ledgertest.NewGenerator(5)
	first, second, third := g.Next(1500), g.Next(1500), g.Next(1500)
	l := embedded(t, path)
	record(t, l, first)
	mirror(t, c, l)
	l.Close()
	copyFile(t, path, older)
	l = embedded(t, path)
	record(t, l, second)
	mirror(t, c, l)
	l.Close()

	restored := embedded(t, older) // it knows nothing of the second part
	record(t, restored, second[500:])
	record(t, restored, third)
	mirror(t, c, restored)
	everything := embedded(t, filepath.Join(dir, "everything.db"))
	record(t, everything, first)
	record(t, everything, second)
	record(t, everything, third)
	sameEvents(t, c, everything)

	lost := embedded(t, filepath.Join(dir, "lost.db")) // the journal's come again
	record(t, lost, first)
	fourth := g.Next(700)
	record(t, lost, fourth)
	record(t, everything, fourth)
	mirror(t, c, lost)
	sameEvents(t, c, everything)

	s2 := chdbtest.Start(t)
	c2 := connect(t, config(s2))
	mirror(t, c2, lost)
	sameEvents(t, c2, lost)
	same(t, c2, lost)
}

// sameEvents compares the events of two ledgers, by their IDs, and how many there are
// of each step.
func sameEvents(t *testing.T, got, want ledger.Analytics) {
	t.Helper()
	ids := func(l ledger.Analytics) map[string]int {
		all, f := map[string]int{}, entropy.LedgerFilter{Limit: 1000}
		for {
			page, err := l.Events(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Entries) == 0 {
				return all
			}
			for _, e := range page.Entries {
				all[string(e.Event)]++
			}
			f.After = page.Next
		}
	}
	g, w := ids(got), ids(want)
	for id := range w {
		if g[id] != 1 {
			t.Fatalf("%d times: %s", g[id], id)
		}
	}
	if len(g) != len(w) {
		t.Fatalf("%d events, want %d", len(g), len(w))
	}
	gs, err := got.Steps(t.Context(), ledger.StepFilter{Limit: ledger.MaxSteps})
	ws, err2 := want.Steps(t.Context(), ledger.StepFilter{Limit: ledger.MaxSteps})
	if d := ledgertest.Differ(gs, ws); d != "" || err != nil || err2 != nil {
		t.Fatal(d, err, err2)
	}
}
