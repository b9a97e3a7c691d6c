package sqlite_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger/sqlite"
)

var (
	ctx = context.Background()
	at  = time.Date(2026, 11, 30, 6, 0, 0, 0, time.UTC)
)

func open(t *testing.T, path string) *sqlite.Ledger {
	t.Helper()
	l, err := sqlite.Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func observation(id, entity, typ string, ts time.Time) entropy.Observation {
	e := entropy.Event{ID: id, EntityID: entity, Type: typ, TS: ts}
	body, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return entropy.Observation{Event: e, Body: body, Origin: "test"}
}

func rows(t *testing.T, l *sqlite.Ledger, f entropy.LedgerFilter) (ids []string) {
	t.Helper()
	page, err := l.Events(ctx, f)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Entries {
		var ev entropy.Event
		if err := json.Unmarshal(e.Event, &ev); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, ev.ID)
	}
	return ids
}

// proves E-1: what is recorded is there once, in order, over a restart, and can
// be selected by entity, type and time.
func TestRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	l := open(t, path)
	obs := []entropy.Observation{observation("a", "k:1", "x", at), observation("b", "k:2", "y", at.Add(time.Hour)), observation("a", "k:1", "x", at)}
	known, ids, err := l.Record(ctx, at, obs, []entropy.DeadItem{{Origin: "o", Reason: "r", Raw: "\xff{"}})
	if err != nil || !slices.Equal(known, []bool{false, false, true}) || len(ids) != 1 {
		t.Fatal(known, ids, err)
	}
	known, _, err = l.Record(ctx, at, obs[1:2], nil)
	if err != nil || !known[0] {
		t.Fatal("one that was there is new", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, path)
	for _, c := range []struct {
		f    entropy.LedgerFilter
		want []string
	}{
		{entropy.LedgerFilter{}, []string{"a", "b"}}, {entropy.LedgerFilter{After: 1}, []string{"b"}}, {entropy.LedgerFilter{Limit: 1}, []string{"a"}},
		{entropy.LedgerFilter{Entity: "k:2"}, []string{"b"}}, {entropy.LedgerFilter{Types: []string{"x"}}, []string{"a"}},
		{entropy.LedgerFilter{From: at.Add(time.Minute)}, []string{"b"}}, {entropy.LedgerFilter{To: at.Add(time.Minute)}, []string{"a"}},
	} {
		if got := rows(t, l, c.f); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, want %v", c.f, got, c.want)
		}
	}
	if d, err := l.DeadItem(ctx, ids[0]); err != nil || d.Raw != "\xff{" || d.Reason != "r" {
		t.Errorf("%+v %v", d, err)
	}
	_, again, err := l.Record(ctx, at, nil, []entropy.DeadItem{{Origin: "p", Reason: "s", Raw: "\xff{"}})
	if err != nil || !slices.Equal(again, ids) {
		t.Fatal("what came again is another dead letter", again, err)
	}
	if d, err := l.DeadItem(ctx, ids[0]); err != nil || d.Times != 2 || d.Reason != "s" {
		t.Errorf("%+v %v", d, err)
	}
}

// proves E-1: a dead letter becomes an event and is gone in one transaction.
func TestRevive(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "ledger.db"))
	_, ids, err := l.Record(ctx, at, nil, []entropy.DeadItem{{Raw: "1"}, {Raw: "2"}})
	if err != nil {
		t.Fatal(err)
	}
	bad := entropy.Observation{Event: entropy.Event{ID: "bad"}, Body: json.RawMessage("{")} // the schema refuses it
	if _, err := l.Revive(ctx, at, ids[0], &bad); err == nil {
		t.Fatal("an event that is not JSON was taken")
	}
	o := observation("a", "k:1", "x", at)
	if known, err := l.Revive(ctx, at, ids[0], &o); known || err != nil {
		t.Fatal(known, err)
	}
	if _, err := l.Revive(ctx, at, ids[0], &o); entropy.ErrorCode(err) != entropy.CodeNotFound {
		t.Errorf("twice: %v", err)
	}
	if known, err := l.Revive(ctx, at, ids[1], &o); !known || err != nil {
		t.Errorf("one that is there: %v %v", known, err)
	}
	if left, err := l.DeadItems(ctx, 0, 0); err != nil || len(left) != 0 {
		t.Errorf("%v %v", left, err)
	}
	if got := rows(t, l, entropy.LedgerFilter{}); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%v", got)
	}
}

// proves H-4: the journal's events and how far they reach are one transaction, so
// that what is relayed again is there once.
func TestRelay(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "ledger.db"))
	if p, err := l.Relayed(ctx); err != nil || p != (entropy.Position{}) {
		t.Fatal(p, err)
	}
	e := func(id string, seq uint64) entropy.Event {
		return entropy.Event{ID: id, Seq: seq, TS: at, EntityID: "job:1", Type: "job.submitted", Schema: 1}
	}
	if err := l.Relay(ctx, at, []entropy.Event{e("a", 1), e("b", 2)}, entropy.Position{Epoch: 1, Seq: 2}); err != nil {
		t.Fatal(err)
	}
	if err := l.Relay(ctx, at, []entropy.Event{e("b", 2), e("c", 3)}, entropy.Position{Epoch: 1, Seq: 3}); err != nil {
		t.Fatal(err)
	}
	if p, err := l.Relayed(ctx); err != nil || p != (entropy.Position{Epoch: 1, Seq: 3}) {
		t.Fatal(p, err)
	}
	if got := rows(t, l, entropy.LedgerFilter{}); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("%v", got)
	}
}

// proves E-1: writers at once lose nothing and see each event as new once.
func TestConcurrent(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "ledger.db"))
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh := 0
	for g := range 8 {
		wg.Go(func() {
			for i := range 25 {
				known, _, err := l.Record(ctx, at, []entropy.Observation{observation(fmt.Sprintf("own-%d-%d", g, i), "k:1", "x", at), observation(fmt.Sprintf("all-%d", i), "k:2", "x", at)}, nil)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, k := range known {
					if !k {
						fresh++
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if got := len(rows(t, l, entropy.LedgerFilter{Limit: 1000})); got != 225 || fresh != 225 {
		t.Errorf("%d rows, %d new; want 225", got, fresh)
	}
}

// proves P-4, I: a file that is something else, or of a newer release, is refused
// and left as it is.
func TestWrongFile(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, pragma := range map[string]string{"other": "application_id=7", "newer": "user_version=99"} {
		db, err := sql.Open("sqlite3", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("PRAGMA " + pragma); err != nil {
			t.Fatal(err)
		}
		db.Close()
	}
	for name, want := range map[string]string{"text": "move the file away", "other": "is no ledger", "newer": "newer release"} {
		if _, err := sqlite.Open(ctx, filepath.Join(dir, name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if b, err := os.ReadFile(text); err != nil || !strings.HasPrefix(string(b), "no database") {
		t.Error("the file was touched")
	}
	l := open(t, filepath.Join(dir, "closed"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Record(ctx, at, nil, nil); entropy.ErrorCode(err) != entropy.CodeUnavailable {
		t.Errorf("closed: %v", err)
	}
}
