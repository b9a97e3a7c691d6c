package actors_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entropy-fabric/entropy"
)

// state returns a worker's state as the fleet has it.
func (l *lab) state(w entropy.WorkerID) entropy.WorkerState {
	l.t.Helper()
	synctest.Wait()
	all, err := l.sys.Workers(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	for _, x := range all {
		if x.ID == w {
			return x.State
		}
	}
	l.t.Fatalf("no worker %s", w)
	return ""
}

// polling leaves a poll for directives open, until cancel or its end.
func (n *node) polling() (cancel func()) {
	ctx, cancel := context.WithCancel(n.ctx)
	known, err := n.l.sys.Directives(ctx, entropy.DirectivesRequest{Incarnation: n.incarnation})
	if err != nil {
		n.l.t.Fatal(err)
	}
	go func() {
		_, _ = n.l.sys.Directives(ctx, entropy.DirectivesRequest{Incarnation: n.incarnation, Known: known.Version, Wait: entropy.Duration(time.Minute)})
	}()
	synctest.Wait()
	return cancel
}

// proves L-4: dead by gossip, silent for one interval and a second, nothing open:
// the worker is LOST then, not before, and its job with it.
func TestGossipLosesEarly(t *testing.T) {
	inLab(t, func(l *lab) {
		id, w := l.submit(entropy.JobSpec{}), l.worker("w1")
		w.run()
		w.beat()
		l.pass(2 * time.Second)
		l.sys.Witness("w1", true)
		l.pass(3900 * time.Millisecond)
		l.want(id, entropy.Running)
		if s := l.state("w1"); s != entropy.WorkerAlive {
			t.Fatalf("worker is %s 5.9 s after its heartbeat", s)
		}
		l.pass(400 * time.Millisecond)
		l.want(id, entropy.Retrying)
		if s := l.state("w1"); s != entropy.WorkerLost {
			t.Errorf("worker is %s 6.3 s after its heartbeat", s)
		}
		if a := l.job(id).Attempts[0]; a.End != entropy.EndLost {
			t.Errorf("attempt %+v", a)
		}
	})
}

// proves L-4: a worker that gossip calls dead loses nothing while its heartbeats come.
func TestGossipAloneExpiresNothing(t *testing.T) {
	inLab(t, func(l *lab) {
		id, w := l.submit(entropy.JobSpec{}), l.worker("w1")
		w.run()
		l.sys.Witness("w1", true)
		w.live(2 * time.Minute)
		l.want(id, entropy.Running)
		if s := l.state("w1"); s != entropy.WorkerAlive {
			t.Errorf("worker is %s", s)
		}
	})
}

// proves L-4: whoever waits for an answer is there; once it has hung up, it is not.
func TestOpenRequestSpeaksForAWorker(t *testing.T) {
	inLab(t, func(l *lab) {
		id, w := l.submit(entropy.JobSpec{}), l.worker("w1")
		w.run()
		w.beat()
		hangUp := w.polling()
		l.sys.Witness("w1", true)
		l.pass(10 * time.Second)
		l.want(id, entropy.Running)
		hangUp()
		l.pass(2600 * time.Millisecond) // the next look: half an interval at most
		l.want(id, entropy.Retrying)
	})
}

// proves L-4: so does an open claim.
func TestOpenClaimSpeaksForAWorker(t *testing.T) {
	inLab(t, func(l *lab) {
		id, w := l.submit(entropy.JobSpec{}), l.worker("w1")
		w.run()
		w.beat()
		claim := w.claiming(30 * time.Second)
		l.sys.Witness("w1", true)
		l.pass(12 * time.Second)
		l.want(id, entropy.Running)
		l.pass(3500 * time.Millisecond) // the lease ends all the same
		l.want(id, entropy.Retrying)
		l.pass(30 * time.Second)
		l.answered(claim)
	})
}

// proves L-4, J-11: a job that may never run twice at once waits for its lease's end.
func TestStopJobWaitsForItsLease(t *testing.T) {
	inLab(t, func(l *lab) {
		id, w := l.submit(entropy.JobSpec{Disconnect: entropy.Disconnect{Worker: entropy.DisconnectStop}}), l.worker("w1")
		w.run()
		w.beat()
		l.sys.Witness("w1", true)
		l.pass(14 * time.Second)
		if s := l.state("w1"); s != entropy.WorkerLost {
			t.Errorf("worker is %s", s)
		}
		l.want(id, entropy.Running)
		l.pass(1300 * time.Millisecond)
		l.want(id, entropy.Retrying)
	})
}

// proves L-4, H-1: what gossip took back it gives back: alive again before the
// interval is over changes nothing, and after a loss the job is reattached.
func TestGossipChangesItsMind(t *testing.T) {
	inLab(t, func(l *lab) {
		id, w := l.submit(entropy.JobSpec{}), l.worker("w1")
		w.run()
		w.beat()
		l.sys.Witness("w1", true)
		l.pass(3 * time.Second)
		l.sys.Witness("w1", false)
		l.pass(10 * time.Second)
		l.want(id, entropy.Running)
		l.sys.Witness("w1", true)
		l.pass(200 * time.Millisecond)
		l.want(id, entropy.Retrying)
		w.beat()
		j := l.want(id, entropy.Running)
		if j.Losses != 0 || j.Attempt != 1 {
			t.Errorf("losses %d, attempt %d after it came back", j.Losses, j.Attempt)
		}
		l.sys.Witness("never-registered", true)
		if s := l.state("w1"); s != entropy.WorkerAlive {
			t.Errorf("worker is %s", s)
		}
	})
}
