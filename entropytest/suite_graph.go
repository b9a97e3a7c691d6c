package entropytest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

// after is the spec of a job that waits for others: "id" for success, "id:end".
func after(spec entropy.JobSpec, ids ...entropy.JobID) entropy.JobSpec {
	for _, id := range ids {
		job, on, _ := strings.Cut(string(id), ":")
		spec.After = append(spec.After, entropy.Dependency{Job: entropy.JobID(job), On: on})
	}
	return spec
}

// becomes waits until the job is in the state: dependents follow soon, not at once.
func (s *suite) becomes(id entropy.JobID, want entropy.State) *entropy.Job {
	s.Helper()
	if want.Terminal() {
		return s.ended(id, want)
	}
	after := entropy.Position{}
	for {
		j := s.job(id)
		if j.State == want {
			return j
		}
		page, err := s.Service.Events(s.ctx, entropy.EventFilter{After: after, Entity: entropy.Entity(entropy.KindJob, string(id)), Wait: patience})
		s.must(err)
		if after = page.Next; len(page.Events) == 0 {
			s.Fatalf("job %s is %s (%s), want %s", id, j.State, j.Message, want)
		}
	}
}

// all submits a call and returns the IDs.
func (s *suite) all(subs ...entropy.Submission) (ids []entropy.JobID) {
	s.Helper()
	res, err := s.Service.Submit(s.ctx, subs)
	s.must(err)
	for i, r := range res {
		if r.Error != nil || !r.Created {
			s.Fatalf("submission %d: %+v", i, r)
		}
		ids = append(ids, r.ID)
	}
	return ids
}

// run runs the next job of the queue to this exit code and returns its ID.
func (n *node) run(code int) entropy.JobID {
	n.Helper()
	a := n.start()
	n.accept(n.exit(a, code))
	return a.JobID
}

// once is a job that fails at its first failure.
func once() entropy.JobSpec {
	return entropy.JobSpec{Command: []string{"true"}, Retry: entropy.RetryPolicy{MaxAttempts: 1}}
}

// proves J-10: a job starts only when those it waits for have ended as they should
func testDependencies(s *suite) {
	n := s.node("w1")
	up := s.submit(once())
	down := s.submit(after(once(), up))
	any := s.submit(after(once(), up+":end"))
	if j := s.wantState(down, entropy.Scheduled); !j.Blocked || j.EligibleAt != nil {
		s.Fatalf("it waits: %+v", j)
	}
	if got := n.run(0); got != up {
		s.Fatalf("%s ran before %s", got, up)
	}
	s.becomes(any, entropy.Pending)
	if j := s.becomes(down, entropy.Pending); j.Blocked {
		s.Fatalf("it waits no longer: %+v", j)
	}
	n.run(0)
	n.run(0)
	s.ended(down, entropy.Succeeded)
	if j := s.job(s.submit(after(once(), down))); j.State != entropy.Pending || j.Blocked {
		s.Fatalf("what it waits for has ended: %+v", j)
	}
}

// proves J-10: a failed upstream says so, all along the chain; any end is enough
// where that is asked
func testDependencyFails(s *suite) {
	n := s.node("w1")
	up := s.submit(once())
	a := s.submit(after(once(), up))
	b := s.submit(after(once(), a))
	end := s.submit(after(once(), b+":end"))
	n.run(1)
	if j := s.ended(a, entropy.Failed); j.Reason != entropy.ReasonDependency || !strings.Contains(j.Message, string(up)) {
		s.Fatalf("reason %s, message %q; want dependency and %s", j.Reason, j.Message, up)
	}
	if j := s.ended(b, entropy.Failed); j.Reason != entropy.ReasonDependency || !strings.Contains(j.Message, string(a)) {
		s.Fatalf("reason %s, message %q; want dependency and %s", j.Reason, j.Message, a)
	}
	s.becomes(end, entropy.Pending)
	up = s.submit(once())
	down := s.submit(after(once(), up))
	_, err := s.Service.Cancel(s.ctx, up, entropy.Operation{})
	s.must(err)
	if j := s.ended(down, entropy.Failed); !strings.Contains(j.Message, "was canceled") {
		s.Fatalf("message %q", j.Message)
	}
	if j := s.ended(s.submit(after(once(), up)), entropy.Failed); j.Reason != entropy.ReasonDependency {
		s.Fatalf("it failed before the submission: %+v", j)
	}
}

