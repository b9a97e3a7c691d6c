package planner

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// set is a set of small numbers.
type set []uint64

func (b set) has(i int) bool { return i>>6 < len(b) && b[i>>6]&(1<<(i&63)) != 0 }
func (b *set) add(i int) {
	for i>>6 >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[i>>6] |= 1 << (i & 63)
}
func (b set) clear(i int) {
	if i>>6 < len(b) {
		b[i>>6] &^= 1 << (i & 63)
	}
}

// node is a worker as the planner knows it.
type node struct {
	worker *entropy.Worker
	able   set // the groups that it could run at all

	slots    int              // that nobody holds
	free     []entropy.Amount // by the resource's number, without GPUs
	gpus     []entropy.Amount // free of each GPU
	leases   map[entropy.JobID]*lease
	reserved *reservation
	fresh    bool // it has more room than when all had what there is

	ending []*lease // its leases in the order of their ends, nil: to be sorted
	place  int      // in the list of those with a free slot, from 1 on; 0: not there
}

// lease is a job that holds room at a worker, from the moment it was chosen.
type lease struct {
	job         entropy.JobID
	assignment  entropy.AssignmentID // "" until it is durable
	version     uint64               // of the job, when the lease was last seen
	node        *node
	tenant      *tenant
	queue       *queueState
	key         string
	priority    int // as submitted
	preemptible bool
	asked       bool // to make room
	units       float64
	since       time.Time
	start       float64 // since, in the planner's seconds
	runTimeout  time.Duration
	amounts     []amount
	gpus        []entropy.GPUShare
}

// ends returns when the lease's job ends at the latest, the zero time if nobody
// can tell.
func (l *lease) ends() time.Time {
	if l.runTimeout == 0 {
		return time.Time{}
	}
	return l.since.Add(l.runTimeout)
}

// able reports whether a worker could run a group's jobs if all of it were free.
func able(w *entropy.Worker, g *group) bool {
	return w.Offers(&g.spec) && !slices.Contains(g.excluded, w.ID)
}

func (n *node) consider(g *group) {
	if able(n.worker, g) {
		n.able.add(g.index)
	} else {
		n.able.clear(g.index)
	}
}

// SetWorker tells the planner what a worker has now. The worker is kept: nobody
// may change it.
func (p *Planner) SetWorker(w *entropy.Worker) {
	n := p.workers[w.ID]
	if n == nil {
		n = &node{leases: make(map[entropy.JobID]*lease)}
		p.workers[w.ID] = n
		at, _ := slices.BinarySearchFunc(p.nodes, w.ID, func(o *node, id entropy.WorkerID) int { return cmp.Compare(o.worker.ID, id) })
		p.nodes = slices.Insert(p.nodes, at, n)
	}
	p.count(n, -1)
	n.worker = w
	p.count(n, 1)
	p.all = true // gates count the whole fleet's slots
	n.recount(p)
	p.changed(n)
	for _, g := range p.groups {
		n.consider(g)
	}
	if n.reserved != nil && (!w.Schedulable() || !n.able.has(n.reserved.group.index)) {
		p.unreserve(n)
	}
}

// count adds what a worker has to, or takes it from, what the fleet has.
func (p *Planner) count(n *node, sign int) {
	if n.worker == nil || !n.worker.Schedulable() {
		return
	}
	p.slots += sign * n.worker.Capacity()
	for name, a := range n.worker.Resources {
		p.total[name] += entropy.Amount(sign) * a
	}
}

// recount derives what is free from what the worker has and who holds it.
func (n *node) recount(p *Planner) {
	for name := range n.worker.Resources {
		p.resource(name)
	}
	n.free = make([]entropy.Amount, len(p.resources))
	for name, a := range n.worker.Resources {
		if name != entropy.ResourceGPU {
			n.free[p.resources[name]] = a
		}
	}
	n.gpus = make([]entropy.Amount, n.worker.Resources[entropy.ResourceGPU]/entropy.Unit)
	for i := range n.gpus {
		n.gpus[i] = entropy.Unit
	}
	n.slots = n.worker.Capacity()
	for _, id := range slices.Sorted(maps.Keys(n.leases)) {
		n.hold(n.leases[id], 1)
	}
}

