package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
)

// Retention says what is no longer kept.
type Retention struct {
	Events time.Time // what came in before it; zero: nothing
	Counts time.Time // what was counted of events and actions before it; zero: nothing
	// Mirrors are the copies that are kept up. What one of these, or a follower with a
	// cursor, has not got stays, however old.
	Mirrors []string
}

// pruneStep bounds what is removed in one transaction: others want to write.
const pruneStep = 500

// Prune removes what is old, in small steps, until nothing is or ctx ends. It returns
// how many events went, and who holds older ones back; "": nobody.
//
// The newest row always stays: the next one has to be numbered after it.
func (l *Ledger) Prune(ctx context.Context, r Retention) (removed int, holder string, err error) {
	for !r.Events.IsZero() {
		var n int
		if n, holder, err = l.pruneEvents(ctx, r); err != nil || n == 0 {
			break
		}
		removed += n
	}
	if err == nil && !r.Counts.IsZero() {
		err = l.pruneCounts(ctx, r.Counts)
	}
	return removed, holder, err
}

// held returns the row up to which everybody has everything, and who has not more.
func (l *Ledger) held(ctx context.Context, mirrors []string) (row int64, holder string, err error) {
	marks, args := make([]string, len(mirrors)), make([]any, len(mirrors))
	for i, m := range mirrors {
		marks[i], args[i] = "?", m
	}
	err = l.r.QueryRowContext(ctx, `SELECT least, who FROM (
		SELECT (SELECT coalesce(max(row), 0) FROM event) - 1 AS least, '' AS who
		UNION ALL SELECT seq, substr(source, `+fmt.Sprint(len(follower)+1)+`) FROM cursor WHERE source GLOB '`+follower+`*'
		UNION ALL SELECT sent, name FROM mirror WHERE name IN (`+strings.Join(marks, ", ")+`)
	) ORDER BY least, who LIMIT 1`, args...).Scan(&row, &holder)
	return row, holder, classify(err)
}

// pruneEvents removes the oldest events, at most pruneStep, and the cases that end with
// them.
func (l *Ledger) pruneEvents(ctx context.Context, r Retention) (n int, holder string, err error) {
	through, holder, err := l.held(ctx, r.Mirrors)
	if err != nil {
		return 0, "", err
	}
	rows, err := l.r.QueryContext(ctx, "SELECT row, received_at, body FROM event ORDER BY row LIMIT ?", pruneStep)
	if err != nil {
		return 0, "", classify(err)
	}
	var last int64
	var cases []any
	young := false
	for rows.Next() {
		var row, received int64
		var body []byte
		if err := rows.Scan(&row, &received, &body); err != nil {
			return 0, "", errors.Join(err, rows.Close()) //nolint:sqlclosecheck // they are read before anything is written
		}
		if young = received >= r.Events.UnixMicro(); young || row > through {
			break
		}
		last, n = row, n+1
		var e entropy.Event
		if json.Unmarshal(body, &e) == nil {
			if m := ledger.MarkOf(&e); m.Case != "" {
				cases = append(cases, m.Case)
			}
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return 0, "", classify(err)
	}
	if young {
		holder = ""
	}
	if n == 0 {
		return 0, holder, nil
	}
	return n, holder, l.quietly(ctx, func(tx *sql.Tx) error {
		for _, c := range cases {
			if _, err := tx.ExecContext(ctx, "DELETE FROM case_step WHERE id = ? AND row <= ?", c, last); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM event WHERE row <= ?", last)
		return err
	})
}

// pruneCounts removes old counts. What is old is looked for without the lock of the
// writer.
func (l *Ledger) pruneCounts(ctx context.Context, before time.Time) error {
	hour, us := ledger.HourOf(before, 0), before.UnixMicro()
	for _, c := range []struct {
		table, key, old string
		limit           int64
	}{
		{"latency", "entity, step, hour, bucket", "hour < ?", hour},
		{"transition", "entity, prev, step, hour", "hour < ?", hour},
		{"deviation", "correlation, ts", "ts < ?", us},
		{"action_error", "id, kind", "id IN (SELECT id FROM action WHERE ts < ?)", us},
		{"action", "id", "ts < ?", us},
	} {
		for {
			n, err := l.pruneTable(ctx, c.table, strings.Split(c.key, ", "), c.old, c.limit)
			if err != nil {
				return err
			}
			if n < pruneStep {
				break
			}
		}
	}
	return nil
}

func (l *Ledger) pruneTable(ctx context.Context, table string, key []string, old string, limit int64) (n int, err error) {
	rows, err := l.r.QueryContext(ctx, "SELECT "+strings.Join(key, ", ")+" FROM "+table+" WHERE "+old+" LIMIT ?", limit, pruneStep)
	if err != nil {
		return 0, classify(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what matters
	var keys [][]any
	for rows.Next() {
		k, to := make([]any, len(key)), make([]any, len(key))
		for i := range k {
			to[i] = &k[i]
		}
		if err := rows.Scan(to...); err != nil {
			return 0, err
		}
		keys = append(keys, k)
	}
	if err := rows.Err(); err != nil || len(keys) == 0 {
		return 0, classify(err)
	}
	return len(keys), l.quietly(ctx, func(tx *sql.Tx) error {
		for _, k := range keys {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE "+strings.Join(key, " = ? AND ")+" = ?", k...); err != nil {
				return err
			}
		}
		return nil
	})
}