// proves J-10: unknown and circular dependencies are refused, and nothing of the
// call is created
func testGroupRefused(s *suite) {
	sub := func(id entropy.JobID, spec entropy.JobSpec) entropy.Submission {
		return entropy.Submission{ID: id, Spec: spec}
	}
	for name, c := range map[string]struct {
		subs []entropy.Submission
		code entropy.Code
		says string
	}{
		"unknown":   {[]entropy.Submission{sub("g1", once()), sub("g2", after(once(), "nobody"))}, entropy.CodeNotFound, "nobody"},
		"itself":    {[]entropy.Submission{sub("g1", once()), sub("g2", after(once(), "g2"))}, entropy.CodeInvalid, "g2 after g2"},
		"cycle":     {[]entropy.Submission{sub("g1", after(once(), "g3")), sub("g2", after(once(), "g1")), sub("g3", after(once(), "g2:end"))}, entropy.CodeInvalid, "after"},
		"one bad":   {[]entropy.Submission{sub("g1", once()), sub("g2", after(entropy.JobSpec{}, "g1"))}, entropy.CodeInvalid, "command"},
		"atomic":    {[]entropy.Submission{{ID: "g1", Spec: once(), Atomic: true}, sub("g2", entropy.JobSpec{})}, entropy.CodeInvalid, "command"},
		"twice":     {[]entropy.Submission{sub("g1", once()), sub("g1", after(once(), "g1"))}, entropy.CodeInvalid, "twice"},
		"bad on":    {[]entropy.Submission{sub("g1", once()), sub("g2", after(once(), "g1:later"))}, entropy.CodeInvalid, "later"},
		"member":    {[]entropy.Submission{sub("g1", once()), {ID: "g2", Spec: after(once(), "g2.0"), Array: &entropy.ArraySpec{Last: 1}}}, entropy.CodeInvalid, "after"},
		"forged":    {[]entropy.Submission{sub("g1", once()), {ID: "g2", Atomic: true, Spec: entropy.JobSpec{Command: []string{"x"}, Array: &entropy.ArrayMember{Of: "g1"}}}}, entropy.CodeInvalid, "array"},
		"backwards": {[]entropy.Submission{sub("g1", once()), {ID: "g2", Spec: once(), Array: &entropy.ArraySpec{First: 2, Last: 1}}}, entropy.CodeInvalid, "ends before"},
		"negative":  {[]entropy.Submission{sub("g1", once()), {ID: "g2", Spec: once(), Array: &entropy.ArraySpec{First: -2, Last: 1}}}, entropy.CodeInvalid, "index"},
		"huge":      {[]entropy.Submission{sub("g1", once()), {ID: "g2", Spec: once(), Array: &entropy.ArraySpec{Last: 999_999_999}}}, entropy.CodeTooLarge, "1000000000"},
		"overflow":  {[]entropy.Submission{sub("g1", once()), {ID: "g2", Spec: once(), Array: &entropy.ArraySpec{Last: 1<<62 - 1}}}, entropy.CodeInvalid, "index"},
		"two kinds": {[]entropy.Submission{sub("g1", once()), {ID: "g2", Spec: once(), Array: &entropy.ArraySpec{Last: 3, Lines: []string{"x"}}}}, entropy.CodeInvalid, "not both"},
		"heavy":     {[]entropy.Submission{sub("g1", once()), {ID: "g2", Spec: heavy(), Array: &entropy.ArraySpec{Last: entropy.MaxArray - 1}}}, entropy.CodeTooLarge, "MiB"},
		"long":      {[]entropy.Submission{sub("g1", once()), {ID: entropy.JobID(strings.Repeat("x", 63)), Spec: once(), Array: &entropy.ArraySpec{Last: 1}}}, entropy.CodeInvalid, "member"},
	} {
		_, err := s.Service.Submit(s.ctx, c.subs)
		if entropy.ErrorCode(err) != c.code || !strings.Contains(fmt.Sprint(err), c.says) {
			s.Errorf("%s: %v (%s), want %s and %q", name, err, entropy.ErrorCode(err), c.code, c.says)
		}
		for _, id := range []entropy.JobID{"g1", "g2", "g2.0", "g2.2", "g3"} {
			if _, err := s.Service.Job(s.ctx, id); entropy.ErrorCode(err) != entropy.CodeNotFound {
				s.Fatalf("%s: %s was created (%v)", name, id, err)
			}
		}
	}
	res, err := s.Service.Submit(s.ctx, []entropy.Submission{{ID: "solo", Spec: entropy.JobSpec{Command: []string{"x"}, Array: &entropy.ArrayMember{Of: "g1"}}}})
	s.must(err)
	s.wantCode(orNil(res[0].Error), entropy.CodeInvalid)
}

