package actors_test

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
)

// lab is a control plane in a bubble of virtual time.
type lab struct {
	t       *testing.T
	journal *memory
	parts   *parts
	sys     *actors.System
	desk    *desk            // where the orders of actions go; nil: nowhere
	now     func() time.Time // the wall clock; nil means the bubble's
}

// inLab runs f with a control plane whose time is virtual: lease TTL 15 s,
// heartbeat 5 s.
func inLab(t *testing.T, f func(l *lab)) {
	t.Helper()
	inLabWith(t, func(*lab) {}, f)
}

// inLabWith is inLab where prepare sets the lab up before the control plane starts.
func inLabWith(t *testing.T, prepare, f func(l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, journal: newMemory(), parts: newParts()}
		prepare(l)
		l.start()
		defer func() {
			l.sys.Close()
			l.pass(2 * time.Second) // protoactor's dead-letter throttle outlives its system by one second
		}()
		f(l)
	})
}

func (l *lab) start() {
	l.t.Helper()
	cfg := actors.Config{Journal: l.journal, Store: newShelf(), Checkpoints: l.parts, Version: "test", Now: l.now,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if l.desk != nil {
		cfg.Orders, cfg.MaxActions = l.desk, 30
	}
	sys, err := actors.Start(context.Background(), cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.sys = sys
}

// crash stops the control plane where it is and starts it again from its journal.
func (l *lab) crash() {
	l.sys.Close()
	l.journal = l.journal.restart()
	l.start()
}

func (l *lab) submit(spec entropy.JobSpec) entropy.JobID {
	l.t.Helper()
	if len(spec.Command) == 0 {
		spec.Command = []string{"true"}
	}
	r, err := l.sys.Submit(context.Background(), []entropy.Submission{{Spec: spec}})
	if err != nil || r[0].Error != nil {
		l.t.Fatal(err, r)
	}
	return r[0].ID
}

func (l *lab) job(id entropy.JobID) *entropy.Job {
	l.t.Helper()
	j, err := l.sys.Job(context.Background(), id)
	if err != nil {
		l.t.Fatal(err)
	}
	return j
}

func (l *lab) want(id entropy.JobID, s entropy.State) *entropy.Job {
	l.t.Helper()
	synctest.Wait()
	j := l.job(id)
	if j.State != s {
		l.t.Fatalf("job is %s, want %s (attempts %+v)", j.State, s, j.Attempts)
	}
	return j
}

// pass lets virtual time pass.
func (l *lab) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// node is a worker's side of the protocol, driven by hand.
type node struct {
	l           *lab
	ctx         context.Context
	reg         entropy.Registration
	incarnation uint64
	claims      uint64
	beats       uint64
	held        []entropy.Held
}

func (l *lab) worker(name string) *node {
	n := &node{l: l, reg: entropy.Registration{KeyHash: "key-" + name, BootID: "boot-1", SpoolID: "spool", Hostname: name, Slots: 4}}
	n.ctx = entropy.WithPrincipal(context.Background(), entropy.Principal{Role: entropy.RoleWorker, Name: name, KeyHash: n.reg.KeyHash})
	n.register()
	return n
}

func (n *node) register() entropy.Registered {
	n.l.t.Helper()
	n.reg.Nonce, n.reg.Inventory = entropy.NewID(), n.held
	r, err := n.l.sys.Register(n.ctx, n.reg)
	if err != nil {
		n.l.t.Fatal(err)
	}
	n.incarnation, n.claims, n.beats = r.Incarnation, 0, 0
	return r
}

func (n *node) claim(want int) []entropy.Assignment {
	n.l.t.Helper()
	n.claims++
	r, err := n.l.sys.Claim(n.ctx, entropy.ClaimRequest{Incarnation: n.incarnation, ClaimSeq: n.claims, Want: want, Wait: entropy.Duration(time.Second)})
	if err != nil {
		n.l.t.Fatal(err)
	}
	return r.Assignments
}

// run claims one job and ACKs it.
func (n *node) run() entropy.Held {
	n.l.t.Helper()
	as := n.claim(1)
	if len(as) != 1 {
		n.l.t.Fatalf("claimed %d jobs, want 1", len(as))
	}
	h := entropy.Held{JobID: as[0].JobID, AssignmentID: as[0].AssignmentID}
	if err := n.ack(h); err != nil {
		n.l.t.Fatal(err)
	}
	n.held = append(n.held, h)
	return h
}

func (n *node) ack(h entropy.Held) error {
	r, err := n.l.sys.Ack(n.ctx, entropy.AckRequest{Incarnation: n.incarnation, Items: []entropy.Held{h}})
	if err != nil {
		return err
	}
	if r[0].Error != nil {
		return r[0].Error
	}
	return nil
}

func (n *node) beat() entropy.Directives {
	n.l.t.Helper()
	n.beats++
	r, err := n.l.sys.Heartbeat(n.ctx, entropy.Heartbeat{Incarnation: n.incarnation, Seq: n.beats, Held: n.held})
	if err != nil {
		n.l.t.Fatal(err)
	}
	synctest.Wait()
	return r.Directives
}

// live heartbeats for d.
func (n *node) live(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		n.beat()
		n.l.pass(5 * time.Second)
	}
}

func (n *node) complete(h entropy.Held, outcome entropy.Outcome) entropy.CompletionReply {
	n.l.t.Helper()
	exit := 0
	if outcome == entropy.OutcomeFailed {
		exit = 1
	}
	r, err := n.l.sys.Complete(n.ctx, entropy.CompleteRequest{Incarnation: n.incarnation, Items: []entropy.Completion{{
		JobID: h.JobID, AssignmentID: h.AssignmentID, SpoolID: "spool", CompletionSeq: 1, Outcome: outcome, ExitCode: &exit, Reason: entropy.ReasonExit}}})
	if err != nil {
		n.l.t.Fatal(err)
	}
	n.held = nil
	return r[0]
}

// proves J-4, W-2: the life of a job, and a repeated completion gets the first answer.
func TestLifeOfAJob(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(entropy.JobSpec{Name: "hello"})
		w := l.worker("w1")
		h := w.run()
		l.want(id, entropy.Running)
		if r := w.complete(h, entropy.OutcomeSucceeded); r.Verdict != entropy.VerdictAccepted || r.Repeat {
			t.Fatalf("completion: %+v", r)
		}
		j := l.want(id, entropy.Succeeded)
		if r := w.complete(h, entropy.OutcomeFailed); r.Verdict != entropy.VerdictAccepted || !r.Repeat {
			t.Fatalf("repeat: %+v", r)
		}
		if l.job(id).Version != j.Version {
			t.Error("a repeated completion changed the job")
		}
	})
}

