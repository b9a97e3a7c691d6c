package planner

import (
	"maps"
	"slices"
	"time"
)

// reservation keeps a worker for a job that waits for more room than is free.
type reservation struct {
	entry *entry
	group *group
	since time.Time
	start time.Time // when there will be room at the latest, zero if nobody can tell
	until time.Time // when it is given up; zero: not before the job leaves the queue
}

// maxSearches is how many jobs one call of Reserve seeks a worker for.
const maxSearches = 32

// Reserve looks which of the jobs at the head of the order have waited for room
// longer than the policy's reserve_after, and reserves a worker for each. It is
// to be called every second or so. It bounds itself to a quarter of the workers.
// Each search goes through all of them, so that there are few of them in one call,
// and one that was in vain is not repeated for as many milliseconds as there are
// workers: who was not looked for has a turn in the next call.
func (p *Planner) Reserve(now time.Time) {
	at := p.tick(now)
	for _, id := range slices.Sorted(maps.Keys(p.reservations)) {
		n := p.reservations[id]
		r := n.reserved
		if !r.until.IsZero() && at.After(r.until) || !r.entry.stands() { // another job of its key goes first now
			p.unreserve(n)
			continue
		}
		r.start, _ = p.roomAt(n, r.group, nil)
	}
	limit, searches := max(1, len(p.workers)/4), 0
	for _, g := range p.overdue(at) {
		if len(p.reservations) >= limit || searches == maxSearches {
			return
		}
		if at.Before(g.searched) {
			continue
		}
		searches++
		n, start, ending := p.soonest(g)
		if n == nil || ending <= 1 { // the order alone brings it there
			g.searched = at.Add(time.Duration(len(p.nodes)) * time.Millisecond)
			continue
		}
		p.reserve(n, &reservation{entry: g.jobs[0], group: g, since: at, start: start})
	}
}

func (p *Planner) reserve(n *node, r *reservation) {
	n.reserved = r
	p.reservations[r.entry.id] = n
}

func (p *Planner) unreserve(n *node) {
	delete(p.reservations, n.reserved.entry.id)
	n.reserved = nil
	p.helped(n)
}

// overdue returns the groups whose first job waits for room for too long, in the
// order of those jobs.
func (p *Planner) overdue(now time.Time) (late []*group) {
	after := p.policy.ReserveAfterOrDefault()
	for _, t := range p.order {
		for _, g := range t.groups {
			if len(g.jobs) > 0 && now.Sub(time.Unix(0, g.jobs[0].at)) >= after && p.reservations[g.jobs[0].id] == nil && p.allowed(g) && !p.fitsNow(g) {
				late = append(late, g)
			}
		}
	}
	slices.SortFunc(late, func(a, b *group) int {
		if a.jobs[0].before(b.jobs[0]) {
			return -1
		}
		return 1
	})
	return late
}

// fitsNow reports whether some worker has room for a group's jobs, and would give
// it to them.
func (p *Planner) fitsNow(g *group) bool {
	for _, n := range p.roomy {
		if n.reserved == nil && n.worker.Schedulable() && n.able.has(g.index) && n.room().fits(g.needs) >= 0 {
			return true
		}
	}
	return false
}

// soonest returns the worker where a group's job can start first, and how many
// jobs must end there before. Workers where the time is known go before those
// where it is not; among these, the one where the fewest jobs must end.
func (p *Planner) soonest(g *group) (best *node, start time.Time, fewest int) {
	for _, n := range p.nodes {
		if n.reserved != nil || !n.worker.Schedulable() || !n.able.has(g.index) {
			continue
		}
		at, ending := p.roomAt(n, g, nil)
		better := best == nil || !at.IsZero() && (start.IsZero() || at.Before(start)) || at.IsZero() && start.IsZero() && ending < fewest
		if better {
			best, start, fewest = n, at, ending
		}
	}
	return best, start, fewest
}

// roomAt returns when a worker will have room for a group's job if nothing else
// starts there, the zero time if nobody can tell, and how many of its jobs end
// before that. Beside is held by something else all the while.
func (p *Planner) roomAt(n *node, g *group, beside *lease) (at time.Time, ending int) {
	leases, m := n.byEnd(), &p.scratch
	m.worker, m.slots, m.free, m.gpus = n.worker, n.slots, append(m.free[:0], n.free...), append(m.gpus[:0], n.gpus...)
	if beside != nil {
		m.hold(beside, 1)
	}
	for i := 0; ; i++ {
		if m.room().fits(g.needs) >= 0 {
			return at, i
		}
		if i == len(leases) {
			return time.Time{}, len(leases) + 1 // never: it is too small, or owes what it no longer has
		}
		m.hold(leases[i], -1)
		if at = leases[i].ends(); at.IsZero() {
			at = time.Time{}
		}
	}
}

// mayPass reports whether a job of a group may start on a worker that is reserved
// for another: it ends before that one can start, or leaves room for it. Nobody
// waits for one that its queue or a gate lets not start now.
func (p *Planner) mayPass(n *node, g *group, alternative int, now time.Time) bool {
	r := n.reserved
	if r.group == g && r.entry == g.jobs[0] || !p.allowed(r.group) || !r.entry.stands() {
		return true
	}
	if timeout := g.jobs[0].runTimeout; timeout > 0 && !r.start.IsZero() && !now.Add(timeout).After(r.start) {
		return true
	}
	m := n.imagined()
	nd := &g.needs[alternative]
	m.hold(&lease{amounts: nd.amounts, gpus: m.room().pickGPUs(nd.gpu)}, 1)
	for _, l := range n.leases {
		ended := l.since.Before(r.since) // unknown: what was there before must end, what passed since then need not
		if !r.start.IsZero() {
			ended = !l.ends().IsZero() && !l.ends().After(r.start)
		}
		if ended {
			m.hold(l, -1)
		}
	}
	return m.room().fits(r.group.needs) >= 0
}
