package bus

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/entropy-fabric/entropy"
)

// proves A-2: an event is the same after it was a CloudEvent, in binary mode with
// attributes in headers and in structured mode, whatever its texts hold.
func TestCloudEventRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ -~äöü€\n\r\t"%\\]{0,20}`)
		e := entropy.Event{
			ID: rapid.StringMatching(`[a-z0-9-]{1,20}`).Draw(t, "id"), Type: rapid.StringMatching(`[a-z]{1,8}\.[a-z_]{1,8}`).Draw(t, "type"),
			TS:       time.Unix(0, rapid.Int64Range(0, 1<<61).Draw(t, "ts")).UTC(),
			EntityID: "job:" + text.Draw(t, "entity"), CorrelationID: text.Draw(t, "correlation"), CausationID: text.Draw(t, "causation"),
			IdempotencyKey: text.Draw(t, "key"), Seq: rapid.Uint64().Draw(t, "seq"), Version: rapid.Uint64().Draw(t, "version"), Schema: 1,
			Source: entropy.Source{System: rapid.StringMatching(`[a-z0-9 /äö?#:-]{0,12}`).Draw(t, "system")},
		}
		if rapid.Bool().Draw(t, "ns") {
			e.Source.NS = map[string]string{text.Draw(t, "ns key"): text.Draw(t, "ns value")}
			e.Tags = map[string]string{text.Draw(t, "tag"): text.Draw(t, "value"), "tenant": "foo"}
		}
		if rapid.Bool().Draw(t, "attrs") {
			b, _ := json.Marshal(map[string]string{"a": text.Draw(t, "attr")})
			e.Attrs = b
		}
		binary := map[string][]string{}
		structured := map[string]any{}
		for k, v := range CloudAttributes(&e) {
			binary["ce-"+k] = []string{escapeHeader(v)}
			structured[k] = v
		}
		if e.Attrs != nil {
			structured["data"] = e.Attrs
		}
		whole, err := json.Marshal(structured)
		if err != nil {
			t.Fatal(err)
		}
		envelope, err := json.Marshal(&e)
		if err != nil {
			t.Fatal(err)
		}
		for mode, in := range map[string]struct {
			header map[string][]string
			data   []byte
		}{
			"binary": {binary, e.Attrs}, "structured": {map[string][]string{"Content-Type": {"application/cloudevents+json; charset=utf-8"}}, whole},
			"envelope with headers": {cloudHeaders(&e), envelope}, "bare envelope": {nil, envelope},
		} {
			got, err := ParseEvent(in.header, in.data)
			if err != nil {
				t.Fatalf("%s: %v", mode, err)
			}
			if !reflect.DeepEqual(got, e) {
				t.Fatalf("%s: got %+v\nwant %+v", mode, got, e)
			}
		}
	})
}

// proves A-2: the envelope of the mission's document is read as it is printed there.
func TestMissionEnvelope(t *testing.T) {
	const envelope = `{
"ts": "2025-08-10T16:42:00Z",
"event_type": "action.requested",
"entity_id": "job:abc123",
"correlation_id": "slot:2025-08-10T16:30Z",
"idempotency_key": "act:restart:job:abc123:1691685720",
"source": {"system":"karma","ns":{"component":"rules-fsm"}},
"tags": {"action":"restart_job","priority":"high","tenant":"foo"},
"attrs": {"command": "restart_job", "args": {"job_id":"abc123","force":true}, "ttl_sec": 600}
}`
	e, err := ParseEvent(nil, []byte(envelope))
	if err != nil {
		t.Fatal(err)
	}
	if e.Type != "action.requested" || e.Source.NS["component"] != "rules-fsm" || e.Tags["tenant"] != "foo" || e.IdempotencyKey == "" {
		t.Errorf("read as %+v", e)
	}
}

// proves E-1: what is no event is refused with a reason, and never a panic.
func FuzzParseEvent(f *testing.F) {
	f.Add("application/json", "", `{"id":"x"}`)
	f.Add("application/cloudevents+json", "", `{"specversion":"1.0","id":"x","source":"/a?b=c","type":"t","data":{}}`)
	f.Add("", "1.0", `{}`)
	f.Add("", "0.3", `\xff`)
	f.Fuzz(func(t *testing.T, content, version, data string) {
		h := map[string][]string{"content-type": {content}, "ce-specversion": {version}, "ce-source": {data}, "ce-time": {content}, "ce-tags": {data}, "ce-empty": {}}
		if _, err := ParseEvent(h, []byte(data)); err != nil && entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%v has the code %s", err, entropy.ErrorCode(err))
		}
	})
}
