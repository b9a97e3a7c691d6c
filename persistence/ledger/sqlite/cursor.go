package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/entropy-fabric/entropy"
)

// A follower's cursor is in the table of the relays' under a name that no relay has.
const follower = "follower:"

// Cursor returns the row that a follower has come to; 0: it has seen none.
func (l *Ledger) Cursor(ctx context.Context, name string) (row uint64, err error) {
	err = l.r.QueryRowContext(ctx, "SELECT seq FROM cursor WHERE source = ?", follower+name).Scan(&row)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return row, classify(err)
}

// SetCursor keeps the row that a follower has come to, durably.
func (l *Ledger) SetCursor(ctx context.Context, name string, row uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return entropy.Errorf(entropy.CodeUnavailable, "the ledger is closed")
	}
	_, err := l.w.ExecContext(ctx, "INSERT INTO cursor (source, epoch, seq) VALUES (?, 0, ?) ON CONFLICT (source) DO UPDATE SET seq = excluded.seq", follower+name, int64(row))
	return classify(err)
}

// Forget removes the cursor of a follower that is not run any more: it would keep old
// events from going.
func (l *Ledger) Forget(ctx context.Context, name string) error {
	return l.quietly(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM cursor WHERE source = ?", follower+name)
		return err
	})
}

// Last returns the newest row; 0: there is none.
func (l *Ledger) Last(ctx context.Context) (row uint64, err error) {
	err = l.r.QueryRowContext(ctx, "SELECT coalesce(max(row), 0) FROM event").Scan(&row)
	return row, classify(err)
}

// Changed returns a channel that is closed when something is committed after the
// call.
func (l *Ledger) Changed() <-chan struct{} {
	l.bell.Lock()
	defer l.bell.Unlock()
	return l.changed
}

func (l *Ledger) ring() {
	l.bell.Lock()
	defer l.bell.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}
