package sim

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/scheduler/planner"
)

// reference is the simplest planner that keeps every promise about who may run
// where: it looks at the whole queue each time.
type reference struct {
	policy  *entropy.Policy
	before  func(p *entropy.Policy, a, b *entropy.Job) int // the order of choice
	workers []*entropy.Worker
	known   map[entropy.JobID]uint64 // versions
	queue   []*entropy.Job           // in order
	taken   []taken
}

// taken is a lease, or a choice that is not confirmed (Assignment is "").
type taken struct {
	job        *entropy.Job
	assignment entropy.AssignmentID
	worker     entropy.WorkerID
	resources  entropy.Resources
	gpus       []entropy.GPUShare
}

// NewReference returns a planner that chooses by the static key of waiting time
// and priority (J-8), within the limits of slots, resources, queues and
// concurrency keys (J-9, H-9). It knows neither tenants nor gates nor reservations.
func NewReference(time.Time) Planner { return newOrdered(byKey) }

// newOrdered returns a planner that chooses in an order of the caller's.
func newOrdered(before func(p *entropy.Policy, a, b *entropy.Job) int) *reference {
	return &reference{policy: &entropy.Policy{}, before: before, known: make(map[entropy.JobID]uint64)}
}

// key is the place of a job in the queue; the smallest goes first.
func key(p *entropy.Policy, j *entropy.Job) int64 {
	return planner.Key(*j.EligibleAt, j.Priority(), p.AgingStepOrDefault())
}

func byKey(p *entropy.Policy, a, b *entropy.Job) int { return cmp.Compare(key(p, a), key(p, b)) }

func (r *reference) order(a, b *entropy.Job) int {
	if c := r.before(r.policy, a, b); c != 0 {
		return c
	}
	return cmp.Compare(a.ID, b.ID)
}

// SetPolicy implements [Planner].
func (r *reference) SetPolicy(p *entropy.Policy, _ time.Time) {
	r.policy = p
	slices.SortFunc(r.queue, r.order)
}

// SetWorker implements [Planner].
func (r *reference) SetWorker(w *entropy.Worker) {
	i := slices.IndexFunc(r.workers, func(o *entropy.Worker) bool { return o.ID == w.ID })
	if i < 0 {
		r.workers = append(r.workers, w)
		return
	}
	r.workers[i] = w
}

// Sync implements [Planner].
func (r *reference) Sync(j *entropy.Job, _ time.Time) {
	if j.Version < r.known[j.ID] {
		return
	}
	r.known[j.ID] = j.Version
	is := func(o *entropy.Job) bool { return o.ID == j.ID }
	i := slices.IndexFunc(r.taken, func(t taken) bool { return t.job.ID == j.ID })
	if i >= 0 && r.taken[i].assignment == "" && j.State == entropy.Pending {
		return // chosen a moment ago
	}
	if i >= 0 {
		r.taken = slices.Delete(r.taken, i, i+1)
	}
	r.queue = slices.DeleteFunc(r.queue, is)
	switch {
	case j.Lease != nil:
		l := j.Lease
		r.taken = append(r.taken, taken{j, l.AssignmentID, l.WorkerID, l.Resources, l.GPUs})
	case j.State == entropy.Pending && !j.Held:
		at, _ := slices.BinarySearchFunc(r.queue, j, r.order)
		r.queue = slices.Insert(r.queue, at, j)
	}
}

// Undo implements [Planner].
func (r *reference) Undo(id entropy.JobID, _ time.Time) {
	r.taken = slices.DeleteFunc(r.taken, func(t taken) bool { return t.job.ID == id && t.assignment == "" })
}

// Pick implements [Planner].
func (r *reference) Pick(id entropy.WorkerID, n int, _ time.Time) []planner.Choice {
	i := slices.IndexFunc(r.workers, func(w *entropy.Worker) bool { return w.ID == id })
	if i < 0 || !r.workers[i].Schedulable() || len(r.queue) == 0 {
		return nil
	}
	room := r.room(r.workers[i])
	var out []planner.Choice
	for at := 0; at < len(r.queue) && len(out) < n && room.slots > 0; {
		j := r.queue[at]
		ch, ok := room.fits(j)
		if !ok {
			at++
			continue
		}
		room.spend(ch.Resources, ch.GPUs)
		out = append(out, ch)
		r.taken = append(r.taken, taken{j, "", id, ch.Resources, ch.GPUs})
		r.queue = slices.Delete(r.queue, at, at+1)
	}
	return out
}

// Reserve implements [Planner]: nothing is reserved.
func (*reference) Reserve(time.Time) {}

// room is what a worker has free, and what the fleet's limits leave.
type room struct {
	r     *reference
	w     *entropy.Worker
	slots int
	free  entropy.Resources
	gpus  []entropy.Amount // free, by index
}

func (r *reference) room(w *entropy.Worker) *room {
	m := &room{r: r, w: w, slots: w.Capacity(), free: maps.Clone(w.Resources), gpus: make([]entropy.Amount, int(w.Resources[entropy.ResourceGPU]/entropy.Unit))}
	for i := range m.gpus {
		m.gpus[i] = entropy.Unit
	}
	for i := range r.taken {
		if t := &r.taken[i]; t.worker == w.ID {
			m.spend(t.resources, t.gpus)
		}
	}
	return m
}

func (m *room) spend(res entropy.Resources, gpus []entropy.GPUShare) {
	m.slots--
	for name, n := range res {
		m.free[name] -= n
	}
	for _, g := range gpus {
		if g.Index < len(m.gpus) {
			m.gpus[g.Index] -= g.Amount
		}
	}
}