func heavy() entropy.JobSpec {
	spec := once()
	spec.Env = map[string]string{"HEAVY": strings.Repeat("x", 20_000)}
	return spec
}

// proves J-5: repeating a call is harmless, changing it is a conflict of the whole
func testGroupRepeat(s *suite) {
	subs := []entropy.Submission{{ID: "a", Spec: once()}, {ID: "b", Spec: after(once(), "a", "c:end")}, {ID: "c", Spec: once(), Array: &entropy.ArraySpec{Last: 2}}}
	s.all(subs...)
	res, err := s.Service.Submit(s.ctx, subs)
	s.must(err)
	for i, r := range res {
		if r.ID != subs[i].ID || r.Created || r.Error != nil {
			s.Fatalf("repeat %d: %+v", i, r)
		}
	}
	other := slices.Clone(subs)
	other[2].Array = &entropy.ArraySpec{Last: 3}
	other = append(other, entropy.Submission{ID: "d", Spec: once()})
	_, err = s.Service.Submit(s.ctx, other)
	s.wantCode(err, entropy.CodeConflict)
	_, err = s.Service.Job(s.ctx, "d")
	s.wantCode(err, entropy.CodeNotFound)
	for _, sub := range []entropy.Submission{{ID: "a", Spec: once(), Array: &entropy.ArraySpec{Last: 1}}, {ID: "x", Spec: after(entropy.JobSpec{Command: []string{"no"}}, "a")}} {
		sub.ID = map[entropy.JobID]entropy.JobID{"a": "a", "x": "b"}[sub.ID]
		_, err = s.Service.Submit(s.ctx, []entropy.Submission{sub})
		s.wantCode(err, entropy.CodeConflict)
	}
	res, err = s.Service.Submit(s.ctx, []entropy.Submission{{ID: "c", Spec: once()}})
	s.must(err)
	s.wantCode(orNil(res[0].Error), entropy.CodeConflict) // an array has this ID
	s.submit(once())
	s.all(entropy.Submission{ID: "e.1", Spec: once()})
	_, err = s.Service.Submit(s.ctx, []entropy.Submission{{ID: "e", Spec: once(), Array: &entropy.ArraySpec{Last: 1}}})
	s.wantCode(err, entropy.CodeConflict)
	_, err = s.Service.Job(s.ctx, "e.0")
	s.wantCode(err, entropy.CodeNotFound)
	key := entropy.Submission{IdempotencyKey: "nightly", Spec: once(), Array: &entropy.ArraySpec{Last: 1}}
	first := s.all(key)
	res, err = s.Service.Submit(s.ctx, []entropy.Submission{key})
	s.must(err)
	if res[0].ID != first[0] || res[0].Created {
		s.Fatalf("by key: %+v, first %s", res[0], first[0])
	}
}

