package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
	"github.com/entropy-fabric/entropy/persistence/ledger/ledgertest"
	"github.com/entropy-fabric/entropy/persistence/ledger/sqlite"
)

func count(t *testing.T, l *sqlite.Ledger) (n int) {
	t.Helper()
	for f := (entropy.LedgerFilter{Limit: 1000}); ; {
		page, err := l.Events(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) == 0 {
			return n
		}
		n, f.After = n+len(page.Entries), page.Next
	}
}

// proves E-6: old events go when everybody has them, what was counted of them stays,
// and what is new is numbered behind them.
func TestPruneEvents(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "ledger.db"))
	g := ledgertest.NewGenerator(6)
	record(t, l, g.Next(3000))
	last, err := l.Last(ctx)
	if err != nil {
		t.Fatal(err)
	}
	before, err := l.Steps(ctx, ledger.StepFilter{})
	if err != nil {
		t.Fatal(err)
	}
	prune := func(old time.Time, mirrors ...string) (int, string) {
		t.Helper()
		n, holder, err := l.Prune(ctx, sqlite.Retention{Events: old, Mirrors: mirrors})
		if err != nil {
			t.Fatal(err)
		}
		return n, holder
	}
	if err := l.SetMirror(ctx, "clickhouse", ledger.MirrorState{ID: "x", Sent: 1200, Pending: 1300}); err != nil {
		t.Fatal(err)
	}
	if err := l.SetCursor(ctx, "rules", 1700); err != nil {
		t.Fatal(err)
	}
	if n, holder := prune(at); n != 0 || holder != "" {
		t.Errorf("what is young: %d, held by %q", n, holder)
	}
	later := at.Add(time.Second)
	if n, holder := prune(later, "clickhouse"); n != 1200 || holder != "clickhouse" {
		t.Errorf("%d, held by %q", n, holder)
	}
	if n, holder := prune(later); n != 500 || holder != "rules" {
		t.Errorf("without the mirror %d, held by %q", n, holder)
	}
	if err := l.Forget(ctx, "rules"); err != nil { // they are run no more
		t.Fatal(err)
	}
	if n, holder := prune(later); n != int(last)-1-1700 || holder != "" || count(t, l) != 1 {
		t.Errorf("%d went, held by %q, %d are left", n, holder, count(t, l))
	}
	record(t, l, g.Next(1))
	if now, err := l.Last(ctx); err != nil || now != last+1 {
		t.Errorf("the next row is %d after %d, %v", now, last, err)
	}
	after, err := l.Steps(ctx, ledger.StepFilter{})
	if err != nil || len(after) != len(before) {
		t.Errorf("%d steps are known of %d, %v", len(after), len(before), err)
	}
}

// proves E-6: old counts go, and only these.
func TestPruneCounts(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "ledger.db"))
	record(t, l, ledgertest.NewGenerator(7).Next(20_000))
	cut := ledgertest.Start.Truncate(time.Hour).Add(2 * time.Hour)
	young := ledger.StepFilter{From: cut, Limit: ledger.MaxSteps}
	want, err := l.Steps(ctx, young)
	if err != nil || len(want) == 0 {
		t.Fatal(len(want), err)
	}
	moves, err := l.Transitions(ctx, young)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Prune(ctx, sqlite.Retention{Counts: cut}); err != nil {
		t.Fatal(err)
	}
	got, err := l.Steps(ctx, ledger.StepFilter{Limit: ledger.MaxSteps})
	if d := ledgertest.Differ(got, want); err != nil || d != "" {
		t.Error(d, err)
	}
	left, err := l.Transitions(ctx, ledger.StepFilter{Limit: ledger.MaxSteps})
	if d := ledgertest.Differ(left, moves); err != nil || d != "" {
		t.Error(d, err)
	}
	states, err := l.ActionStates(ctx, entropy.ActionStatsFilter{Limit: ledger.MaxSteps})
	if err != nil || len(states) == 0 {
		t.Fatal(len(states), err)
	}
	for _, a := range states {
		if a.FinishedAt != nil && a.FinishedAt.Before(cut) {
			t.Errorf("%+v is still there", a)
		}
	}
}
