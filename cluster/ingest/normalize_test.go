package ingest_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/ingest"
)

// orders is what a change-data-capture source such as Debezium emits.
var orders = ingest.Rule{
	Name: "orders", Match: map[string]string{"source.table": "orders", "op": "c|u"},
	Type: "order.{after.status}", Entity: "order:{after.id}", TS: "ts_ms", Correlation: "batch:{after.batch}",
	Tags:      map[string]string{"step": "{after.status}", "tenant": "{source.db}"},
	Attrs:     map[string]string{"amount": "after.amount", "customer": "after.customer", "note": "after.note"},
	Durations: map[string]ingest.Span{"duration_ms": {From: "after.begun", To: "after.done"}},
	Hash:      []string{"customer"}, Drop: []string{"note"},
}

const order = `{"op":"c","ts_ms":1755880920123,"source":{"table":"orders","db":"eu"},
	"after":{"id":7,"status":"packed","batch":"b1","amount":12.50,"customer":"ann@example.org","note":"secret","begun":"2025-08-22T16:00:00Z","done":1755878401.5}}`

func normalizer(t *testing.T, cfg ingest.Config) *ingest.Normalizer {
	t.Helper()
	n, err := ingest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func asMap(t *testing.T, b []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return m
}

// proves E-1: a rule renames, tags, computes durations, drops and hashes.
func TestRule(t *testing.T) {
	n := normalizer(t, ingest.Config{Rules: []ingest.Rule{orders}, HashKey: []byte("k")})
	o, kept, err := n.Normalize([]byte(order))
	if err != nil || !kept {
		t.Fatal(kept, err)
	}
	e := o.Event
	if e.Type != "order.packed" || e.EntityID != "order:7" || e.CorrelationID != "batch:b1" || e.Tags["tenant"] != "eu" || e.Tags["step"] != "packed" ||
		!e.TS.Equal(time.UnixMilli(1755880920123)) || e.Source.System != "orders" || !strings.HasPrefix(e.ID, "obs-") {
		t.Fatalf("%+v", e)
	}
	a := asMap(t, e.Attrs)
	if a["amount"] != 12.5 || a["duration_ms"] != 1500.0 || a["note"] != nil || !strings.HasPrefix(fmt.Sprint(a["customer"]), "hash:") {
		t.Fatalf("%v", a)
	}
	if strings.Contains(string(o.Body), "ann@") || strings.Contains(string(o.Body), "secret") {
		t.Fatalf("what was to be hashed or dropped is in the body: %s", o.Body)
	}
	again, _, _ := n.Normalize([]byte(order))
	other, _, _ := normalizer(t, ingest.Config{Rules: []ingest.Rule{orders}, HashKey: []byte("other")}).Normalize([]byte(order))
	if again.Event.ID != e.ID || string(again.Body) != string(o.Body) {
		t.Error("the same item did not become the same event")
	}
	if string(other.Event.Attrs) == string(e.Attrs) {
		t.Error("the hash does not depend on the key")
	}
}

// proves E-1: a rule without a match, a discarding one, and one that keeps the rest.
func TestRulesInOrder(t *testing.T) {
	n := normalizer(t, ingest.Config{Rules: []ingest.Rule{
		{Name: "noise", Match: map[string]string{"kind": "ping*"}, Discard: true},
		{Name: "flat", Match: map[string]string{"kind": "*", "gone": ""}, Type: "{kind}", Entity: "thing:{name}", TS: "at", Keep: true,
			Rename: map[string]string{"ms": "duration_ms"}, Drop: []string{"kind", "name", "at"}},
	}})
	if _, kept, err := n.Normalize([]byte(`{"kind":"ping.1","name":"x","at":1}`)); kept || err != nil {
		t.Error(kept, err)
	}
	o, kept, err := n.Normalize([]byte(`{"kind":"step","name":"x","at":"2025-08-22 16:00:00","ms":5,"deep":{"a":[1]}}`))
	if err != nil || !kept {
		t.Fatal(err)
	}
	if got := asMap(t, o.Event.Attrs); !reflect.DeepEqual(got, map[string]any{"duration_ms": 5.0, "deep": map[string]any{"a": []any{1.0}}}) {
		t.Errorf("%v", got)
	}
	if _, _, err := n.Normalize([]byte(`{"kind":"step","name":"x","at":1,"gone":2}`)); err == nil || !strings.Contains(err.Error(), "no rule matches") {
		t.Errorf("a field that is there matched a rule for its absence: %v", err)
	}
	if _, _, err := n.Normalize([]byte(`{"kind":"step","at":1}`)); err == nil || !strings.Contains(err.Error(), "rule flat: entity_id: the field name is absent") {
		t.Errorf("%v", err)
	}
}

// proves A-2, E-1: the envelope of the mission's document needs no rule, and what
// else its sender put into it is kept.
func TestEnvelopeAsItIs(t *testing.T) {
	n := normalizer(t, ingest.Config{})
	const in = `{"ts":"2025-08-10T16:42:00Z","event_type":"step.done","entity_id":"job:abc123","correlation_id":"slot:1","source":{"system":"karma","ns":{"component":"x"}},
		"tags":{"tenant":"foo"},"attrs":{"duration_ms":3820,"big":12345678901234567890},"surprise":{"a":1},"seq":99,"version":3}`
	o, kept, err := n.Normalize([]byte(in))
	if err != nil || !kept {
		t.Fatal(err)
	}
	m := asMap(t, o.Body)
	if m["surprise"] == nil || m["seq"] != nil || o.Event.Seq != 0 || o.Event.Version != 0 || !strings.Contains(string(o.Body), "12345678901234567890") {
		t.Errorf("%s", o.Body)
	}
}

// proves E-1, H-5: what cannot be understood is refused with its reason.
func TestNotUnderstood(t *testing.T) {
	n := normalizer(t, ingest.Config{})
	env := func(edit string) string {
		return strings.Replace(`{"ts":"2025-08-10T16:42:00Z","event_type":"a","entity_id":"k:1","source":{"system":"x"},"tags":{},"attrs":{}}`,
			strings.SplitN(edit, "=>", 2)[0], strings.SplitN(edit, "=>", 2)[1], 1)
	}
	for in, want := range map[string]string{
		``: "not a JSON object", `[1]`: "not a JSON object", `null`: "null", `{"a":1} {"b":2}`: "something follows",
		`{"a":1}`: "no rule matches", env(`"k:1"=>"k"`): "KIND:ID", env(`"2025-08-10T16:42:00Z"=>"soon"`): "not in the envelope",
		env(`"ts":"2025-08-10T16:42:00Z",=>`): "ts is missing", env(`"x"=>"entropy"`): "not taken in again", env(`"attrs":{}=>"attrs":[]`): "attrs is not an object",
		env(`"tags":{}=>"tags":{"a":"` + strings.Repeat("x", 300) + `"}`): "the tag", env(`"tags":{}=>"id":"../x"`): "id",
		env(`"a"=>"` + strings.Repeat("x", 300) + `"`): "event_type", env(`2025=>0001`): "year",
		`{"x":"` + strings.Repeat("y", entropy.MaxObservation) + `"}`: "bytes", strings.Repeat("[", 20_000): "not a JSON object",
	} {
		if _, kept, err := n.Normalize([]byte(in)); kept || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", in, err, want)
		}
	}
}

