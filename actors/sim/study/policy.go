package study

import (
	"container/heap"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/scheduler/planner"
	"github.com/entropy-fabric/entropy/actors/sim"
)

// Policy makes a planner, at the start of a workload.
type Policy func(now time.Time) sim.Planner

// Policies are the policies by name. A new one is a new [Ordered], or any type that
// implements [sim.Planner].
var policies = map[string]Policy{
	"fabric":   sim.NewFabric,
	"fifo":     Ordered(false, byArrival),
	"fcfs":     Ordered(true, byArrival),
	"priority": Ordered(false, byPriority),
	"sjf":      Ordered(false, byEstimate),
	"ljf":      Ordered(false, func(p *entropy.Policy, j *entropy.Job) float64 { return -byEstimate(p, j) }),
}

// PolicyByName returns one of the built-in policies.
//
//	fabric    the fabric's own: gates, tenants' weights, aging, reservations with backfill, preemption
//	fifo      by arrival; who fits goes
//	fcfs      by arrival; nobody passes the first
//	priority  by arrival and priority with aging; who fits goes
//	sjf, ljf  by estimate, the shortest or the longest first; who fits goes
func PolicyByName(name string) (Policy, error) {
	if p := policies[name]; p != nil {
		return p, nil
	}
	return nil, entropy.Errorf(entropy.CodeInvalid, "there is no policy %q", name).
		WithHint("the policies are %s", strings.Join(slices.Sorted(maps.Keys(policies)), ", "))
}

func byArrival(_ *entropy.Policy, j *entropy.Job) float64 { return float64(j.EligibleAt.UnixNano()) }

func byPriority(p *entropy.Policy, j *entropy.Job) float64 {
	return float64(planner.Key(*j.EligibleAt, j.Priority(), p.AgingStepOrDefault()))
}

// byEstimate takes an unknown estimate for a week.
func byEstimate(_ *entropy.Policy, j *entropy.Job) float64 {
	if d := j.Spec.RunTimeout; d > 0 {
		return d.D().Seconds()
	}
	return (7 * 24 * time.Hour).Seconds()
}

// Ordered returns the policy that gives a worker, of the jobs that fit it, the one
// of the smallest key; ties by submission. A strict one gives nobody anything while
// the first of all does not fit. It knows slots, resources and GPUs, nothing else.
// A decision takes time in proportion to the number of different demands.
func Ordered(strict bool, key func(p *entropy.Policy, j *entropy.Job) float64) Policy {
	return func(time.Time) sim.Planner {
		return &ordered{strict: strict, key: key, policy: &entropy.Policy{}, classes: make(map[string]*class), queued: make(map[entropy.JobID]*entry),
			nodes: make(map[entropy.WorkerID]*node), held: make(map[entropy.JobID]hold)}
	}
}

type ordered struct {
	strict  bool
	key     func(p *entropy.Policy, j *entropy.Job) float64
	policy  *entropy.Policy
	classes map[string]*class
	order   []*class // in order of appearance
	queued  map[entropy.JobID]*entry
	nodes   map[entropy.WorkerID]*node
	held    map[entropy.JobID]hold
	seq     uint64
}

// class is the queue of the jobs that ask for the same.
type class struct {
	need  entropy.Resources
	jobs  entries
	fresh bool // it has got a job since the last Settled
}

type entry struct {
	id    entropy.JobID
	key   float64
	seq   uint64
	pos   int
	class *class
}

// node is what a worker has free.
type node struct {
	slots int
	free  entropy.Resources
	gpus  []entropy.Amount
	fresh bool // it has got room since the last Settled
}

// hold is what a job holds.
type hold struct {
	node      *node
	resources entropy.Resources
	gpus      []entropy.GPUShare
	confirmed bool
}

// SetPolicy implements [sim.Planner].
func (o *ordered) SetPolicy(p *entropy.Policy, _ time.Time) { o.policy = p }

// SetWorker implements [sim.Planner]. A worker is set once, before it holds anything.
func (o *ordered) SetWorker(w *entropy.Worker) {
	n := &node{slots: w.Capacity(), free: maps.Clone(w.Resources), gpus: make([]entropy.Amount, w.Resources[entropy.ResourceGPU]/entropy.Unit), fresh: true}
	for i := range n.gpus {
		n.gpus[i] = entropy.Unit
	}
	o.nodes[w.ID] = n
}

// Sync implements [sim.Planner].
func (o *ordered) Sync(j *entropy.Job, _ time.Time) {
	h, holds := o.held[j.ID]
	switch {
	case j.Lease != nil && holds:
		h.confirmed = true
		o.held[j.ID] = h
		return
	case holds && !h.confirmed && j.State == entropy.Pending:
		return // chosen a moment ago
	case holds:
		o.release(j.ID, h)
	}
	if e := o.queued[j.ID]; e != nil {
		o.dequeue(e)
	}
	if j.State == entropy.Pending && !j.Held {
		o.enqueue(j)
	}
}

