package entropytest

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves J-5
func testSubmit(s *suite) {
	id := s.submit(command("echo", "hello"))
	j := s.wantState(id, entropy.Pending)
	if j.ID != id || j.QueueName() != entropy.DefaultQueue || j.CreatedAt.IsZero() || j.EligibleAt == nil || !slices.Equal(j.Spec.Command, []string{"echo", "hello"}) {
		s.Fatalf("job: %+v", j)
	}
	res, err := s.Service.Submit(s.ctx, []entropy.Submission{{Spec: command("true")}})
	s.must(err)
	if res[0].ID == "" || !res[0].Created {
		s.Fatalf("a submission without an ID: %+v", res[0])
	}
	later := time.Now().Add(time.Hour)
	delayed := command("true")
	delayed.NotBefore = &later
	s.wantState(s.submit(delayed), entropy.Scheduled)
}

// proves J-5
func testSubmitIdempotent(s *suite) {
	one := func(sub entropy.Submission) entropy.SubmitResult {
		s.Helper()
		res, err := s.Service.Submit(s.ctx, []entropy.Submission{sub})
		s.must(err)
		return res[0]
	}
	for _, sub := range []entropy.Submission{{ID: "mine", Spec: command("true")}, {IdempotencyKey: "nightly 2026-11-20", Spec: command("true")}} {
		first, again := one(sub), one(sub)
		if !first.Created || again.Created || first.ID == "" || again.ID != first.ID || again.Error != nil {
			s.Fatalf("first %+v, again %+v", first, again)
		}
		sub.Spec = command("false")
		if other := one(sub); entropy.ErrorCode(orNil(other.Error)) != entropy.CodeConflict {
			s.Fatalf("another spec: %+v, want a conflict", other)
		}
		if j := s.job(first.ID); j.Spec.Command[0] != "true" {
			s.Fatalf("the job was changed: %+v", j.Spec)
		}
	}
}

// orNil returns e as an error that is nil when e is.
func orNil(e *entropy.Error) error {
	if e == nil {
		return nil
	}
	return e
}

// proves J-5: a bad item harms no other, and results keep the order
func testSubmitBatch(s *suite) {
	subs := []entropy.Submission{
		{ID: "a", Spec: command("true")}, {ID: "b"}, {ID: "no spaces", Spec: command("true")},
		{ID: "c", Spec: command("true")}, {ID: "a", Spec: command("true")},
	}
	res, err := s.Service.Submit(s.ctx, subs)
	s.must(err)
	if len(res) != len(subs) {
		s.Fatalf("%d results for %d submissions", len(res), len(subs))
	}
	want := []entropy.Code{"", entropy.CodeInvalid, entropy.CodeInvalid, "", ""}
	for i, r := range res {
		if entropy.ErrorCode(orNil(r.Error)) != want[i] {
			s.Fatalf("result %d: %+v, want code %q", i, r, want[i])
		}
	}
	if !res[0].Created || !res[3].Created || res[4].Created || res[4].ID != "a" {
		s.Fatalf("results: %+v", res)
	}
	_, err = s.Service.Job(s.ctx, "b")
	s.wantCode(err, entropy.CodeNotFound)
}

func testNotFound(s *suite) {
	_, err := s.Service.Job(s.ctx, "nope")
	s.wantCode(err, entropy.CodeNotFound)
	_, err = s.Service.Cancel(s.ctx, "nope", entropy.Operation{ID: "op"})
	s.wantCode(err, entropy.CodeNotFound)
	_, err = s.Service.Retry(s.ctx, "nope", entropy.Operation{ID: "op"})
	s.wantCode(err, entropy.CodeNotFound)
	_, err = s.Service.Wait(s.ctx, []entropy.JobID{"nope"}, 0)
	s.wantCode(err, entropy.CodeNotFound)
	_, err = s.Service.Log(s.ctx, entropy.LogQuery{JobID: "nope", Stream: "stdout"})
	s.wantCode(err, entropy.CodeNotFound)
	_, _, err = s.Service.OpenArtifact(s.ctx, "nope", "out.txt")
	s.wantCode(err, entropy.CodeNotFound)
	_, err = s.Service.SetWorker(s.ctx, "nope", entropy.WorkerDrain, entropy.Operation{})
	s.wantCode(err, entropy.CodeNotFound)
	_, err = s.Worker("w1").OpenBlob(s.ctx, hash([]byte("nope")))
	s.wantCode(err, entropy.CodeNotFound, entropy.CodeUnauthorized) // a worker that never registered may be told nothing at all
}