// hold takes what a lease holds, or gives it back with sign −1. A worker that has
// shrunk may owe some.
func (n *node) hold(l *lease, sign int) {
	n.slots -= sign
	for _, a := range l.amounts {
		for a.resource >= len(n.free) {
			n.free = append(n.free, 0)
		}
		n.free[a.resource] -= entropy.Amount(sign) * a.n
	}
	for _, g := range l.gpus {
		if g.Index < len(n.gpus) {
			n.gpus[g.Index] -= entropy.Amount(sign) * g.Amount
		}
	}
}

// changed follows a change of what is held at a worker.
func (p *Planner) changed(n *node) {
	n.ending = nil
	switch has := n.slots > 0; {
	case has && n.place == 0:
		p.roomy = append(p.roomy, n)
		n.place = len(p.roomy)
	case !has && n.place > 0:
		last := p.roomy[len(p.roomy)-1]
		p.roomy[n.place-1], last.place = last, n.place
		p.roomy, n.place = p.roomy[:len(p.roomy)-1], 0
	}
}

// byEnd returns a worker's leases in the order in which they end at the latest;
// those of which nobody can tell come last.
func (n *node) byEnd() []*lease {
	if n.ending == nil {
		n.ending = slices.SortedFunc(maps.Values(n.leases), func(a, b *lease) int {
			x, y := a.ends(), b.ends()
			switch {
			case x.IsZero() != y.IsZero():
				if x.IsZero() {
					return 1
				}
				return -1
			case !x.Equal(y):
				return x.Compare(y)
			case !a.since.Equal(b.since):
				return a.since.Compare(b.since)
			}
			return cmp.Compare(a.job, b.job)
		})
	}
	return n.ending
}

// room is what of a worker is free.
type room struct {
	labels map[string]string
	slots  int
	free   []entropy.Amount
	gpus   []entropy.Amount
}

func (n *node) room() room { return room{n.worker.Labels, n.slots, n.free, n.gpus} }

// imagined returns a copy of the node without leases, to try things on.
func (n *node) imagined() *node {
	return &node{worker: n.worker, slots: n.slots, free: slices.Clone(n.free), gpus: slices.Clone(n.gpus)}
}

// fits returns the first alternative that the room has, or −1.
func (r room) fits(needs []need) int {
	if r.slots < 1 {
		return -1
	}
	for i := range needs {
		if len(needs) > 1 && !needs[i].Matches(r.labels) {
			continue
		}
		if r.has(&needs[i]) {
			return i
		}
	}
	return -1
}

func (r room) has(n *need) bool {
	for _, a := range n.amounts {
		if a.resource >= len(r.free) || r.free[a.resource] < a.n {
			return false
		}
	}
	return n.gpu == 0 || r.hasGPU(n.gpu)
}

func (r room) hasGPU(want entropy.Amount) bool {
	whole := want / entropy.Unit
	for _, free := range r.gpus {
		switch {
		case want < entropy.Unit && free >= want:
			return true
		case want >= entropy.Unit && free == entropy.Unit:
			if whole--; whole == 0 {
				return true
			}
		}
	}
	return false
}

// pickGPUs chooses the GPUs for an amount that is known to be there: whole ones
// from the lowest index; a fraction from the GPU that has the least left, so that
// whole ones stay whole.
func (r room) pickGPUs(want entropy.Amount) (shares []entropy.GPUShare) {
	if want == 0 {
		return nil
	}
	if want < entropy.Unit {
		best := -1
		for i, free := range r.gpus {
			if free >= want && (best < 0 || free < r.gpus[best]) {
				best = i
			}
		}
		return []entropy.GPUShare{{Index: best, Amount: want}}
	}
	for i, free := range r.gpus {
		if free == entropy.Unit && want > 0 {
			shares = append(shares, entropy.GPUShare{Index: i, Amount: entropy.Unit})
			want -= entropy.Unit
		}
	}
	return shares
}
