package clickhouse

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/entropy-fabric/entropy"
)

//go:embed schema
var schemas embed.FS

// Ledger is a ledger in ClickHouse. The server need not be there: each call connects
// when there is no connection. It is safe for concurrent use.
type Ledger struct {
	cfg     Config
	cluster string
	log     *slog.Logger

	mu   sync.Mutex
	conn driver.Conn // nil: there is none; its schema is up to date
}

// New returns the ledger of a cluster in a ClickHouse. It connects to nothing yet.
// CodeInvalid.
func New(cfg Config, cluster string, log *slog.Logger) (*Ledger, error) {
	if _, err := cfg.parse(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Ledger{cfg: cfg.withDefaults(), cluster: cluster, log: log}, nil
}

// Close ends the connections. A later call makes new ones.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.drop()
}

func (l *Ledger) drop() (err error) {
	if l.conn != nil {
		err, l.conn = l.conn.Close(), nil
	}
	return err
}

// ready returns a connection to a server that has the schema of this release.
// CodeUnavailable when there is no server; CodeInvalid; CodeConflict when the database
// is of a newer release, or another cluster's.
func (l *Ledger) ready(ctx context.Context) (driver.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		return l.conn, nil
	}
	o, err := l.cfg.options()
	if err != nil {
		return nil, err
	}
	conn, err := ch.Open(o)
	if err != nil {
		return nil, classify(err)
	}
	if err := l.migrate(ctx, conn); err != nil {
		return nil, errors.Join(classify(err), conn.Close())
	}
	l.conn = conn
	return conn, nil
}

// sql puts the database into a statement.
func (l *Ledger) sql(stmt string) string {
	return strings.ReplaceAll(stmt, "{db}", "`"+l.cfg.Database+"`")
}

// migrate brings the schema up to date. ClickHouse has no transactions of DDL: each
// statement may be repeated, and a migration is noted when all of it was done.
func (l *Ledger) migrate(ctx context.Context, conn driver.Conn) error {
	v, err := conn.ServerVersion()
	if err != nil {
		return err
	}
	if v.Version.Major < 25 || v.Version.Major == 25 && v.Version.Minor < 8 {
		return entropy.Errorf(entropy.CodeConflict, "ClickHouse is of version %d.%d, and 25.8 is the oldest that is known to do", v.Version.Major, v.Version.Minor).WithHint("upgrade the server")
	}
	for _, stmt := range []string{
		"CREATE DATABASE IF NOT EXISTS {db}",
		"CREATE TABLE IF NOT EXISTS {db}.migration (version UInt32, at DateTime DEFAULT now()) ENGINE = MergeTree ORDER BY version",
	} {
		if err := conn.Exec(ctx, l.sql(stmt)); err != nil {
			return err
		}
	}
	var have uint32
	if err := conn.QueryRow(ctx, l.sql("SELECT max(version) FROM {db}.migration")).Scan(&have); err != nil {
		return err
	}
	names, err := fs.Glob(schemas, "schema/*.sql")
	if err != nil {
		return err
	}
	if int(have) > len(names) {
		return entropy.Errorf(entropy.CodeConflict, "the database %s in ClickHouse is of format %d, this release knows %d", l.cfg.Database, have, len(names)).WithHint("use the newer release, or another database")
	}
	for i := int(have); i < len(names); i++ {
		text, err := schemas.ReadFile(names[i])
		if err != nil {
			return err
		}
		for stmt := range strings.SplitSeq(string(text), ";\n") {
			if strings.TrimSpace(stmt) == "" {
				continue
			}
			if err := conn.Exec(ctx, l.sql(stmt)); err != nil {
				return fmt.Errorf("%s: %w", names[i], err)
			}
		}
		if err := conn.Exec(ctx, l.sql("INSERT INTO {db}.migration (version) VALUES (?)"), uint32(i+1)); err != nil {
			return err
		}
		l.log.Info("ClickHouse has a new schema", "database", l.cfg.Database, "format", i+1)
	}
	if err := l.ours(ctx, conn); err != nil {
		return err
	}
	return l.setTTL(ctx, conn)
}

// ours refuses the ledger of another cluster.
func (l *Ledger) ours(ctx context.Context, conn driver.Conn) error {
	var other string
	if err := conn.QueryRow(ctx, l.sql("SELECT max(cluster) FROM {db}.mirror WHERE cluster != ?"), l.cluster).Scan(&other); err != nil {
		return err
	}
	if other != "" {
		return entropy.Errorf(entropy.CodeConflict, "the database %s in ClickHouse holds the ledger of another cluster, %s", l.cfg.Database, other).
			WithHint("choose another one with --clickhouse-database")
	}
	return nil
}

// setTTL says how long what is kept. What is there is removed by ClickHouse's merges,
// without being rewritten now.
func (l *Ledger) setTTL(ctx context.Context, conn driver.Conn) error {
	const within = "toDateTime(least(greatest(%s, toDateTime64('1971-01-01', 0, 'UTC')), toDateTime64('2100-01-01', 0, 'UTC')))"
	for _, t := range []struct {
		table, column string
		keep          time.Duration
	}{{"event", "received_at", l.cfg.Keep}, {"latency", "hour", l.cfg.KeepCounts}, {"transition", "hour", l.cfg.KeepCounts}, {"action", "seen", l.cfg.KeepCounts}, {"deviation", "ts", l.cfg.KeepCounts}} {
		stmt := fmt.Sprintf("ALTER TABLE {db}.%s MODIFY TTL "+within+" + INTERVAL %d SECOND SETTINGS materialize_ttl_after_modify = 0", t.table, t.column, int64(t.keep.Seconds()))
		if t.keep < 0 {
			var now string
			if err := conn.QueryRow(ctx, "SELECT create_table_query FROM system.tables WHERE database = ? AND name = ?", l.cfg.Database, t.table).Scan(&now); err != nil {
				return err
			}
			if !strings.Contains(now, " TTL ") {
				continue
			}
			stmt = "ALTER TABLE {db}." + t.table + " REMOVE TTL"
		}
		if err := conn.Exec(ctx, l.sql(stmt)); err != nil {
			return err
		}
	}
	return nil
}

// The errors of ClickHouse that a person has to cure, by its own numbers.
const (
	codeUnknownUser    = 192
	codeWrongPassword  = 193
	codeAuthentication = 516
	codeAccessDenied   = 497
	codeReadonly       = 164
)

// classify gives errors their code: what is not ClickHouse's word is a server that is
// away.
func classify(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*entropy.Error](err); ok {
		return err
	}
	x, ok := errors.AsType[*ch.Exception](err)
	if !ok {
		if errors.Is(err, context.Canceled) {
			return err
		}
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the whole query
		}
		return entropy.Errorf(entropy.CodeUnavailable, "ClickHouse cannot be reached: %v", err).WithHint("is it running, and is its address right? entropy status says what waits for it")
	}
	switch x.Code {
	case codeUnknownUser, codeWrongPassword, codeAuthentication:
		return entropy.Errorf(entropy.CodeForbidden, "ClickHouse does not let the user in: %s", x.Message).WithHint("check the user in --clickhouse and the file of --clickhouse-password-file")
	case codeAccessDenied, codeReadonly:
		return entropy.Errorf(entropy.CodeForbidden, "ClickHouse refuses: %s", x.Message).WithHint("the user needs to create, alter, insert into and select from the database")
	}
	return entropy.Errorf(entropy.CodeUnavailable, "ClickHouse says, by its number %d: %s", x.Code, x.Message)
}
