package entropy_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entropy-fabric/entropy"
)

// scripted is a Service of which a test writes what it needs.
type scripted struct {
	entropy.Service
	submit func(entropy.Submission) error
	wait   func() ([]*entropy.Job, error)
	log    func(entropy.LogQuery) (entropy.LogChunk, error)
	events func(entropy.EventFilter) (entropy.EventPage, error)
	cancel func(entropy.Operation) error
}

func (s *scripted) Submit(_ context.Context, subs []entropy.Submission) ([]entropy.SubmitResult, error) {
	if err := s.submit(subs[0]); err != nil {
		return nil, err
	}
	return []entropy.SubmitResult{{ID: subs[0].ID, Created: true}}, nil
}

func (s *scripted) Wait(context.Context, []entropy.JobID, time.Duration) ([]*entropy.Job, error) {
	return s.wait()
}

func (s *scripted) Log(_ context.Context, q entropy.LogQuery) (entropy.LogChunk, error) {
	return s.log(q)
}

func (s *scripted) Events(_ context.Context, f entropy.EventFilter) (entropy.EventPage, error) {
	return s.events(f)
}

func (s *scripted) Cancel(_ context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	return &entropy.Job{ID: id}, s.cancel(op)
}

func code(c entropy.Code) error { return entropy.Errorf(c, "%s", c) }

// proves J-5: an unknown outcome is repeated with the same ID, through the restart
// that caused it
func TestSpawnRepeatsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []error{code(entropy.CodeUnknown), code(entropy.CodeUnavailable), code(entropy.CodeOverloaded), nil}
		var ids []entropy.JobID
		s := &scripted{submit: func(sub entropy.Submission) error {
			ids = append(ids, sub.ID)
			return answers[len(ids)-1]
		}}
		h, err := entropy.Spawn(t.Context(), s, entropy.JobSpec{})
		if err != nil || len(ids) != 4 {
			t.Fatalf("%v after %d sends", err, len(ids))
		}
		for _, id := range ids {
			if id != h.ID() || id == "" {
				t.Fatalf("sent with IDs %v", ids)
			}
		}
	})
}

// proves J-5: it gives up in time, and says which job it is about
func TestSpawnGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var id entropy.JobID
		sends := 0
		s := &scripted{submit: func(sub entropy.Submission) error {
			id = sub.ID
			sends++
			if sends > 1 {
				return code(entropy.CodeUnavailable)
			}
			return code(entropy.CodeUnknown)
		}}
		start := time.Now()
		_, err := entropy.Spawn(t.Context(), s, entropy.JobSpec{})
		wantError(t, err, entropy.CodeUnknown, string(id))
		if took := time.Since(start); took > time.Minute || took < 30*time.Second || sends < 10 || sends > 30 {
			t.Errorf("gave up after %v and %d sends", took, sends)
		}
		sends = 1 // from now on unavailable from the first: nothing was ever sent
		start = time.Now()
		_, err = entropy.Spawn(t.Context(), s, entropy.JobSpec{})
		if entropy.ErrorCode(err) != entropy.CodeUnavailable || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.submit = func(entropy.Submission) error { return code(entropy.CodeUnknown) }
		_, err = entropy.Spawn(ctx, s, entropy.JobSpec{})
		wantError(t, err, entropy.CodeUnknown, "entropy job")
		s.submit = func(entropy.Submission) error { return code(entropy.CodeInvalid) }
		if _, err = entropy.Spawn(t.Context(), s, entropy.JobSpec{}); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Error(err)
		}
	})
}

// proves I-2: waiting outlives an absent control plane, and ends with the context
func TestHandleWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		s := &scripted{wait: func() ([]*entropy.Job, error) {
			calls++
			switch {
			case calls == 1:
				return nil, nil // a long poll that ended
			case calls < 50:
				return nil, code(entropy.CodeUnavailable)
			}
			return []*entropy.Job{{ID: "j", State: entropy.Failed}}, nil
		}}
		j, err := entropy.Attach(s, "j").Wait(t.Context())
		if err != nil || j.State != entropy.Failed {
			t.Fatalf("%+v %v", j, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		calls = 2
		s.wait = func() ([]*entropy.Job, error) { return nil, code(entropy.CodeUnavailable) }
		if _, err := entropy.Attach(s, "j").Wait(ctx); entropy.ErrorCode(err) != entropy.CodeUnavailable {
			t.Errorf("%v", err)
		}
		s.wait = func() ([]*entropy.Job, error) { return nil, code(entropy.CodeNotFound) }
		if _, err := entropy.Attach(s, "j").Wait(t.Context()); entropy.ErrorCode(err) != entropy.CodeNotFound {
			t.Errorf("%v", err)
		}
	})
}

