package clickhouse_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
	"github.com/entropy-fabric/entropy/persistence/ledger/clickhouse"
	"github.com/entropy-fabric/entropy/persistence/ledger/clickhouse/chdbtest"
	"github.com/entropy-fabric/entropy/persistence/ledger/ledgertest"
	"github.com/entropy-fabric/entropy/persistence/ledger/sqlite"
)

var at = time.Date(2026, 11, 30, 6, 0, 0, 0, time.UTC)

func embedded(t *testing.T, path string) *sqlite.Ledger {
	t.Helper()
	l, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func record(t *testing.T, l *sqlite.Ledger, obs []entropy.Observation) {
	t.Helper()
	for chunk := range slices.Chunk(obs, 1000) {
		if _, _, err := l.Record(context.Background(), at, chunk, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func config(s *chdbtest.Server) clickhouse.Config {
	return clickhouse.Config{URL: s.URL(), Keep: -1, KeepCounts: -1, Batch: 5000, Pause: time.Millisecond}
}

func connect(t *testing.T, cfg clickhouse.Config) *clickhouse.Ledger {
	t.Helper()
	l, err := clickhouse.New(cfg, "cluster", slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// mirror runs a mirror until it has copied everything, and returns it.
func mirror(t *testing.T, l *clickhouse.Ledger, source ledger.Mirrored) *clickhouse.Mirror {
	t.Helper()
	m, err := clickhouse.NewMirror(t.Context(), l, source)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute+time.Duration(*measured)*time.Millisecond/2)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if s, err := m.Stats(ctx, time.Now()); err != nil {
			t.Fatalf("%+v: %v", s, err)
		} else if s.Failures > 3 {
			t.Fatal(s.Error)
		} else if s.Met && s.Behind == 0 {
			break
		}
		<-tick.C
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return m
}

// proves E-2, E-6, A-8: what was copied to ClickHouse is answered by it as it is worked
// out plainly, and so as by the embedded ledger.
func TestConformance(t *testing.T) {
	s := chdbtest.Start(t)
	ledgertest.Conformance(t, 8_000, func(t *testing.T, obs []entropy.Observation) ledger.Analytics {
		l := embedded(t, filepath.Join(t.TempDir(), "ledger.db"))
		record(t, l, obs)
		c := connect(t, config(s))
		mirror(t, c, l)
		return c
	})
}