// proves L-3, J-6: a silent worker's job is lost after the TTL, and another worker finishes it.
func TestLostAndRetried(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(entropy.JobSpec{})
		w1, w2 := l.worker("w1"), l.worker("w2")
		h1 := w1.run()
		w1.live(20 * time.Second)
		l.want(id, entropy.Running)
		l.pass(9 * time.Second) // 14 s after its last heartbeat
		l.want(id, entropy.Running)
		w2.beat()
		l.pass(1300 * time.Millisecond)
		j := l.want(id, entropy.Retrying)
		if j.Losses != 1 || j.Failures != 0 {
			t.Errorf("losses %d failures %d", j.Losses, j.Failures)
		}
		l.pass(2 * time.Second)
		h2 := w2.run()
		if r := w1.complete(h1, entropy.OutcomeSucceeded); r.Verdict != entropy.VerdictSuperseded {
			t.Errorf("stale completion: %+v", r)
		}
		if r := w2.complete(h2, entropy.OutcomeSucceeded); r.Verdict != entropy.VerdictAccepted {
			t.Errorf("completion: %+v", r)
		}
		l.want(id, entropy.Succeeded)
	})
}

// proves H-1: back before anything later was ACKed, the job is reattached and the loss refunded.
func TestReattached(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(entropy.JobSpec{})
		w := l.worker("w1")
		h := w.run()
		l.pass(40 * time.Second)
		l.want(id, entropy.Pending)
		if d := w.beat(); len(d.Stop) != 0 {
			t.Errorf("directives %+v", d)
		}
		j := l.want(id, entropy.Running)
		if j.Losses != 0 || j.Lease.AssignmentID != h.AssignmentID || j.Attempts[0].Reattached != 1 {
			t.Errorf("after reattachment: %+v", j)
		}
		if r := w.complete(h, entropy.OutcomeSucceeded); r.Verdict != entropy.VerdictAccepted {
			t.Errorf("completion: %+v", r)
		}
	})
}

