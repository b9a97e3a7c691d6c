package planner

import (
	"fmt"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves H-9 and J-8: a worker does not stay reserved for a job that an older one of
// its concurrency key has overtaken, as one that is tried again may. The simulator
// found it idle for two minutes.
func TestReservationEndsWhenItsKeyHasAnotherHead(t *testing.T) {
	urgent := 2
	l := newLab(t, entropy.Policy{PreemptPriority: &urgent})
	w := l.worker("w1", 1, nil).ID
	l.submit("low", time.Hour, entropy.JobSpec{Preemptible: true})
	if got := l.claim(w, 1); len(got) != 1 {
		t.Fatalf("claimed %v", got)
	}
	keyed := entropy.JobSpec{Priority: 2, ConcurrencyKey: "k", Disconnect: entropy.Disconnect{Worker: entropy.DisconnectStop}}
	older := l.now
	l.now = l.now.Add(time.Second)
	l.submit("young", time.Minute, keyed)
	if asked := l.p.Preemptions(l.now); len(asked) != 1 || asked[0].For != "young" {
		t.Fatalf("asked %v", asked)
	}
	l.submit("old", time.Minute, keyed)
	l.change("old", func(j *entropy.Job) { j.EligibleAt = &older })
	l.change("low", func(j *entropy.Job) { j.State, j.Lease = entropy.Succeeded, nil })
	l.now = l.now.Add(time.Second)
	l.p.Reserve(l.now)
	if got := l.claim(w, 1); len(got) != 1 || got[0] != "old" {
		t.Errorf("claimed %v, want the old one", got)
	}
}

// proves J-8: one call seeks workers for a bounded number of jobs, and those that
// it leaves out have their turn in the next.
func TestReservationsTakeTurns(t *testing.T) {
	l := newLab(t, entropy.Policy{ReserveAfter: entropy.Duration(10 * time.Second)})
	const waiting, workers = 40, 200
	for i := range workers {
		l.worker(fmt.Sprintf("w%03d", i), 2, gpus(2))
		l.submit(fmt.Sprintf("small%03d-a", i), time.Hour, entropy.JobSpec{Resources: gpus(1)})
		l.submit(fmt.Sprintf("small%03d-b", i), time.Hour, entropy.JobSpec{Resources: gpus(1)})
	}
	l.claimAll()
	for i := range waiting {
		l.submit(fmt.Sprintf("large%02d", i), time.Minute, entropy.JobSpec{Resources: gpus(2), Tenant: fmt.Sprintf("t%02d", i)})
	}
	l.now = l.now.Add(15 * time.Second)
	for _, want := range []int{maxSearches, waiting, waiting} {
		l.p.Reserve(l.now)
		if got := len(l.p.reservations); got != want {
			t.Errorf("%d workers are reserved, want %d", got, want)
		}
		l.check()
	}
}

// proves J-8: nobody waits for a job that may not start: a worker that was reserved
// for one takes others while the queue of that one is paused, and is kept for it
// again afterward. The simulator found it idle for two minutes.
func TestReservationOfAPausedQueue(t *testing.T) {
	policy := entropy.Policy{ReserveAfter: entropy.Duration(10 * time.Second)}
	l := newLab(t, policy)
	l.worker("w", 2, gpus(2))
	l.submit("a", time.Hour, entropy.JobSpec{Resources: gpus(1)})
	l.submit("b", time.Hour, entropy.JobSpec{Resources: gpus(1)})
	l.claimAll()
	l.submit("large", time.Minute, entropy.JobSpec{Resources: gpus(2), Queue: "night"})
	l.now = l.now.Add(15 * time.Second)
	l.p.Reserve(l.now)
	l.change("a", func(j *entropy.Job) { j.State, j.Lease = entropy.Succeeded, nil })
	l.submit("small", time.Hour, entropy.JobSpec{Resources: gpus(1)})
	if got := l.claim("w", 1); len(got) > 0 {
		t.Fatalf("%v passes the one that waits for room", got)
	}
	pause := func(paused bool) {
		policy.Queues = map[string]entropy.QueuePolicy{"night": {Paused: paused}}
		l.p.SetPolicy(&policy, l.now)
	}
	pause(true)
	if got := l.claim("w", 1); len(got) != 1 || got[0] != "small" {
		t.Errorf("%v runs while nobody else may", got)
	}
	pause(false)
	l.submit("late", time.Hour, entropy.JobSpec{Resources: gpus(1)})
	l.change("b", func(j *entropy.Job) { j.State, j.Lease = entropy.Succeeded, nil })
	if got := l.claim("w", 1); len(got) > 0 {
		t.Errorf("%v passes the one that waits for room", got)
	}
	l.check()
}
