package planner

import (
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// tenant is one who shares the fleet. Tenants that have jobs waiting are served in
// the order of their virtual time: the slot-seconds they have used, divided by
// their weight (start-time fair queuing: Goyal, Vin, Cheng 1996). A job counts as
// many slots as its dominant share of the fleet is worth (dominant resource
// fairness: Ghodsi et al. 2011), at least one.
//
// How long a job will run is not known when it is chosen. So each live lease is
// charged what it has used so far and a fixed advance; the advance is given back
// when it ends. Tenants that are always waiting thus get slot-seconds in the ratio
// of their weights, whatever the lengths of their jobs, up to an advance per slot.
type tenant struct {
	name   string
	weight float64
	groups []*group
	queued int

	base  float64 // virtual seconds of leases that have ended
	units float64 // of live leases
	since float64 // Σ units × start of live leases, in seconds since the origin
	turn  float64 // its virtual time when the order was last made
}

// advance is what a live lease is charged beside what it has used, in seconds.
const advance = 10

func (p *Planner) tenant(name string) *tenant {
	t := p.tenants[name]
	if t == nil {
		t = &tenant{name: name, weight: p.policy.Weight(name)}
		p.tenants[name] = t
		p.order = append(p.order, t)
	}
	return t
}

// seconds returns t as seconds since the planner's origin.
func (p *Planner) seconds(t time.Time) float64 { return t.Sub(p.origin).Seconds() }

// virtual returns the tenant's virtual time at now.
func (t *tenant) virtual(now float64) float64 {
	return t.base + (t.units*(now+advance)-t.since)/t.weight
}

// reweigh changes the weight and leaves the virtual time as it is.
func (t *tenant) reweigh(weight, now float64) {
	before := t.virtual(now)
	t.weight = weight
	t.base += before - t.virtual(now)
}

// wake is called when a tenant without waiting jobs gets one: the time in which
// it wanted nothing is no credit.
func (t *tenant) wake(p *Planner) {
	if late := p.clock - t.virtual(p.now); late > 0 {
		t.base += late
	}
}

func (t *tenant) charge(l *lease, start float64) {
	t.units += l.units
	t.since += l.units * start
}

// settle ends the charge of a lease: what it has used stays, unless it never was.
func (t *tenant) settle(l *lease, start, now float64, used bool) {
	t.units -= l.units
	t.since -= l.units * start
	if used {
		t.base += l.units * max(now-start, 0) / t.weight
	}
}

// units returns how many slots' worth of the fleet a need is.
func (p *Planner) units(n *need) float64 {
	share := 0.0
	for name, a := range n.Resources {
		if total := p.total[name]; total > 0 {
			share = max(share, float64(a)/float64(total))
		}
	}
	return max(1, share*float64(p.slots))
}

// inOrder returns the tenants that have jobs waiting, the next to be served first.
// The result is valid until the next call.
func (p *Planner) inOrder() []*tenant {
	p.waiting = p.waiting[:0]
	for _, t := range p.order {
		if t.queued > 0 {
			t.turn = t.virtual(p.now)
			p.waiting = append(p.waiting, t)
		}
	}
	slices.SortFunc(p.waiting, func(a, b *tenant) int {
		switch {
		case a.turn < b.turn || a.turn == b.turn && a.name < b.name:
			return -1
		default:
			return 1
		}
	})
	return p.waiting
}

// queueState is what the planner knows of a queue.
type queueState struct {
	policy  entropy.QueuePolicy
	running int
}

func (q *queueState) open() bool {
	return !q.policy.Paused && (q.policy.MaxRunning == 0 || q.running < q.policy.MaxRunning)
}

func (p *Planner) queue(name string) *queueState {
	q := p.queues[name]
	if q == nil {
		q = &queueState{policy: p.policy.Queues[name]}
		p.queues[name] = q
	}
	return q
}