// proves H-1, W-5: a worker that comes back too late is told to stop.
func TestTooLateToReattach(t *testing.T) {
	inLab(t, func(l *lab) {
		l.submit(entropy.JobSpec{})
		w1, w2 := l.worker("w1"), l.worker("w2")
		h := w1.run()
		l.pass(40 * time.Second)
		w2.beat()
		w2.run()
		w1.beat()
		d := w1.beat()
		if len(d.Stop) != 1 || d.Stop[0].AssignmentID != h.AssignmentID || d.Stop[0].Reason != entropy.ReasonSuperseded {
			t.Errorf("directives %+v", d)
		}
	})
}

// proves L-7: after a restart of the control plane a running job stays with its
// worker, and one whose worker is gone is lost after one TTL.
func TestControlRestart(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(entropy.JobSpec{})
		gone := l.submit(entropy.JobSpec{})
		w1, w2 := l.worker("w1"), l.worker("w2")
		h := w1.run()
		w2.run()
		w1.beat()
		w2.beat()
		l.pass(time.Second)
		l.crash()
		for range 6 {
			w1.beat()
			l.pass(4 * time.Second)
		}
		l.want(id, entropy.Running)
		if s := l.job(gone).State; s != entropy.Retrying && s != entropy.Pending {
			t.Errorf("the job of the vanished worker is %s", s)
		}
		if r := w1.complete(h, entropy.OutcomeSucceeded); r.Verdict != entropy.VerdictAccepted {
			t.Errorf("completion: %+v", r)
		}
	})
}

// proves L-3: restarts that follow each other quickly neither expire a lease
// early nor keep it for ever.
func TestRepeatedRestarts(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(entropy.JobSpec{})
		w := l.worker("w1")
		w.run()
		w.beat()
		for range 3 {
			l.pass(3 * time.Second)
			l.crash()
		}
		l.want(id, entropy.Running)
		for range 5 {
			l.pass(3 * time.Second)
			l.crash()
		}
		if j := l.job(id); j.State == entropy.Running {
			t.Error("the lease of a silent worker outlived 24 s of listening")
		}
	})
}

// proves W-2: a repeated claim returns the original set, also after a restart of
// the control plane, each assignment marked live or revoked.
func TestClaimRepeated(t *testing.T) {
	inLab(t, func(l *lab) {
		a, b := l.submit(entropy.JobSpec{Priority: 1}), l.submit(entropy.JobSpec{})
		w := l.worker("w1")
		first := w.claim(2)
		if len(first) != 2 || first[0].JobID != a || first[1].JobID != b {
			t.Fatalf("claimed %+v", first)
		}
		if _, err := l.sys.Cancel(context.Background(), b, entropy.Operation{}); err != nil {
			t.Fatal(err)
		}
		for round := range 2 {
			w.claims--
			again := w.claim(2)
			revoked := map[entropy.AssignmentID]bool{}
			for _, x := range again {
				revoked[x.AssignmentID] = x.Revoked
			}
			if want := map[entropy.AssignmentID]bool{first[0].AssignmentID: false, first[1].AssignmentID: true}; !maps.Equal(revoked, want) {
				t.Errorf("round %d: repeated claim %+v, first %+v", round, again, first)
			}
			l.crash()
			w.beat()
		}
	})
}

