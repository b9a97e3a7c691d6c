package actors_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
)

// misbehave sets what the journal does to every change; nil ends it.
func (l *lab) misbehave(f func(entropy.Change) error) {
	l.journal.mu.Lock()
	defer l.journal.mu.Unlock()
	l.journal.fail = f
}

// times returns a misbehavior of the first n changes whose last event is typ.
func times(n int, typ string, f func() error) func(entropy.Change) error {
	return func(ch entropy.Change) error {
		if n == 0 || len(ch.Events) == 0 || ch.Events[len(ch.Events)-1].Type != typ {
			return nil
		}
		n--
		return f()
	}
}

// claiming starts a claim that waits for long, and returns its answer's channel.
func (n *node) claiming(wait time.Duration) <-chan int {
	n.claims++
	r := entropy.ClaimRequest{Incarnation: n.incarnation, ClaimSeq: n.claims, Want: 1, Wait: entropy.Duration(wait)}
	done := make(chan int, 1)
	go func() {
		a, err := n.l.sys.Claim(n.ctx, r)
		if err != nil {
			done <- -1
			return
		}
		done <- len(a.Assignments)
	}()
	synctest.Wait()
	return done
}

// answered returns what came of a claim that should have been answered by now.
func (l *lab) answered(claim <-chan int) int {
	l.t.Helper()
	synctest.Wait()
	select {
	case got := <-claim:
		return got
	default:
		l.t.Fatal("the claim still waits")
		return 0
	}
}

// proves L-7: a worker that registered, and was not yet due to report, was heard:
// a restart of the control plane does not end what it has just started.
func TestRestartBeforeTheFirstHeartbeat(t *testing.T) {
	inLab(t, func(l *lab) {
		l.worker("old").live(60 * time.Second)
		id := l.submit(entropy.JobSpec{})
		w := l.worker("w1")
		w.run()
		l.pass(time.Second)
		l.crash()
		l.pass(3 * time.Second)
		l.want(id, entropy.Running)
		w.beat()
		l.pass(10 * time.Second)
		l.want(id, entropy.Running)
	})
}

// proves L-3: a change that the journal refused leaves the lease's timer armed.
func TestRefusedChangeKeepsTheLeaseTimer(t *testing.T) {
	for _, code := range []entropy.Code{entropy.CodeUnavailable, entropy.CodeOverloaded, entropy.CodeInternal, entropy.CodeUnknown, entropy.CodeConflict} {
		t.Run(string(code), func(t *testing.T) {
			inLab(t, func(l *lab) {
				id := l.submit(entropy.JobSpec{})
				w := l.worker("w1")
				h := w.run()
				l.misbehave(func(entropy.Change) error { return entropy.Errorf(code, "refused") })
				if r := w.complete(h, entropy.OutcomeSucceeded); r.Verdict != entropy.VerdictRetry {
					t.Errorf("completion: %+v", r)
				}
				l.misbehave(nil)
				l.pass(40 * time.Second)
				if j := l.job(id); j.State == entropy.Running {
					t.Error("the lease of a silent worker never ended")
				}
			})
		})
	}
}

// proves L-3: an assignment whose append was recorded although its outcome was
// reported unknown is released when nobody ACKs it.
func TestUnknownOutcomeOfAnAssignment(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(entropy.JobSpec{})
		w := l.worker("w1")
		l.journal.mu.Lock()
		l.journal.lie = times(1, entropy.JobAssigned, func() error { return entropy.Errorf(entropy.CodeUnknown, "who knows") })
		l.journal.mu.Unlock()
		w.claim(1)
		w.live(30 * time.Second)
		if j := l.job(id); j.State == entropy.Assigned && j.Attempt == 1 {
			t.Error("an assignment that nobody ACKed was never released")
		}
	})
}

// proves L-6: only its own worker's heartbeats renew a lease.
func TestForeignHeartbeatRenewsNothing(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(entropy.JobSpec{})
		w1, w2 := l.worker("w1"), l.worker("w2")
		w2.held = []entropy.Held{w1.run()}
		w2.live(30 * time.Second)
		if j := l.job(id); j.State == entropy.Running {
			t.Error("another worker's heartbeat kept the lease alive")
		}
	})
}

// proves W-2, L-5: a registration ends the claim of the agent before it, which
// must not swallow a job.
func TestRegistrationEndsTheOldClaim(t *testing.T) {
	inLab(t, func(l *lab) {
		w := l.worker("w1")
		old := w.claiming(30 * time.Second)
		w.register()
		if got := l.answered(old); got > 0 {
			t.Errorf("the old claim got %d jobs", got)
		}
		l.submit(entropy.JobSpec{})
		if as := w.claim(1); len(as) != 1 {
			t.Errorf("the new agent got %d jobs", len(as))
		}
	})
}

// proves W-8: who leaves gets no more work, and the job goes to another at once.
func TestLeaveEndsTheClaim(t *testing.T) {
	inLab(t, func(l *lab) {
		w1, w2 := l.worker("w1"), l.worker("w2")
		claim := w1.claiming(30 * time.Second)
		if err := l.sys.Leave(w1.ctx, entropy.LeaveRequest{Incarnation: w1.incarnation}); err != nil {
			t.Fatal(err)
		}
		if got := l.answered(claim); got != 0 {
			t.Errorf("claim got %d", got)
		}
		l.submit(entropy.JobSpec{})
		if as := w2.claim(1); len(as) != 1 {
			t.Errorf("the other worker got %d jobs", len(as))
		}
	})
}