// proves J-5: a cancel is repeated under one operation
func TestHandleCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ops []string
		s := &scripted{cancel: func(op entropy.Operation) error {
			ops = append(ops, op.ID)
			if len(ops) < 3 {
				return code(entropy.CodeUnknown)
			}
			return nil
		}}
		j, err := entropy.Attach(s, "j").Cancel(t.Context())
		if err != nil || j.ID != "j" || len(ops) != 3 || ops[0] == "" || ops[0] != ops[2] {
			t.Fatalf("%+v %v %q", j, err, ops)
		}
	})
}

// proves I-2: a followed log stays with its attempt and survives an absence
func TestHandleLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []entropy.LogQuery
		chunks := []entropy.LogChunk{{}, {Data: []byte("one "), Next: 4, Attempt: 2}, {}, {Data: []byte("two"), Next: 7, Attempt: 2, EOF: true}}
		s := &scripted{log: func(q entropy.LogQuery) (entropy.LogChunk, error) {
			asked = append(asked, q)
			if len(asked) == 3 {
				return entropy.LogChunk{}, code(entropy.CodeUnavailable)
			}
			if n := len(asked); n > 3 {
				return chunks[n-1], nil
			}
			return chunks[len(asked)-1], nil
		}}
		r := entropy.Attach(s, "j").Logs(t.Context())
		b, err := io.ReadAll(r)
		if err != nil || string(b) != "one two" {
			t.Fatalf("%q %v", b, err)
		}
		if last := asked[len(asked)-1]; last.Offset != 4 || last.Attempt != 2 || last.Stream != "stdout" || last.JobID != "j" {
			t.Errorf("last asked %+v", last)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		s.log = func(entropy.LogQuery) (entropy.LogChunk, error) { return entropy.LogChunk{}, nil }
		closed := entropy.Attach(s, "j").Logs(t.Context())
		closed.Close()
		if _, err := closed.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("reading a closed log: %v", err)
		}
	})
}

// proves I-2: the events of a job end with its end, or when the caller has enough
func TestHandleEvents(t *testing.T) {
	pages := []entropy.EventPage{
		{Events: []entropy.Event{{Type: entropy.JobSubmitted}, {Type: entropy.JobAssigned}}, Next: entropy.Position{Epoch: 1, Seq: 5}},
		{Next: entropy.Position{Epoch: 1, Seq: 9}},
		{Events: []entropy.Event{{Type: entropy.JobCanceled}, {Type: entropy.JobEvidence}}, Next: entropy.Position{Epoch: 1, Seq: 12}},
	}
	calls := 0
	s := &scripted{events: func(f entropy.EventFilter) (entropy.EventPage, error) {
		if calls > 0 && f.After != pages[calls-1].Next || f.Entity != "job:j" {
			return entropy.EventPage{}, code(entropy.CodeInternal)
		}
		calls++
		return pages[calls-1], nil
	}}
	var types []string
	for e, err := range entropy.Attach(s, "j").Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		types = append(types, e.Type)
	}
	if len(types) != 3 || types[2] != entropy.JobCanceled {
		t.Errorf("%v", types)
	}
	calls = 0
	for range entropy.Attach(s, "j").Events(t.Context()) {
		break
	}
	s.events = func(entropy.EventFilter) (entropy.EventPage, error) {
		return entropy.EventPage{}, code(entropy.CodeConflict)
	}
	failed := 0
	for _, err := range entropy.Attach(s, "j").Events(t.Context()) {
		if entropy.ErrorCode(err) == entropy.CodeConflict {
			failed++
		}
	}
	if calls != 1 || failed != 1 {
		t.Errorf("%d calls, %d errors", calls, failed)
	}
}