// proves E-1: a source with endless values of a tag makes a bounded number of series.
func TestCardinality(t *testing.T) {
	n := normalizer(t, ingest.Config{MaxTagValues: 3})
	got := make(map[string]int)
	for i := range 10 {
		o, _, err := n.Normalize(fmt.Appendf(nil, `{"ts":"2025-08-10T16:42:00Z","event_type":"a","entity_id":"k:1","tags":{"user":"u%d"}}`, i%5))
		if err != nil {
			t.Fatal(err)
		}
		got[o.Event.Tags["user"]]++
		if asMap(t, o.Body)["tags"].(map[string]any)["user"] != o.Event.Tags["user"] {
			t.Fatal("the body says something else")
		}
	}
	if !reflect.DeepEqual(got, map[string]int{"u0": 2, "u1": 2, "u2": 2, ingest.Other: 4}) {
		t.Errorf("%v", got)
	}
}

// proves E-1: the unit of a number of time shows in its size.
func TestTimes(t *testing.T) {
	n := normalizer(t, ingest.Config{Rules: []ingest.Rule{{Name: "r", Match: map[string]string{"at": "*"}, Type: "a", Entity: "k:1", TS: "at"}}})
	for in, want := range map[string]string{
		`1755880920`: "2025-08-22T16:42:00Z", `1755880920.25`: "2025-08-22T16:42:00.25Z", `1755880920123`: "2025-08-22T16:42:00.123Z",
		`1755880920123456`: "2025-08-22T16:42:00.123456Z", `1755880920123456789`: "2025-08-22T16:42:00.123456789Z",
		`"1755880920"`: "2025-08-22T16:42:00Z", `"2025-08-22T18:42:00+02:00"`: "2025-08-22T16:42:00Z", `"2025-08-22"`: "2025-08-22T00:00:00Z",
	} {
		o, _, err := n.Normalize([]byte(`{"at":` + in + `}`))
		if err != nil || o.Event.TS.Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %s, want %s: %v", in, o.Event.TS.Format(time.RFC3339Nano), want, err)
		}
	}
	for _, in := range []string{`"soon"`, `true`, `"NaN"`, `1e300`, `"inf"`} {
		if o, _, err := n.Normalize([]byte(`{"at":` + in + `}`)); err == nil {
			t.Errorf("%s: %s", in, o.Event.TS)
		}
	}
}

