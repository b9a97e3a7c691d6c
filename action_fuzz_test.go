package entropy_test

import (
	"encoding/json"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// FuzzActionRequest reads whatever a producer may send. It is refused, or becomes an
// action that a replay gives again and that reads back as it was written.
func FuzzActionRequest(f *testing.F) {
	for _, s := range []string{
		`{"ts":"2025-08-10T16:42:00Z","event_type":"action.requested","entity_id":"job:abc123","idempotency_key":"k","source":{"system":"karma","ns":{"component":"x"}},"tags":{"priority":"high","tenant":"foo"},"attrs":{"command":"restart_job","args":{"force":true},"ttl_sec":600}}`,
		`{"id":"a","event_type":"ACTION.REQUESTED","future":[1,{"x":null}],"attrs":{"command":"c","retry":{"max":3,"initial":2,"non_retryable":["x"]},"on_failure":{"command":"d"}}}`,
		`{"id":"a","event_type":"action.requested","attrs":{"command":"c","args":{"<&>":"\u0000\ud800"},"ttl_sec":1e3}}`,
		`{}`, `null`, `[]`, `{"attrs":null}`, "\xff", `{"id":"a","event_type":"action.requested","attrs":{"command":"c","args":null},"attrs":{"command":"d"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := (&entropy.ActionRequest{Envelope: b, StoredAt: actionEpoch}).Read(actionEpoch)
		if err != nil {
			if entropy.ErrorCode(err) == entropy.CodeInternal {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		events, err := q.Create(nil, entropy.CommandPolicy{}, "p", actionEpoch)
		if err != nil {
			t.Fatalf("%q was read and cannot be created: %v", b, err)
		}
		a, err := (*entropy.Action)(nil).Next(events)
		if err != nil {
			t.Fatalf("%q does not follow: %v", b, err)
		}
		record := must(json.Marshal(a))
		var back entropy.Action
		if err := json.Unmarshal(record, &back); err != nil || string(must(json.Marshal(&back))) != string(record) {
			t.Fatalf("%q reads back as %s and not as %s (%v)", b, must(json.Marshal(&back)), record, err)
		}
		if again, err := q.Create(a, entropy.CommandPolicy{}, "p", actionEpoch); err != nil || len(again) != 0 {
			t.Fatalf("%q is not its own duplicate: %v", b, err)
		}
		if a.Deadline.Before(a.StoredAt) || a.ID == "" || a.Spec.Command == "" {
			t.Fatalf("%q made %s", b, record)
		}
	})
}

// FuzzActionReport reads whatever an executor may say of an action that it has.
func FuzzActionReport(f *testing.F) {
	for _, s := range []string{
		`{"id":"r","event_type":"action.succeeded","attrs":{"action_id":"a","attempt_id":"t1","executor":"e1","result":{"<":1},"duration_ms":5}}`,
		`{"id":"r","event_type":"action.failed","attrs":{"action_id":"a","attempt_id":"t1","executor":"e1","error":"\u0000","kind":"x","retry_after_ms":9,"final":true}}`,
		`{"id":"r","event_type":"action.progress","attrs":{"action_id":"a","attempt_id":"t1","executor":"e1","percent":1e300}}`,
		`{"id":"r","event_type":"action.started","attrs":{"action_id":"a","attempt_id":"t0","executor":"e1"}}`, `{}`, `null`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var e entropy.Event
		if json.Unmarshal(b, &e) != nil {
			return
		}
		typ, r, err := entropy.ReadActionReport("e1", &e)
		if err != nil {
			if entropy.ErrorCode(err) == entropy.CodeInternal {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		l := newLife(t, `{"command":"c","retry":{"max":2}}`).issue("t1")
		events, v, err := l.a.Report(typ, e.ID, r, l.now)
		l.do(events, err)
		if (v.Verdict == entropy.ReportAccepted) != (r.AttemptID == "t1") || v.Report != e.ID {
			t.Fatalf("%q got %+v", b, v)
		}
	})
}
