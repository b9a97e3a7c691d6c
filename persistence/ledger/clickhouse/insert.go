package clickhouse

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
)

// columns are those of an insert, in the order of values.
const columns = "row, ledger, id, ts, received_at, type, entity, correlation_id, idempotency_key, origin, source, tenant, tags, body, " +
	"counted, step, prev, hour, bucket, latency_ms, action_id, command, state, terminal, rank, reason, error_kind, dry_run"

// values returns a row as ClickHouse keeps it. It depends on the row alone, so that
// a batch that is sent again is the same.
func values(id string, base uint64, r *ledger.Row) []any {
	var e entropy.Event
	if json.Unmarshal(r.Event, &e) != nil {
		e = entropy.Event{} // it is kept, and counted nowhere
	}
	m := ledger.MarkOf(&e)
	var latency *float64
	if m.Bucket != ledger.NotTimed {
		ms := float64(m.Took) / float64(time.Millisecond)
		latency = &ms
	}
	tags := e.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	prev := r.Prev
	if m.Entity == "" {
		prev = ""
	}
	a := m.Action
	if a == nil {
		a = new(ledger.ActionMark)
	}
	return []any{base + r.Row, id, e.ID, ledger.Within(e.TS), r.ReceivedAt, e.Type, e.EntityID, e.CorrelationID, e.IdempotencyKey, r.Origin, e.Source.System, m.Tenant, tags, string(r.Event),
		m.Entity, m.Step, prev, time.Unix(m.Hour*3600, 0).UTC(), int8(m.Bucket), latency, a.ID, a.Command, string(a.State), flag(a.Terminal), int8(a.Rank), a.Reason, a.Kind, flag(a.DryRun)}
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// insert sends rows as one block under a token. A block whose token ClickHouse has
// seen is dropped by it, in the table and in all that its views count; one that it
// has taken in part is completed.
func insert(ctx context.Context, conn driver.Conn, query, token string, all [][]any) error {
	ctx = ch.Context(ctx, ch.WithSettings(ch.Settings{
		"insert_deduplicate": 1, "insert_deduplication_token": token, "deduplicate_blocks_in_dependent_materialized_views": 1,
		"max_partitions_per_insert_block": 0, // events of all years may come at once
		"async_insert":                    0,
	}))
	batch, err := conn.PrepareBatch(ctx, query)
	if err != nil {
		return err
	}
	defer batch.Close() //nolint:errcheck // sent or given up
	for _, v := range all {
		if err := batch.Append(v...); err != nil {
			return fmt.Errorf("encode row %v: %w", v[0], err)
		}
	}
	return batch.Send()
}
