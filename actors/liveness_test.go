package actors_test

import (
	"context"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
)

// proves L-2, L-3: a worker that was silent for most of its lease and is then
// answered may rely on a whole one, though the control plane crashes at once. The
// harness found that a restart took it for as silent as it was when that was last
// saved.
func TestHeardJustBeforeACrash(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(entropy.JobSpec{})
		w := l.worker("w1")
		w.run()
		l.pass(13 * time.Second)
		w.beat()
		l.crash()
		l.pass(13 * time.Second)
		l.want(id, entropy.Running)
		l.pass(10 * time.Second) // a restart adds an interval and half a second
		if j := l.job(id); j.State == entropy.Running {
			t.Errorf("the lease of a silent worker does not end: %+v", j.Lease)
		}
	})
}

// proves H-3, L-2, L-3: a worker that was silent for most of its lease is answered
// while the disk is full, and told how much of the lease is left if the control
// plane crashes now: not less, and hardly more.
func TestHeardWhileTheDiskIsFull(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(entropy.JobSpec{Disconnect: entropy.Disconnect{Worker: entropy.DisconnectStop}, Retry: entropy.RetryPolicy{Backoff: entropy.Duration(time.Minute)}})
		w, regular := l.worker("w1"), l.worker("w2")
		w.run()
		regular.live(10 * time.Second)
		l.pass(2 * time.Second)
		regular.beat()
		l.pass(time.Second) // it is saved
		beat := func(n *node) time.Duration {
			n.beats++
			r, err := l.sys.Heartbeat(n.ctx, entropy.Heartbeat{Incarnation: n.incarnation, Seq: n.beats, Held: n.held})
			if err != nil {
				t.Fatal(err)
			}
			return r.Deduct.D()
		}
		l.full(true)
		if d := beat(regular); d != 0 {
			t.Errorf("a worker that was heard all the time is to deduct %s", d)
		}
		beat(w)
		l.pass(2 * time.Second)
		deduct := beat(w)
		if deduct < 7*time.Second || deduct > 8*time.Second {
			t.Errorf("deduct %s", deduct)
		}
		if _, err := l.sys.Ack(w.ctx, entropy.AckRequest{Incarnation: w.incarnation, Items: w.held}); entropy.ErrorCode(err) != entropy.CodeDiskFull {
			t.Errorf("an ACK that cannot be saved: %v", err)
		}
		l.crash()
		l.full(true)
		l.crash() // restarts do not add up
		l.pass(actors.DefaultLeaseTTL - deduct - 200*time.Millisecond)
		l.want(id, entropy.Running)
		l.pass(time.Second)
		l.want(id, entropy.Retrying)
	})
}

// full fills the lab's disk, or makes room.
func (l *lab) full(full bool) {
	l.journal.mu.Lock()
	defer l.journal.mu.Unlock()
	l.journal.readOnly = full
}

// proves J-6: the only worker that could run a job is not excluded from it, even
// if it tells only after its lease has ended that it broke. The harness found a job
// that waited for nobody, for ever.
func TestLateWordOfTheOnlyWorker(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(entropy.JobSpec{})
		w := l.worker("w1")
		h := w.run()
		l.pass(25 * time.Second)
		l.want(id, entropy.Pending)
		r, err := l.sys.Complete(w.ctx, entropy.CompleteRequest{Incarnation: w.incarnation, Items: []entropy.Completion{{JobID: h.JobID,
			AssignmentID: h.AssignmentID, SpoolID: "spool", CompletionSeq: 1, Outcome: entropy.OutcomeFailed, Reason: entropy.ReasonWorkerError}}})
		if err != nil || r[0].Verdict != entropy.VerdictAccepted {
			t.Fatalf("%+v, %v", r, err)
		}
		w.held = nil
		w.beat()
		if got := w.claim(1); len(got) != 1 {
			t.Errorf("the job is not given to the only worker there is: excluded from %v", l.job(id).Excluded)
		}
	})
}

// proves J-5: a group that others submit at the same moment is not refused, however
// often they are first.
func TestGroupSubmittedByMany(t *testing.T) {
	inLab(t, func(l *lab) {
		first := 3
		l.journal.set(func(ch entropy.Change) error {
			if first--; first < 0 {
				return nil
			}
			return entropy.Errorf(entropy.CodeConflict, "%s exists already", ch.Entity)
		})
		spec := entropy.JobSpec{Command: []string{"true"}}
		after := spec
		after.After = []entropy.Dependency{{Job: "a"}}
		r, err := l.sys.Submit(context.Background(), []entropy.Submission{{ID: "a", Spec: spec}, {ID: "b", Spec: after}})
		if err != nil || r[0].Error != nil || r[1].Error != nil {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
