package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
	"github.com/entropy-fabric/entropy/persistence/ledger/sqlite"
)

func open(t *testing.T, path string) *sqlite.Ledger {
	t.Helper()
	l, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// put keeps n events of each type, named TYPE-FROM and so on.
func put(t *testing.T, l *sqlite.Ledger, from, n int, types ...string) {
	t.Helper()
	var obs []entropy.Observation
	for i := from; i < from+n; i++ {
		for _, typ := range types {
			e := entropy.Event{ID: fmt.Sprintf("%s-%d", typ, i), Type: typ, EntityID: "k:1", TS: time.Unix(int64(i), 0)}
			body, err := json.Marshal(&e)
			if err != nil {
				t.Fatal(err)
			}
			obs = append(obs, entropy.Observation{Event: e, Body: body})
		}
	}
	if _, _, err := l.Record(t.Context(), time.Unix(0, 0), obs, nil); err != nil {
		t.Fatal(err)
	}
}

func ids(rows []entropy.LedgerEntry) (all []string) {
	for _, r := range rows {
		var e entropy.Event
		if json.Unmarshal(r.Event, &e) == nil {
			all = append(all, e.ID)
		}
	}
	return all
}

// proves E-6: a follower sees each row of its types in order, those of now and those
// to come, and goes on behind them after a restart, whatever else came meanwhile.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	l := open(t, path)
	put(t, l, 0, 25, "a.x", "b", "a.y")
	put(t, l, 0, 5000, "noise")
	var got []string
	run := func(enough int) {
		ctx, stop := context.WithCancel(t.Context())
		f := ledger.Follower{Source: l, Name: "f", Types: []string{"a.", "b"}, Batch: 7, Handle: func(_ context.Context, rows []entropy.LedgerEntry) error {
			got = append(got, ids(rows)...)
			return nil
		}, Reached: func(uint64) {
			if len(got) >= enough {
				stop()
			} else {
				put(t, l, 100+len(got), 1, "a.x", "noise")
			}
		}}
		if err := f.Run(ctx); err != nil {
			t.Fatal(err)
		}
	}
	run(80)
	if len(got) != 80 || got[0] != "a.x-0" || got[2] != "a.y-0" || got[74] != "a.y-24" || got[75] != "a.x-175" {
		t.Fatalf("%d: %v", len(got), got)
	}
	at, err := l.Cursor(t.Context(), "f")
	if last, _ := l.Last(t.Context()); err != nil || at != last {
		t.Errorf("the cursor is at %d of %d, %v", at, last, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, path)
	put(t, l, 200, 1, "b")
	run(81)
	if len(got) != 81 || got[80] != "b-200" {
		t.Errorf("after the restart: %v", got[80:])
	}
	slices.Sort(got)
	if n := len(slices.Compact(got)); n != 81 {
		t.Errorf("%d different ones", n)
	}
}

// proves E-6: what could not be handled comes again, and nothing is skipped.
func TestFollowWhatFails(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "ledger.db"))
	put(t, l, 0, 10, "a")
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var got []string
		tries := 0
		begin := time.Now()
		f := ledger.Follower{Source: bubble{l}, Name: "f", Batch: 4, Handle: func(_ context.Context, rows []entropy.LedgerEntry) error {
			if tries++; tries%3 != 0 {
				return errors.New("not now")
			}
			got = append(got, ids(rows)...)
			return nil
		}, Reached: func(uint64) { stop() }}
		if err := f.Run(ctx); err != nil || len(got) != 10 || got[9] != "a-9" || tries != 9 {
			t.Errorf("%v, %d tries, %v", got, tries, err)
		}
		if took := time.Since(begin); took != 3*(100+200)*time.Millisecond {
			t.Errorf("the pauses took %v", took)
		}
	})
}

// bubble is a ledger whose bell is not rung from outside of a test's bubble.
type bubble struct{ *sqlite.Ledger }

func (bubble) Changed() <-chan struct{} { return nil }
