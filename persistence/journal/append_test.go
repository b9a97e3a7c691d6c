package journal

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// verified closes the journal and checks all of it.
func verified(tb testing.TB, j *Journal) Report {
	tb.Helper()
	if err := j.Close(); err != nil {
		tb.Fatal(err)
	}
	return verifiedFile(tb, j.path)
}

func verifiedFile(tb testing.TB, path string) Report {
	tb.Helper()
	r, err := VerifyFile(context.Background(), path)
	if err != nil {
		tb.Fatal(err)
	}
	if !r.OK() {
		tb.Fatalf("verify: %s", r.String())
	}
	return r
}

// proves P-1, P-2
func TestALifeIsJournaledAndReadBack(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	w, worker := register(t, "w1")
	if p := must(t, j, w); p != (entropy.Position{Epoch: 1, Seq: 1}) {
		t.Fatalf("first position %s", p)
	}
	k := runJob(t, j, "job-1", "w1", 1)
	if j.Seq() != 5 {
		t.Fatalf("seq %d after five events", j.Seq())
	}
	got, err := j.Job(context.Background(), "job-1")
	if err != nil {
		t.Fatal(err)
	}
	if a, b := asJSON(got), asJSON(k.job); a != b {
		t.Errorf("read back\n%s, want\n%s", a, b)
	}
	gotWorker, err := j.Worker(context.Background(), "w1")
	if err != nil || asJSON(gotWorker) != asJSON(worker) {
		t.Errorf("worker %v, %v", gotWorker, err)
	}
	for i, e := range allEvents(t, j, 2) {
		if e.Seq != uint64(i+1) {
			t.Errorf("event %d has seq %d", i, e.Seq)
		}
	}
	r := verified(t, j)
	if r.Events != 5 || r.Jobs != 1 || r.Workers != 1 || r.States[entropy.Succeeded] != 1 {
		t.Errorf("report %s", r.String())
	}
	if f := r.Findings[0]; f.Succeeded != 1 || f.Terminal != 1 || f.Assigned != 1 || f.Started != 1 {
		t.Errorf("finding %+v", f)
	}
}

// At each step of a life with a loss, a reattachment and a second attempt the
// stored job is the live one.
//
// proves P-2
func TestStoredJobIsTheLiveOneAtEveryStep(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	k := newTracker("j")
	check := func(ch entropy.Change) {
		t.Helper()
		must(t, j, ch)
		got, err := j.Job(context.Background(), "j")
		if err != nil {
			t.Fatal(err)
		}
		a, err1 := got.EncodeRecord()
		b, err2 := k.job.EncodeRecord()
		if err := errors.Join(err1, err2); err != nil || string(a) != string(b) || asJSON(got.Spec) != asJSON(k.job.Spec) {
			t.Fatalf("after %s: read %s, want %s (%v)", ch.Events[0].Type, a, b, err)
		}
	}
	check(k.submit(t, spec()))
	for i := range uint64(20) { // past a record in mid-life
		check(k.assign(t, "w1", i+1))
		l := k.lease()
		check(k.ack(t))
		if i%2 == 0 {
			check(k.lose(t))
			check(k.reattach(t, l))
		}
		check(k.change(t, entropy.EndLease{AssignmentID: l.AssignmentID, Cause: entropy.CauseOutage, Uncounted: true, Eligible: 3}))
		check(k.requeue(t))
	}
	check(k.assign(t, "w2", 1))
	check(k.ack(t))
	check(k.succeed(t))
	verified(t, j)
}

// proves H-2, J-3, J-5
func TestConflictsAreRefusedAlone(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	var once sync.Once
	entered := make(chan struct{})
	j := open(t, Config{CommitMark: func(in bool) {
		if in {
			once.Do(func() { close(entered); <-hold })
		}
	}})
	a, b, c := newTracker("a"), newTracker("b"), newTracker("c")
	setup := make(chan error, 1)
	go func() { _, err := j.Append(context.Background(), a.submit(t, spec())); setup <- err }()
	<-entered // the committer now waits in its first batch; what follows gathers into the next

	stale := newTracker("a").submit(t, spec())
	first := b.submit(t, spec())
	first.Operation = &entropy.OperationRecord{Principal: "admin:x", ID: "op", Digest: "d", Entity: "job:b"}
	again := c.submit(t, spec())
	again.Operation = &entropy.OperationRecord{Principal: "admin:x", ID: "op", Digest: "other", Entity: "job:c"}
	good, pair := newTracker("d"), newTracker("e")
	type outcome struct {
		name string
		want entropy.Code
		err  chan error
	}
	var outs []outcome
	send := func(name string, want entropy.Code, chs ...entropy.Change) {
		o := outcome{name, want, make(chan error, 1)}
		outs = append(outs, o)
		n := j.queue.len()
		go func() { _, err := j.Append(context.Background(), chs...); o.err <- err }()
		for j.queue.len() == n {
			runtime.Gosched() // yield: the queue is the signal
		}
	}
	send("a version that is taken", entropy.CodeConflict, stale)
	send("a new operation", "", first)
	send("an operation carried out before", entropy.CodeConflict, again)
	send("one good and one bad change", entropy.CodeConflict, pair.submit(t, spec()), newTracker("a").submit(t, spec()))
	ghost := newTracker("ghost")
	ghost.submit(t, spec())
	send("a change of what is not there", entropy.CodeConflict, ghost.assign(t, "w", 1))
	send("a good one", "", good.submit(t, spec()))
	close(hold)
	if err := <-setup; err != nil {
		t.Fatal(err)
	}
	for _, o := range outs {
		if err := <-o.err; entropy.ErrorCode(err) != o.want {
			t.Errorf("%s: got %v, want code %q", o.name, err, o.want)
		}
	}
	if s := j.Stats(); s.Batches != 2 || s.Conflicts != 4 || s.Appends != 3 {
		t.Errorf("stats %+v, want the six in one batch", s)
	}
	_, err := j.Job(context.Background(), "e")
	wantCode(t, err, entropy.CodeNotFound)
	if r := verified(t, j); r.Jobs != 3 || r.Events != 3 {
		t.Errorf("report %s", r.String())
	}
}

