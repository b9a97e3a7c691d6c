package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
)

// write runs f in a transaction, alone. What f did is durable when write returns
// without an error, and undone otherwise.
func (l *Ledger) write(ctx context.Context, f func(tx *sql.Tx) error) error {
	err := l.quietly(ctx, f)
	if err == nil {
		l.ring()
	}
	return err
}

// quietly is write of what is no event.
func (l *Ledger) quietly(ctx context.Context, f func(tx *sql.Tx) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return entropy.Errorf(entropy.CodeUnavailable, "the ledger is closed")
	}
	tx, err := l.w.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	if err := f(tx); err != nil {
		return classify(errors.Join(err, tx.Rollback()))
	}
	return classify(tx.Commit())
}

// Record keeps observations and dead letters in one transaction: known says which
// observations were there already, ids are those of the dead letters.
func (l *Ledger) Record(ctx context.Context, at time.Time, obs []entropy.Observation, dead []entropy.DeadItem) (known []bool, ids []int64, err error) {
	err = l.write(ctx, func(tx *sql.Tx) error {
		if known, err = insert(ctx, tx, at, obs); err != nil {
			return err
		}
		ids, err = bury(ctx, tx, at, dead)
		return err
	})
	return known, ids, err
}

// MaxDeadItems bounds the dead letters; a source that sends rubbish without end
// is refused then, and nothing of before is lost.
const MaxDeadItems = 100_000

// bury keeps dead letters, each that came before only once.
func bury(ctx context.Context, tx *sql.Tx, at time.Time, dead []entropy.DeadItem) (ids []int64, err error) {
	if len(dead) == 0 {
		return nil, nil
	}
	for i := range dead {
		d := &dead[i]
		digest := sha256.Sum256([]byte(d.Raw))
		var id int64
		err := tx.QueryRowContext(ctx, `INSERT INTO dead_letter (received_at, origin, reason, raw, digest, times) VALUES (?, ?, ?, ?, ?, 1)
			ON CONFLICT (digest) DO UPDATE SET received_at = excluded.received_at, origin = excluded.origin, reason = excluded.reason, times = times + 1
			RETURNING id`, at.UnixMicro(), d.Origin, d.Reason, []byte(d.Raw), digest[:]).Scan(&id)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	var n int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM dead_letter").Scan(&n); err != nil {
		return nil, err
	}
	if n > MaxDeadItems {
		return nil, entropy.Errorf(entropy.CodeOverloaded, "there are %d dead letters: no more of what is not understood is taken", MaxDeadItems).
			WithHint("write a rule for it and replay them, or drop them: entropy ledger dead")
	}
	return ids, nil
}

// insert puts observations that are new into rows, and counts them.
func insert(ctx context.Context, tx *sql.Tx, at time.Time, obs []entropy.Observation) (known []bool, err error) {
	if len(obs) == 0 {
		return nil, nil
	}
	st, err := tx.PrepareContext(ctx, "INSERT INTO event (id, ts, entity, type, received_at, origin, body, prev) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING")
	if err != nil {
		return nil, err
	}
	defer st.Close() //nolint:errcheck // it ends with the transaction
	known = make([]bool, len(obs))
	count := newCounter(tx)
	for i := range obs {
		e := &obs[i].Event
		mark := ledger.MarkOf(e)
		prev, err := count.before(ctx, &mark, e.TS)
		if err != nil {
			return nil, err
		}
		r, err := st.ExecContext(ctx, e.ID, e.TS.UnixMicro(), e.EntityID, e.Type, at.UnixMicro(), obs[i].Origin, string(obs[i].Body), prev)
		if err != nil {
			return nil, fmt.Errorf("event %s: %w", e.ID, err)
		}
		n, err := r.RowsAffected()
		if err != nil {
			return nil, err
		}
		if known[i] = n == 0; known[i] {
			count.repeated(&mark)
			continue
		}
		row, err := r.LastInsertId()
		if err != nil {
			return nil, err
		}
		if err := count.add(ctx, &mark, e.TS, row, prev); err != nil {
			return nil, err
		}
	}
	return known, count.flush(ctx)
}

// Relay keeps events of the journal, in order, and how far they reach, in one
// transaction. Those that are there already are left as they are.
func (l *Ledger) Relay(ctx context.Context, at time.Time, events []entropy.Event, to entropy.Position) error {
	obs := make([]entropy.Observation, len(events))
	for i := range events {
		body, err := json.Marshal(&events[i])
		if err != nil {
			return fmt.Errorf("encode event %s: %w", events[i].ID, err)
		}
		obs[i] = entropy.Observation{Event: events[i], Body: body, Origin: "journal"}
	}
	return l.write(ctx, func(tx *sql.Tx) error {
		if _, err := insert(ctx, tx, at, obs); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO cursor (source, epoch, seq) VALUES ('journal', ?, ?) ON CONFLICT (source) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq",
			int64(to.Epoch), int64(to.Seq))
		return err
	})
}