func testJobs(s *suite) {
	var ids []entropy.JobID
	for i := range 7 {
		spec := command("true")
		spec.Name = fmt.Sprintf("n%d", i%2)
		spec.Queue = []string{"", "q1"}[i%2]
		spec.Labels = map[string]string{"i": fmt.Sprint(i), "all": "yes"}
		ids = append(ids, s.submit(spec))
	}
	slices.Reverse(ids) // newest first
	list := func(f entropy.JobFilter) (got []entropy.JobID) {
		s.Helper()
		for {
			page, err := s.Service.Jobs(s.ctx, f)
			s.must(err)
			for _, j := range page.Jobs {
				if len(j.Attempts) > 0 {
					s.Fatalf("a listing carries attempts: %+v", j)
				}
				got = append(got, j.ID)
			}
			if f.Limit > 0 && len(page.Jobs) > f.Limit {
				s.Fatalf("%d jobs on a page of %d", len(page.Jobs), f.Limit)
			}
			if page.Next == "" {
				return got
			}
			f.Cursor = page.Next
		}
	}
	odd := []entropy.JobID{ids[1], ids[3], ids[5]}
	for _, c := range []struct {
		f    entropy.JobFilter
		want []entropy.JobID
	}{
		{entropy.JobFilter{}, ids},
		{entropy.JobFilter{Limit: 3}, ids},
		{entropy.JobFilter{Limit: 7}, ids},
		{entropy.JobFilter{Queue: "q1"}, odd},
		{entropy.JobFilter{Queue: "q1", Limit: 2}, odd},
		{entropy.JobFilter{Name: "n1"}, odd},
		{entropy.JobFilter{Labels: map[string]string{"all": "yes", "i": "6"}}, ids[:1]},
		{entropy.JobFilter{States: []entropy.State{entropy.Pending, entropy.Running}}, ids},
		{entropy.JobFilter{States: []entropy.State{entropy.Failed}}, nil},
	} {
		if got := list(c.f); !slices.Equal(got, c.want) {
			s.Errorf("%+v: got %v, want %v", c.f, got, c.want)
		}
	}
}

// proves J-1: the plain life of a job, in states and in events
func testLife(s *suite) {
	id := s.submit(command("true"))
	w := s.node("w1")
	a := w.claimOne()
	if a.JobID != id || a.Attempt != 1 || a.AssignmentID == "" || a.TTL <= 0 || a.AckTimeout <= 0 || a.Revoked || !slices.Equal(a.Spec.Command, []string{"true"}) {
		s.Fatalf("assignment: %+v", a)
	}
	s.wantState(id, entropy.Assigned)
	w.ack(a)
	if j := s.wantState(id, entropy.Running); j.StartedAt == nil || j.Attempt != 1 || j.LastAttempt().WorkerID != "w1" || j.LastAttempt().AssignmentID != a.AssignmentID {
		s.Fatalf("running: %+v", j)
	}
	w.accept(w.exit(a, 0))
	j := s.ended(id, entropy.Succeeded)
	if j.FinishedAt == nil || j.ExitCode == nil || *j.ExitCode != 0 || j.LastAttempt().End != entropy.EndSucceeded || j.Failures+j.Losses != 0 {
		s.Fatalf("succeeded: %+v", j)
	}
	var types []string
	for i, e := range s.events(entropy.Entity(entropy.KindJob, string(id))) {
		types = append(types, e.Type)
		if e.Version != uint64(i+1) || e.ID == "" || e.Seq == 0 || e.TS.IsZero() || e.Source.System == "" {
			s.Errorf("event %d: %+v", i, e)
		}
	}
	if want := []string{entropy.JobSubmitted, entropy.JobAssigned, entropy.JobStarted, entropy.JobSucceeded}; !slices.Equal(types, want) {
		s.Errorf("events %v, want %v", types, want)
	}
}

