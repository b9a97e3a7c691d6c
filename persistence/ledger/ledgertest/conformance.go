package ledgertest

import (
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
)

// Tolerance is how far two answers may be apart.
const Tolerance = 1e-6

// Filled makes a ledger that has recorded observations, in their order.
type Filled func(t *testing.T, obs []entropy.Observation) ledger.Analytics

// Conformance compares a ledger's answers with the plain ones, over a stream of n
// events.
func Conformance(t *testing.T, n int, filled Filled) {
	obs := append(NewGenerator(1).Next(n), corners()...)
	r, l := newReference(obs), filled(t, obs)
	t.Run("Steps", func(t *testing.T) {
		for _, f := range stepFilters() {
			got, err := l.Steps(t.Context(), f)
			check(t, fmt.Sprintf("%+v", f), got, r.steps(f), err)
		}
	})
	t.Run("Transitions", func(t *testing.T) {
		for _, f := range stepFilters() {
			got, err := l.Transitions(t.Context(), f)
			check(t, fmt.Sprintf("%+v", f), got, r.transitions(f), err)
		}
	})
	t.Run("ActionStates", func(t *testing.T) {
		for _, f := range actionFilters() {
			f.Limit = ledger.MaxSteps
			got, err := l.ActionStates(t.Context(), f)
			check(t, fmt.Sprintf("%+v", f), got, r.actionStates(f), err)
		}
	})
	t.Run("ActionStats", func(t *testing.T) {
		for _, f := range actionFilters() {
			got, err := l.ActionStats(t.Context(), f)
			check(t, fmt.Sprintf("%+v", f), got, r.actionStats(f), err)
		}
	})
	t.Run("Events", func(t *testing.T) { events(t, l, r) })
	t.Run("Limits", func(t *testing.T) { limits(t, l) })
}

// corners are events at the ends of what can be told.
func corners() []entropy.Observation {
	var all []entropy.Observation
	for i, e := range []entropy.Event{
		{TS: Start, Type: "long", EntityID: "corner:1", Attrs: []byte(`{"latency_ms":1e300}`)},
		{TS: Start, Type: "negative", EntityID: "corner:1", Attrs: []byte(`{"latency_ms":-5}`)},
		{TS: Start, Type: "text", EntityID: "corner:1", Attrs: []byte(`{"latency_ms":"5"}`)},
		{TS: Start, Type: "quote'\\\x01\"", EntityID: "corner:\u00fc'\\", CorrelationID: "c'\\"},
		{TS: Start, Type: "quote'\\\x01\"", EntityID: "corner:\u00fc'\\", CorrelationID: "c'\\"},
	} {
		e.ID, e.Source.System = fmt.Sprint("corner-", i), "shop"
		all = append(all, observe(e))
	}
	return all
}

func stepFilters() []ledger.StepFilter {
	h := Start.Truncate(time.Hour)
	return []ledger.StepFilter{
		{Limit: ledger.MaxSteps}, {Entity: "order:7"}, {Entity: "order:7", Step: "process"}, {Step: "deliver"},
		{From: h.Add(2 * time.Hour)}, {To: h.Add(2 * time.Hour)}, {From: h.Add(time.Hour), To: h.Add(3 * time.Hour), Entity: "job:*"},
		{Entity: "nobody:1"}, {Entity: "corner:1"}, {Entity: "corner:\u00fc'\\"},
	}
}

func actionFilters() []entropy.ActionStatsFilter {
	return []entropy.ActionStatsFilter{
		{}, {Command: "restart_job"}, {Tenant: "t1"}, {Command: "retry_step", Tenant: "t0"},
		{From: Start.Add(47 * time.Minute)}, {To: Start.Add(91 * time.Minute)}, {Command: "nothing"},
	}
}

// check compares an answer with the plain one.
func check[T any](t *testing.T, what string, got, want []T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if d := Differ(got, want); d != "" {
		t.Errorf("%s: %s", what, d)
	}
}

// Differ says where two answers are further apart than Tolerance; "": nowhere.
func Differ[T any](got, want []T) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d rows, want %d", len(got), len(want))
	}
	for i := range got {
		if !near(reflect.ValueOf(got[i]), reflect.ValueOf(want[i])) {
			return fmt.Sprintf("row %d: %+v\nwant %+v", i, got[i], want[i])
		}
	}
	return ""
}

func near(a, b reflect.Value) bool {
	if ta, ok := reflect.TypeAssert[time.Time](a); ok {
		return ta.Equal(b.Interface().(time.Time))
	}
	switch a.Kind() {
	case reflect.Float64:
		return math.Abs(a.Float()-b.Float()) <= Tolerance*max(1, math.Abs(b.Float()))
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return near(a.Elem(), b.Elem())
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !near(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Struct:
		for i := range a.NumField() {
			if !near(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	}
	return a.Equal(b)
}
