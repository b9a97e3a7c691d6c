package sqlite_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
	"github.com/entropy-fabric/entropy/persistence/ledger/ledgertest"
	"github.com/entropy-fabric/entropy/persistence/ledger/sqlite"
)

// record keeps observations in calls of different sizes.
func record(t *testing.T, l *sqlite.Ledger, obs []entropy.Observation) {
	t.Helper()
	for chunk := range slices.Chunk(obs, 997) {
		if _, _, err := l.Record(ctx, at, chunk, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// proves E-2, E-6, A-8: the embedded ledger answers as it is worked out plainly.
func TestConformance(t *testing.T) {
	ledgertest.Conformance(t, 20_000, func(t *testing.T, obs []entropy.Observation) ledger.Analytics {
		l := open(t, filepath.Join(t.TempDir(), "ledger.db"))
		record(t, l, obs)
		return l
	})
}

// old makes a ledger of format 1, as release 0.1 did, that holds observations.
func old(t *testing.T, path string, obs []entropy.Observation) {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	schema, err := os.ReadFile("schema/0001_ledger.sql")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(string(schema) + "; PRAGMA application_id=1164866636; PRAGMA user_version=1"); err != nil {
		t.Fatal(err)
	}
	for _, o := range obs {
		if _, err := tx.Exec("INSERT INTO event (id, ts, entity, type, received_at, origin, body) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
			o.Event.ID, o.Event.TS.UnixMicro(), o.Event.EntityID, o.Event.Type, at.UnixMicro(), o.Origin, string(o.Body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// proves P-4, E-6: a ledger of the first format is counted when it is opened, and
// answers as one that was of today's from the beginning; it goes on where it was.
func TestMigration(t *testing.T) {
	ledgertest.Conformance(t, 25_000, func(t *testing.T, obs []entropy.Observation) ledger.Analytics {
		path := filepath.Join(t.TempDir(), "ledger.db")
		old(t, path, obs[:22_345])
		l := open(t, path)
		record(t, l, obs[22_345:])
		return l
	})
}

// proves E-6, H-4: what is relayed again is not counted again, and what is new behind it
// follows what was there.
func TestRelayedAgain(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "ledger.db"))
	var all []entropy.Event
	for i, typ := range []string{"job.submitted", "job.assigned", "job.started"} {
		all = append(all, entropy.Event{ID: typ, Seq: uint64(i + 1), Version: uint64(i + 1), TS: at, Type: typ, EntityID: "job:1", Source: entropy.Source{System: "entropy"}, Schema: 1})
	}
	for n := range all {
		if err := l.Relay(ctx, at, all[:n+1], entropy.Position{Epoch: 1, Seq: uint64(n + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := l.Transitions(ctx, ledger.StepFilter{})
	want := []ledger.Transition{{Entity: "job:*", From: "job.assigned", To: "job.started", N: 1}, {Entity: "job:*", From: "job.submitted", To: "job.assigned", N: 1}}
	if d := ledgertest.Differ(got, want); err != nil || d != "" {
		t.Error(d, err)
	}
}