// proves J-10: an array is made whole, its ID stands for all members
func testArray(s *suite) {
	n := s.node("w1")
	spec := once()
	spec.Command = []string{"run", "{}", "x{}y"}
	ids := s.all(entropy.Submission{ID: "arr", Spec: spec, Array: &entropy.ArraySpec{First: 2, Last: 4}},
		entropy.Submission{ID: "lines", Spec: entropy.JobSpec{Command: []string{"run", "@", "{}"}}, Array: &entropy.ArraySpec{Lines: []string{"one", "", "{}"}, Replace: "@"}, Hold: true})
	if !slices.Equal(ids, []entropy.JobID{"arr", "lines"}) {
		s.Fatalf("IDs %v", ids)
	}
	j := s.job("arr.3")
	if !slices.Equal(j.Spec.Command, []string{"run", "3", "x3y"}) || j.Spec.Env[entropy.EnvIndex] != "3" || j.Spec.Array == nil || *j.Spec.Array != (entropy.ArrayMember{Of: "arr", Index: 3}) {
		s.Fatalf("member: %+v", j.Spec)
	}
	if j := s.job("lines.2"); !slices.Equal(j.Spec.Command, []string{"run", "{}", "{}"}) || j.Spec.Env[entropy.EnvLine] != "{}" || !j.Held {
		s.Fatalf("member of lines: %+v", j.Spec)
	}
	if plain := s.job(s.submit(entropy.JobSpec{Command: []string{"echo", "{}"}, Queue: "other"})); plain.Spec.Command[1] != "{}" {
		s.Fatalf("{} without an array: %v", plain.Spec.Command)
	}
	whole := s.wantState("arr", entropy.Pending)
	if whole.Array == nil || whole.Array.Count != 3 || whole.Array.First != 2 || whole.Array.Last != 4 || whole.Array.States[entropy.Pending] != 3 || whole.Spec.Command[1] != "{}" {
		s.Fatalf("the whole: %+v %+v", whole, whole.Array)
	}
	page, err := s.Service.Jobs(s.ctx, entropy.JobFilter{Array: "arr"})
	s.must(err)
	if len(page.Jobs) != 3 {
		s.Fatalf("%d members are listed", len(page.Jobs))
	}
	down := s.submit(after(once(), "arr:end"))
	good := s.submit(after(once(), "arr"))
	n.run(0)
	s.wantState(down, entropy.Scheduled)
	n.run(1)
	if j := s.ended(good, entropy.Failed); j.Reason != entropy.ReasonDependency || !strings.Contains(j.Message, "arr") {
		s.Fatalf("one member failed: %s %q", j.Reason, j.Message)
	}
	done, err := s.Service.Wait(s.ctx, []entropy.JobID{"arr"}, 0)
	s.must(err)
	if len(done) != 0 {
		s.Fatalf("it has not ended: %+v", done[0].Array)
	}
	n.run(0)
	if j := s.ended("arr", entropy.Failed); j.Array.States[entropy.Succeeded] != 2 || j.FinishedAt == nil || !strings.Contains(j.Message, "arr.") {
		s.Fatalf("the end: %+v %+v", j, j.Array)
	}
	s.becomes(down, entropy.Pending)
}

// proves J-14: what is asked of an array is done to its members
func testArrayWishes(s *suite) {
	n := s.node("w1")
	s.all(entropy.Submission{ID: "arr", Spec: once(), Array: &entropy.ArraySpec{Last: 3}})
	_, err := s.Service.Retry(s.ctx, "arr", entropy.Operation{})
	s.wantCode(err, entropy.CodeConflict)
	_, err = s.Service.Hold(s.ctx, "arr", entropy.Operation{ID: "h", Reason: "look first"})
	s.must(err)
	if j := s.job("arr.2"); !j.Held || j.Message != "look first" {
		s.Fatalf("held: %+v", j)
	}
	if got := n.claim(1, 0); len(got) > 0 {
		s.Fatalf("a held job was assigned: %+v", got)
	}
	_, err = s.Service.Prioritize(s.ctx, "arr", 7, entropy.Operation{ID: "p"})
	s.must(err)
	_, err = s.Service.Release(s.ctx, "arr", entropy.Operation{ID: "r"})
	s.must(err)
	if j := s.job("arr.1"); j.Held || j.Priority() != 7 {
		s.Fatalf("released: %+v", j)
	}
	first := n.run(0)
	n.run(1)
	whole, err := s.Service.Cancel(s.ctx, "arr", entropy.Operation{ID: "c"})
	s.must(err)
	if whole.State != entropy.Failed || whole.Array.States[entropy.Canceled] != 2 {
		s.Fatalf("canceled: %s %v", whole.State, whole.Array.States)
	}
	_, err = s.Service.Cancel(s.ctx, "arr", entropy.Operation{})
	s.wantCode(err, entropy.CodeConflict)
	again, err := s.Service.Retry(s.ctx, "arr", entropy.Operation{ID: "again"})
	s.must(err)
	repeat, err := s.Service.Retry(s.ctx, "arr", entropy.Operation{ID: "again"})
	s.must(err)
	if again.ID == "arr" || again.ID != repeat.ID || again.Array == nil || again.Array.Count != 3 || again.Spec.RetryOf != "arr" {
		s.Fatalf("retry: %+v %+v, then %s", again, again.Array, repeat.ID)
	}
	_, index, _ := strings.Cut(string(first), ".")
	if _, err := s.Service.Job(s.ctx, again.ID+"."+entropy.JobID(index)); entropy.ErrorCode(err) != entropy.CodeNotFound {
		s.Fatalf("member %s had succeeded and runs again (%v)", index, err)
	}
	_, err = s.Service.Cancel(s.ctx, again.ID, entropy.Operation{})
	s.must(err)
	s.ended(again.ID, entropy.Canceled)
}

