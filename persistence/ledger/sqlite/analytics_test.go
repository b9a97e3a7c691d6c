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
