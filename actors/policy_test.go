package actors_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

func (l *lab) setPolicy(edit func(*entropy.Policy)) {
	l.t.Helper()
	p, err := l.sys.Policy(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	edit(&p)
	if _, err := l.sys.SetPolicy(context.Background(), p, entropy.Operation{ID: entropy.NewID()}); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) explain(id entropy.JobID, code string) {
	l.t.Helper()
	x, err := l.sys.Explain(context.Background(), id)
	if err != nil || len(x.Causes) == 0 || x.Causes[0].Code != code || x.Summary == "" {
		l.t.Fatalf("explained as %+v (%v), want %s", x, err, code)
	}
}

// stay lets time pass while the workers send heartbeats.
func (l *lab) stay(d time.Duration, nodes ...*node) {
	for range int(d / (5 * time.Second)) {
		for _, n := range nodes {
			n.beat()
		}
		l.pass(5 * time.Second)
	}
}

// proves J-8, J-10: a policy holds from its commit on, over a crash of the control
// plane too; a paused queue's job says so and starts when the pause is over.
func TestPausedQueue(t *testing.T) {
	inLab(t, func(l *lab) {
		l.setPolicy(func(p *entropy.Policy) { p.Queues = map[string]entropy.QueuePolicy{"gpu": {Paused: true}} })
		id := l.submit(entropy.JobSpec{Queue: "gpu"})
		w := l.worker("w1")
		if as := w.claim(1); len(as) != 0 {
			t.Fatalf("a paused queue's job was assigned: %+v", as)
		}
		l.explain(id, "queue_paused")
		l.crash()
		w.register()
		if as := w.claim(1); len(as) != 0 {
			t.Fatalf("after a crash a paused queue's job was assigned: %+v", as)
		}
		l.setPolicy(func(p *entropy.Policy) { p.Queues = nil })
		if h := w.run(); h.JobID != id {
			t.Fatalf("%+v", h)
		}
		old, err := l.sys.Policy(context.Background())
		if err != nil || old.Version != 2 {
			t.Fatalf("%+v, %v", old, err)
		}
		old.Version = 1
		if _, err := l.sys.SetPolicy(context.Background(), old, entropy.Operation{}); entropy.ErrorCode(err) != entropy.CodeConflict {
			t.Errorf("a change of an old version: %v", err)
		}
	})
}

// proves J-9: attempts own GPUs by index, also after a restart of the control
// plane; what does not fit waits and says why; what nobody has says never.
func TestGPUsAreOwned(t *testing.T) {
	inLab(t, func(l *lab) {
		w := &node{l: l, reg: entropy.Registration{KeyHash: "key-w1", BootID: "boot-1", SpoolID: "spool", Hostname: "w1", Slots: 8, Resources: entropy.Resources{"gpu": 2 * entropy.Unit}}}
		w.ctx = entropy.WithPrincipal(context.Background(), entropy.Principal{Role: entropy.RoleWorker, Name: "w1", KeyHash: "key-w1"})
		w.register()
		one := entropy.JobSpec{Resources: entropy.Resources{"gpu": entropy.Unit}}
		half := entropy.JobSpec{Resources: entropy.Resources{"gpu": entropy.Unit / 2}}
		l.submit(one)
		l.submit(half)
		a := w.claim(8)
		if len(a) != 2 || a[0].GPUs[0] != (entropy.GPUShare{Index: 0, Amount: entropy.Unit}) || a[1].GPUs[0] != (entropy.GPUShare{Index: 1, Amount: entropy.Unit / 2}) {
			t.Fatalf("%+v", a)
		}
		for _, x := range a {
			h := entropy.Held{JobID: x.JobID, AssignmentID: x.AssignmentID}
			if err := w.ack(h); err != nil {
				t.Fatal(err)
			}
			w.held = append(w.held, h)
		}
		waits := l.submit(one)
		never := l.submit(entropy.JobSpec{Resources: entropy.Resources{"gpu": 4 * entropy.Unit}})
		l.crash()
		w.register()
		l.submit(half)
		if got := w.claim(8); len(got) != 1 || got[0].GPUs[0].Index != 1 {
			t.Fatalf("after a restart: %+v", got)
		}
		l.explain(waits, "busy")
		l.explain(never, "too_large")
		if x, _ := l.sys.Explain(context.Background(), never); !x.Never || !strings.Contains(x.Summary, "w1") {
			t.Errorf("%+v", x)
		}
		if v := w.complete(w.held[0], entropy.OutcomeSucceeded); v.Verdict != entropy.VerdictAccepted {
			t.Fatalf("%+v", v)
		}
		if got := w.claim(8); len(got) != 1 || got[0].JobID != waits || got[0].GPUs[0].Index != 0 {
			t.Fatalf("after the end: %+v", got)
		}
	})
}

// proves J-8: an urgent job has a preemptible one asked to make room, gets the
// room when its worker says that it is gone, and the other is queued again with
// nothing spent.
func TestPreempted(t *testing.T) {
	inLab(t, func(l *lab) {
		at := 80
		l.setPolicy(func(p *entropy.Policy) { p.PreemptPriority = &at })
		w := l.worker("w1")
		var ids []entropy.JobID
		for i := range 4 {
			ids = append(ids, l.submit(entropy.JobSpec{Preemptible: i == 2}))
			w.run()
		}
		urgent := l.submit(entropy.JobSpec{Priority: 90})
		l.stay(5*time.Second, w)
		victim := l.want(ids[2], entropy.Running)
		d, err := l.sys.Directives(w.ctx, entropy.DirectivesRequest{Incarnation: w.incarnation})
		if err != nil || !victim.PreemptRequested || len(d.Stop) != 1 || d.Stop[0].Reason != entropy.ReasonPreempt || d.Stop[0].AssignmentID != victim.Lease.AssignmentID {
			t.Fatalf("directives %+v, %v; %+v", d, err, victim)
		}
		if as := w.claim(1); len(as) != 0 {
			t.Fatalf("the room was given away before it was free: %+v", as)
		}
		c := entropy.Completion{JobID: ids[2], AssignmentID: victim.Lease.AssignmentID, SpoolID: "spool", CompletionSeq: 1, Outcome: entropy.OutcomeStopped, Reason: entropy.ReasonPreempt}
		r, err := l.sys.Complete(w.ctx, entropy.CompleteRequest{Incarnation: w.incarnation, Items: []entropy.Completion{c}})
		if err != nil || r[0].Verdict != entropy.VerdictAccepted {
			t.Fatalf("%+v, %v", r, err)
		}
		if as := w.claim(1); len(as) != 1 || as[0].JobID != urgent {
			t.Fatalf("the room went to %+v", as)
		}
		if j := l.want(ids[2], entropy.Pending); j.Failures+j.Losses != 0 || j.PreemptRequested {
			t.Errorf("%+v", j)
		}
	})
}

// proves J-7: after an outage no more jobs than the limit are retried at once.
func TestRetryStorm(t *testing.T) {
	inLab(t, func(l *lab) {
		l.setPolicy(func(p *entropy.Policy) { p.MaxRetrying = 2 })
		w := l.worker("w1")
		var ids []entropy.JobID
		for range 4 {
			ids = append(ids, l.submit(entropy.JobSpec{Retry: entropy.RetryPolicy{Backoff: entropy.Duration(time.Second)}}))
			w.run()
		}
		for _, h := range w.held {
			w.complete(h, entropy.OutcomeFailed)
		}
		w.held = nil
		l.stay(20*time.Second, w)
		count := func() (pending, retrying int) {
			for _, id := range ids {
				switch l.job(id).State {
				case entropy.Pending, entropy.Running, entropy.Assigned:
					pending++
				case entropy.Retrying:
					retrying++
					l.explain(id, entropy.HurdleRetrySlot)
				}
			}
			return pending, retrying
		}
		if p, r := count(); p != 2 || r != 2 {
			t.Fatalf("%d queued, %d wait for a retry slot", p, r)
		}
		l.crash()
		w.register()
		l.stay(10*time.Second, w)
		if p, r := count(); p != 2 || r != 2 {
			t.Fatalf("after a restart %d queued, %d wait for a retry slot", p, r)
		}
		h := w.run()
		w.complete(h, entropy.OutcomeSucceeded)
		l.pass(100 * time.Millisecond) // not the waker's own interval
		if p, r := count(); p != 2 || r != 1 {
			t.Fatalf("after one has ended %d queued, %d wait for a retry slot", p, r)
		}
	})
}

// proves W-8: a worker that comes back from quarantine gets one job at a time
// until three have ended well, and goes back when it loses one.
func TestProbationOfAWorker(t *testing.T) {
	inLab(t, func(l *lab) {
		w := l.worker("w1")
		set := func(m entropy.WorkerMode) {
			t.Helper()
			if _, err := l.sys.SetWorker(context.Background(), "w1", m, entropy.Operation{}); err != nil {
				t.Fatal(err)
			}
		}
		info := func() entropy.WorkerInfo {
			t.Helper()
			all, err := l.sys.Workers(context.Background())
			if err != nil || len(all) != 1 {
				t.Fatalf("%+v, %v", all, err)
			}
			return all[0]
		}
		for range 6 {
			l.submit(entropy.JobSpec{})
		}
		set(entropy.WorkerQuarantine)
		set(entropy.WorkerResume)
		for i := range 3 {
			if as := w.claim(4); len(as) != 1 {
				t.Fatalf("on probation it got %d jobs at once", len(as))
			} else if h := (entropy.Held{JobID: as[0].JobID, AssignmentID: as[0].AssignmentID}); w.ack(h) == nil {
				w.complete(h, entropy.OutcomeSucceeded)
			}
			l.pass(time.Second)
			if got := info().Probation; got != 2-i {
				t.Fatalf("after %d jobs its probation is %d", i+1, got)
			}
		}
		if as := w.claim(4); len(as) != 3 {
			t.Fatalf("trusted again it got %d jobs", len(as))
		}
		set(entropy.WorkerQuarantine)
		set(entropy.WorkerResume)
		l.submit(entropy.JobSpec{})
		l.pass(15 * time.Second) // what it never ACKed is taken back
		w.beat()
		w.run()
		l.pass(20 * time.Second) // it is silent: its lease ends
		if i := info(); !i.Quarantined || !strings.Contains(i.Reason, "on probation") {
			t.Errorf("%+v", i.Worker)
		}
	})
}

// proves L-2 (bad input): a job under the contract "stop" may not want more than a
// third of its lease to end
func TestGraceOfAContract(t *testing.T) {
	inLab(t, func(l *lab) {
		for _, c := range []struct {
			worker string
			grace  time.Duration
			ok     bool
		}{{entropy.DisconnectStop, 5 * time.Second, true}, {entropy.DisconnectStop, 6 * time.Second, false}, {"", time.Minute, true}} {
			spec := entropy.JobSpec{Command: []string{"true"}, Grace: entropy.Duration(c.grace), Disconnect: entropy.Disconnect{Worker: c.worker}}
			r, err := l.sys.Submit(context.Background(), []entropy.Submission{{Spec: spec}})
			if err != nil || (r[0].Error == nil) != c.ok {
				t.Errorf("%s, grace %s: %+v, %v", c.worker, c.grace, r, err)
			}
		}
	})
}
