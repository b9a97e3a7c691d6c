package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
)

// counter counts the events of one transaction and writes what it has counted once,
// at the end of it.
type counter struct {
	tx          *sql.Tx
	cases       map[string]*caseStep
	latencies   map[latencyKey]int64
	transitions map[transitionKey]int64
	prepared    map[string]*sql.Stmt // they end with the transaction
}

type caseStep struct {
	step    string
	ts      int64
	row     int64 // 0: there is none
	changed bool
}

type (
	latencyKey struct {
		entity, step string
		hour         int64
		bucket       int
	}
	transitionKey struct {
		entity, prev, step string
		hour               int64
	}
)

func newCounter(tx *sql.Tx) *counter {
	return &counter{tx: tx, cases: map[string]*caseStep{}, latencies: map[latencyKey]int64{}, transitions: map[transitionKey]int64{}, prepared: map[string]*sql.Stmt{}}
}

// prepare returns a statement, which is made once.
func (c *counter) prepare(ctx context.Context, query string) (st *sql.Stmt, err error) {
	if st = c.prepared[query]; st == nil {
		if st, err = c.tx.PrepareContext(ctx, query); err == nil {
			c.prepared[query] = st
		}
	}
	return st, err
}

func (c *counter) exec(ctx context.Context, query string, args ...any) error {
	st, err := c.prepare(ctx, query) //nolint:sqlclosecheck // it ends with its transaction
	if err == nil {
		_, err = st.ExecContext(ctx, args...)
	}
	return err
}

// before returns the step before an event in its case: "" when there is none, or when
// the event is older than what the case already holds.
func (c *counter) before(ctx context.Context, m *ledger.Mark, ts time.Time) (prev string, err error) {
	if m.Case == "" {
		return "", nil
	}
	s := c.cases[m.Case]
	if s == nil {
		s = new(caseStep)
		c.cases[m.Case] = s
		if m.Begins {
			return "", nil
		}
		look, err := c.prepare(ctx, "SELECT step, ts, row FROM case_step WHERE id = ?") //nolint:sqlclosecheck // it ends with its transaction
		if err != nil {
			return "", err
		}
		if err := look.QueryRowContext(ctx, m.Case).Scan(&s.step, &s.ts, &s.row); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return "", err
		}
	}
	if s.row == 0 || s.ts > ts.UnixMicro() {
		return "", nil
	}
	return s.step, nil
}

// repeated forgets what was taken for granted of a case because of an event that was
// there already.
func (c *counter) repeated(m *ledger.Mark) {
	if s := c.cases[m.Case]; s != nil && !s.changed {
		delete(c.cases, m.Case)
	}
}

// add counts an event that was put into a row.
func (c *counter) add(ctx context.Context, m *ledger.Mark, ts time.Time, row int64, prev string) error {
	if m.Trigger != "" {
		if err := c.exec(ctx, "INSERT INTO deviation (correlation, ts) VALUES (?, ?) ON CONFLICT DO NOTHING", m.Trigger, ts.UnixMicro()); err != nil {
			return err
		}
	}
	if m.Entity == "" {
		return nil
	}
	c.latencies[latencyKey{m.Entity, m.Step, m.Hour, m.Bucket}]++
	if prev != "" {
		c.transitions[transitionKey{m.Entity, prev, m.Step, m.Hour}]++
	}
	if s := c.cases[m.Case]; m.Case != "" && (s.row == 0 || s.ts <= ts.UnixMicro()) {
		*s = caseStep{m.Step, ts.UnixMicro(), row, true}
	}
	if m.Action == nil {
		return nil
	}
	return c.action(ctx, m.Action, ts.UnixMicro())
}

