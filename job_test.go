package entropy_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// lived is a job with something in every field of its record.
func lived(t *testing.T) *entropy.Job {
	t.Helper()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	j := &entropy.Job{ID: "j"}
	code := 0
	spec := entropy.JobSpec{Name: "nightly", Command: []string{"sh", "-c", "a <b >c"}, Env: map[string]string{"B": "2", "A": "1"}, Queue: "q",
		Priority: 7, Labels: map[string]string{"team": "x"}, Artifacts: []string{"out/*"}, RunTimeout: entropy.Duration(90 * time.Second)}
	done := entropy.Completion{JobID: "j", AssignmentID: "a1", SpoolID: "s", CompletionSeq: 1, Outcome: entropy.OutcomeSucceeded, ExitCode: &code,
		Artifacts: []entropy.Artifact{{Name: "out/x", SHA256: strings.Repeat("ab", 32), Size: 12}}, Result: json.RawMessage(`{"n":1}`),
		Usage: &entropy.Usage{UserCPU: entropy.Duration(time.Second), MaxRSS: 4096}}
	for _, cmd := range []entropy.JobCommand{
		entropy.Submit{Spec: spec, SpecHash: must(spec.SpecHash()), Principal: "admin:t1", Operation: "op1"},
		entropy.Assign{AssignmentID: "a0", WorkerID: "w0", Incarnation: 1, ClaimSeq: 1, TTL: 15 * time.Second},
		entropy.Release{AssignmentID: "a0", WorkerID: "w0", Cause: entropy.CauseRefused, Message: "not allowed here"},
		entropy.Assign{AssignmentID: "a1", WorkerID: "w1", Incarnation: 2, ClaimSeq: 3, TTL: 15 * time.Second},
		entropy.Ack{AssignmentID: "a1", WorkerID: "w1"},
		entropy.EndLease{AssignmentID: "a1", Cause: entropy.CauseLeaseExpired, Message: "silent", Eligible: 2},
		entropy.Wake{},
		entropy.Assign{AssignmentID: "a2", WorkerID: "w2", Incarnation: 1, ClaimSeq: 9, TTL: 15 * time.Second},
		entropy.Complete{Completion: done, WorkerID: "w1", Eligible: 2},
	} {
		now = now.Add(10 * time.Second)
		d, err := j.Decide(cmd, now)
		if err != nil {
			t.Fatalf("%T: %v", cmd, err)
		}
		if j, err = j.Next(d.Events); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

// proves the contract of §12: one flat object, absent is null and never missing
func TestJobJSON(t *testing.T) {
	var b bytes.Buffer
	for _, j := range []*entropy.Job{{ID: "new"}, lived(t)} {
		if err := json.Indent(&b, must(json.Marshal(j)), "", "  "); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('\n')
	}
	golden(t, "testdata/job.golden.json", b.Bytes())

	for _, j := range []*entropy.Job{{}, lived(t)} {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(must(json.Marshal(j)), &m); err != nil {
			t.Fatal(err)
		}
		for _, k := range []string{"id", "name", "state", "reason", "queue", "tenant", "priority", "labels", "command", "attempt", "failures", "losses",
			"held", "cancel_requested", "assignment_id", "worker_id", "exit_code", "signal", "retry_of", "created_at", "eligible_at", "started_at", "finished_at"} {
			if _, ok := m[k]; !ok {
				t.Errorf("%q is missing", k)
			}
		}
	}
}

// The one shown is the attempt that counts, not the newest.
func TestJobJSONShowsTheAttemptThatCounts(t *testing.T) {
	var v struct {
		AssignmentID entropy.AssignmentID `json:"assignment_id"`
		WorkerID     entropy.WorkerID     `json:"worker_id"`
	}
	j := lived(t)
	if err := json.Unmarshal(must(json.Marshal(j)), &v); err != nil || v.AssignmentID != "a1" || v.WorkerID != "w1" {
		t.Errorf("%+v, %v: a1 succeeded late, a2 was revoked", v, err)
	}
}

func TestJobJSONReadsBack(t *testing.T) {
	j := lived(t)
	text := must(json.Marshal(j))
	var back entropy.Job
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if again := must(json.Marshal(&back)); !bytes.Equal(again, text) {
		t.Errorf("\n%s\nreads back as\n%s", text, again)
	}
	if err := json.Unmarshal([]byte(`{"state": 7}`), &back); err == nil {
		t.Error("a state that is a number was read")
	}
}

func TestDecodeJobRefuses(t *testing.T) {
	for _, c := range [][2]string{{"", "{}"}, {"{}", ""}, {"[]", "{}"}, {"{}", "7"}} {
		if _, err := entropy.DecodeJob([]byte(c[0]), []byte(c[1])); err == nil {
			t.Errorf("%q with spec %q was decoded", c[0], c[1])
		}
	}
}

// proves P-4: an event of a later schema is refused, not guessed at
func TestLaterSchemaIsRefused(t *testing.T) {
	if _, err := entropy.DecodeJobEvent(entropy.Event{ID: "e", Type: entropy.JobStarted, Schema: entropy.JobSchema + 1, Attrs: []byte("{}")}); entropy.ErrorCode(err) != entropy.CodeInvalid {
		t.Errorf("job: %v", err)
	}
	if _, err := entropy.DecodeWorkerEvent(entropy.Event{ID: "e", Type: entropy.WorkerDrained, Schema: entropy.WorkerSchema + 1, Attrs: []byte("{}")}); entropy.ErrorCode(err) != entropy.CodeInvalid {
		t.Errorf("worker: %v", err)
	}
	if _, err := entropy.DecodeJobEvent(entropy.Event{Type: entropy.JobStarted, Schema: 1, Attrs: []byte("{")}); err == nil {
		t.Error("broken attrs were read")
	}
}

func TestRequireKey(t *testing.T) {
	a := entropy.JobSpec{Require: map[string]string{"a": "1", "b": "2"}}
	b := entropy.JobSpec{Require: map[string]string{"b": "2", "a": "1"}}
	c := entropy.JobSpec{Require: map[string]string{"a": "1", "b": "3"}}
	if a.RequireKey() != b.RequireKey() || a.RequireKey() == c.RequireKey() || (&entropy.JobSpec{}).RequireKey() != "" {
		t.Errorf("%q %q %q", a.RequireKey(), b.RequireKey(), c.RequireKey())
	}
}
