package planner

import (
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// lab is a fleet in virtual time that runs what the planner chooses.
type lab struct {
	tb   testing.TB
	p    *Planner
	now  time.Time
	jobs map[entropy.JobID]*entropy.Job
	ends endHeap

	length  map[entropy.JobID]time.Duration // how long a job runs
	started map[entropy.JobID]time.Time
	grace   time.Duration // between a request to make room and the end
	seq     int
	onStart func(j *entropy.Job)
}

type end struct {
	at      time.Time
	id      entropy.JobID
	a       entropy.AssignmentID
	preempt bool
}

type endHeap []end

func (h endHeap) Len() int { return len(h) }
func (h endHeap) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].id < h[j].id
}
func (h endHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *endHeap) Push(x any)   { *h = append(*h, x.(end)) }
func (h *endHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

func newLab(tb testing.TB, policy entropy.Policy) *lab {
	return &lab{tb: tb, p: New(&policy, epoch), now: epoch, jobs: map[entropy.JobID]*entropy.Job{}, length: map[entropy.JobID]time.Duration{},
		started: map[entropy.JobID]time.Time{}, grace: time.Second}
}

func (l *lab) worker(id string, slots int, r entropy.Resources) *entropy.Worker {
	w := &entropy.Worker{ID: entropy.WorkerID(id), State: entropy.WorkerAlive, Slots: slots, Resources: r, Labels: map[string]string{"host": id}}
	l.p.SetWorker(w)
	return w
}

// submit queues a job that will run so long.
func (l *lab) submit(id string, length time.Duration, spec entropy.JobSpec) *entropy.Job {
	at := l.now
	j := &entropy.Job{ID: entropy.JobID(id), Version: 1, State: entropy.Pending, EligibleAt: &at, Spec: spec}
	l.jobs[j.ID], l.length[j.ID] = j, length
	l.p.Sync(j, l.now)
	return j
}

// change makes a job's next state known.
func (l *lab) change(id entropy.JobID, edit func(*entropy.Job)) {
	j := l.jobs[id].Clone()
	j.Version++
	edit(j)
	l.jobs[id] = j
	l.p.Sync(j, l.now)
}

// claim lets a worker take up to n jobs.
func (l *lab) claim(w entropy.WorkerID, n int) (ids []string) {
	for _, c := range l.p.Pick(w, n, l.now) {
		l.seq++
		a := entropy.AssignmentID(fmt.Sprint("a", l.seq))
		l.change(c.ID, func(j *entropy.Job) {
			j.State = entropy.Running
			j.Lease = &entropy.Lease{AssignmentID: a, WorkerID: w, Acked: true, GrantedAt: l.now, Resources: c.Resources, GPUs: c.GPUs}
		})
		if _, again := l.started[c.ID]; !again {
			l.started[c.ID] = l.now
		}
		heap.Push(&l.ends, end{at: l.now.Add(l.length[c.ID]), id: c.ID, a: a})
		if l.onStart != nil {
			l.onStart(l.jobs[c.ID])
		}
		ids = append(ids, string(c.ID))
	}
	return ids
}

// claimAll lets every worker take what it can.
func (l *lab) claimAll() {
	for _, n := range (&explainer{p: l.p}).nodes() {
		l.claim(n.worker.ID, n.worker.Slots)
	}
}

// run lets time pass until the given time, with everything that happens in it.
func (l *lab) run(until time.Time) {
	tick := l.now
	for {
		l.claimAll()
		for _, x := range l.p.Preemptions(l.now) {
			if j := l.jobs[x.Job]; j.Lease == nil || j.Lease.AssignmentID != x.Assignment || !j.Spec.Preemptible {
				l.tb.Fatalf("asked %+v to make room: %+v", x, j)
			}
			heap.Push(&l.ends, end{at: l.now.Add(l.grace), id: x.Job, a: x.Assignment, preempt: true})
		}
		next := until
		if len(l.ends) > 0 && l.ends[0].at.Before(next) {
			next = l.ends[0].at
		}
		if tick.Add(time.Second).Before(next) {
			next = tick.Add(time.Second)
		}
		l.now = next
		if !l.now.Before(tick.Add(time.Second)) {
			tick = l.now
			l.p.Reserve(l.now)
		}
		for len(l.ends) > 0 && !l.ends[0].at.After(l.now) {
			l.finish(heap.Pop(&l.ends).(end))
		}
		if !l.now.Before(until) {
			return
		}
	}
}

func (l *lab) finish(e end) {
	j := l.jobs[e.id]
	if j.Lease == nil || j.Lease.AssignmentID != e.a {
		return
	}
	l.change(e.id, func(j *entropy.Job) {
		j.State, j.Lease = entropy.Succeeded, nil
		if e.preempt {
			j.State = entropy.Pending
		}
	})
}

func (l *lab) state(id string) entropy.State { return l.jobs[entropy.JobID(id)].State }

// wait returns how long a job waited, or has been waiting.
func (l *lab) wait(id entropy.JobID) time.Duration {
	if at, ok := l.started[id]; ok {
		return at.Sub(*l.jobs[id].EligibleAt)
	}
	return l.now.Sub(*l.jobs[id].EligibleAt)
}

func gpus(n entropy.Amount) entropy.Resources { return entropy.Resources{"gpu": n * entropy.Unit} }

// check recounts everything from the leases.
func (l *lab) check() {
	if !slices.IsSortedFunc(l.p.nodes, func(a, b *node) int { return cmp.Compare(a.worker.ID, b.worker.ID) }) || len(l.p.nodes) != len(l.p.workers) {
		l.tb.Fatalf("%d workers in order, of %d", len(l.p.nodes), len(l.p.workers))
	}
	for _, n := range l.p.nodes {
		if listed := n.place > 0 && l.p.roomy[n.place-1] == n; listed != (n.slots > 0) {
			l.tb.Fatalf("%s has %d slots free, listed as having some: %t", n.worker.ID, n.slots, listed)
		}
	}
	l.tb.Helper()
	running := map[string]int{}
	keys := map[string]entropy.JobID{}
	for id, n := range l.p.workers {
		slots, used, gpu := 0, entropy.Resources{}, map[int]entropy.Amount{}
		for _, j := range l.jobs {
			if j.Lease == nil || j.Lease.WorkerID != id {
				continue
			}
			slots++
			running[j.QueueName()]++
			if k := j.Spec.ConcurrencyKey; k != "" {
				if o, ok := keys[k]; ok {
					l.tb.Fatalf("%s and %s run with one key", o, j.ID)
				}
				keys[k] = j.ID
			}
			for name, a := range j.Lease.Resources {
				used[name] += a
			}
			var sum entropy.Amount
			for _, g := range j.Lease.GPUs {
				gpu[g.Index] += g.Amount
				sum += g.Amount
			}
			if sum != j.Lease.Resources["gpu"] {
				l.tb.Fatalf("%s asked for %s GPUs and has %v", j.ID, j.Lease.Resources["gpu"], j.Lease.GPUs)
			}
		}
		if slots > n.worker.Slots || slots+n.slots != n.worker.Slots || !n.worker.Resources.Fits(used) {
			l.tb.Fatalf("%s: %d slots of %d, %d free, %s of %s", id, slots, n.worker.Slots, n.slots, used, n.worker.Resources)
		}
		for i, a := range gpu {
			if a > entropy.Unit || i >= len(n.gpus) || n.gpus[i] != entropy.Unit-a {
				l.tb.Fatalf("%s: %s of GPU %d is given away, %v free", id, a, i, n.gpus)
			}
		}
	}
	for name, n := range running {
		if limit := l.p.policy.Queues[name].MaxRunning; limit > 0 && n > limit {
			l.tb.Fatalf("queue %s runs %d of %d", name, n, limit)
		}
	}
}

func rng(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }
