package planner

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

// group is the queue of the jobs that differ only in age and priority: they can
// run on the same workers and compete by their keys alone.
type group struct {
	name     string
	index    int // of its bit in every worker's set
	queue    *queueState
	tenant   *tenant
	spec     entropy.JobSpec // only what the demand, queue and tenant say
	priority int             // as submitted: for gates and preemption
	needs    []need
	excluded []entropy.WorkerID
	jobs     jobHeap
	searched time.Time // until when there is no second look for a worker to reserve
	waiting  int       // jobs, with those that wait for their concurrency key
}

// need is one alternative of a group.
type need struct {
	entropy.Need
	amounts []amount
	gpu     entropy.Amount
}

// amount is how much of one resource, by its number; see Planner.resource.
type amount struct {
	resource int
	n        entropy.Amount
}

// entry is one queued job.
type entry struct {
	id    entropy.JobID
	key   int64
	at    int64 // since when it waits, Unix nanoseconds
	level int32 // its priority now
	pos   int32 // in the heap of its group, or in its lane's
	group *group
	lane  *lane // of its concurrency key; nil: it has none

	runTimeout time.Duration
}

func (e *entry) before(o *entry) bool {
	if e.key != o.key {
		return e.key < o.key
	}
	return e.id < o.id
}

type jobHeap []*entry

func (h jobHeap) Len() int           { return len(h) }
func (h jobHeap) Less(i, j int) bool { return h[i].before(h[j]) }
func (h jobHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = int32(i), int32(j)
}
func (h *jobHeap) Push(x any) {
	e := x.(*entry)
	e.pos = int32(len(*h))
	*h = append(*h, e)
}
func (h *jobHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	last.pos = -1
	return last
}

// magnitude is how long a job may run, to a factor of two, −1 without a bound:
// only the first job of a group may pass a reservation, and a short one should not
// wait behind a long one.
func magnitude(runTimeout time.Duration) int {
	if runTimeout == 0 {
		return -1
	}
	return bits.Len64(uint64(runTimeout / time.Second))
}

// groupName returns equal text for jobs that belong to one group.
func groupName(j *entropy.Job) string {
	s := &j.Spec
	if len(s.AnyOf) == 0 && len(s.Resources) == 0 && len(j.Excluded) == 0 { // most jobs: no formatting by reflection
		return strings.Join([]string{s.Handler, s.Image, s.RequireKey(), j.QueueName(), j.TenantName(), fmt.Sprint(s.Priority, s.Preemptible, magnitude(s.RunTimeout.D()))}, "\x00")
	}
	var alternatives strings.Builder
	for _, n := range s.Needs() {
		alternatives.WriteString((&entropy.JobSpec{Require: n.Require}).RequireKey() + "\x02" + n.Resources.String() + "\x01")
	}
	excluded := slices.Clone(j.Excluded)
	slices.Sort(excluded)
	return strings.Join([]string{s.Handler, s.Image, alternatives.String(), j.QueueName(), j.TenantName(),
		fmt.Sprint(s.Priority, s.Preemptible, magnitude(s.RunTimeout.D())), fmt.Sprintf("%q", excluded)}, "\x00")
}

// group returns the group of a job, made if there is none.
func (p *Planner) group(j *entropy.Job) *group {
	name := groupName(j)
	if g := p.groups[name]; g != nil {
		return g
	}
	spec := j.Spec.Demand()
	g := &group{name: name, queue: p.queue(j.QueueName()), tenant: p.tenant(j.TenantName()), spec: spec.Spec(), priority: j.Spec.Priority, excluded: slices.Clone(j.Excluded)}
	g.spec.Queue = j.QueueName()
	for _, n := range g.spec.Needs() {
		g.needs = append(g.needs, p.need(n))
	}
	if n := len(p.freeIndexes); n > 0 {
		g.index, p.freeIndexes = p.freeIndexes[n-1], p.freeIndexes[:n-1]
	} else {
		g.index = p.lastIndex
		p.lastIndex++
	}
	p.groups[name] = g
	p.idle++
	g.tenant.groups = append(g.tenant.groups, g)
	for _, w := range p.workers {
		w.consider(g)
	}
	return g
}

func (p *Planner) need(n entropy.Need) need {
	out := need{Need: n, gpu: n.Resources[entropy.ResourceGPU]}
	for name, a := range n.Resources {
		if name != entropy.ResourceGPU {
			out.amounts = append(out.amounts, amount{p.resource(name), a})
		}
	}
	slices.SortFunc(out.amounts, func(a, b amount) int { return a.resource - b.resource })
	return out
}

// resource returns the number of a resource; the same name has always the same.
func (p *Planner) resource(name string) int {
	if n, ok := p.resources[name]; ok {
		return n
	}
	n := len(p.resources)
	p.resources[name] = n
	return n
}

// drop forgets a group without jobs.
func (p *Planner) drop(g *group) {
	if g.waiting > 0 || p.groups[g.name] != g {
		return
	}
	delete(p.groups, g.name)
	g.tenant.groups = slices.DeleteFunc(g.tenant.groups, func(o *group) bool { return o == g })
	p.freeIndexes = append(p.freeIndexes, g.index)
	for _, w := range p.workers {
		w.able.clear(g.index)
	}
}
