package api_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/api"
)

// proves “Bad input, everywhere”: the strict decoder never panics, accepts no more
// than encoding/json, and understands the same as it
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"incarnation":1,"items":[{"job_id":"a","assignment_id":"b","outcome":"succeeded","result":{"x":[1,2,{"y":null}]},"usage":{"wall":"1s"}}]}`,
		`{"incarnation":1,"incarnation":2}`, `{"items":[{"result":{"a":1,"a":2}}]}`, `{"items":[{"started_at":"2026-01-02T03:04:05Z","exit_code":-1}]}`,
		`[]`, `null`, `{"items":null}`, `{"items":[{"artifacts":[{"name":"\ud83d\ude00","size":1e3}]}]}`, `{"items":[{"usage":{"wall":1.5}}]} `, "{\"\\u0069tems\":[]}", `{"items":[`, `-`, `"`, `{"a`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var strict, loose entropy.CompleteRequest
		err := api.DecodeJSON(b, &strict)
		if err != nil {
			if e := entropy.AsError(err); e.Code != entropy.CodeInvalid || e.Hint == "" {
				t.Fatalf("%q: %#v", b, err)
			}
			return
		}
		if err := json.Unmarshal(b, &loose); err != nil {
			t.Fatalf("%q was accepted, but: %v", b, err)
		}
		if !reflect.DeepEqual(strict, loose) {
			t.Fatalf("%q: %+v and %+v", b, strict, loose)
		}
		again, err := json.Marshal(strict)
		if err != nil {
			t.Fatal(err)
		}
		if err := api.DecodeJSON(again, &loose); err != nil {
			t.Fatalf("%q was written as %q, which is refused: %v", b, again, err)
		}
	})
}

// proves I-3: every request type has a shape, and its own JSON passes it
func TestEveryRequestTypePasses(t *testing.T) {
	for _, v := range []any{
		new(entropy.SubmitBatch), new(entropy.Submission), new(entropy.WaitRequest), new(entropy.BlobList), new(entropy.Operation), new(entropy.Registration),
		new(entropy.ClaimRequest), new(entropy.AckRequest), new(entropy.RefuseRequest), new(entropy.Heartbeat), new(entropy.DirectivesRequest),
		new(entropy.CompleteRequest), new(entropy.LeaveRequest),
	} {
		(&filler{n: 5}).fill(v)
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := api.Scan(b, v); err != nil {
			t.Errorf("%T: %v in %s", v, err, b)
		}
	}
}