// proves J-3
func TestASecondLiveLeaseIsRefusedByTheTable(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	k := newTracker("j")
	must(t, j, k.submit(t, spec()))
	must(t, j, k.assign(t, "w1", 1))
	// A broken actor that forgets the lease: it believes that the job is pending.
	amnesia := &tracker{job: k.job.Clone(), now: k.now}
	amnesia.job.State, amnesia.job.Lease = entropy.Pending, nil
	_, err := j.Append(context.Background(), amnesia.assign(t, "w2", 1))
	wantCode(t, err, entropy.CodeConflict)
	// One that gives two jobs the same assignment.
	other := newTracker("other")
	must(t, j, other.submit(t, spec()))
	_, err = j.Append(context.Background(), other.change(t, entropy.Assign{AssignmentID: k.lease().AssignmentID, WorkerID: "w2", Incarnation: 1, ClaimSeq: 9, TTL: time.Second}))
	wantCode(t, err, entropy.CodeConflict)
	if held, err := j.Leases(context.Background(), "w1"); err != nil || len(held) != 1 || held[0].AssignmentID != k.lease().AssignmentID {
		t.Errorf("leases %v, %v", held, err)
	}
	verified(t, j)
}

// proves H-1, J-4
func TestReattachmentTakesTheLeaseBackFromASuccessor(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	k := newTracker("j")
	must(t, j, k.submit(t, spec()))
	must(t, j, k.assign(t, "w1", 1))
	must(t, j, k.ack(t))
	old := k.lease()
	must(t, j, k.lose(t))
	must(t, j, k.requeue(t))
	must(t, j, k.assign(t, "w2", 1)) // not ACKed
	must(t, j, k.reattach(t, old))
	for worker, want := range map[entropy.WorkerID]int{"w1": 1, "w2": 0} {
		if held, err := j.Leases(context.Background(), worker); err != nil || len(held) != want {
			t.Errorf("%s holds %v, %v; want %d", worker, held, err, want)
		}
	}
	must(t, j, k.succeed(t))
	verified(t, j)
}

// Several changes of one job in one append are written as the last says.
//
// proves P-2
func TestProjectionsAreWrittenOncePerBatch(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	k, s := newTracker("j"), spec()
	s.Queue, s.Labels, s.Require, s.Priority = "gpu", map[string]string{"batch": "7", "who": "ada"}, map[string]string{"gpu": "h100"}, 5
	must(t, j, k.submit(t, s), k.assign(t, "w1", 1), k.ack(t), k.succeed(t))
	// Assigned, given back and assigned again at once: two leases, one after the other.
	m := newTracker("m")
	must(t, j, m.submit(t, s))
	one := m.assign(t, "w1", 2)
	back := m.change(t, entropy.Release{AssignmentID: m.lease().AssignmentID, WorkerID: "w1", Cause: entropy.CauseNoAck})
	must(t, j, one, back, m.assign(t, "w2", 1))
	if s := j.Stats(); s.Batches != 3 || s.Events != 8 {
		t.Errorf("stats %+v", s)
	}
	if r := verified(t, j); r.Jobs != 2 {
		t.Errorf("report %s", r.String())
	}
}