// Relayed returns how far the journal's events reach; zero: none is there.
func (l *Ledger) Relayed(ctx context.Context) (p entropy.Position, err error) {
	err = l.r.QueryRowContext(ctx, "SELECT epoch, seq FROM cursor WHERE source = 'journal'").Scan(&p.Epoch, &p.Seq)
	if errors.Is(err, sql.ErrNoRows) {
		return entropy.Position{}, nil
	}
	return p, classify(err)
}

// Events returns events by row.
func (l *Ledger) Events(ctx context.Context, f entropy.LedgerFilter) (entropy.LedgerPage, error) {
	page := entropy.LedgerPage{Entries: []entropy.LedgerEntry{}, Next: f.After}
	w := new(ledger.Where)
	w.And("row > ?", int64(f.After))
	w.Equal("entity", f.Entity)
	if cond, types := ofTypes(f.Types); cond != "" {
		w.And(cond, types...)
	}
	if !f.From.IsZero() {
		w.And("ts >= ?", f.From.UnixMicro())
	}
	if !f.To.IsZero() {
		w.And("ts < ?", f.To.UnixMicro())
	}
	rows, err := l.r.QueryContext(ctx, "SELECT row, received_at, origin, body FROM event WHERE "+w.String()+" ORDER BY row LIMIT ?", append(w.Args, limit(f.Limit))...)
	if err != nil {
		return page, classify(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what matters
	for rows.Next() {
		var e entropy.LedgerEntry
		var at int64
		var body string
		if err := rows.Scan(&e.Row, &at, &e.Origin, &body); err != nil {
			return page, err
		}
		e.ReceivedAt, e.Event = time.UnixMicro(at).UTC(), json.RawMessage(body)
		page.Entries, page.Next = append(page.Entries, e), e.Row
	}
	return page, classify(rows.Err())
}

// ofTypes is the condition for any of the types. Where an index would give rows out
// of order, to be sorted for each page, it is kept from being used.
func ofTypes(types []string) (cond string, args []any) {
	var conds []string
	for _, t := range types {
		if prefix, ok := strings.CutSuffix(t, "."); ok {
			conds, args = append(conds, "(+type >= ? AND +type < ?)"), append(args, t, prefix+"/") // '/' follows '.'
			continue
		}
		column := "+type"
		if len(types) == 1 {
			column = "type"
		}
		conds, args = append(conds, column+" = ?"), append(args, t)
	}
	if len(conds) == 0 {
		return "", nil
	}
	return "(" + strings.Join(conds, " OR ") + ")", args
}

func limit(n int) int {
	if n <= 0 {
		return 100
	}
	return min(n, entropy.MaxIngest)
}

// DeadItems returns dead letters behind one of that ID, oldest first.
func (l *Ledger) DeadItems(ctx context.Context, after int64, n int) ([]entropy.DeadItem, error) {
	return l.dead(ctx, "id > ? ORDER BY id LIMIT ?", after, limit(n))
}

// CountDead returns how many dead letters there are.
func (l *Ledger) CountDead(ctx context.Context) (n int64, err error) {
	err = l.r.QueryRowContext(ctx, "SELECT count(*) FROM dead_letter").Scan(&n)
	return n, err
}

// DeadItem returns one of them. CodeNotFound.
func (l *Ledger) DeadItem(ctx context.Context, id int64) (entropy.DeadItem, error) {
	all, err := l.dead(ctx, "id = ?", id)
	if err == nil && len(all) == 0 {
		err = noLetter(id)
	}
	if err != nil {
		return entropy.DeadItem{}, err
	}
	return all[0], nil
}

func noLetter(id int64) error {
	return entropy.Errorf(entropy.CodeNotFound, "there is no dead letter %d", id).WithHint("entropy ledger dead ls lists them")
}

func (l *Ledger) dead(ctx context.Context, where string, args ...any) ([]entropy.DeadItem, error) {
	rows, err := l.r.QueryContext(ctx, "SELECT id, received_at, origin, reason, raw, times FROM dead_letter WHERE "+where, args...)
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what matters
	all := []entropy.DeadItem{}
	for rows.Next() {
		var d entropy.DeadItem
		var at int64
		var raw []byte
		if err := rows.Scan(&d.ID, &at, &d.Origin, &d.Reason, &raw, &d.Times); err != nil {
			return nil, err
		}
		d.ReceivedAt, d.Raw = time.UnixMicro(at).UTC(), string(raw)
		all = append(all, d)
	}
	return all, classify(rows.Err())
}

// Revive keeps what a dead letter has become and forgets the letter; obs is nil
// when it is only forgotten. CodeNotFound.
func (l *Ledger) Revive(ctx context.Context, at time.Time, id int64, obs *entropy.Observation) (known bool, err error) {
	err = l.write(ctx, func(tx *sql.Tx) error {
		r, err := tx.ExecContext(ctx, "DELETE FROM dead_letter WHERE id = ?", id)
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, noLetter(id))
		}
		if obs == nil {
			return nil
		}
		k, err := insert(ctx, tx, at, []entropy.Observation{*obs})
		if err == nil {
			known = k[0]
		}
		return err
	})
	return known, err
}