// proves I-3: nothing of a spec is lost on the way in and out
func testJobRoundTrip(s *suite) {
	deadline := time.Date(2126, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	content := []byte("input")
	s.must(s.Service.PutBlob(s.ctx, hash(content), int64(len(content)), newReader(content)))
	spec := entropy.JobSpec{
		Name: "naïve <b>&\u2028 \"name\"", Command: []string{"sh", "-c", "echo '\t\\'"}, Env: map[string]string{"A": "1", "B": "zwei\n"}, Cwd: "/tmp",
		Queue: "q", Tenant: "t", Priority: -7, Labels: map[string]string{"k": "v"}, Require: map[string]string{"zone": "w1"},
		Inputs: []entropy.Input{{Path: "in/put.txt", SHA256: hash(content), Size: 5, Mode: 0o755}}, Artifacts: []string{"*.txt"},
		Retry:      entropy.RetryPolicy{MaxAttempts: 4, MaxLosses: 6, Backoff: entropy.Duration(time.Second), BackoffCap: entropy.Duration(time.Minute), NonRetryable: []int{2, 64}},
		Disconnect: entropy.Disconnect{Worker: entropy.DisconnectContinue, ReassignAfter: entropy.Duration(time.Second), LateResult: entropy.LateDiscard},
		RunTimeout: entropy.Duration(90 * time.Second), AckTimeout: entropy.Duration(20 * time.Second), QueueTimeout: entropy.Duration(time.Hour),
		Grace: entropy.Duration(1500 * time.Millisecond), NotAfter: &deadline,
	}
	id := s.submit(spec)
	if got := s.job(id).Spec; !reflect.DeepEqual(got, spec) {
		s.Errorf("spec of the job:\n got %+v\nwant %+v", got, spec)
	}
	if got := s.node("w1").claimOne().Spec; !reflect.DeepEqual(got, spec) {
		s.Errorf("spec of the assignment:\n got %+v\nwant %+v", got, spec)
	}
}

func testResult(s *suite) {
	spec := entropy.JobSpec{Handler: "square", Payload: json.RawMessage(`{"n":12}`)}
	id := s.submit(spec)
	plain := s.node("plain")
	if got := plain.claim(1, 0); len(got) > 0 {
		s.Fatalf("a worker without the handler was given %+v", got)
	}
	n := &node{suite: s, WorkerService: s.Worker("w1"), name: "w1"}
	r := s.registration("w1")
	r.Handlers = []string{"square"}
	reg, err := n.Register(s.ctx, r)
	s.must(err)
	n.incarnation = reg.Incarnation
	a := n.start()
	if string(a.Spec.Payload) != `{"n":12}` || a.Spec.Handler != "square" {
		s.Fatalf("assignment: %+v", a)
	}
	c := n.completion(a, entropy.OutcomeSucceeded)
	c.Result = json.RawMessage(`{"n":144}`)
	c.Usage = &entropy.Usage{UserCPU: entropy.Duration(time.Millisecond), MaxRSS: 1 << 20, Wall: entropy.Duration(time.Second)}
	n.accept(c)
	j := s.ended(id, entropy.Succeeded)
	if string(j.Result) != `{"n":144}` || !reflect.DeepEqual(j.LastAttempt().Usage, c.Usage) {
		s.Fatalf("result %s, usage %+v", j.Result, j.LastAttempt().Usage)
	}
}

// proves J-14
func testCancelPending(s *suite) {
	id := s.submit(command("true"))
	for range 2 { // repeating it is harmless
		j, err := s.Service.Cancel(s.ctx, id, entropy.Operation{ID: "cancel-1", Reason: "not needed"})
		s.must(err)
		if j.State != entropy.Canceled || j.FinishedAt == nil {
			s.Fatalf("canceled: %+v", j)
		}
	}
	if got := s.node("w1").claim(1, 0); len(got) > 0 {
		s.Fatalf("a canceled job was assigned: %+v", got)
	}
}

// proves J-14: a running job ends when its processes are confirmed gone
func testCancelRunning(s *suite) {
	id := s.submit(command("sleep", "1000"))
	w := s.node("w1")
	a := w.start()
	before, err := w.Directives(s.ctx, entropy.DirectivesRequest{Incarnation: w.incarnation})
	s.must(err)
	j, err := s.Service.Cancel(s.ctx, id, entropy.Operation{ID: "cancel-1"})
	s.must(err)
	if j.State != entropy.Running || !j.CancelRequested {
		s.Fatalf("after the request: %+v", j)
	}
	d, err := w.Directives(s.ctx, entropy.DirectivesRequest{Incarnation: w.incarnation, Known: before.Version, Wait: entropy.Duration(patience)})
	s.must(err)
	if len(d.Stop) != 1 || d.Stop[0].AssignmentID != a.AssignmentID || d.Stop[0].Reason != entropy.ReasonCancel {
		s.Fatalf("directives: %+v", d)
	}
	c := w.completion(a, entropy.OutcomeStopped)
	c.Reason, c.Signal = entropy.ReasonCancel, "SIGTERM"
	w.accept(c)
	if j := s.ended(id, entropy.Canceled); j.Signal != "SIGTERM" {
		s.Fatalf("canceled: %+v", j)
	}

	done := s.submit(command("true"))
	w.accept(w.exit(w.start(), 0))
	_, err = s.Service.Cancel(s.ctx, done, entropy.Operation{ID: "cancel-2"})
	s.wantCode(err, entropy.CodeConflict)
}

// proves J-2
func testRetry(s *suite) {
	id := s.submit(command("true"))
	_, err := s.Service.Retry(s.ctx, id, entropy.Operation{ID: "retry-1"})
	s.wantCode(err, entropy.CodeConflict)
	w := s.node("w1")
	w.accept(w.exit(w.start(), 0))
	first, err := s.Service.Retry(s.ctx, id, entropy.Operation{ID: "retry-1"})
	s.must(err)
	again, err := s.Service.Retry(s.ctx, id, entropy.Operation{ID: "retry-1"})
	s.must(err)
	other, err := s.Service.Retry(s.ctx, id, entropy.Operation{ID: "retry-2"})
	s.must(err)
	if first.ID == id || first.ID != again.ID || other.ID == first.ID || first.Spec.RetryOf != id || !slices.Equal(first.Spec.Command, []string{"true"}) {
		s.Fatalf("first %+v, again %s, other %s", first, again.ID, other.ID)
	}
	s.wantState(id, entropy.Succeeded)
}

// proves J-14
func testWait(s *suite) {
	a, b := s.submit(command("true")), s.submit(command("true"))
	done, err := s.Service.Wait(s.ctx, []entropy.JobID{a, b}, 0)
	s.must(err)
	if len(done) != 0 {
		s.Fatalf("waiting for nothing returned %+v", done)
	}
	w := s.node("w1")
	w.accept(w.exit(w.start(), 0))
	done, err = s.Service.Wait(s.ctx, []entropy.JobID{a, b}, time.Millisecond)
	s.must(err)
	if len(done) != 1 || done[0].ID != a {
		s.Fatalf("one of two has ended: %+v", done)
	}
	result := make(chan []*entropy.Job, 1)
	go func() {
		done, err := s.Service.Wait(s.ctx, []entropy.JobID{a, b}, patience)
		if err != nil {
			s.Errorf("wait: %v", err)
		}
		result <- done
	}()
	w.accept(w.exit(w.start(), 0))
	if done := <-result; len(done) != 2 {
		s.Fatalf("both have ended: %+v", done)
	}
}

func testWaitCanceled(s *suite) {
	id := s.submit(command("true"))
	ctx, cancel := context.WithCancel(s.ctx)
	result := make(chan error, 1)
	go func() {
		_, err := s.Service.Wait(ctx, []entropy.JobID{id}, patience)
		result <- err
	}()
	cancel()
	if err := <-result; err == nil {
		s.Fatal("a canceled wait returned no error")
	}
}

// proves I-2: the handle works over any Service
func testHandle(s *suite) {
	h, err := entropy.Spawn(s.ctx, s.Service, command("echo", "hi"))
	s.must(err)
	w := s.node("w1")
	a := w.start()
	if a.JobID != h.ID() {
		s.Fatalf("assigned %s, spawned %s", a.JobID, h.ID())
	}
	_, err = w.AppendLog(s.ctx, entropy.LogUpload{JobID: a.JobID, AssignmentID: a.AssignmentID, Stream: "stdout"}, []byte("hi\n"))
	s.must(err)
	w.accept(w.exit(a, 0))
	j, err := h.Wait(s.ctx)
	s.must(err)
	if j.State != entropy.Succeeded {
		s.Fatalf("job: %+v", j)
	}
	if got := string(s.read(h.Logs(s.ctx))); got != "hi\n" {
		s.Fatalf("logs %q", got)
	}
	var types []string
	for e, err := range h.Events(s.ctx) {
		s.must(err)
		types = append(types, e.Type)
	}
	if len(types) != 4 || types[3] != entropy.JobSucceeded {
		s.Fatalf("events %v", types)
	}
	_, err = h.Cancel(s.ctx)
	s.wantCode(err, entropy.CodeConflict)
	_, err = entropy.Spawn(s.ctx, s.Service, entropy.JobSpec{})
	s.wantCode(err, entropy.CodeInvalid)
}