// proves E-1: a file of rules that cannot work is refused, with all its faults.
func TestBadRules(t *testing.T) {
	_, err := ingest.New(ingest.Config{MaxTagValues: -1, Rules: []ingest.Rule{{Name: "a", Type: "{", Tags: map[string]string{"x": "{}"}, Durations: map[string]ingest.Span{"d": {From: "x"}}},
		{Name: "a", Match: map[string]string{"x": ""}, Discard: true}, {Name: "../", Match: map[string]string{"x": ""}}}})
	if entropy.ErrorCode(err) != entropy.CodeInvalid {
		t.Fatal(err)
	}
	for _, want := range []string{"max_tag_values", "match is empty", "entity_id is missing", "ts is missing", "empty {}", "without its other half", "durations.d", "two rules", "rule 3"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named in: %v", want, err)
		}
	}
}

// proves E-1, I: whatever comes in, it is an event that can be read again, or refused.
func FuzzNormalize(f *testing.F) {
	f.Add([]byte(order))
	f.Add([]byte(`{"ts":"2025-08-10T16:42:00Z","event_type":"a","entity_id":"k:1"}`))
	f.Add([]byte(`{"op":"c","ts_ms":-1e18,"source":{"table":"orders"},"after":[]}`))
	n, err := ingest.New(ingest.Config{Rules: []ingest.Rule{orders}, HashKey: []byte("k")})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		o, kept, err := n.Normalize(in)
		if err != nil || !kept {
			return
		}
		var e entropy.Event
		if err := json.Unmarshal(o.Body, &e); err != nil {
			t.Fatalf("%v: %s", err, o.Body)
		}
		if e.ID != o.Event.ID || e.EntityID != o.Event.EntityID || e.ID == "" || !e.TS.Equal(o.Event.TS) {
			t.Fatalf("%+v is not %+v", e, o.Event)
		}
		again, kept, err := n.Normalize(o.Body)
		if err != nil || !kept || again.Event.ID != e.ID {
			t.Fatalf("normalized once more it is %v, %v: %s", again.Event.ID, err, o.Body)
		}
	})
}