// proves W-8: a resumed worker need not wait for the end of a claim that it made
// while it was drained.
func TestResumeEndsTheIdleClaim(t *testing.T) {
	inLab(t, func(l *lab) {
		w := l.worker("w1")
		set := func(m entropy.WorkerMode) {
			if _, err := l.sys.SetWorker(context.Background(), "w1", m, entropy.Operation{}); err != nil {
				t.Fatal(err)
			}
		}
		set(entropy.WorkerDrain)
		l.submit(entropy.JobSpec{})
		idle := w.claiming(time.Minute)
		l.pass(time.Second)
		set(entropy.WorkerResume)
		if got := l.answered(idle); got != 0 {
			t.Errorf("a drained worker's claim got %d", got)
		}
		if as := w.claim(1); len(as) != 1 {
			t.Errorf("the resumed worker got %d jobs", len(as))
		}
	})
}

// proves H-2: a job whose assignment was refused by the journal stays in the queue.
func TestConflictKeepsTheJobQueued(t *testing.T) {
	inLab(t, func(l *lab) {
		l.submit(entropy.JobSpec{})
		w := l.worker("w1")
		l.misbehave(times(2, entropy.JobAssigned, func() error { return entropy.Errorf(entropy.CodeConflict, "somebody else") }))
		got := len(w.claim(1)) // it may be put back just in time for this one
		l.pass(3 * time.Second)
		if got+len(w.claim(1)) != 1 {
			t.Error("the job was forgotten")
		}
	})
}

// proves W-2: a crash of a job's actor while it is offered keeps neither the
// claim waiting for ever nor the job out of the queue.
func TestCrashWhileOffered(t *testing.T) {
	inLab(t, func(l *lab) {
		l.submit(entropy.JobSpec{})
		w := l.worker("w1")
		l.misbehave(times(1, entropy.JobAssigned, func() error { panic("the disk is on fire") }))
		claim := w.claiming(time.Second)
		w.live(30 * time.Second)
		l.answered(claim)
		w.claims--
		if as := w.claim(1); len(as) != 1 {
			t.Errorf("the repeated claim got %d jobs", len(as))
		}
	})
}

// proves L-7: a control plane that cannot read its queue says so and does not start.
func TestStartWithoutQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.unreadable = errors.New("unreadable")
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		begin := time.Now()
		_, err := actors.Start(ctx, actors.Config{Journal: m, Store: newShelf()})
		if !errors.Is(err, m.unreadable) || time.Since(begin) > 5*time.Second {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
		<-time.After(2 * time.Second)
	})
}

// proves P-1: who waits is told when the control plane stops.
func TestCloseEndsWaits(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(entropy.JobSpec{})
		done := make(chan string, 3)
		go func() {
			_, err := l.sys.Wait(context.Background(), []entropy.JobID{id}, time.Hour)
			done <- "wait " + string(entropy.ErrorCode(err))
		}()
		go func() {
			_, err := l.sys.Events(context.Background(), entropy.EventFilter{Latest: true, Wait: time.Hour})
			done <- "events " + string(entropy.ErrorCode(err))
		}()
		go func() {
			_, err := l.sys.Log(context.Background(), entropy.LogQuery{JobID: id, Stream: "stdout", Wait: time.Hour})
			done <- "log " + string(entropy.ErrorCode(err))
		}()
		synctest.Wait()
		begin := time.Now()
		l.sys.Close()
		for range 3 {
			t.Log(<-done)
		}
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("they waited for %s", d)
		}
	})
}

// proves P-2: what a caller in this process does to its spec later changes no job.
func TestSpecIsNotShared(t *testing.T) {
	inLab(t, func(l *lab) {
		spec := entropy.JobSpec{Command: []string{"a"}, Env: map[string]string{"k": "1"}, Labels: map[string]string{"k": "1"}}
		id := l.submit(spec)
		spec.Command[0], spec.Env["k"], spec.Labels["k"] = "b", "2", "2"
		if s := l.job(id).Spec; s.Command[0] != "a" || s.Env["k"] != "1" || s.Labels["k"] != "1" {
			t.Errorf("the job has become %+v", s)
		}
		j, err := l.sys.Cancel(context.Background(), id, entropy.Operation{})
		if err != nil {
			t.Fatal(err)
		}
		j.State = entropy.Running
		l.want(id, entropy.Canceled)
	})
}

// proves I (memory flat): jobs that end in the queue leave it.
func TestCanceledJobsLeaveTheQueue(t *testing.T) {
	inLab(t, func(l *lab) {
		for i := range 5000 {
			id := l.submit(entropy.JobSpec{Require: map[string]string{"gpu": fmt.Sprint(i % 3)}})
			if _, err := l.sys.Cancel(context.Background(), id, entropy.Operation{}); err != nil {
				t.Fatal(err)
			}
		}
		if n := l.sys.QueueDepth(); n > 2500 {
			t.Errorf("%d entries are queued, of jobs that have all ended", n)
		}
	})
}

// proves I (memory flat): a registration that is refused leaves nothing behind.
func TestRefusedRegistrationLeavesNothing(t *testing.T) {
	inLab(t, func(l *lab) {
		for i := range 5 {
			ctx := entropy.WithPrincipal(context.Background(), entropy.Principal{Role: entropy.RoleJoin, Name: fmt.Sprint("w", i), KeyHash: "k"})
			if _, err := l.sys.Register(ctx, entropy.Registration{KeyHash: "k"}); entropy.ErrorCode(err) != entropy.CodeInvalid {
				t.Fatal(err)
			}
		}
		if n := l.sys.Sessions(); n != 0 {
			t.Errorf("%d sessions of workers that do not exist", n)
		}
	})
}
