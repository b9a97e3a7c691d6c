package ledgertest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
)

func observe(e entropy.Event) entropy.Observation {
	body, err := json.Marshal(&e)
	if err != nil {
		panic(err)
	}
	return entropy.Observation{Event: e, Body: body, Origin: "test"}
}

// events reads the whole ledger by pages, and parts of it by filters.
func events(t *testing.T, l ledger.Analytics, r *reference) {
	for name, c := range map[string]struct {
		f    entropy.LedgerFilter
		want func(e *entropy.Event) bool
	}{
		"all":    {entropy.LedgerFilter{Limit: 777}, func(*entropy.Event) bool { return true }},
		"entity": {entropy.LedgerFilter{Entity: "order:3", Limit: 100}, func(e *entropy.Event) bool { return e.EntityID == "order:3" }},
		"type":   {entropy.LedgerFilter{Types: []string{"entropy.deviation"}}, func(e *entropy.Event) bool { return e.Type == "entropy.deviation" }},
		"types": {entropy.LedgerFilter{Types: []string{"action.", "job.started"}, Limit: 500}, func(e *entropy.Event) bool {
			return strings.HasPrefix(e.Type, "action.") || e.Type == "job.started"
		}},
		"time": {entropy.LedgerFilter{From: Start.Add(10 * time.Minute), To: Start.Add(20 * time.Minute), Limit: 1000}, func(e *entropy.Event) bool {
			return !e.TS.Before(Start.Add(10*time.Minute)) && e.TS.Before(Start.Add(20*time.Minute))
		}},
		"none": {entropy.LedgerFilter{Entity: "order:3", Types: []string{"nothing."}}, func(*entropy.Event) bool { return false }},
	} {
		var want []string
		for _, e := range r.events {
			if c.want(&e) {
				want = append(want, e.ID)
			}
		}
		if got := pages(t, l, c.f); !slices.Equal(got, want) {
			t.Errorf("%s: %d events, want %d", name, len(got), len(want))
		}
	}
}

// pages reads all that a filter selects and returns the IDs.
func pages(t *testing.T, l ledger.Analytics, f entropy.LedgerFilter) (ids []string) {
	t.Helper()
	for {
		page, err := l.Events(t.Context(), f)
		if err != nil {
			t.Fatalf("%+v: %v", f, err)
		}
		if len(page.Entries) == 0 {
			if page.Next != f.After {
				t.Errorf("behind the end of %+v is %d", f, page.Next)
			}
			return ids
		}
		for _, e := range page.Entries {
			var ev entropy.Event
			if err := json.Unmarshal(e.Event, &ev); err != nil {
				t.Fatal(err)
			}
			if e.Row <= f.After || e.Origin != "test" || e.ReceivedAt.IsZero() {
				t.Fatalf("row %d after %d, of %q at %v", e.Row, f.After, e.Origin, e.ReceivedAt)
			}
			ids, f.After = append(ids, ev.ID), e.Row
		}
		if page.Next != f.After {
			t.Fatalf("next is %d after row %d", page.Next, f.After)
		}
	}
}

// limits holds a ledger to what it refuses and to how much it answers.
func limits(t *testing.T, l ledger.Analytics) {
	for _, f := range []ledger.StepFilter{{From: Start.Add(time.Minute)}, {To: Start.Add(time.Second)}} {
		if _, err := l.Steps(t.Context(), f); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("half an hour: %v", err)
		}
		if _, err := l.Transitions(t.Context(), f); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("half an hour: %v", err)
		}
	}
	steps, err := l.Steps(t.Context(), ledger.StepFilter{Limit: 3})
	moves, err2 := l.Transitions(t.Context(), ledger.StepFilter{Limit: 3})
	states, err3 := l.ActionStates(t.Context(), entropy.ActionStatsFilter{Limit: 3})
	stats, err4 := l.ActionStats(t.Context(), entropy.ActionStatsFilter{Limit: 3})
	if err != nil || err2 != nil || err3 != nil || err4 != nil || len(steps) != 3 || len(moves) != 3 || len(states) != 3 || len(stats) != 3 {
		t.Errorf("%d steps, %d transitions, %d states, %d statistics: %v %v %v %v", len(steps), len(moves), len(states), len(stats), err, err2, err3, err4)
	}
	if page, err := l.Events(t.Context(), entropy.LedgerFilter{Limit: 1 << 20}); err != nil || len(page.Entries) > entropy.MaxIngest {
		t.Errorf("%d events at once: %v", len(page.Entries), err)
	}
}
