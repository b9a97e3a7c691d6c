package clickhouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
)

// Mirror copies an embedded ledger to ClickHouse, each row once. Which rows a batch
// has is on the embedded ledger's disk before it is sent, so that after a crash of
// either side the same batch is sent under the same token, which ClickHouse knows.
// While ClickHouse is away rows wait where they are.
type Mirror struct {
	ledger *Ledger
	source ledger.Mirrored
	log    *slog.Logger

	state  ledger.MirrorState
	agreed bool      // with the server as it is now, about state
	since  time.Time // when state's ID became known to the server
	last   time.Time // of the last insert

	mu    sync.Mutex
	stats Stats
}

// Stats says how far a [Mirror] is.
type Stats struct {
	Met      bool          // ClickHouse was there since the start; before that, Behind is what was true then
	Behind   uint64        // rows that ClickHouse has not got
	For      time.Duration // how long the oldest of them has waited; 0 when none waits
	Sent     uint64        // rows, since the start
	Failures uint64        // of batches
	Error    string        // of the last try; "": it went well
	Down     time.Time     // since when none went well; zero: the last did
}

// MirrorName names the copy in the embedded ledger.
const MirrorName = "clickhouse"

// NewMirror returns the mirror of source in l.
func NewMirror(ctx context.Context, l *Ledger, source ledger.Mirrored) (*Mirror, error) {
	s, err := source.Mirror(ctx, MirrorName)
	if err != nil {
		return nil, err
	}
	return &Mirror{ledger: l, source: source, log: l.log, state: s}, nil
}

// Run copies until ctx ends.
func (m *Mirror) Run(ctx context.Context) error {
	f := ledger.Follower{Source: m.source, Take: m.take} // from 0: the server is asked even when nothing is new
	return f.Run(ctx)
}

// take sends the next batch, and returns the row that it ends with.
func (m *Mirror) take(ctx context.Context, _, last uint64) (uint64, error) {
	if m.state.Pending <= m.state.Sent && last-m.state.Sent < uint64(m.ledger.cfg.Batch) {
		if err := pause(ctx, m.ledger.cfg.Pause-time.Since(m.last)); err != nil {
			return m.state.Sent, err
		}
	}
	err := m.send(ctx)
	m.last = time.Now()
	m.note(ctx, err)
	if err != nil {
		m.agreed = false
		return m.state.Sent, errors.Join(err, m.ledger.Close())
	}
	return m.state.Sent, nil
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// note keeps how it went, and says it when that has changed.
func (m *Mirror) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err != nil:
		m.stats.Failures++
		if m.stats.Error == "" {
			m.stats.Down = time.Now()
			m.log.Warn("ClickHouse takes no events; they wait in the embedded ledger, and nothing is lost", "clickhouse", m.ledger.cfg.Name(), "error", err)
		}
		m.stats.Error = entropy.AsError(err).Message
	case m.stats.Error != "":
		m.log.Info("ClickHouse takes events again", "after", time.Since(m.stats.Down).Round(time.Second))
		m.stats.Error, m.stats.Down = "", time.Time{}
	}
}

// Stats returns how far it is. It reads the embedded ledger.
func (m *Mirror) Stats(ctx context.Context, now time.Time) (Stats, error) {
	m.mu.Lock()
	s := m.stats
	m.mu.Unlock()
	kept, err := m.source.Mirror(ctx, MirrorName)
	if err != nil {
		return s, err
	}
	last, err := m.source.Last(ctx)
	if err != nil || last <= kept.Sent {
		return s, err
	}
	s.Behind = last - kept.Sent
	oldest, err := m.source.Rows(ctx, kept.Sent, last, 1, 1)
	if len(oldest) > 0 {
		s.For = max(0, now.Sub(oldest[0].ReceivedAt))
	}
	return s, err
}

// send sends one batch: the one that may be on its way, else the next.
func (m *Mirror) send(ctx context.Context) error {
	conn, err := m.ledger.ready(ctx)
	if err != nil {
		return err
	}
	if !m.agreed {
		if err := m.agree(ctx, conn); err != nil {
			return classify(err)
		}
		m.agreed = true
		m.mu.Lock()
		m.stats.Met = true
		m.mu.Unlock()
	}
	rows, err := m.batch(ctx)
	if err != nil || m.state.Pending <= m.state.Sent {
		return err
	}
	through := m.state.Pending
	all := make([][]any, 0, len(rows))
	for i := range rows {
		all = append(all, values(m.state.ID, uint64(m.state.Base), &rows[i]))
	}
	if all, err = m.unknown(ctx, conn, rows, all); err != nil {
		return classify(err)
	}
	token := fmt.Sprintf("%s:%d-%d", m.state.ID, m.state.Sent+1, through)
	if len(all) > 0 {
		if err := insert(ctx, conn, m.ledger.sql("INSERT INTO {db}.event ("+columns+")"), token, all); err != nil {
			return classify(err)
		}
	}
	done := m.state
	done.Sent = through
	if err := m.keep(ctx, done); err != nil {
		return err
	}
	m.mu.Lock()
	m.stats.Sent += uint64(len(all))
	m.mu.Unlock()
	return nil
}

