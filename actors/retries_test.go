package actors

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// retrying returns a job whose backoff is over; requeued and ended are what may
// become of it.
func retrying(id, queue string) *entropy.Job {
	return &entropy.Job{ID: entropy.JobID(id), State: entropy.Retrying, Spec: entropy.JobSpec{Queue: queue},
		Attempts: []entropy.Attempt{{Number: 1, AssignmentID: "a", End: entropy.EndFailed}}}
}

func in(j *entropy.Job, s entropy.State) *entropy.Job {
	c := *j
	c.State = s
	return &c
}

// proves J-7: no more jobs than the limit are retried at once, each queue within
// its own; whoever waits is told, the longest waiting first.
func TestRetryLimits(t *testing.T) {
	var woken []entropy.JobID
	r := newRetries(func(id entropy.JobID) { woken = append(woken, id) })
	r.setPolicy(&entropy.Policy{MaxRetrying: 3, Queues: map[string]entropy.QueuePolicy{"slow": {MaxRetrying: 1}}})
	s1, s2, q1, q2, q3 := retrying("s1", "slow"), retrying("s2", "slow"), retrying("q1", ""), retrying("q2", ""), retrying("q3", "")
	for _, c := range []struct {
		j    *entropy.Job
		want bool
	}{{s1, true}, {s2, false}, {q1, true}, {q2, true}, {q3, false}, {s1, true}, {s2, false}} {
		if got := r.RetrySlot(c.j); got != c.want {
			t.Errorf("%s: granted %t", c.j.ID, got)
		}
	}
	r.changed(q1, in(q1, entropy.Pending)) // what it was granted is now its own
	if !r.waits("s2") || !r.waits("q3") || r.waits("q1") || len(woken) > 0 {
		t.Errorf("woken %v", woken)
	}
	r.changed(in(q1, entropy.Running), in(q1, entropy.Succeeded))
	if !slices.Equal(woken, []entropy.JobID{"q3"}) {
		t.Fatalf("woken %v: a slot is free, but not of the slow queue", woken)
	}
	r.changed(s1, in(s1, entropy.Canceled)) // it never used what it was granted
	if !slices.Equal(woken, []entropy.JobID{"q3", "s2"}) {
		t.Fatalf("woken %v", woken)
	}
	if !r.RetrySlot(q3) || r.waits("s2") || !r.RetrySlot(s2) {
		t.Error("who was told found no slot")
	}
	if r.RetrySlot(q1) {
		t.Error("a slot too many")
	}
	r.setPolicy(&entropy.Policy{})
	if woken[len(woken)-1] != "q1" || !r.RetrySlot(q1) {
		t.Errorf("woken %v after the limit was lifted", woken)
	}
}

// proves J-7: over any history the count is that of the jobs that take a slot,
// the limit holds, and nobody who waits is forgotten.
func TestRetryLimitsOverHistories(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		jobs := map[entropy.JobID]*entropy.Job{}
		var order []entropy.JobID
		limit := 1 + rng.IntN(4)
		var r *retries
		var wake func(entropy.JobID)
		r = newRetries(func(id entropy.JobID) { wake(id) })
		r.setPolicy(&entropy.Policy{MaxRetrying: limit, Queues: map[string]entropy.QueuePolicy{"a": {MaxRetrying: 1 + rng.IntN(2)}}})
		move := func(j *entropy.Job, s entropy.State) {
			after := in(j, s)
			jobs[j.ID] = after
			r.changed(j, after)
		}
		wake = func(id entropy.JobID) {
			if j := jobs[id]; j.State == entropy.Retrying && r.RetrySlot(j) {
				move(j, entropy.Pending)
			}
		}
		for i := range 60 {
			j := retrying(fmt.Sprint("j", i), []string{"a", "b"}[rng.IntN(2)])
			jobs[j.ID], order = j, append(order, j.ID)
			wake(j.ID)
		}
		for steps := 0; ; steps++ {
			live, open := 0, 0
			for _, j := range jobs {
				if j.Retried() {
					live++
				}
				if !j.State.Terminal() {
					open++
				}
			}
			if live > limit || r.total != live {
				t.Fatalf("seed %d: %d live, %d counted, limit %d", seed, live, r.total, limit)
			}
			if open == 0 {
				break
			}
			if steps > 10_000 {
				t.Fatalf("seed %d: %d jobs wait forever", seed, open)
			}
			switch j := jobs[order[rng.IntN(len(order))]]; j.State {
			case entropy.Pending:
				move(j, entropy.Running)
			case entropy.Running:
				move(j, []entropy.State{entropy.Succeeded, entropy.Failed}[rng.IntN(2)])
			case entropy.Retrying:
				if rng.IntN(10) == 0 {
					move(j, entropy.Canceled)
				}
			}
		}
	}
}
