package sqlite

import (
	"context"
	"database/sql"
	"math"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
)

var _ ledger.Analytics = (*Ledger)(nil)

func ofSteps(f ledger.StepFilter) *ledger.Where {
	w := new(ledger.Where)
	w.Equal("entity", f.Entity)
	w.Equal("step", f.Step)
	w.And("hour >= ?", ledger.HourOf(f.From, math.MinInt64))
	w.And("hour < ?", ledger.HourOf(f.To, math.MaxInt64))
	return w
}

// Steps implements [ledger.Analytics].
func (l *Ledger) Steps(ctx context.Context, f ledger.StepFilter) ([]ledger.Step, error) {
	f, err := f.Check()
	if err != nil {
		return nil, err
	}
	w := ofSteps(f)
	rows, err := l.r.QueryContext(ctx, "SELECT entity, step, hour, bucket, n FROM latency WHERE "+w.String()+" ORDER BY entity, step, hour, bucket", w.Args...)
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what matters
	all := []ledger.Step{}
	var s *stepSum
	for rows.Next() {
		var entity, step string
		var hour int64
		var c ledger.Cell
		if err := rows.Scan(&entity, &step, &hour, &c.Bucket, &c.N); err != nil {
			return nil, err
		}
		if s == nil || s.Entity != entity || s.Step.Step != step {
			if s != nil {
				all = append(all, s.end(f.Least))
			}
			if len(all) == f.Limit {
				return all, nil
			}
			s = &stepSum{Step: ledger.Step{Entity: entity, Step: step, Histogram: []ledger.Cell{}}, hour: hour}
		}
		s.add(hour, c, f.Least)
	}
	if s != nil {
		all = append(all, s.end(f.Least))
	}
	return all, classify(rows.Err())
}

// stepSum adds the counts of one step up, in the order of their hours.
type stepSum struct {
	ledger.Step
	counts   [entropy.LatencyBuckets]uint64
	hour     int64
	window   []ledger.Cell // of the hour
	windows  []float64     // the entropies of those with enough in them
	inWindow uint64
}

func (s *stepSum) add(hour int64, c ledger.Cell, least int) {
	if hour != s.hour {
		s.close(least)
		s.hour = hour
	}
	s.N += c.N
	if c.Bucket < 0 || c.Bucket >= len(s.counts) {
		return
	}
	s.counts[c.Bucket] += c.N
	s.window, s.inWindow = append(s.window, c), s.inWindow+c.N
}

func (s *stepSum) close(least int) {
	if s.inWindow >= uint64(least) {
		bits, _ := ledger.Entropy(s.window)
		s.windows = append(s.windows, bits)
	}
	s.window, s.inWindow = s.window[:0], 0
}

func (s *stepSum) end(least int) ledger.Step {
	s.close(least)
	for b, n := range s.counts {
		if n > 0 {
			s.Timed += n
			s.Histogram = append(s.Histogram, ledger.Cell{Bucket: b, N: n})
		}
	}
	s.Entropy, s.Variance = ledger.Entropy(s.Histogram)
	s.Windows = len(s.windows)
	s.Median, s.Scale = ledger.MedianMAD(s.windows)
	return s.Step
}

