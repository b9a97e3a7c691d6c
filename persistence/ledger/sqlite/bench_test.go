package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/entropy-fabric/entropy/persistence/ledger/ledgertest"
	"github.com/entropy-fabric/entropy/persistence/ledger/sqlite"
)

// BenchmarkRecord is a call of 1,000 events.
func BenchmarkRecord(b *testing.B) {
	g := ledgertest.NewGenerator(1)
	l, err := sqlite.Open(ctx, filepath.Join(b.TempDir(), "ledger.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for b.Loop() {
		b.StopTimer()
		obs := g.Next(1000)
		b.StartTimer()
		if _, _, err := l.Record(ctx, at, obs, nil); err != nil {
			b.Fatal(err)
		}
	}
}