// proves J-12: an assignment that is not ACKed goes back to the queue and spends nothing.
func TestNoAck(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(entropy.JobSpec{})
		w := l.worker("w1")
		as := w.claim(1)
		w.beat()
		l.pass(9 * time.Second)
		l.want(id, entropy.Assigned)
		l.pass(2 * time.Second)
		j := l.want(id, entropy.Pending)
		if j.Losses+j.Failures != 0 || j.Attempt != 1 {
			t.Errorf("after release: %+v", j)
		}
		err := w.ack(entropy.Held{JobID: id, AssignmentID: as[0].AssignmentID})
		if entropy.ErrorCode(err) != entropy.CodeSuperseded {
			t.Errorf("late ACK: %v", err)
		}
	})
}

// proves J-14, W-3: a running job is canceled when its worker confirms.
func TestCancelRunning(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(entropy.JobSpec{})
		w := l.worker("w1")
		h := w.run()
		known := w.beat()
		polled := make(chan entropy.Directives, 1)
		go func() {
			d, _ := l.sys.Directives(w.ctx, entropy.DirectivesRequest{Incarnation: w.incarnation, Known: known.Version, Wait: entropy.Duration(30 * time.Second)})
			polled <- d
		}()
		synctest.Wait()
		if _, err := l.sys.Cancel(context.Background(), id, entropy.Operation{Reason: "enough"}); err != nil {
			t.Fatal(err)
		}
		if d := <-polled; len(d.Stop) != 1 || d.Stop[0].Reason != entropy.ReasonCancel {
			t.Errorf("directives %+v", d)
		}
		if j := l.want(id, entropy.Running); !j.CancelRequested {
			t.Error("no cancel request on record")
		}
		w.complete(h, entropy.OutcomeStopped)
		l.want(id, entropy.Canceled)
	})
}

// proves L-5, W-5: a reboot loses what the host ran, at once, but not what its spool still holds.
func TestReboot(t *testing.T) {
	inLab(t, func(l *lab) {
		a, b := l.submit(entropy.JobSpec{Priority: 1}), l.submit(entropy.JobSpec{})
		w := l.worker("w1")
		l.worker("w2").live(0)
		done := w.run()
		w.run()
		w.beat()
		l.pass(8 * time.Second)
		done.Spooled = true
		w.reg.BootID, w.held = "boot-2", []entropy.Held{done}
		r := w.register()
		if len(r.Held) != 1 || r.Held[0].Verdict != entropy.VerdictReport || r.Incarnation != 2 {
			t.Errorf("registered %+v", r)
		}
		l.want(a, entropy.Running)
		if j := l.want(b, entropy.Retrying); j.Attempts[0].End != entropy.EndLost {
			t.Errorf("lost job %+v", j.Attempts)
		}
		w.complete(done, entropy.OutcomeSucceeded)
		l.want(a, entropy.Succeeded)
	})
}

// proves L-5: two live hosts with one key are refused, naming both.
func TestTwins(t *testing.T) {
	inLab(t, func(l *lab) {
		w := l.worker("w1")
		w.beat()
		twin := *w
		twin.reg.BootID, twin.reg.Hostname, twin.reg.Nonce = "boot-x", "copy", "n"
		_, err := l.sys.Register(twin.ctx, twin.reg)
		if entropy.ErrorCode(err) != entropy.CodeConflict {
			t.Fatalf("twin: %v", err)
		}
		w.live(10 * time.Second)
		if _, err = l.sys.Register(twin.ctx, twin.reg); entropy.ErrorCode(err) != entropy.CodeConflict {
			t.Errorf("twin later: %v", err)
		}
	})
}

// proves H-3: a journal that is out of room postpones expiries; heartbeats are answered.
func TestDiskFull(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(entropy.JobSpec{})
		w := l.worker("w1")
		w.run()
		full := entropy.Errorf(entropy.CodeDiskFull, "full")
		l.journal.mu.Lock()
		l.journal.fail = func(entropy.Change) error { return full }
		l.journal.mu.Unlock()
		l.pass(30 * time.Second)
		l.want(id, entropy.Running)
		w.beat()
		l.journal.mu.Lock()
		l.journal.fail = nil
		l.journal.mu.Unlock()
		l.pass(10 * time.Second)
		l.want(id, entropy.Running)
	})
}

