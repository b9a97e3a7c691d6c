package clickhouse

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
)

var _ ledger.Analytics = (*Ledger)(nil)

// query calls each with every row of an answer.
func (l *Ledger) query(ctx context.Context, stmt string, args []any, each func(r driver.Rows) error) error {
	conn, err := l.ready(ctx)
	if err != nil {
		return err
	}
	rows, err := conn.Query(ctx, l.sql(stmt), args...)
	if err != nil {
		return classify(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what matters
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return classify(rows.Err())
}

// Events implements [ledger.Analytics].
func (l *Ledger) Events(ctx context.Context, f entropy.LedgerFilter) (entropy.LedgerPage, error) {
	page := entropy.LedgerPage{Entries: []entropy.LedgerEntry{}, Next: f.After}
	w := new(ledger.Where)
	w.And("row > ?", f.After)
	w.Equal("entity", f.Entity)
	var types []string
	var args []any
	for _, t := range f.Types {
		cond := "type = ?"
		if strings.HasSuffix(t, ".") {
			cond = "startsWith(type, ?)"
		}
		types, args = append(types, cond), append(args, t)
	}
	if len(types) > 0 {
		w.And("("+strings.Join(types, " OR ")+")", args...)
	}
	if !f.From.IsZero() {
		w.And("ts >= fromUnixTimestamp64Micro(?, 'UTC')", ledger.Within(f.From).UnixMicro())
	}
	if !f.To.IsZero() {
		w.And("ts < fromUnixTimestamp64Micro(?, 'UTC')", ledger.Within(f.To).UnixMicro())
	}
	n := f.Limit
	if n <= 0 {
		n = 100
	}
	w.Args = append(w.Args, min(n, entropy.MaxIngest))
	err := l.query(ctx, "SELECT row, received_at, origin, body FROM {db}.event WHERE "+w.String()+" ORDER BY row LIMIT ?", w.Args, func(r driver.Rows) error {
		var e entropy.LedgerEntry
		var body string
		if err := r.Scan(&e.Row, &e.ReceivedAt, &e.Origin, &body); err != nil {
			return err
		}
		e.ReceivedAt, e.Event = e.ReceivedAt.UTC(), json.RawMessage(body)
		page.Entries, page.Next = append(page.Entries, e), e.Row
		return nil
	})
	return page, err
}

func ofSteps(f ledger.StepFilter) *ledger.Where {
	w := new(ledger.Where)
	w.Equal("entity", f.Entity)
	w.Equal("step", f.Step)
	if !f.From.IsZero() {
		w.And("hour >= toDateTime64(?, 0, 'UTC')", ledger.HourOf(f.From, 0)*3600)
	}
	if !f.To.IsZero() {
		w.And("hour < toDateTime64(?, 0, 'UTC')", ledger.HourOf(f.To, 0)*3600)
	}
	return w
}

// stepQuery works entropies out where the counts are: Shannon's with Miller's and
// Madow's correction, its variance by the uncorrected one, and the median and MAD of
// the hours' entropies. The quantile between two values is their middle.
const stepQuery = `WITH
  cells AS (SELECT entity, step, hour, bucket, sum(latency.n) AS n FROM {db}.latency WHERE {where} GROUP BY entity, step, hour, bucket),
  windows AS (
    SELECT entity, step, log2(m) - sum(n * log2(n)) / m + (count() - 1) / (2 * m * log(2)) AS h
    FROM (SELECT entity, step, hour, n, sum(n) OVER (PARTITION BY entity, step, hour) AS m FROM cells WHERE bucket >= 0)
    GROUP BY entity, step, hour, m HAVING m >= ?),
  baselines AS (
    SELECT entity, step, groupArray(h) AS hs, arrayReduce('quantileExactInclusive(0.5)', hs) AS med,
      1.4826 * arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - med), hs)) AS mad
    FROM windows GROUP BY entity, step),
  totals AS (
    SELECT entity, step, sum(k) AS timed, arraySort(groupArray((bucket, k))) AS hist,
      -arraySum(c -> (c.2 / timed) * log2(c.2 / timed), hist) AS plain,
      plain + (length(hist) - 1) / (2 * timed * log(2)) AS h,
      greatest(0, arraySum(c -> (c.2 / timed) * pow(log2(c.2 / timed), 2), hist) - plain * plain) / timed AS variance
    FROM (SELECT entity, step, bucket, sum(n) AS k FROM cells WHERE bucket >= 0 GROUP BY entity, step, bucket) GROUP BY entity, step)
SELECT a.entity, a.step, a.n, t.timed, t.hist.1, t.hist.2, t.h, t.variance, length(b.hs), b.med, b.mad
FROM (SELECT entity, toString(step) AS step, sum(cells.n) AS n FROM cells GROUP BY entity, step ORDER BY entity, step LIMIT ?) AS a
LEFT JOIN totals AS t ON a.entity = t.entity AND a.step = t.step
LEFT JOIN baselines AS b ON a.entity = b.entity AND a.step = b.step
ORDER BY a.entity, a.step`

// Steps implements [ledger.Analytics].
func (l *Ledger) Steps(ctx context.Context, f ledger.StepFilter) ([]ledger.Step, error) {
	f, err := f.Check()
	if err != nil {
		return nil, err
	}
	w := ofSteps(f)
	all := []ledger.Step{}
	err = l.query(ctx, strings.ReplaceAll(stepQuery, "{where}", w.String()), append(w.Args, f.Least, f.Limit), func(r driver.Rows) error {
		var s ledger.Step
		var buckets []int8
		var counts []uint64
		var windows uint64
		if err := r.Scan(&s.Entity, &s.Step, &s.N, &s.Timed, &buckets, &counts, &s.Entropy, &s.Variance, &windows, &s.Median, &s.Scale); err != nil {
			return err
		}
		for i, b := range buckets {
			s.Histogram = append(s.Histogram, ledger.Cell{Bucket: int(b), N: counts[i]})
		}
		if s.Histogram == nil {
			s.Histogram = []ledger.Cell{}
		}
		s.Windows = int(windows)
		all = append(all, s)
		return nil
	})
	return all, err
}

// Transitions implements [ledger.Analytics].
func (l *Ledger) Transitions(ctx context.Context, f ledger.StepFilter) ([]ledger.Transition, error) {
	f, err := f.Check()
	if err != nil {
		return nil, err
	}
	w := ofSteps(f)
	all := []ledger.Transition{}
	err = l.query(ctx, "SELECT entity, toString(prev) AS p, toString(step) AS s, sum(n) FROM {db}.transition WHERE "+w.String()+" GROUP BY entity, p, s ORDER BY entity, p, s LIMIT ?",
		append(w.Args, f.Limit), func(r driver.Rows) error {
			var t ledger.Transition
			if err := r.Scan(&t.Entity, &t.From, &t.To, &t.N); err != nil {
				return err
			}
			all = append(all, t)
			return nil
		})
	return all, err
}

func ofActions(f entropy.ActionStatsFilter) *ledger.Where {
	w := new(ledger.Where)
	w.Equal("command", f.Command)
	w.Equal("tenant", f.Tenant)
	if !f.From.IsZero() {
		w.And("requested_at >= fromUnixTimestamp64Micro(?, 'UTC')", f.From.UnixMicro())
	}
	if !f.To.IsZero() {
		w.And("requested_at < fromUnixTimestamp64Micro(?, 'UTC')", f.To.UnixMicro())
	}
	return w
}

// ActionStates implements [ledger.Analytics].
func (l *Ledger) ActionStates(ctx context.Context, f entropy.ActionStatsFilter) ([]ledger.ActionState, error) {
	w := ofActions(f)
	all := []ledger.ActionState{}
	err := l.query(ctx, "SELECT id, command, tenant, correlation, dry_run, state, reason, requested_at, accepted_at, finished_at, triggered_at, retries FROM {db}.action_state_current WHERE "+
		w.String()+" ORDER BY requested_at, id LIMIT ?", append(w.Args, ledger.Limit(f.Limit)), func(r driver.Rows) error {
		var a ledger.ActionState
		var dry uint8
		var state string
		if err := r.Scan(&a.ID, &a.Command, &a.Tenant, &a.Correlation, &dry, &state, &a.Reason, &a.RequestedAt, &a.AcceptedAt, &a.FinishedAt, &a.TriggeredAt, &a.Retries); err != nil {
			return err
		}
		a.DryRun, a.State, a.RequestedAt = dry != 0, entropy.ActionState(state), a.RequestedAt.UTC()
		for _, t := range []*time.Time{a.AcceptedAt, a.FinishedAt, a.TriggeredAt} {
			if t != nil {
				*t = t.UTC()
			}
		}
		all = append(all, a)
		return nil
	})
	return all, err
}

// statsQuery sums times up in whole microseconds, and errors by kind, the most
// frequent first.
const statsQuery = `SELECT command, tenant, count(), countIf(state = 'succeeded'), countIf(state = 'failed'), countIf(state = 'canceled'), countIf(terminal = 0), sum(s.retries),
  countIf(accepted_at IS NOT NULL), toFloat64(sum(ifNull(dateDiff('microsecond', requested_at, accepted_at), 0))),
  countIf(state = 'succeeded' AND triggered_at IS NOT NULL), toFloat64(sumIf(ifNull(dateDiff('microsecond', triggered_at, finished_at), 0), state = 'succeeded')),
  sumMap(s.errors) AS kinds, arraySort((k, n) -> (-toInt64(n), k), mapKeys(kinds), mapValues(kinds)), arraySort(n -> -toInt64(n), mapValues(kinds))
FROM {db}.action_state_current AS s WHERE dry_run = 0 AND {where} GROUP BY command, tenant ORDER BY command, tenant LIMIT ?`

// ActionStats implements [ledger.Analytics].
func (l *Ledger) ActionStats(ctx context.Context, f entropy.ActionStatsFilter) ([]entropy.ActionStats, error) {
	w := ofActions(f)
	all := []entropy.ActionStats{}
	err := l.query(ctx, strings.ReplaceAll(statsQuery, "{where}", w.String()), append(w.Args, ledger.Limit(f.Limit)), func(r driver.Rows) error {
		var s entropy.ActionStats
		var toAccept, toRepair float64
		var kinds []string
		var counts []uint64
		var byKind map[string]uint64
		if err := r.Scan(&s.Command, &s.Tenant, &s.Requested, &s.Succeeded, &s.Failed, &s.Canceled, &s.Open, &s.Retries, &s.Accepted, &toAccept, &s.Resolved, &toRepair, &byKind, &kinds, &counts); err != nil {
			return err
		}
		ledger.Rates(&s, toAccept, toRepair)
		all = append(all, s)
		for i, k := range kinds {
			ledger.AddError(all[len(all)-1:], s.Command, s.Tenant, entropy.ActionErrors{Kind: k, N: counts[i]})
		}
		return nil
	})
	return all, err
}
