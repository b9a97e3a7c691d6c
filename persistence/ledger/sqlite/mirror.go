package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/entropy-fabric/entropy/persistence/ledger"
)

var _ ledger.Mirrored = (*Ledger)(nil)

// Mirror implements [ledger.Mirrored].
func (l *Ledger) Mirror(ctx context.Context, name string) (s ledger.MirrorState, err error) {
	s.Base = -1
	err = l.r.QueryRowContext(ctx, "SELECT id, base, sent, pending FROM mirror WHERE name = ?", name).Scan(&s.ID, &s.Base, &s.Sent, &s.Pending)
	if errors.Is(err, sql.ErrNoRows) {
		return s, nil
	}
	return s, classify(err)
}

// SetMirror implements [ledger.Mirrored]. It rings no bell: no event is new.
func (l *Ledger) SetMirror(ctx context.Context, name string, s ledger.MirrorState) error {
	return l.quietly(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO mirror (name, id, base, sent, pending) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET id = excluded.id, base = excluded.base, sent = excluded.sent, pending = excluded.pending`,
			name, s.ID, s.Base, int64(s.Sent), int64(s.Pending))
		return err
	})
}

// Rows implements [ledger.Mirrored].
func (l *Ledger) Rows(ctx context.Context, after, through uint64, limit, bytes int) ([]ledger.Row, error) {
	rows, err := l.r.QueryContext(ctx, "SELECT row, received_at, origin, body, prev FROM event WHERE row > ? AND row <= ? ORDER BY row LIMIT ?", int64(after), int64(through), limit)
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what matters
	var all []ledger.Row
	for bytes > 0 && rows.Next() {
		var r ledger.Row
		var at int64
		var body string
		if err := rows.Scan(&r.Row, &at, &r.Origin, &body, &r.Prev); err != nil {
			return nil, err
		}
		r.ReceivedAt, r.Event = time.UnixMicro(at).UTC(), json.RawMessage(body)
		all, bytes = append(all, r), bytes-len(body)
	}
	return all, classify(rows.Err())
}