// proves J-14: hold, release, reprioritize
func testHold(s *suite) {
	n := s.node("w1")
	held := s.all(entropy.Submission{Spec: once(), Hold: true})[0]
	low, high := s.submit(once()), s.submit(once())
	if j := s.wantState(held, entropy.Pending); !j.Held {
		s.Fatalf("submitted held: %+v", j)
	}
	if j, err := s.Service.Prioritize(s.ctx, high, 50, entropy.Operation{ID: "p1"}); err != nil || j.Priority() != 50 || s.job(high).Priority() != 50 {
		s.Fatalf("prioritize: %+v %v", j, err)
	}
	_, err := s.Service.Prioritize(s.ctx, high, 101, entropy.Operation{})
	s.wantCode(err, entropy.CodeInvalid)
	if a, b := n.run(0), n.run(0); a != high || b != low {
		s.Fatalf("ran %s, %s; want %s, %s", a, b, high, low)
	}
	if got := n.claim(1, 0); len(got) > 0 {
		s.Fatalf("a held job was assigned: %+v", got)
	}
	for range 2 { // repeating is harmless
		j, err := s.Service.Release(s.ctx, held, entropy.Operation{ID: "rel"})
		s.must(err)
		if j.Held {
			s.Fatalf("released: %+v", j)
		}
	}
	if got := n.run(0); got != held {
		s.Fatalf("ran %s, want %s", got, held)
	}
	for _, do := range []func() error{
		func() error { _, err := s.Service.Hold(s.ctx, held, entropy.Operation{}); return err },
		func() error { _, err := s.Service.Release(s.ctx, held, entropy.Operation{}); return err },
		func() error { _, err := s.Service.Prioritize(s.ctx, held, 1, entropy.Operation{}); return err },
	} {
		s.wantCode(do(), entropy.CodeConflict)
	}
	_, err = s.Service.Hold(s.ctx, "nope", entropy.Operation{})
	s.wantCode(err, entropy.CodeNotFound)
}

// proves J-14: one verb on many jobs, by filter, with one outcome each
func testBulk(s *suite) {
	var ids []entropy.JobID
	for i := range 7 {
		spec := once()
		spec.Queue, spec.Tenant = []string{"", "night"}[i%2], []string{"a", "b"}[i%2]
		ids = append(ids, s.submit(spec))
	}
	for _, r := range []entropy.BulkRequest{{Verb: entropy.VerbCancel}, {Verb: "burn", Filter: entropy.JobFilter{Queue: "night"}}, {Verb: entropy.VerbHold, Dependents: true, IDs: ids},
		{Verb: entropy.VerbHold, IDs: ids, Filter: entropy.JobFilter{Queue: "night"}}, {Verb: entropy.VerbPrioritize, Priority: 101, IDs: ids}} {
		_, err := s.Service.Bulk(s.ctx, r)
		s.wantCode(err, entropy.CodeInvalid)
	}
	night := entropy.BulkRequest{Verb: entropy.VerbHold, Filter: entropy.JobFilter{Tenant: "b"}, DryRun: true}
	reply, err := s.Service.Bulk(s.ctx, night)
	s.must(err)
	if reply.Matched != 3 || len(reply.Items) != 0 || s.job(ids[1]).Held {
		s.Fatalf("dry run: %+v", reply)
	}
	night.DryRun, night.Filter.Limit, night.Operation = false, 2, entropy.Operation{ID: "op", Reason: "maintenance"}
	var got []entropy.JobID
	for range 2 {
		reply, err := s.Service.Bulk(s.ctx, night)
		s.must(err)
		for _, it := range reply.Items {
			if it.Error != nil || it.State != entropy.Pending {
				s.Fatalf("item: %+v", it)
			}
			got = append(got, it.ID)
		}
		night.Filter.Cursor = reply.Next
	}
	if !slices.Equal(got, []entropy.JobID{ids[5], ids[3], ids[1]}) || night.Filter.Cursor != "" {
		s.Fatalf("acted on %v, next %q", got, night.Filter.Cursor)
	}
	if !s.job(ids[3]).Held || s.job(ids[2]).Held {
		s.Fatal("the wrong jobs are held")
	}
	reply, err = s.Service.Bulk(s.ctx, entropy.BulkRequest{Verb: entropy.VerbCancel, IDs: []entropy.JobID{ids[0], "nope", ids[1]}})
	s.must(err)
	if len(reply.Items) != 3 || reply.Items[0].State != entropy.Canceled || entropy.ErrorCode(orNil(reply.Items[1].Error)) != entropy.CodeNotFound || reply.Items[2].Error != nil {
		s.Fatalf("by ID: %+v", reply.Items)
	}
	reply, err = s.Service.Bulk(s.ctx, entropy.BulkRequest{Verb: entropy.VerbRetry, Filter: entropy.JobFilter{Queue: "night"}, Operation: entropy.Operation{ID: "again"}})
	s.must(err)
	if len(reply.Items) != 1 || reply.Items[0].ID != ids[1] || s.job(reply.Items[0].New).Spec.RetryOf != ids[1] {
		s.Fatalf("retry: %+v", reply)
	}
}