// proves H-2, H-4
func TestTapsSeeEveryBatchInOrderBeforeItsCallers(t *testing.T) {
	t.Parallel()
	j := open(t, Config{MaxBatch: 64})
	var mu sync.Mutex
	seen := map[uint64]bool{}
	var next uint64 = 1
	j.Tap(func(batch []entropy.Change) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range batch {
			for i, e := range c.Events {
				if e.Seq != next || e.EntityID != c.Entity || e.Version != c.Expected+uint64(i)+1 {
					t.Errorf("tap got seq %d of %s version %d, want seq %d", e.Seq, e.EntityID, e.Version, next)
				}
				seen[e.Seq] = true
				next++
			}
		}
	})
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 20 {
				k := newTracker(name("j-%d-%d", w, i))
				chs := []entropy.Change{k.submit(t, spec()), k.assign(t, "w1", uint64(i))}
				p := must(t, j, chs...)
				mu.Lock()
				if !seen[p.Seq] || chs[1].Events[0].Seq != p.Seq || chs[0].Events[0].Seq != p.Seq-1 {
					t.Errorf("append returned %s; tapped: %v, events have %d and %d", p, seen[p.Seq], chs[0].Events[0].Seq, chs[1].Events[0].Seq)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if next != 641 || j.Seq() != 640 {
		t.Errorf("taps saw up to %d, journal is at %d", next-1, j.Seq())
	}
	verified(t, j)
}

// proves H-2: a caller that gives up is never told a lie.
func TestACallerThatGivesUpIsToldTheTruth(t *testing.T) {
	t.Parallel()
	hold, entered := make(chan struct{}), make(chan struct{})
	var once sync.Once
	j := open(t, Config{QueueLimit: 2, CommitMark: func(in bool) {
		if in {
			once.Do(func() { close(entered); <-hold })
		}
	}})
	ctx, cancel := context.WithCancel(context.Background())
	inFlight, queued := make(chan error, 1), make(chan error, 1)
	go func() { _, err := j.Append(ctx, newTracker("in-flight").submit(t, spec())); inFlight <- err }()
	<-entered
	go func() { _, err := j.Append(ctx, newTracker("queued").submit(t, spec())); queued <- err }()
	for j.queue.len() == 0 {
		runtime.Gosched() // yield: the queue is the signal
	}
	cancel()
	wantCode(t, <-inFlight, entropy.CodeUnknown)
	wantCode(t, <-queued, entropy.CodeUnavailable)
	_, err := j.Append(ctx, newTracker("late").submit(t, spec()))
	wantCode(t, err, entropy.CodeUnavailable)

	alive := context.Background()
	last := make(chan error, 1)
	go func() { _, err := j.Append(alive, newTracker("last").submit(t, spec())); last <- err }()
	for j.queue.len() == 1 {
		runtime.Gosched()
	}
	_, err = j.Append(alive, newTracker("too-many").submit(t, spec()))
	wantCode(t, err, entropy.CodeOverloaded)
	close(hold)
	if err := <-last; err != nil {
		t.Fatal(err)
	}
	page, err := j.Jobs(alive, entropy.JobFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, job := range page.Jobs {
		ids = append(ids, string(job.ID))
	}
	if !slices.Equal(ids, []string{"last", "in-flight"}) {
		t.Errorf("journal holds %v", ids)
	}
}

func TestCloseWritesWhatWaitsAndRefusesTheRest(t *testing.T) {
	t.Parallel()
	hold, entered := make(chan struct{}), make(chan struct{})
	var once sync.Once
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, Config{Path: path, CommitMark: func(in bool) {
		if in {
			once.Do(func() { close(entered); <-hold })
		}
	}})
	errs := make(chan error, 3)
	go func() { _, err := j.Append(context.Background(), newTracker("a").submit(t, spec())); errs <- err }()
	<-entered
	go func() { _, err := j.Append(context.Background(), newTracker("b").submit(t, spec())); errs <- err }()
	for j.queue.len() == 0 {
		runtime.Gosched()
	}
	go func() { errs <- j.Close() }()
	<-j.quit
	close(hold)
	for range 3 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	_, err := j.Append(context.Background(), newTracker("c").submit(t, spec()))
	wantCode(t, err, entropy.CodeUnavailable)
	_, err = j.Job(context.Background(), "a")
	wantCode(t, err, entropy.CodeUnavailable)
	if r := verifiedFile(t, path); r.Jobs != 2 {
		t.Errorf("report %s", r.String())
	}
}

func TestAChangeThatContradictsItselfIsABug(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	for what, spoil := range map[string]func(*entropy.Change){
		"no events":        func(c *entropy.Change) { c.Events = nil },
		"another entity":   func(c *entropy.Change) { c.Entity = "job:other" },
		"another version":  func(c *entropy.Change) { c.Expected = 7 },
		"no state":         func(c *entropy.Change) { c.State = nil },
		"event without id": func(c *entropy.Change) { c.Events[0].ID = "" },
	} {
		ch := newTracker("j").submit(t, spec())
		spoil(&ch)
		_, err := j.Append(context.Background(), ch)
		if entropy.ErrorCode(err) != entropy.CodeInternal {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if j.Seq() != 0 {
		t.Errorf("seq %d", j.Seq())
	}
}
