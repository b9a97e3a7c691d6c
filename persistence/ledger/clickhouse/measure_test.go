package clickhouse_test

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
	"github.com/entropy-fabric/entropy/persistence/ledger/clickhouse/chdbtest"
	"github.com/entropy-fabric/entropy/persistence/ledger/ledgertest"
	"github.com/entropy-fabric/entropy/persistence/ledger/sqlite"
)

var measured = flag.Int("events", 20_000, "events by which TestMeasure measures both ledgers")

// proves E-6: both ledgers give the same numbers of the same events, after they came in
// and after everything was counted anew. With -events it is the measurement of
// docs/BENCHMARKS.md: the engine in a process of its own, one query at a time.
func TestMeasure(t *testing.T) {
	n := *measured
	s := chdbtest.Start(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	l := embedded(t, path)
	cfg := config(s)
	cfg.Batch = 0
	c := connect(t, cfg)
	cpu := cpuTime(t, s)
	fill(t, n, 1000, func([]entropy.Observation) error { return nil })
	making := cpuTime(t, s) - cpu // the events, which is in the processor's time of each fill
	cpu += making
	say := func(what string, took, apart time.Duration) {
		used := cpuTime(t, s) - cpu
		t.Logf("%-58s %8.2f s %8.0f events/s, %5.1f us of a processor each", what, took.Seconds(), float64(n)/took.Seconds(), (used-apart).Seconds()*1e6/float64(n))
		cpu += used
	}
	t.Logf("%d events", n)
	say("SQLite, ingest: events and what is counted, fsync per 1,000", fill(t, n, 1000, func(obs []entropy.Observation) error {
		_, _, err := l.Record(context.Background(), at, obs, nil)
		return err
	}), making)
	say("SQLite, baseline: the same rows into one bare table", bareSQLite(t, n, filepath.Join(dir, "bare.db")), making)
	begin := time.Now()
	mirror(t, c, l)
	say("ClickHouse, copied from SQLite: events and views", time.Since(begin), 0)
	say("ClickHouse, baseline: the same batches into one bare table", bareClickHouse(t, n, s), making)

	begin = time.Now()
	answers(t, l)
	asked := time.Since(begin)
	begin = time.Now()
	answers(t, c)
	t.Logf("all steps, transitions and actions, asked once: SQLite %.3f s, ClickHouse %.3f s", asked.Seconds(), time.Since(begin).Seconds())
	same(t, c, l)

	forget(t, l, path)
	cpu = cpuTime(t, s)
	begin = time.Now()
	again := embedded(t, path)
	say("SQLite, everything counted anew", time.Since(begin), 0)
	say("ClickHouse, everything counted anew", recount(t, s), 0)
	same(t, c, again)
}

// fill hands n events over in calls of a size, and returns how long these took, without
// the making of the events.
func fill(t *testing.T, n, size int, f func(obs []entropy.Observation) error) (took time.Duration) {
	g := ledgertest.NewGenerator(9)
	for left := n; left > 0; left -= size {
		obs := g.Next(min(size, left))
		begin := time.Now()
		if err := f(obs); err != nil {
			t.Fatal(err)
		}
		took += time.Since(begin)
	}
	return took
}

// cpuTime returns the processor's time that this process and the engine have used. It
// hardly depends on what else the machine does.
func cpuTime(t *testing.T, s *chdbtest.Server) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	engine, err := s.CPUTime()
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano()+u.Stime.Nano()) + engine
}

func bareSQLite(t *testing.T, n int, path string) time.Duration {
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_synchronous=FULL")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE e (row INTEGER PRIMARY KEY, id TEXT, ts INTEGER, entity TEXT, type TEXT, body TEXT)"); err != nil {
		t.Fatal(err)
	}
	return fill(t, n, 1000, func(obs []entropy.Observation) error {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		st, err := tx.Prepare("INSERT INTO e (id, ts, entity, type, body) VALUES (?, ?, ?, ?, ?)") //nolint:sqlclosecheck // it ends with its transaction
		if err != nil {
			return err
		}
		for i := range obs {
			e := &obs[i].Event
			if _, err := st.Exec(e.ID, e.TS.UnixMicro(), e.EntityID, e.Type, string(obs[i].Body)); err != nil {
				return err
			}
		}
		return tx.Commit()
	})
}

func bareClickHouse(t *testing.T, n int, s *chdbtest.Server) time.Duration {
	conn, err := ch.Open(&ch.Options{Addr: []string{s.Addr}, Protocol: ch.HTTP, Auth: ch.Auth{Username: "default"}, Compression: &ch.Compression{Method: ch.CompressionLZ4}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Exec(t.Context(), "CREATE TABLE default.bare (id String, ts DateTime64(6, 'UTC'), entity String, type LowCardinality(String), body String CODEC(ZSTD(3))) ENGINE = MergeTree ORDER BY ts"); err != nil {
		t.Fatal(err)
	}
	return fill(t, n, 20_000, func(obs []entropy.Observation) error {
		b, err := conn.PrepareBatch(t.Context(), "INSERT INTO default.bare (id, ts, entity, type, body)")
		if err != nil {
			return err
		}
		for i := range obs {
			e := &obs[i].Event
			if err := b.Append(e.ID, e.TS, e.EntityID, e.Type, string(obs[i].Body)); err != nil {
				return err
			}
		}
		return b.Send()
	})
}

// answers asks everything once.
func answers(t *testing.T, l ledger.Analytics) {
	t.Helper()
	f := ledger.StepFilter{Limit: ledger.MaxSteps}
	_, err := l.Steps(t.Context(), f)
	if err == nil {
		_, err = l.Transitions(t.Context(), f)
	}
	if err == nil {
		_, err = l.ActionStats(t.Context(), entropy.ActionStatsFilter{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// forget makes a ledger one of format 1: it is counted when it is opened.
func forget(t *testing.T, l *sqlite.Ledger, path string) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`DROP TABLE latency; DROP TABLE transition; DROP TABLE case_step; DROP TABLE action; DROP TABLE action_error; DROP TABLE deviation; DROP TABLE mirror;
		ALTER TABLE event DROP COLUMN prev; PRAGMA user_version=1`); err != nil {
		t.Fatal(err)
	}
}

// ask asks the engine without the client.
func ask(t *testing.T, s *chdbtest.Server, query string) string {
	t.Helper()
	r, err := http.Post(s.URL()+"/?user=default", "", strings.NewReader(query))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v %.500s", query, err, b)
	}
	return string(b)
}

// recount empties what the views have counted and has them count all events.
func recount(t *testing.T, s *chdbtest.Server) time.Duration {
	t.Helper()
	begin := time.Now()
	for _, table := range []string{"latency", "transition", "deviation", "action"} {
		_, definition, ok := strings.Cut(ask(t, s, "SELECT as_select FROM system.tables WHERE database = 'entropy' AND name = '"+table+"_mv'"), "SELECT")
		if !ok {
			t.Fatal(fmt.Errorf("there is no view %s", table))
		}
		ask(t, s, "TRUNCATE TABLE entropy."+table)
		ask(t, s, "INSERT INTO entropy."+table+" SELECT"+definition)
	}
	return time.Since(begin)
}
