package entropy_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// FuzzDecodeJobEvent reads whatever a journal might hold. What is read must be
// applied or refused without a panic, and what was applied must read back equal.
func FuzzDecodeJobEvent(f *testing.F) {
	for seed := range uint64(8) {
		r := newRandomJob(seededChooser{rand.New(rand.NewPCG(seed, 4))})
		for range 40 {
			r.step(f)
		}
		for _, b := range r.log {
			f.Add(b)
		}
	}
	for _, s := range []string{`{}`, `null`, `{"event_type":"job.reattached","attrs":{}}`, `{"event_type":"job.succeeded","attrs":{"late":true}}`,
		`{"event_type":"job.assigned","attrs":{"assignment_id":"a9","attempt":9}}`, `{"event_type":"job.failed","attrs":{"counted":"loss","assignment_id":"a1"}}`,
		`{"event_type":"job.lost","attrs":{"assignment_id":"a1","retry_at":"nonsense"}}`, `{"attrs":{"usage":{"wall":1e400}}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var env entropy.Event
		if json.Unmarshal(b, &env) != nil {
			return
		}
		e, err := entropy.DecodeJobEvent(env)
		if err != nil {
			return
		}
		for _, s := range allStates {
			j := jobIn(s)
			before := must(j.EncodeRecord())
			next, err := j.Next([]entropy.JobEvent{e})
			if !bytes.Equal(must(j.EncodeRecord()), before) {
				t.Fatalf("%s changed the job it was not applied to", b)
			}
			if err != nil {
				continue
			}
			record, err := next.EncodeRecord()
			if err != nil {
				continue // a time that JSON cannot hold
			}
			back, err := entropy.DecodeJob(record, must(next.EncodeSpec()))
			if err != nil {
				t.Fatalf("%s: %v", record, err)
			}
			if again := must(back.EncodeRecord()); !bytes.Equal(again, record) {
				t.Fatalf("%s reads back as %s", record, again)
			}
		}
	})
}

// FuzzJobSpec reads whatever a client might send. A spec that is valid has a hash
// that survives being stored.
func FuzzJobSpec(f *testing.F) {
	for _, s := range []string{`{}`, `{"command":["true"]}`, `{"command":["sh","-c","x"],"env":{"A":"b"},"run_timeout":90,"grace":"5s"}`,
		`{"handler":"sum","payload":{"a":[1, 2]}}`, `{"command":["x"],"not_before":"2026-01-01T00:00:00.000000001+02:00","not_after":"2027-01-01T00:00:00Z"}`,
		`{"command":["x"],"inputs":[{"path":"a","sha256":"00","size":-1}]}`, `{"command":["x"],"priority":1e9}`, `{"command":["x"],"retry":{"no_retry":true,"backoff":1e300}}`,
		`{"command":["\ud800"]}`, `{"command":["x"],"labels":{"a":"` + "\xff" + `"}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s entropy.JobSpec
		if json.Unmarshal(b, &s) != nil || s.Validate() != nil {
			return
		}
		hash, err := s.SpecHash()
		if err != nil {
			return
		}
		var back entropy.JobSpec
		if err := json.Unmarshal(must(json.Marshal(&s)), &back); err != nil {
			t.Fatal(err)
		}
		if err := back.Validate(); err != nil {
			t.Fatalf("%s was valid and is stored as something that is not: %v", b, err)
		}
		if again := must(back.SpecHash()); again != hash {
			t.Fatalf("%s has hash %s, and %s once stored", b, hash, again)
		}
	})
}
