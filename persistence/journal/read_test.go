package journal

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

var bg = context.Background()

// proves P-2: filters and pages give what a plain look at every job gives.
func TestListingsAgreeWithAPlainFilter(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	rng := rand.New(rand.NewPCG(1, 2))
	var jobs []*entropy.Job // oldest first
	for i := range 120 {
		k, s := newTracker(name("j%03d", i)), spec()
		s.Name = []string{"", "train", "eval"}[rng.IntN(3)]
		s.Queue = []string{"", "default", "gpu"}[rng.IntN(3)]
		s.Labels = map[string]string{"batch": name("%d", rng.IntN(3)), "odd": name("%d", i%2)}
		steps := []entropy.Change{k.submit(t, s)}
		if n := rng.IntN(5); n > 0 {
			steps = append(steps, k.assign(t, "w1", uint64(i)))
			if n > 1 {
				steps = append(steps, k.ack(t))
			}
			if n == 3 {
				steps = append(steps, k.lose(t))
			}
			if n == 4 {
				steps = append(steps, k.succeed(t))
			}
		}
		must(t, j, steps...)
		jobs = append(jobs, k.job)
	}
	for range 300 {
		var f entropy.JobFilter
		for range rng.IntN(3) {
			f.States = append(f.States, entropy.States[rng.IntN(len(entropy.States))])
		}
		f.Queue = []string{"", "", "default", "gpu", "none"}[rng.IntN(5)]
		f.Name = []string{"", "", "train"}[rng.IntN(3)]
		if rng.IntN(3) == 0 {
			f.Labels = map[string]string{"batch": "1"}
		}
		if rng.IntN(4) == 0 {
			f.Labels = map[string]string{"batch": "2", "odd": "1"}
		}
		f.Limit = 1 + rng.IntN(40)
		if got, want := listed(t, j, f), filtered(jobs, f); !slices.Equal(got, want) {
			t.Fatalf("filter %s: got %v, want %v", asJSON(f), got, want)
		}
	}
	_, err := j.Jobs(bg, entropy.JobFilter{Cursor: "not a cursor"})
	wantCode(t, err, entropy.CodeInvalid)
}

func listed(t *testing.T, j *Journal, f entropy.JobFilter) (ids []entropy.JobID) {
	t.Helper()
	for {
		page, err := j.Jobs(bg, f)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Jobs) > f.Limit {
			t.Fatalf("page of %d jobs, limit %d", len(page.Jobs), f.Limit)
		}
		for _, job := range page.Jobs {
			if len(job.Attempts) > 1 {
				t.Errorf("job %s is listed with all of its attempts", job.ID)
			}
			ids = append(ids, job.ID)
		}
		if f.Cursor = page.Next; f.Cursor == "" {
			return ids
		}
	}
}

func filtered(jobs []*entropy.Job, f entropy.JobFilter) (ids []entropy.JobID) {
	for _, j := range slices.Backward(jobs) {
		ok := len(f.States) == 0 || slices.Contains(f.States, j.State)
		ok = ok && (f.Queue == "" || j.QueueName() == f.Queue) && (f.Name == "" || j.Spec.Name == f.Name)
		for k, v := range f.Labels {
			ok = ok && j.Spec.Labels[k] == v
		}
		if ok {
			ids = append(ids, j.ID)
		}
	}
	return ids
}

