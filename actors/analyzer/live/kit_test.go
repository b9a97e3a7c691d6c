package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer"
)

// memory is a ledger without a disk.
type memory struct {
	mu      sync.Mutex
	rows    []entropy.LedgerEntry
	ids     map[string]bool
	cursors map[string]uint64
	changed chan struct{}
	broken  error // what Record answers
	refused int   // how often it did
}

func newMemory() *memory {
	return &memory{ids: map[string]bool{}, cursors: map[string]uint64{}, changed: make(chan struct{})}
}

var _ Ledger = (*memory)(nil)

func (m *memory) Events(_ context.Context, f entropy.LedgerFilter) (entropy.LedgerPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	page := entropy.LedgerPage{Next: f.After}
	for i := int(f.After); i < len(m.rows) && len(page.Entries) < f.Limit; i++ {
		var e entropy.Event
		if len(f.Types) > 0 && (json.Unmarshal(m.rows[i].Event, &e) != nil || !slices.Contains(f.Types, e.Type)) {
			continue
		}
		page.Entries, page.Next = append(page.Entries, m.rows[i]), m.rows[i].Row
	}
	return page, nil
}

func (m *memory) Last(context.Context) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(len(m.rows)), nil
}

func (m *memory) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

func (m *memory) Cursor(_ context.Context, name string) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cursors[name], nil
}

func (m *memory) SetCursor(_ context.Context, name string, row uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cursors[name] = row
	return nil
}

func (m *memory) Record(_ context.Context, at time.Time, events []entropy.Observation, _ []entropy.DeadItem) (known []bool, ids []int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		m.refused++
		return nil, nil, m.broken
	}
	for i := range events {
		e := &events[i]
		known = append(known, m.ids[e.Event.ID])
		if known[i] {
			continue
		}
		m.ids[e.Event.ID] = true
		m.rows = append(m.rows, entropy.LedgerEntry{Row: uint64(len(m.rows) + 1), ReceivedAt: at, Origin: e.Origin, Event: e.Body})
	}
	close(m.changed)
	m.changed = make(chan struct{})
	return known, nil, nil
}

// put records an event from outside as received at a time.
func (m *memory) put(t *testing.T, at time.Time, events ...entropy.Event) {
	t.Helper()
	obs := make([]entropy.Observation, len(events))
	for i, e := range events {
		body, err := json.Marshal(&e)
		if err != nil {
			t.Fatal(err)
		}
		obs[i] = entropy.Observation{Event: e, Body: body, Origin: "http:test"}
	}
	if _, _, err := m.Record(context.Background(), at, obs, nil); err != nil {
		t.Fatal(err)
	}
}

// all returns the analyzer's events of a type, by ID.
func (m *memory) all(t *testing.T, typ string) map[string]entropy.Event {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	found := map[string]entropy.Event{}
	for i := range m.rows {
		var e entropy.Event
		if err := json.Unmarshal(m.rows[i].Event, &e); err != nil {
			t.Fatal(err)
		}
		if m.rows[i].Origin == Origin && e.Type == typ {
			found[e.ID] = e
		}
	}
	return found
}

// day0 is a Monday.
var day0 = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

var serial int

// step is an event of a step from a source.
func step(system, entity, name, id string, at time.Time) entropy.Event {
	serial++
	return entropy.Event{ID: fmt.Sprintf("e%d", serial), TS: at, Type: "step.completed", EntityID: entity, CorrelationID: id,
		Source: entropy.Source{System: system}, Tags: map[string]string{"step": name}, Schema: 1}
}

// rig drives an engine over a ledger in virtual time, as [Watcher] does.
type rig struct {
	t      *testing.T
	ledger *memory
	engine *engine
	config Config
}

func newRig(t *testing.T, c Config) *rig {
	c.Logger = slog.New(slog.DiscardHandler)
	r := &rig{t: t, ledger: newMemory(), config: c}
	r.engine = newEngine(c.withDefaults())
	return r
}

// drain has the engine read what it has not, and records what it finds at a time.
func (r *rig) drain(now time.Time) {
	r.t.Helper()
	for {
		page, err := r.ledger.Events(context.Background(), entropy.LedgerFilter{After: r.engine.row, Limit: 1000})
		if err != nil {
			r.t.Fatal(err)
		}
		for i := range page.Entries {
			r.engine.take(&page.Entries[i])
		}
		if len(page.Entries) == 0 && len(r.engine.out) == 0 {
			return
		}
		r.record(now)
	}
}

func (r *rig) record(now time.Time) {
	r.t.Helper()
	obs := make([]entropy.Observation, len(r.engine.out))
	for i, e := range r.engine.out {
		body, err := json.Marshal(&e)
		if err != nil {
			r.t.Fatal(err)
		}
		obs[i] = entropy.Observation{Event: e, Body: body, Origin: Origin}
	}
	r.engine.out = nil
	if _, _, err := r.ledger.Record(context.Background(), now, obs, nil); err != nil {
		r.t.Fatal(err)
	}
}

// tick lets the wall's clock move on to now.
func (r *rig) tick(now time.Time) {
	r.t.Helper()
	r.drain(now)
	r.engine.tick(now.Add(-settle))
	r.drain(now)
}

// restart ends the engine, whatever it has not recorded with it, and starts another.
func (r *rig) restart(now time.Time) {
	r.t.Helper()
	e, err := event(entropy.EntropyStarted, "system:analyzer", "started:"+now.String(), now, nil, struct{}{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.engine = newEngine(r.config.withDefaults())
	r.engine.out = []entropy.Event{e}
	r.record(now)
	r.drain(now)
}

// deviations returns what was found, in a channel; "" means any.
func (r *rig) deviations(channel string) (all []entropy.Deviation) {
	r.t.Helper()
	r.drain(day0)
	return r.engine.book.list(entropy.DeviationFilter{Channel: channel, Limit: mostDeviations})
}

var errFull = errors.New("there is no room")

// settings are small windows, so that tests are short.
func settings() Config {
	return Config{Analyzer: analyzer.Config{Series: 50_000, Cases: 50_000}}
}