func (o *ordered) enqueue(j *entropy.Job) {
	c := o.class(j.Spec.Resources)
	o.seq++
	e := &entry{id: j.ID, key: o.key(o.policy, j), seq: o.seq, class: c}
	o.queued[j.ID] = e
	heap.Push(&c.jobs, e)
	c.fresh = true
}

func (o *ordered) dequeue(e *entry) {
	heap.Remove(&e.class.jobs, e.pos)
	delete(o.queued, e.id)
}

func (o *ordered) class(need entropy.Resources) *class {
	name := need.String()
	c := o.classes[name]
	if c == nil {
		c = &class{need: need}
		o.classes[name] = c
		o.order = append(o.order, c)
	}
	return c
}

func (o *ordered) release(id entropy.JobID, h hold) {
	h.node.change(h.resources, h.gpus, 1)
	h.node.fresh = true
	delete(o.held, id)
}

func (n *node) change(res entropy.Resources, gpus []entropy.GPUShare, sign int) {
	n.slots += sign
	for name, amount := range res {
		n.free[name] += entropy.Amount(sign) * amount
	}
	for _, g := range gpus {
		n.gpus[g.Index] += entropy.Amount(sign) * g.Amount
	}
}

// Undo implements [sim.Planner].
func (o *ordered) Undo(id entropy.JobID, _ time.Time) {
	if h, ok := o.held[id]; ok && !h.confirmed {
		o.release(id, h)
	}
}

// Pick implements [sim.Planner].
func (o *ordered) Pick(w entropy.WorkerID, want int, _ time.Time) (out []planner.Choice) {
	n := o.nodes[w]
	for len(out) < want && n.slots > 0 {
		e := o.next(n)
		if e == nil {
			return out
		}
		gpus, ok := n.shares(e.class.need[entropy.ResourceGPU])
		if !ok || !n.free.Fits(e.class.need) {
			return out // strict: the first of all does not fit here
		}
		o.dequeue(e)
		n.change(e.class.need, gpus, -1)
		o.held[e.id] = hold{node: n, resources: e.class.need, gpus: gpus}
		out = append(out, planner.Choice{ID: e.id, Resources: e.class.need, GPUs: gpus})
	}
	return out
}

// next returns the first of those that fit, or of all if nobody may pass it.
func (o *ordered) next(n *node) (best *entry) {
	for _, c := range o.order {
		if len(c.jobs) == 0 || best != nil && !c.jobs[0].before(best) {
			continue
		}
		if !o.strict {
			if _, ok := n.shares(c.need[entropy.ResourceGPU]); !ok || !n.free.Fits(c.need) {
				continue
			}
		}
		best = c.jobs[0]
	}
	return best
}

// shares chooses GPUs: whole ones from the lowest index on, a fraction where the
// least is left that holds it.
func (n *node) shares(amount entropy.Amount) (out []entropy.GPUShare, ok bool) {
	if amount == 0 {
		return nil, true
	}
	if amount < entropy.Unit {
		best := -1
		for i, free := range n.gpus {
			if free >= amount && (best < 0 || free < n.gpus[best]) {
				best = i
			}
		}
		return []entropy.GPUShare{{Index: best, Amount: amount}}, best >= 0
	}
	for i, free := range n.gpus {
		if free == entropy.Unit && len(out) < int(amount/entropy.Unit) {
			out = append(out, entropy.GPUShare{Index: i, Amount: entropy.Unit})
		}
	}
	return out, len(out) == int(amount/entropy.Unit)
}

// Worthwhile reports whether a worker may get a job that it could not have at the
// last Settled.
func (o *ordered) Worthwhile(w entropy.WorkerID) bool {
	return o.nodes[w].fresh || slices.ContainsFunc(o.order, func(c *class) bool { return c.fresh })
}

// Settled says that every worker has been offered the queue.
func (o *ordered) Settled() {
	for _, c := range o.order {
		c.fresh = false
	}
}

// Offered says that one worker has been.
func (o *ordered) Offered(w entropy.WorkerID) { o.nodes[w].fresh = false }

// Reserve and Preemptions implement [sim.Planner]: there are none.
func (*ordered) Reserve(time.Time) {}

// Preemptions implements [sim.Planner].
func (*ordered) Preemptions(time.Time) []planner.Preemption { return nil }

func (e *entry) before(o *entry) bool { return e.key < o.key || e.key == o.key && e.seq < o.seq }

type entries []*entry

func (h entries) Len() int           { return len(h) }
func (h entries) Less(i, j int) bool { return h[i].before(h[j]) }
func (h entries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

func (h *entries) Push(x any) {
	e := x.(*entry)
	e.pos = len(*h)
	*h = append(*h, e)
}

func (h *entries) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