func TestEventFilters(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	w, _ := register(t, "w1")
	must(t, j, w)
	for i := range 5 {
		runJob(t, j, name("j%d", i), "w1", uint64(i+1))
	}
	count := func(f entropy.EventFilter) (n int, last entropy.Position) {
		t.Helper()
		for {
			page, err := j.Events(bg, f)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Events) == 0 {
				return n, page.Next
			}
			for _, e := range page.Events {
				if e.Seq <= f.After.Seq {
					t.Errorf("seq %d is not after %s", e.Seq, f.After)
				}
			}
			n += len(page.Events)
			f.After = page.Next
		}
	}
	end := entropy.Position{Epoch: 1, Seq: 21}
	for _, c := range []struct {
		f    entropy.EventFilter
		want int
	}{
		{entropy.EventFilter{}, 21},
		{entropy.EventFilter{Limit: 3}, 21},
		{entropy.EventFilter{After: entropy.Position{Epoch: 1, Seq: 20}}, 1},
		{entropy.EventFilter{Type: "job.started", Limit: 2}, 5},
		{entropy.EventFilter{Type: "job.", Limit: 4}, 20},
		{entropy.EventFilter{Type: "worker."}, 1},
		{entropy.EventFilter{Type: "job"}, 0},
		{entropy.EventFilter{Entity: "job:j3", Limit: 1}, 4},
		{entropy.EventFilter{Entity: "job:j3", Type: "job.succeeded"}, 1},
		{entropy.EventFilter{Entity: "job:none"}, 0},
		{entropy.EventFilter{Latest: true}, 0},
	} {
		if got, last := count(c.f); got != c.want || last != end {
			t.Errorf("%+v: got %d events up to %s, want %d up to %s", c.f, got, last, c.want, end)
		}
	}
	_, err := j.Events(bg, entropy.EventFilter{After: entropy.Position{Epoch: 2, Seq: 1}})
	wantCode(t, err, entropy.CodeConflict)
	_, err = j.Events(bg, entropy.EventFilter{After: entropy.Position{Epoch: 1, Seq: 22}})
	wantCode(t, err, entropy.CodeConflict)
}