// Transitions implements [ledger.Analytics].
func (l *Ledger) Transitions(ctx context.Context, f ledger.StepFilter) ([]ledger.Transition, error) {
	f, err := f.Check()
	if err != nil {
		return nil, err
	}
	w := ofSteps(f)
	rows, err := l.r.QueryContext(ctx, "SELECT entity, prev, step, sum(n) FROM transition WHERE "+w.String()+" GROUP BY entity, prev, step ORDER BY entity, prev, step LIMIT ?", append(w.Args, f.Limit)...)
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what matters
	all := []ledger.Transition{}
	for rows.Next() {
		var t ledger.Transition
		if err := rows.Scan(&t.Entity, &t.From, &t.To, &t.N); err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, classify(rows.Err())
}

func ofActions(f entropy.ActionStatsFilter) *ledger.Where {
	w := new(ledger.Where)
	w.And("requested IS NOT NULL")
	w.Equal("command", f.Command)
	w.Equal("tenant", f.Tenant)
	if !f.From.IsZero() {
		w.And("requested >= ?", f.From.UnixMicro())
	}
	if !f.To.IsZero() {
		w.And("requested < ?", f.To.UnixMicro())
	}
	return w
}

// triggered is when the last deviation of an action's correlation before it was.
const triggered = "(SELECT max(d.ts) FROM deviation d WHERE d.correlation = action.correlation AND d.correlation <> '' AND d.ts <= action.requested)"

// ActionStates implements [ledger.Analytics].
func (l *Ledger) ActionStates(ctx context.Context, f entropy.ActionStatsFilter) ([]ledger.ActionState, error) {
	w := ofActions(f)
	rows, err := l.r.QueryContext(ctx, "SELECT id, command, tenant, correlation, dry_run, state, reason, requested, accepted, iif(terminal, ts, NULL), retries, "+triggered+
		" FROM action WHERE "+w.String()+" ORDER BY requested, id LIMIT ?", append(w.Args, ledger.Limit(f.Limit))...)
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what matters
	all := []ledger.ActionState{}
	for rows.Next() {
		var a ledger.ActionState
		var requested int64
		var accepted, finished, trigger sql.NullInt64
		if err := rows.Scan(&a.ID, &a.Command, &a.Tenant, &a.Correlation, &a.DryRun, &a.State, &a.Reason, &requested, &accepted, &finished, &a.Retries, &trigger); err != nil {
			return nil, err
		}
		a.RequestedAt, a.AcceptedAt, a.FinishedAt, a.TriggeredAt = time.UnixMicro(requested).UTC(), when(accepted), when(finished), when(trigger)
		all = append(all, a)
	}
	return all, classify(rows.Err())
}

func when(us sql.NullInt64) *time.Time {
	if !us.Valid {
		return nil
	}
	t := time.UnixMicro(us.Int64).UTC()
	return &t
}

// ActionStats implements [ledger.Analytics].
func (l *Ledger) ActionStats(ctx context.Context, f entropy.ActionStatsFilter) ([]entropy.ActionStats, error) {
	w := ofActions(f)
	w.And("dry_run = 0")
	rows, err := l.r.QueryContext(ctx, `SELECT command, tenant, count(*), sum(state = 'succeeded'), sum(state = 'failed'), sum(state = 'canceled'), sum(NOT terminal), sum(retries),
		count(accepted), coalesce(total(accepted - requested), 0), count(repaired), coalesce(total(repaired), 0)
		FROM (SELECT *, iif(state = 'succeeded', ts - `+triggered+`, NULL) AS repaired FROM action WHERE `+w.String()+`)
		GROUP BY command, tenant ORDER BY command, tenant LIMIT ?`, append(w.Args, ledger.Limit(f.Limit))...)
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what matters
	all := []entropy.ActionStats{}
	for rows.Next() {
		var s entropy.ActionStats
		var toAccept, toRepair float64
		if err := rows.Scan(&s.Command, &s.Tenant, &s.Requested, &s.Succeeded, &s.Failed, &s.Canceled, &s.Open, &s.Retries, &s.Accepted, &toAccept, &s.Resolved, &toRepair); err != nil {
			return nil, err
		}
		ledger.Rates(&s, toAccept, toRepair)
		all = append(all, s)
	}
	if err := rows.Err(); err != nil {
		return nil, classify(err)
	}
	return all, l.addErrors(ctx, w, all)
}

// addErrors adds the taxonomy of errors.
func (l *Ledger) addErrors(ctx context.Context, w *ledger.Where, all []entropy.ActionStats) error {
	rows, err := l.r.QueryContext(ctx, "SELECT command, tenant, kind, sum(n) AS total FROM action JOIN action_error USING (id) WHERE "+w.String()+
		" GROUP BY command, tenant, kind ORDER BY command, tenant, total DESC, kind", w.Args...)
	if err != nil {
		return classify(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what matters
	for rows.Next() {
		var command, tenant string
		var e entropy.ActionErrors
		if err := rows.Scan(&command, &tenant, &e.Kind, &e.N); err != nil {
			return err
		}
		ledger.AddError(all, command, tenant, e)
	}
	return classify(rows.Err())
}