// count returns how many of those who hold a lease satisfy f.
func (r *reference) count(f func(j *entropy.Job) bool) (n int) {
	for i := range r.taken {
		if f(r.taken[i].job) {
			n++
		}
	}
	return n
}

// limited reports whether the limits of its queue or its key keep a job waiting.
func (r *reference) limited(j *entropy.Job) bool {
	q := r.policy.Queues[j.Spec.Queue]
	k := j.Spec.ConcurrencyKey
	return q.Paused || q.MaxRunning > 0 && r.count(func(o *entropy.Job) bool { return o.Spec.Queue == j.Spec.Queue }) >= q.MaxRunning ||
		k != "" && r.count(func(o *entropy.Job) bool { return o.Spec.ConcurrencyKey == k }) > 0
}

// fits returns what a job would hold, if it may run here now.
func (m *room) fits(j *entropy.Job) (planner.Choice, bool) {
	if m.slots <= 0 || j.Held || j.Excludes(m.w.ID) || m.r.limited(j) {
		return planner.Choice{}, false
	}
	if len(j.Spec.AnyOf) == 0 {
		return m.satisfies(j, &entropy.Need{Require: j.Spec.Require, Resources: j.Spec.Resources})
	}
	for _, need := range j.Spec.Needs() {
		if ch, ok := m.satisfies(j, &need); ok {
			return ch, true
		}
	}
	return planner.Choice{}, false
}

func (m *room) satisfies(j *entropy.Job, need *entropy.Need) (planner.Choice, bool) {
	if !offers(m.w, &j.Spec, need) || !m.free.Fits(need.Resources) {
		return planner.Choice{}, false
	}
	gpus, ok := m.shares(need.Resources[entropy.ResourceGPU])
	return planner.Choice{ID: j.ID, Resources: need.Resources, GPUs: gpus}, ok
}

// shares chooses GPUs: whole ones from the lowest index on, a fraction where the
// least is left that holds it.
func (m *room) shares(n entropy.Amount) ([]entropy.GPUShare, bool) {
	if n == 0 {
		return nil, true
	}
	var out []entropy.GPUShare
	if n < entropy.Unit {
		best := -1
		for i, free := range m.gpus {
			if free >= n && (best < 0 || free < m.gpus[best]) {
				best = i
			}
		}
		if best < 0 {
			return nil, false
		}
		return append(out, entropy.GPUShare{Index: best, Amount: n}), true
	}
	for i, free := range m.gpus {
		if free == entropy.Unit && len(out) < int(n/entropy.Unit) {
			out = append(out, entropy.GPUShare{Index: i, Amount: entropy.Unit})
		}
	}
	return out, len(out) == int(n/entropy.Unit)
}

// offers reports whether a worker can satisfy one need of a job when it is idle,
// resources apart.
func offers(w *entropy.Worker, s *entropy.JobSpec, need *entropy.Need) bool {
	for k, want := range need.Require {
		if got, ok := w.Labels[k]; !ok || got != want {
			return false
		}
	}
	return s.Handler == "" || slices.Contains(w.Handlers, s.Handler)
}

// able reports whether a worker could run a job when it is idle.
func able(w *entropy.Worker, s *entropy.JobSpec) bool {
	if len(s.AnyOf) == 0 {
		return offers(w, s, &entropy.Need{Require: s.Require}) && w.Resources.Fits(s.Resources)
	}
	return slices.ContainsFunc(s.Needs(), func(n entropy.Need) bool { return offers(w, s, &n) && w.Resources.Fits(n.Resources) })
}

// Preemptions implements [Planner]. It names, for the first urgent job that fits
// nowhere, the attempt of the lowest priority whose end would make room for it.
// One at a time: while one is asked to make room, nobody else is.
func (r *reference) Preemptions(time.Time) []planner.Preemption {
	limit := r.policy.PreemptPriority
	urgent := func(j *entropy.Job) bool { return j.Spec.Priority >= *limit && j.Spec.ConcurrencyKey == "" }
	if limit == nil || !slices.ContainsFunc(r.queue, urgent) ||
		slices.ContainsFunc(r.taken, func(t taken) bool { return t.assignment == "" || t.job.PreemptRequested }) {
		return nil
	}
	var rooms []*room
	for _, w := range r.workers {
		if w.Schedulable() {
			rooms = append(rooms, r.room(w))
		}
	}
	for _, j := range r.queue {
		if !urgent(j) || slices.ContainsFunc(rooms, func(m *room) bool { _, ok := m.fits(j); return ok }) {
			continue
		}
		if t := r.victim(j); t != nil {
			return []planner.Preemption{{Job: t.job.ID, Assignment: t.assignment, Worker: t.worker, For: j.ID}}
		}
	}
	return nil
}

func (r *reference) victim(j *entropy.Job) (best *taken) {
	for i := range r.taken {
		t := &r.taken[i]
		s := &t.job.Spec
		if !s.Preemptible || s.Retry.NoRetry || t.job.State != entropy.Running || t.job.CancelRequested || t.job.Priority() >= j.Spec.Priority {
			continue
		}
		w := r.workers[slices.IndexFunc(r.workers, func(w *entropy.Worker) bool { return w.ID == t.worker })]
		if !w.Schedulable() || j.Excludes(w.ID) || !able(w, &j.Spec) {
			continue
		}
		without := *r
		without.taken = slices.Delete(slices.Clone(r.taken), i, i+1)
		if _, ok := without.room(w).fits(j); ok && (best == nil || t.job.Priority() < best.job.Priority()) {
			best = t
		}
	}
	return best
}