// proves L-3: heartbeats are answered while the journal is stuck.
func TestHeartbeatDoesNotWait(t *testing.T) {
	inLab(t, func(l *lab) {
		w := l.worker("w1")
		hold := make(chan struct{})
		l.journal.mu.Lock()
		l.journal.hold = hold
		l.journal.mu.Unlock()
		drained := make(chan error, 1)
		go func() {
			_, err := l.sys.SetWorker(context.Background(), "w1", entropy.WorkerDrain, entropy.Operation{})
			drained <- err
		}()
		synctest.Wait()
		w.beat()
		close(hold)
		if err := <-drained; err != nil {
			t.Error(err)
		}
		if d := w.beat(); !d.Drain {
			t.Errorf("directives %+v", d)
		}
	})
}

// proves J-5: the same key or ID with the same spec is the same job; with another, a conflict.
func TestSubmitIdempotent(t *testing.T) {
	inLab(t, func(l *lab) {
		ctx := context.Background()
		sub := entropy.Submission{IdempotencyKey: "k", Spec: entropy.JobSpec{Command: []string{"a"}}}
		other := entropy.Submission{IdempotencyKey: "k", Spec: entropy.JobSpec{Command: []string{"b"}}}
		named := entropy.Submission{ID: "mine", Spec: entropy.JobSpec{Command: []string{"a"}}}
		r, err := l.sys.Submit(ctx, []entropy.Submission{sub, sub, other, named, named})
		if err != nil {
			t.Fatal(err)
		}
		if !r[0].Created || r[1].Created || r[0].ID != r[1].ID || r[1].Error != nil {
			t.Errorf("repeat: %+v", r)
		}
		if r[2].Error == nil || r[2].Error.Code != entropy.CodeConflict {
			t.Errorf("conflict: %+v", r[2])
		}
		if r[3].ID != "mine" || !r[3].Created || r[4].Created {
			t.Errorf("named: %+v", r)
		}
	})
}

// proves W-7: a completion whose standing cannot be told in time is not decided
// without its artifacts; when it comes again it is accepted with them.
func TestNoSuccessWithoutArtifacts(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(entropy.JobSpec{})
		w := l.worker("w1")
		h := w.run()
		hash := strings.Repeat("ab", 32)
		up := entropy.ArtifactUpload{JobID: id, AssignmentID: h.AssignmentID, SHA256: hash, Size: 1}
		if _, err := l.sys.StageArtifact(w.ctx, up, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		hold := make(chan struct{})
		l.journal.mu.Lock()
		l.journal.hold = hold
		l.journal.mu.Unlock()
		go func() { _, _ = l.sys.Cancel(context.Background(), id, entropy.Operation{}) }() // keeps the job's actor busy
		synctest.Wait()
		done := entropy.CompleteRequest{Incarnation: w.incarnation, Items: []entropy.Completion{{JobID: id, AssignmentID: h.AssignmentID,
			Outcome: entropy.OutcomeSucceeded, Artifacts: []entropy.Artifact{{Name: "a", SHA256: hash, Size: 1}}}}}
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		r, err := l.sys.Complete(ctx, done)
		if err != nil || r[0].Verdict != entropy.VerdictRetry {
			t.Fatalf("while the job does not answer: %+v, %v", r, err)
		}
		l.journal.mu.Lock()
		l.journal.hold = nil
		l.journal.mu.Unlock()
		close(hold)
		l.want(id, entropy.Running)
		if r, err = l.sys.Complete(w.ctx, done); err != nil || r[0].Verdict != entropy.VerdictAccepted {
			t.Fatalf("again: %+v, %v", r, err)
		}
		l.want(id, entropy.Succeeded)
		if _, _, err := l.sys.OpenArtifact(context.Background(), id, "a"); err != nil {
			t.Error(err)
		}
	})
}
