package scheduler

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Ready is a queued job as the scheduler knows it: a hint, not the truth. The
// job's own actor decides whether it may be assigned.
type Ready struct {
	ID       entropy.JobID
	Key      int64             // see Key
	Set      string            // jobs with equal Set can run on the same workers
	Require  map[string]string // labels the worker must carry; shared by all of a set
	Handler  string            // Go handler the worker must offer, or ""
	Excluded []entropy.WorkerID
}

// DefaultAgingStep is the wait that makes up for one step of priority.
const DefaultAgingStep = time.Minute

// Key is the static sort key of a queued job: enqueued_at − priority ×
// aging_step, in nanoseconds; the smallest goes first. All jobs age at the same
// rate, so that their order never changes and is never sorted again.
func Key(enqueuedAt time.Time, priority int, agingStep time.Duration) int64 {
	return enqueuedAt.UnixNano() - int64(priority)*int64(agingStep)
}

// ReadyOf returns the index entry of a pending job.
func ReadyOf(j *entropy.Job, agingStep time.Duration) Ready {
	return Ready{ID: j.ID, Key: Key(*j.EligibleAt, j.Priority(), agingStep), Set: j.Spec.Handler + "\x00" + j.Spec.RequireKey(),
		Require: j.Spec.Require, Handler: j.Spec.Handler, Excluded: j.Excluded}
}

// Worker is what the plan needs to know of a worker.
type Worker struct {
	ID       entropy.WorkerID
	Labels   map[string]string
	Handlers []string
}

// Queue holds the queued jobs, in order, by what they require. It is not safe
// for concurrent use, and pure: it knows no time.
type Queue struct {
	sets map[string]*set
	size int
}

// set is the queue of the jobs that can run on the same workers and are excluded
// from the same ones.
type set struct {
	name     string          // Ready.Set
	spec     entropy.JobSpec // only Require and Handler
	excluded []entropy.WorkerID
	jobs     jobHeap
}

// NewQueue returns an empty queue.
func NewQueue() *Queue { return &Queue{sets: make(map[string]*set)} }

// Len returns how many entries wait.
func (q *Queue) Len() int { return q.size }

// Push adds an entry.
func (q *Queue) Push(r Ready) {
	name := r.Set
	if len(r.Excluded) > 0 { // a set of their own, so that picking never has to step over them
		name = fmt.Sprintf("%s\x00%q", r.Set, r.Excluded)
	}
	s := q.sets[name]
	if s == nil {
		s = &set{name: r.Set, spec: entropy.JobSpec{Require: r.Require, Handler: r.Handler}, excluded: r.Excluded}
		q.sets[name] = s
	}
	heap.Push(&s.jobs, entry{r.Key, r.ID})
	q.size++
}

// Pick removes and returns up to n entries that w may run, the smallest key
// first, ties by job ID.
func (q *Queue) Pick(w Worker, n int) []Ready {
	fits := q.fitting(w)
	var picked []Ready
	for len(picked) < n {
		s := first(fits)
		if s == nil {
			break
		}
		e := heap.Pop(&s.jobs).(entry)
		q.size--
		picked = append(picked, Ready{ID: e.id, Key: e.key, Set: s.name, Require: s.spec.Require, Handler: s.spec.Handler, Excluded: s.excluded})
	}
	for name, s := range fits {
		if len(s.jobs) == 0 {
			delete(q.sets, name)
		}
	}
	return picked
}

// fitting returns the sets that w can run.
func (q *Queue) fitting(w Worker) map[string]*set {
	fits := make(map[string]*set)
	worker := entropy.Worker{Labels: w.Labels, Handlers: w.Handlers}
	for name, s := range q.sets {
		if worker.Offers(&s.spec) && !slices.Contains(s.excluded, w.ID) {
			fits[name] = s
		}
	}
	return fits
}

// first returns the set whose head goes first, or nil if all are empty.
func first(sets map[string]*set) (best *set) {
	for _, s := range sets {
		if len(s.jobs) > 0 && (best == nil || s.jobs[0].before(best.jobs[0])) {
			best = s
		}
	}
	return best
}

type entry struct {
	key int64
	id  entropy.JobID
}

func (e entry) before(o entry) bool {
	return cmp.Or(cmp.Compare(e.key, o.key), cmp.Compare(e.id, o.id)) < 0
}

type jobHeap []entry

func (h jobHeap) Len() int           { return len(h) }
func (h jobHeap) Less(i, j int) bool { return h[i].before(h[j]) }
func (h jobHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *jobHeap) Push(x any)        { *h = append(*h, x.(entry)) }
func (h *jobHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = entry{}
	*h = old[:len(old)-1]
	return last
}
