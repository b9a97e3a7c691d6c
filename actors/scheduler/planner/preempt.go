package planner

import (
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Preemption asks a running job to make room for another.
type Preemption struct {
	Job        entropy.JobID
	Assignment entropy.AssignmentID
	Worker     entropy.WorkerID
	For        entropy.JobID
}

// preemptBound is how long a worker stays reserved for a job that others were
// asked to make room for: a grace, a lease TTL, and some.
const preemptBound = 2 * time.Minute

// Preemptions returns which jobs are to be asked to make room, for jobs submitted
// with at least the policy's preempt priority that wait and fit nowhere. Per
// waiting job they are on one worker, where the fewest must go, and none of them
// could stay: the least urgent first, of those the youngest. Only preemptible jobs of a lower submitted priority
// are asked, and none twice. The room is reserved for whom they were asked: it is
// free when their leases have ended.
func (p *Planner) Preemptions(now time.Time) (asked []Preemption) {
	if p.policy.PreemptPriority == nil {
		return nil
	}
	at := p.tick(now)
	for _, g := range p.urgent() {
		for len(g.jobs) > 0 && p.reservations[g.jobs[0].id] == nil && p.allowed(g) && !p.fitsNow(g) {
			n, victims := p.victims(g)
			if n == nil {
				break
			}
			e := g.jobs[0]
			for _, l := range victims {
				l.asked = true
				asked = append(asked, Preemption{Job: l.job, Assignment: l.assignment, Worker: n.worker.ID, For: e.id})
			}
			p.reserve(n, &reservation{entry: e, group: g, since: at, start: at, until: at.Add(preemptBound)})
		}
	}
	return asked
}

// urgent returns the groups that may preempt, the most urgent first.
func (p *Planner) urgent() (groups []*group) {
	for _, t := range p.order {
		for _, g := range t.groups {
			if len(g.jobs) > 0 && g.priority >= *p.policy.PreemptPriority {
				groups = append(groups, g)
			}
		}
	}
	slices.SortFunc(groups, func(a, b *group) int {
		switch {
		case a.priority != b.priority:
			return b.priority - a.priority
		case a.jobs[0].before(b.jobs[0]):
			return -1
		}
		return 1
	})
	return groups
}

// victims returns the worker on which the fewest must make room, and whom.
func (p *Planner) victims(g *group) (best *node, set []*lease) {
	for _, n := range p.nodes {
		if n.reserved != nil || !n.worker.Schedulable() || !n.able.has(g.index) {
			continue
		}
		if v, ok := n.makeRoom(g); ok && len(v) > 0 && (best == nil || len(v) < len(set) || len(v) == len(set) && v[0].priority < set[0].priority) {
			best, set = n, v
		}
	}
	return best, set
}

// makeRoom returns whom to ask on one worker so that a group's job fits: the
// least urgent first, the youngest first, and of those none who need not go. What
// was asked before counts as gone.
func (n *node) makeRoom(g *group) (set []*lease, ok bool) {
	var may []*lease
	m := n.imagined()
	for _, l := range n.leases {
		switch {
		case l.asked:
			m.hold(l, -1)
		case l.preemptible && l.priority < g.priority && l.assignment != "":
			may = append(may, l)
		}
	}
	slices.SortFunc(may, func(a, b *lease) int {
		switch {
		case a.priority != b.priority:
			return a.priority - b.priority
		case !a.since.Equal(b.since):
			return b.since.Compare(a.since)
		case a.job < b.job:
			return -1
		}
		return 1
	})
	for _, l := range may {
		if m.room().fits(g.needs) >= 0 {
			break
		}
		m.hold(l, -1)
		set = append(set, l)
	}
	if m.room().fits(g.needs) < 0 {
		return nil, false
	}
	for i := range slices.Backward(set) { // those whose room is not needed after all stay, the most urgent first
		m.hold(set[i], 1)
		if m.room().fits(g.needs) < 0 {
			m.hold(set[i], -1)
		} else {
			set = slices.Delete(set, i, i+1)
		}
	}
	return set, true
}