// proves J-2: --dependents clones those that failed with it, waiting for the clones
func testRetryDependents(s *suite) {
	n := s.node("w1")
	up := s.submit(once())
	s.all(entropy.Submission{ID: "b", Spec: after(once(), up)}, entropy.Submission{ID: "c", Spec: after(once(), up, "arr")},
		entropy.Submission{ID: "arr", Spec: after(once(), "b"), Array: &entropy.ArraySpec{Last: 1}}, entropy.Submission{ID: "end", Spec: after(once(), "arr:end")})
	n.run(1)
	s.ended("c", entropy.Failed)
	n.run(0) // end
	r := entropy.BulkRequest{Verb: entropy.VerbRetry, IDs: []entropy.JobID{up}, Dependents: true, Operation: entropy.Operation{ID: "again"}}
	reply, err := s.Service.Bulk(s.ctx, r)
	s.must(err)
	repeat, err := s.Service.Bulk(s.ctx, r)
	s.must(err)
	to := map[entropy.JobID]entropy.JobID{}
	for i, it := range reply.Items {
		if it.Error != nil || repeat.Items[i].New != it.New {
			s.Fatalf("item %+v, repeated %+v", it, repeat.Items[i])
		}
		to[it.ID] = it.New
	}
	if len(to) != 4 || to["end"] != "" {
		s.Fatalf("new jobs: %v", to)
	}
	if j := s.job(to["c"]); j.State != entropy.Scheduled || j.Spec.After[0].Job != to[up] || j.Spec.After[1].Job != to["arr"] || j.Spec.RetryOf != "c" {
		s.Fatalf("it waits for %v", j.Spec.After)
	}
	for range 5 {
		n.run(0)
	}
	s.ended(to["c"], entropy.Succeeded)
	if j := s.ended(to["arr"], entropy.Succeeded); j.Array.Count != 2 {
		s.Fatalf("array: %+v", j.Array)
	}
	_, err = s.Service.Retry(s.ctx, "nope", entropy.Operation{})
	s.wantCode(err, entropy.CodeNotFound)
}

// patientDelay is a time that is still ahead when a test is over.
func patientDelay() *time.Time {
	t := time.Now().Add(time.Hour)
	return &t
}

// proves J-10: a job whose dependencies are met still waits for its time
func testDependencyAndDelay(s *suite) {
	n := s.node("w1")
	up := s.submit(once())
	spec := after(once(), up)
	spec.NotBefore = patientDelay()
	down := s.submit(spec)
	n.run(0)
	s.becomes(s.submit(after(once(), up)), entropy.Pending)
	for s.job(down).Blocked { // its events end the wait, or the suite's time does
		_, err := s.Service.Events(s.ctx, entropy.EventFilter{Entity: entropy.Entity(entropy.KindJob, string(down)), Type: entropy.JobUnblocked, Wait: patience})
		s.must(err)
	}
	s.wantState(down, entropy.Scheduled)
}