// proves J-8, P-5: the index for the scheduler, and what a start looks for.
func TestTheScansOfAStart(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	plain, picky, running, waiting := newTracker("plain"), newTracker("picky"), newTracker("running"), newTracker("waiting")
	must(t, j, plain.submit(t, entropy.JobSpec{Command: []string{"true"}}))
	must(t, j, picky.submit(t, entropy.JobSpec{Handler: "train", Queue: "gpu", Tenant: "lab", Priority: -7, QueueTimeout: entropy.Duration(time.Hour),
		Require: map[string]string{"gpu": "h100", "os": "linux"}, Resources: entropy.Resources{entropy.ResourceGPU: entropy.Unit / 2}}))
	must(t, j, picky.change(t, entropy.Reprioritize{Priority: 5}))
	must(t, j, picky.assign(t, "w1", 1))
	must(t, j, picky.change(t, entropy.Release{AssignmentID: picky.lease().AssignmentID, WorkerID: "w1", Cause: entropy.CauseRefused}))
	must(t, j, running.submit(t, spec()), running.assign(t, "w1", 2), running.ack(t))
	later := epoch0.Add(time.Hour)
	must(t, j, waiting.submit(t, entropy.JobSpec{Command: []string{"true"}, NotBefore: &later}))

	var queued []QueuedJob
	if err := j.EachQueued(bg, func(q QueuedJob) error { queued = append(queued, q); return nil }); err != nil {
		t.Fatal(err)
	}
	demand := picky.job.Spec.Demand()
	demand.Handler = ""
	want := []QueuedJob{
		{ID: "plain", EligibleAt: *plain.job.EligibleAt, Queue: "default", Tenant: "default", Demand: new(entropy.Demand)},
		{ID: "picky", EligibleAt: *picky.job.EligibleAt, Priority: 5, Handler: "train", Queue: "gpu", Tenant: "lab", HasExclusions: true, Demand: &demand},
	}
	if a, b := asJSON(queued), asJSON(want); a != b {
		t.Errorf("queued %s, want %s", a, b)
	}
	var leased []entropy.JobID
	if err := j.EachLeased(bg, func(job *entropy.Job) error {
		if job.ID == "running" && asJSON(job) != asJSON(running.job) {
			t.Errorf("leased %s, want %s", asJSON(job), asJSON(running.job))
		}
		leased = append(leased, job.ID)
		return nil
	}); err != nil || !slices.Equal(leased, []entropy.JobID{"running"}) {
		t.Errorf("leased %v, %v", leased, err)
	}
	wakes := map[entropy.JobID]time.Time{}
	if err := j.EachWake(bg, func(id entropy.JobID, at time.Time) error { wakes[id] = at; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(wakes) != 2 || !wakes["waiting"].Equal(later) || !wakes["picky"].Equal(picky.job.WakeAt()) {
		t.Errorf("wakes %v", wakes)
	}
	counts, err := j.Counts(bg)
	if err != nil || counts[entropy.Pending] != 2 || counts[entropy.Running] != 1 || counts[entropy.Scheduled] != 1 || len(counts) != 3 {
		t.Errorf("counts %v, %v", counts, err)
	}
}

func TestAScanStopsAtItsCallersError(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	must(t, j, newTracker("a").submit(t, spec()), newTracker("b").submit(t, spec()))
	stop := fmt.Errorf("enough")
	n := 0
	if err := j.EachQueued(bg, func(QueuedJob) error { n++; return stop }); err != stop || n != 1 {
		t.Errorf("got %v after %d jobs", err, n)
	}
}

// proves W-2
func TestLastClaimIsTheNewestClaimWithAllItsItems(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, Config{Path: path})
	claim := func() Claim {
		t.Helper()
		c, err := j.LastClaim(bg, "w1")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := claim(); c.Incarnation != 0 || c.ClaimSeq != 0 || c.Items != nil {
		t.Errorf("claim of an unknown worker: %+v", c)
	}
	a, b, c := newTracker("a"), newTracker("b"), newTracker("c")
	must(t, j, a.submit(t, spec()), b.submit(t, spec()), c.submit(t, spec()))
	must(t, j, a.assign(t, "w1", 4))
	if err := j.Close(); err != nil { // the set goes on after a restart
		t.Fatal(err)
	}
	j = open(t, Config{Path: path})
	must(t, j, b.assign(t, "w1", 4))
	held := func(ks ...*tracker) (items []entropy.Held) {
		for _, k := range ks {
			items = append(items, entropy.Held{JobID: k.job.ID, AssignmentID: k.job.Attempts[0].AssignmentID})
		}
		return items
	}
	if got := claim(); got.ClaimSeq != 4 || asJSON(got.Items) != asJSON(held(a, b)) {
		t.Errorf("claim %+v", got)
	}
	must(t, j, c.assign(t, "w1", 5))
	must(t, j, c.ack(t))
	if got := claim(); got.Incarnation != 1 || got.ClaimSeq != 5 || asJSON(got.Items) != asJSON(held(c)) {
		t.Errorf("claim %+v", got)
	}
	verified(t, j)
}

// proves J-5
func TestOperationsAreRemembered(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	k := newTracker("j")
	ch := k.submit(t, spec())
	ch.Operation = &entropy.OperationRecord{Principal: "admin:t1", ID: "op-1", Digest: "submit j", Entity: "job:j"}
	must(t, j, ch)
	got, err := j.Operation(bg, "admin:t1", "op-1")
	if err != nil || got == nil || *got != *ch.Operation {
		t.Errorf("operation %+v, %v", got, err)
	}
	for _, who := range [][2]string{{"admin:t1", "op-2"}, {"admin:t2", "op-1"}} {
		if got, err := j.Operation(bg, who[0], who[1]); got != nil || err != nil {
			t.Errorf("operation of %v: %+v, %v", who, got, err)
		}
	}
	// One that changed nothing is remembered too.
	noop := entropy.Change{Entity: "job:j", Expected: 1, Operation: &entropy.OperationRecord{Principal: "admin:t1", ID: "op-2", Entity: "job:j"}}
	must(t, j, noop)
	_, err = j.Append(bg, noop)
	wantCode(t, err, entropy.CodeConflict)
	verified(t, j)
}

// proves L-3
func TestLivenessIsOverwrittenAndSurvives(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, Config{Path: path, Now: func() time.Time { return epoch0 }})
	if l, err := j.LoadLiveness(bg); err != nil || l.Listening != 0 || !l.SavedAt.IsZero() {
		t.Errorf("liveness of a new journal: %+v, %v", l, err)
	}
	for i := range 3 {
		l := Liveness{Listening: time.Duration(i) * time.Second, Heard: map[entropy.WorkerID]time.Duration{"w1": time.Duration(i) * time.Millisecond}}
		if err := j.SaveLiveness(bg, l); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, Config{Path: path})
	l, err := j.LoadLiveness(bg)
	if err != nil || l.Listening != 2*time.Second || l.Heard["w1"] != 2*time.Millisecond || !l.SavedAt.Equal(epoch0) {
		t.Errorf("liveness %+v, %v", l, err)
	}
	if j.Seq() != 0 {
		t.Errorf("liveness wrote %d events", j.Seq())
	}
	verified(t, j)
}

func TestTokens(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	ch, err := entropy.NewToken(entropy.Token{ID: "t1", Role: entropy.RoleAdmin, Hash: "abc", CreatedAt: epoch0})
	if err != nil {
		t.Fatal(err)
	}
	must(t, j, ch)
	tokens, err := j.Tokens(bg)
	if err != nil || len(tokens) != 1 || tokens[0].ID != "t1" || tokens[0].Role != entropy.RoleAdmin {
		t.Errorf("tokens %v, %v", asJSON(tokens), err)
	}
	if r := verified(t, j); r.Tokens != 1 {
		t.Errorf("report %s", r.String())
	}
}

// The body written by hand means what encoding/json would write.
func TestTheBodyIsWhatTheStandardLibraryReads(t *testing.T) {
	t.Parallel()
	nasty := []string{"", "plain", `quote " and \ slash`, "line\nbreak", "é 漢字 \u2028", "<&>", "\x7f\x01"}
	for i, s := range nasty {
		e := entropy.Event{ID: "id" + s, Seq: 1, TS: epoch0.Add(time.Duration(i) * 1234567), Type: "job.submitted", EntityID: "job:x", Version: 1,
			CorrelationID: s, CausationID: s, IdempotencyKey: s, Source: entropy.Source{System: "entropy", NS: map[string]string{"k" + s: s}},
			Tags: map[string]string{s: s}, Attrs: json.RawMessage(`{"a":1}`), Schema: 3}
		b, at, err := appendEvent(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeRow([]driver.Value{int64(1), "job:x", int64(1), "job.submitted", string(b[at:])})
		if err != nil || asJSON(got) != asJSON(e) {
			t.Errorf("%q: got %s, want %s (%v)", s, asJSON(got), asJSON(e), err)
		}
	}
}

// proves P-2: a document is read back as it was left, and verified like the rest.
func TestDocuments(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	policy := new(entropy.Policy)
	entity, _ := policy.Entity()
	_, err := j.Document(bg, entity)
	wantCode(t, err, entropy.CodeNotFound)
	var last entropy.Change
	for _, next := range []entropy.Policy{{MaxRetrying: 7}, {Queues: map[string]entropy.QueuePolicy{"gpu": {Paused: true, Reason: "move"}}}} {
		e, after, err := policy.Change(next, "admin:t", entropy.Operation{}, epoch0)
		if err != nil {
			t.Fatal(err)
		}
		last = entropy.Change{Entity: entity, Expected: policy.Version, Events: []entropy.Event{e}, Before: policy, State: after}
		must(t, j, last)
		policy = after
	}
	got, err := j.Document(bg, entity)
	if err != nil || asJSON(got) != asJSON(policy) || policy.Version != 2 {
		t.Errorf("read %s, want %s (%v)", asJSON(got), asJSON(policy), err)
	}
	var all []entropy.Document
	if err := j.Documents(bg, entropy.KindPolicy, func(d entropy.Document) error { all = append(all, d); return nil }); err != nil || asJSON(all) != asJSON([]any{policy}) {
		t.Errorf("listed %s, %v", asJSON(all), err)
	}
	_, err = j.Append(bg, last)
	wantCode(t, err, entropy.CodeConflict)
	report, err := j.Verify(bg, nil)
	if err != nil || !report.OK() || report.Documents != 1 {
		t.Errorf("%v, %v", report, err)
	}
}
