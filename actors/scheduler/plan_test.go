package scheduler

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

func ready(id string, at int, priority int, require map[string]string) Ready {
	eligible := time.Unix(int64(at), 0)
	return ReadyOf(&entropy.Job{ID: entropy.JobID(id), EligibleAt: &eligible, Spec: entropy.JobSpec{Priority: priority, Require: require}}, time.Minute)
}

func ids(rs []Ready) (out []string) {
	for _, r := range rs {
		out = append(out, string(r.ID))
	}
	return out
}

// proves J-8: the order of choice is enqueued_at − priority × aging_step; a wait
// of one step makes up for one step of priority.
func TestOrder(t *testing.T) {
	q := NewQueue()
	for _, r := range []Ready{
		ready("old", 0, 0, nil), ready("urgent", 100, 2, nil), ready("aged", 39, 1, nil), ready("new", 100, 0, nil), ready("low", 0, -1, nil),
	} {
		q.Push(r)
	}
	if got, want := ids(q.Pick(Worker{}, 10)), []string{"aged", "urgent", "old", "low", "new"}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
	if q.Len() != 0 {
		t.Errorf("%d left", q.Len())
	}
}

// proves J-9 (labels), W-6 (handlers): a job goes only to a worker that can run it.
func TestRequirements(t *testing.T) {
	q := NewQueue()
	q.Push(ready("gpu", 0, 50, map[string]string{"gpu": "h100"}))
	q.Push(ready("any", 1, 0, nil))
	h := ready("handler", 2, 0, nil)
	h.Handler, h.Set = "resize", "resize\x00"
	q.Push(h)
	if got := ids(q.Pick(Worker{ID: "w"}, 10)); !slices.Equal(got, []string{"any"}) {
		t.Errorf("plain worker got %v", got)
	}
	if got := ids(q.Pick(Worker{ID: "w", Labels: map[string]string{"gpu": "h100", "x": "y"}, Handlers: []string{"resize"}}, 10)); !slices.Equal(got, []string{"gpu", "handler"}) {
		t.Errorf("able worker got %v", got)
	}
}

// proves J-6: an excluded worker is passed over and the job keeps its place.
func TestExcluded(t *testing.T) {
	q := NewQueue()
	r := ready("a", 0, 0, nil)
	r.Excluded = []entropy.WorkerID{"bad"}
	q.Push(r)
	q.Push(ready("b", 1, 0, nil))
	if got := ids(q.Pick(Worker{ID: "bad"}, 1)); !slices.Equal(got, []string{"b"}) {
		t.Errorf("excluded worker got %v", got)
	}
	if got := ids(q.Pick(Worker{ID: "good"}, 1)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("other worker got %v", got)
	}
}

// The queue against a dumb reference that sorts everything at every pick.
func TestAgainstReference(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	q := NewQueue()
	var all []Ready
	labels := []map[string]string{nil, {"zone": "a"}, {"zone": "b"}}
	for i := range 3000 {
		if rng.IntN(3) > 0 {
			r := ready(fmt.Sprintf("j%04d", i), rng.IntN(500), rng.IntN(20)-10, labels[rng.IntN(3)])
			q.Push(r)
			all = append(all, r)
			continue
		}
		w := Worker{ID: "w", Labels: labels[rng.IntN(3)]}
		n := rng.IntN(4) + 1
		var want []Ready
		slices.SortFunc(all, func(a, b Ready) int { return int(min(max(a.Key-b.Key, -1), 1))*2 + compare(a.ID, b.ID) })
		for _, r := range all {
			spec := entropy.JobSpec{Require: r.Require}
			if len(want) < n && spec.Matches(w.Labels) {
				want = append(want, r)
			}
		}
		got := q.Pick(w, n)
		if !slices.Equal(ids(got), ids(want)) {
			t.Fatalf("step %d: got %v, want %v", i, ids(got), ids(want))
		}
		all = slices.DeleteFunc(all, func(r Ready) bool { return slices.Contains(ids(want), string(r.ID)) })
	}
	if q.Len() != len(all) {
		t.Errorf("queue has %d, reference %d", q.Len(), len(all))
	}
}

func compare(a, b entropy.JobID) int {
	if a < b {
		return -1
	}
	return 1
}

func BenchmarkPick(b *testing.B) {
	q := NewQueue()
	for i := range 1_000_000 {
		q.Push(ready(fmt.Sprintf("job-%09d", i), i, 0, map[string]string{"set": fmt.Sprint(i % 200)}))
	}
	w := Worker{ID: "w", Labels: map[string]string{"set": "7"}}
	for b.Loop() {
		for _, r := range q.Pick(w, 1) {
			q.Push(r)
		}
	}
}
