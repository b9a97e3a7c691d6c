// Package sqlite is the embedded ledger: one file beside the journal, no server.
package sqlite

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/mattn/go-sqlite3" // registers the driver, too

	"github.com/entropy-fabric/entropy"
)

//go:embed schema/0001_ledger.sql
var schema1 string

//go:embed schema/0002_counts.sql
var schema2 string

// migrations bring a file from the format of their index to the next.
var migrations = []func(ctx context.Context, tx *sql.Tx) error{
	func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, schema1)
		return err
	},
	func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, schema2); err != nil {
			return err
		}
		return recount(ctx, tx)
	},
}

// applicationID marks the file: "EntL" in ASCII. Its user_version is its format, the
// number of migrations that have made it.
const applicationID = 0x456e744c

// Ledger is an open ledger. It is safe for concurrent use.
type Ledger struct {
	path   string
	w      *sql.DB // one connection: SQLite has one writer
	r      *sql.DB
	mu     sync.Mutex // held by the transaction that writes
	closed bool

	bell    sync.Mutex // of changed
	changed chan struct{}
}

// Open opens the ledger at path, or makes one. CodeInvalid when the file is
// something else or of a newer release; CodeDiskFull.
func Open(ctx context.Context, path string) (_ *Ledger, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // what is in it is the owner's
	if err != nil {
		return nil, classify(fmt.Errorf("open the ledger %s: %w", path, err))
	}
	_ = f.Close() // nothing was written
	l := &Ledger{path: path, changed: make(chan struct{})}
	defer func() {
		if err != nil {
			err = classify(fmt.Errorf("open the ledger %s: %w", path, errors.Join(err, l.Close())))
		}
	}()
	// The driver sets synchronous=NORMAL unless told; an answer has to be on disk.
	if l.w, err = sql.Open("sqlite3", dsn(path, url.Values{"mode": {"rw"}, "_journal_mode": {"WAL"}, "_synchronous": {"FULL"}, "_txlock": {"immediate"}})); err != nil {
		return nil, err
	}
	l.w.SetMaxOpenConns(1)
	if err = l.migrate(ctx); err != nil {
		return nil, err
	}
	if l.r, err = sql.Open("sqlite3", dsn(path, url.Values{"mode": {"ro"}, "_query_only": {"1"}})); err != nil {
		return nil, err
	}
	l.r.SetMaxOpenConns(4)
	return l, nil
}

func dsn(path string, q url.Values) string {
	q.Set("_busy_timeout", "5000")
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}
	return u.String()
}

// migrate asserts the settings that matter and brings the schema up to date.
func (l *Ledger) migrate(ctx context.Context) error {
	var sync, app, have int
	for name, to := range map[string]*int{"synchronous": &sync, "application_id": &app, "user_version": &have} {
		if err := l.w.QueryRowContext(ctx, "PRAGMA "+name).Scan(to); err != nil {
			return err
		}
	}
	switch {
	case sync != 2:
		return fmt.Errorf("synchronous is %d and not FULL", sync)
	case app != 0 && app != applicationID:
		return entropy.Errorf(entropy.CodeInvalid, "the file is no ledger").WithHint("move it away; a new one is made")
	case have > len(migrations):
		return entropy.Errorf(entropy.CodeInvalid, "its format is %d, this release knows %d", have, len(migrations)).WithHint("use the newer release")
	case have == len(migrations):
		return nil
	}
	tx, err := l.w.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	for _, m := range migrations[have:] {
		if err := m(ctx, tx); err != nil {
			return err
		}
	}
	for _, stmt := range []string{fmt.Sprintf("PRAGMA application_id=%d", applicationID), fmt.Sprintf("PRAGMA user_version=%d", len(migrations))} {
		if _, err := tx.ExecContext(ctx, stmt); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Close releases the file. It is idempotent.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var errs []error
	for _, db := range []*sql.DB{l.r, l.w} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// classify gives errors of the disk their code.
func classify(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*entropy.Error](err); ok {
		return err
	}
	if e, ok := errors.AsType[sqlite3.Error](err); ok {
		switch e.Code {
		case sqlite3.ErrFull:
			return entropy.Errorf(entropy.CodeDiskFull, "there is no room in the ledger").WithHint("free some room on its disk; it goes on by itself")
		case sqlite3.ErrNotADB, sqlite3.ErrCorrupt:
			return entropy.Errorf(entropy.CodeConflict, "%v", err).WithHint("move the file away: a new ledger is made, and the journal's events come back into it")
		}
	}
	return err
}
