package planner

import (
	"container/heap"

	"github.com/entropy-fabric/entropy"
)

// concurrency is the state of one concurrency key: of its jobs, in whatever
// groups they are, at most one runs.
type concurrency struct {
	name   string
	holder entropy.JobID // the job that has a lease, "" if none
	lanes  map[*group]*lane
}

// lane holds the jobs of one key in one group. While the key is free the first of
// them stands in the group's queue, for all of them.
type lane struct {
	key     *concurrency
	head    *entry
	waiting jobHeap
}

func (p *Planner) key(name string) *concurrency {
	k := p.keys[name]
	if k == nil {
		k = &concurrency{name: name, lanes: make(map[*group]*lane)}
		p.keys[name] = k
	}
	return k
}

// forget drops a key that nobody holds or waits for.
func (p *Planner) forget(k *concurrency) {
	if k.holder == "" && len(k.lanes) == 0 {
		delete(p.keys, k.name)
	}
}

// put adds an entry to its group, or to the lane of its concurrency key.
func (p *Planner) put(e *entry, key string) {
	if key == "" {
		heap.Push(&e.group.jobs, e)
		return
	}
	k := p.key(key)
	e.lane = k.lanes[e.group]
	if e.lane == nil {
		e.lane = &lane{key: k}
		k.lanes[e.group] = e.lane
	}
	heap.Push(&e.lane.waiting, e)
	e.lane.settle(e.group)
}

// settle makes the first of a lane stand in the group's queue if the key is free,
// and nobody if it is not.
func (l *lane) settle(g *group) {
	if l.head != nil && (l.key.holder != "" || len(l.waiting) > 0 && l.waiting[0].before(l.head)) {
		heap.Remove(&g.jobs, int(l.head.pos))
		heap.Push(&l.waiting, l.head)
		l.head = nil
	}
	if l.head == nil && l.key.holder == "" && len(l.waiting) > 0 {
		l.head = heap.Pop(&l.waiting).(*entry)
		heap.Push(&g.jobs, l.head)
	}
}

// take removes an entry from wherever it is.
func (p *Planner) take(e *entry) {
	l := e.lane
	switch {
	case l == nil:
		heap.Remove(&e.group.jobs, int(e.pos))
		return
	case l.head == e:
		heap.Remove(&e.group.jobs, int(e.pos))
		l.head = nil
	default:
		heap.Remove(&l.waiting, int(e.pos))
	}
	if l.settle(e.group); l.head == nil && len(l.waiting) == 0 {
		delete(l.key.lanes, e.group)
		p.forget(l.key)
	}
}

// stands reports whether an entry is in its group's queue.
func (e *entry) stands() bool { return e.lane == nil || e.lane.head == e }

// occupy notes that a job holds a key.
func (p *Planner) occupy(name string, by entropy.JobID) {
	k := p.key(name)
	k.holder = by
	for g, l := range k.lanes {
		l.settle(g)
	}
}

// vacate frees a key.
func (p *Planner) vacate(name string) {
	k := p.key(name)
	k.holder = ""
	for g, l := range k.lanes {
		l.settle(g)
	}
	p.forget(k)
}
