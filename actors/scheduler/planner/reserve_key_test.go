package planner

import (
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