// maxBatchBytes bounds the events of a batch, which is held in memory, but for its last
// one.
const maxBatchBytes = 32 << 20

// batch returns the rows of the batch that may be on its way, else of the next one,
// after its end is on disk. It returns none when there are none.
func (m *Mirror) batch(ctx context.Context) ([]ledger.Row, error) {
	if m.state.Pending > m.state.Sent {
		return m.source.Rows(ctx, m.state.Sent, m.state.Pending, math.MaxInt, math.MaxInt)
	}
	last, err := m.source.Last(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := m.source.Rows(ctx, m.state.Sent, last, m.ledger.cfg.Batch, maxBatchBytes)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	n := m.state
	n.Pending = rows[len(rows)-1].Row
	return rows, m.keep(ctx, n)
}

func (m *Mirror) keep(ctx context.Context, s ledger.MirrorState) error {
	if err := m.source.SetMirror(ctx, MirrorName, s); err != nil {
		return err
	}
	m.state = s
	return nil
}

// agree makes sure that the server knows this ledger, as it was. A ledger that is new
// to it, because either of them was lost, replaced or restored, is told apart by a new
// ID, its rows come behind those that are there, and events that are there are left out.
func (m *Mirror) agree(ctx context.Context, conn driver.Conn) error {
	var known, newest uint64
	if m.state.Base >= 0 && m.state.ID != "" {
		if err := conn.QueryRow(ctx, m.ledger.sql("SELECT count(), max(at) FROM {db}.mirror WHERE id = ?"), m.state.ID).Scan(&known, &m.since); err != nil {
			return err
		}
		if err := conn.QueryRow(ctx, m.ledger.sql("SELECT max(row) FROM {db}.event WHERE ledger = ?"), m.state.ID).Scan(&newest); err != nil {
			return err
		}
		if known > 0 && newest <= uint64(m.state.Base)+max(m.state.Pending, m.state.Sent) {
			return nil
		}
		m.log.Warn("ClickHouse and the embedded ledger are not what they were to each other: one was replaced or restored; what is missing is sent",
			"clickhouse", m.ledger.cfg.Name(), "known", known > 0, "its_newest", newest, "sent", m.state.Sent)
	}
	if err := conn.QueryRow(ctx, m.ledger.sql("SELECT max(row) FROM {db}.event")).Scan(&newest); err != nil {
		return err
	}
	n := ledger.MirrorState{ID: entropy.NewID(), Base: int64(newest)}
	if known > 0 { // the server has what this one had sent when it was copied
		n.Sent, n.Pending = m.state.Sent, m.state.Sent
	}
	m.since = time.Now().UTC()
	if err := conn.Exec(ctx, m.ledger.sql("INSERT INTO {db}.mirror (id, cluster, base, at) VALUES (?, ?, ?, ?)"), n.ID, m.ledger.cluster, newest, m.since); err != nil {
		return err
	}
	return m.keep(ctx, n)
}

// overlap is how long before a ledger became known to the server an event may have
// happened that another ledger has sent, as clocks go.
const overlap = 24 * time.Hour

// unknown returns the rows without those whose event another ledger has sent. It gives
// the same for the same rows: what others have sent does not change any more.
func (m *Mirror) unknown(ctx context.Context, conn driver.Conn, rows []ledger.Row, all [][]any) ([][]any, error) {
	if m.state.Base == 0 {
		return all, nil
	}
	var ids []string
	for i := range rows {
		var e entropy.Event
		if json.Unmarshal(rows[i].Event, &e) == nil && e.TS.Before(m.since.Add(overlap)) {
			ids = append(ids, e.ID)
		}
	}
	there := map[string]bool{}
	for some := range slices.Chunk(ids, 1000) {
		found, err := conn.Query(ctx, m.ledger.sql("SELECT id FROM {db}.event WHERE row <= ? AND id IN (?)"), uint64(m.state.Base), some)
		if err != nil {
			return nil, err
		}
		for found.Next() {
			var id string
			if err := found.Scan(&id); err != nil {
				return nil, errors.Join(err, found.Close())
			}
			there[id] = true
		}
		if err := errors.Join(found.Err(), found.Close()); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(all, func(v []any) bool { return there[v[2].(string)] }), nil
}