// upsertAction keeps the first request and acceptance, and the state of the event that
// is terminal, else latest, else further in the life of an action.
const upsertAction = `INSERT INTO action (id, command, tenant, correlation, dry_run, state, reason, terminal, ts, rank, requested, accepted, retries)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT (id) DO UPDATE SET
  state    = iif((excluded.terminal, excluded.ts, excluded.rank) > (terminal, ts, rank), excluded.state, state),
  reason   = iif((excluded.terminal, excluded.ts, excluded.rank) > (terminal, ts, rank), excluded.reason, reason),
  rank     = iif((excluded.terminal, excluded.ts, excluded.rank) > (terminal, ts, rank), excluded.rank, rank),
  ts       = iif((excluded.terminal, excluded.ts, excluded.rank) > (terminal, ts, rank), excluded.ts, ts),
  terminal = max(terminal, excluded.terminal),
  dry_run  = max(dry_run, excluded.dry_run),
  requested = coalesce(min(requested, excluded.requested), requested, excluded.requested),
  accepted  = coalesce(min(accepted, excluded.accepted), accepted, excluded.accepted),
  retries = retries + excluded.retries`

func (c *counter) action(ctx context.Context, a *ledger.ActionMark, ts int64) error {
	var requested, accepted sql.NullInt64
	var retries int
	switch a.Type {
	case entropy.ActionRequestedType:
		requested = sql.NullInt64{Int64: ts, Valid: true}
	case entropy.ActionAcceptedType:
		accepted = sql.NullInt64{Int64: ts, Valid: true}
	case entropy.ActionRetryingType:
		retries = 1
	}
	if a.State == "" {
		return nil
	}
	reason := a.Reason
	if !a.Terminal {
		reason = ""
	}
	err := c.exec(ctx, upsertAction, a.ID, a.Command, a.Tenant, a.Correlation, a.DryRun, a.State, reason, a.Terminal, ts, a.Rank, requested, accepted, retries)
	if err == nil && a.Kind != "" {
		err = c.exec(ctx, "INSERT INTO action_error (id, kind, n) VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1", a.ID, a.Kind)
	}
	return err
}

// flush writes what was counted.
func (c *counter) flush(ctx context.Context) error {
	for k, n := range c.latencies {
		if err := c.exec(ctx, "INSERT INTO latency (entity, step, hour, bucket, n) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n", k.entity, k.step, k.hour, k.bucket, n); err != nil {
			return err
		}
	}
	for k, n := range c.transitions {
		if err := c.exec(ctx, "INSERT INTO transition (entity, prev, step, hour, n) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n", k.entity, k.prev, k.step, k.hour, n); err != nil {
			return err
		}
	}
	for id, s := range c.cases {
		if !s.changed {
			continue
		}
		if err := c.exec(ctx, "INSERT INTO case_step (id, step, ts, row) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET step = excluded.step, ts = excluded.ts, row = excluded.row", id, s.step, s.ts, s.row); err != nil {
			return err
		}
	}
	return nil
}

// recountStep is how many events are counted at a time by recount.
const recountStep = 10_000

// recount counts all events that are there, in order.
func recount(ctx context.Context, tx *sql.Tx) error {
	for after := int64(0); ; {
		last, err := recountSome(ctx, tx, after)
		if err != nil || last == after {
			return err
		}
		after = last
	}
}

func recountSome(ctx context.Context, tx *sql.Tx, after int64) (last int64, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT row, body FROM event WHERE row > ? ORDER BY row LIMIT ?", after, recountStep)
	if err != nil {
		return after, err
	}
	type numbered struct {
		row   int64
		event entropy.Event
	}
	var all []numbered
	for last = after; rows.Next(); {
		var body []byte
		if err := rows.Scan(&last, &body); err != nil {
			return after, errors.Join(err, rows.Close()) //nolint:sqlclosecheck // they are read to their end before anything is written
		}
		n := numbered{row: last}
		if json.Unmarshal(body, &n.event) == nil { // what is no event is counted nowhere
			all = append(all, n)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return after, err
	}
	st, err := tx.PrepareContext(ctx, "UPDATE event SET prev = ? WHERE row = ?")
	if err != nil {
		return after, err
	}
	defer st.Close() //nolint:errcheck // it ends with the transaction
	count := newCounter(tx)
	for i := range all {
		e := &all[i].event
		mark := ledger.MarkOf(e)
		prev, err := count.before(ctx, &mark, e.TS)
		if err == nil && prev != "" {
			_, err = st.ExecContext(ctx, prev, all[i].row)
		}
		if err == nil {
			err = count.add(ctx, &mark, e.TS, all[i].row, prev)
		}
		if err != nil {
			return after, err
		}
	}
	return last, count.flush(ctx)
}
