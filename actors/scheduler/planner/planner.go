package planner

import (
	"container/heap"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Planner is the index of what is queued, leased and offered by workers. It is not
// safe for concurrent use.
type Planner struct {
	policy entropy.Policy
	origin time.Time // of all seconds
	now    float64   // of the newest call, in seconds since the origin
	clock  float64   // virtual time of the tenant that was served last

	workers map[entropy.WorkerID]*node
	nodes   []*node                   // the same, by ID
	roomy   []*node                   // those with a free slot, in no order
	scratch node                      // to try things on
	slots   int                       // of all schedulable workers
	total   map[string]entropy.Amount // of all schedulable workers

	queued  map[entropy.JobID]*entry
	leases  map[entropy.JobID]*lease
	groups  map[string]*group
	tenants map[string]*tenant
	order   []*tenant // in order of arrival
	waiting []*tenant // scratch
	queues  map[string]*queueState
	keys    map[string]*concurrency
	below   []int // leases below each gate of the policy

	reservations map[entropy.JobID]*node
	resources    map[string]int
	freeIndexes  []int
	lastIndex    int
	idle         int // groups without jobs

	fresh []*group // that have got jobs since the last Settled
	freed []*node  // that have got room since then
	all   bool     // since then something has changed that may help any worker
}

// Worthwhile reports whether something has changed since [Planner.Settled] that
// may let a worker have a job it could not have then.
func (p *Planner) Worthwhile(w entropy.WorkerID) bool {
	n := p.workers[w]
	switch {
	case n == nil:
		return false
	case p.all || n.fresh:
		return true
	}
	return slices.ContainsFunc(p.fresh, func(g *group) bool { return n.able.has(g.index) })
}

// Settled says that every worker that wants jobs has been given what there is.
func (p *Planner) Settled() {
	for _, n := range p.freed {
		n.fresh = false
	}
	p.fresh, p.freed, p.all = p.fresh[:0], p.freed[:0], false
}

// helped notes that a worker has more room.
func (p *Planner) helped(n *node) {
	if !n.fresh {
		n.fresh = true
		p.freed = append(p.freed, n)
	}
}

// New returns a planner that knows nothing yet. Now is the origin of its time;
// no later call may be given an earlier one.
func New(policy *entropy.Policy, now time.Time) *Planner {
	p := &Planner{origin: now, workers: make(map[entropy.WorkerID]*node), total: make(map[string]entropy.Amount), queued: make(map[entropy.JobID]*entry),
		leases: make(map[entropy.JobID]*lease), groups: make(map[string]*group), tenants: make(map[string]*tenant), queues: make(map[string]*queueState),
		keys: make(map[string]*concurrency), reservations: make(map[entropy.JobID]*node), resources: make(map[string]int)}
	p.SetPolicy(policy, now)
	return p
}

// tick notes the time of a call. Time never runs backward here.
func (p *Planner) tick(now time.Time) time.Time {
	p.now = max(p.now, p.seconds(now))
	return p.origin.Add(time.Duration(p.now * float64(time.Second)))
}

// Key is the static sort key of a queued job: enqueued_at − priority ×
// aging_step, in nanoseconds; the smallest goes first. All jobs age at the same
// rate, so that their order never changes by the mere passing of time.
func Key(enqueuedAt time.Time, priority int, agingStep time.Duration) int64 {
	return enqueuedAt.UnixNano() - int64(priority)*int64(agingStep)
}

// SetPolicy replaces the policy, at once and for all that waits.
func (p *Planner) SetPolicy(policy *entropy.Policy, now time.Time) {
	p.tick(now)
	p.all = true
	aging := p.policy.AgingStepOrDefault()
	p.policy = *policy
	for name, q := range p.queues {
		q.policy = policy.Queues[name]
	}
	for _, t := range p.order {
		t.reweigh(policy.Weight(t.name), p.now)
	}
	p.below = make([]int, len(policy.Gates))
	for _, l := range p.leases {
		p.gate(l.priority, 1)
	}
	if step := policy.AgingStepOrDefault(); step != aging {
		p.rekey(step)
	}
}

// rekey sorts everything anew.
func (p *Planner) rekey(step time.Duration) {
	for _, e := range p.queued {
		e.key = e.at - int64(e.level)*int64(step)
	}
	for _, g := range p.groups {
		heap.Init(&g.jobs)
	}
	for _, k := range p.keys {
		for g, l := range k.lanes {
			heap.Init(&l.waiting)
			l.settle(g)
		}
	}
}

// gate counts a lease of a priority, or no longer, with the gates it is below.
func (p *Planner) gate(priority, sign int) {
	for i, g := range p.policy.Gates {
		if priority < g.Priority {
			p.below[i] += sign
		}
	}
}

// passes reports whether one more job of a priority leaves every gate's slots to
// those whom it keeps them for: of all slots, jobs below a gate hold at most all
// but the gate's.
func (p *Planner) passes(priority int) bool {
	for i, g := range p.policy.Gates {
		if priority < g.Priority && p.below[i]+1 > p.slots-g.Slots {
			return false
		}
	}
	return true
}

// Len returns how many jobs are queued.
func (p *Planner) Len() int { return len(p.queued) }

// Sync tells the planner what has become of a job: whether it is queued, leased,
// or neither. Calls for one job must come in the order of its versions; a job that
// the planner has just chosen is left alone until it is confirmed or undone,
// unless it is no longer pending.
func (p *Planner) Sync(j *entropy.Job, now time.Time) {
	p.tick(now)
	if l := p.leases[j.ID]; l != nil {
		if l.assignment == "" && j.State == entropy.Pending || j.Version < l.version {
			return
		}
		if other := j.Lease == nil || j.Lease.AssignmentID != l.assignment && l.assignment != "" || j.Lease.WorkerID != l.node.worker.ID; other {
			p.end(l, l.assignment != "")
		}
	}
	switch {
	case j.Lease != nil:
		p.remove(j.ID)
		p.leased(j)
	case j.State == entropy.Pending && !j.Held:
		p.push(j)
	default:
		p.remove(j.ID)
	}
}

// push adds a pending job, or moves it to where it belongs now.
func (p *Planner) push(j *entropy.Job) {
	if e := p.queued[j.ID]; e != nil {
		p.remove(j.ID)
	}
	g := p.group(j)
	at := j.EligibleAt.UnixNano()
	e := &entry{id: j.ID, at: at, level: int32(j.Priority()), group: g, runTimeout: j.Spec.RunTimeout.D()}
	e.key = Key(*j.EligibleAt, j.Priority(), p.policy.AgingStepOrDefault())
	p.queued[j.ID] = e
	if g.waiting++; g.waiting == 1 {
		p.idle--
	}
	if g.tenant.queued++; g.tenant.queued == 1 {
		g.tenant.wake(p)
	}
	p.put(e, j.Spec.ConcurrencyKey)
	if !slices.Contains(p.fresh, g) {
		p.fresh = append(p.fresh, g)
	}
}

// remove takes a job out of the queue, if it is there.
func (p *Planner) remove(id entropy.JobID) {
	e := p.queued[id]
	if e == nil {
		return
	}
	delete(p.queued, id)
	if n := p.reservations[id]; n != nil {
		p.unreserve(n)
	}
	p.take(e)
	e.group.tenant.queued--
	if e.group.waiting--; e.group.waiting == 0 {
		p.idle++
		p.sweep()
	}
}

// maxIdle is how many groups without jobs are kept: the next job of theirs comes
// soon, and a group costs a look at every worker.
const maxIdle = 256

func (p *Planner) sweep() {
	if p.idle <= maxIdle || 2*p.idle <= len(p.groups) {
		return
	}
	for _, g := range p.groups {
		if g.waiting == 0 {
			p.drop(g)
		}
	}
	p.idle = 0
	p.order = slices.DeleteFunc(p.order, func(t *tenant) bool {
		gone := len(t.groups) == 0 && t.units == 0
		if gone {
			delete(p.tenants, t.name)
		}
		return gone
	})
}

// leased notes a lease that the planner did not choose, or what it chose and is
// durable now.
func (p *Planner) leased(j *entropy.Job) {
	if l := p.leases[j.ID]; l != nil {
		l.assignment, l.version = j.Lease.AssignmentID, j.Version
		return
	}
	n := p.workers[j.Lease.WorkerID]
	if n == nil {
		return // a worker that is not known holds nothing that could be given away
	}
	spec := &j.Spec
	nd := p.need(entropy.Need{Resources: j.Lease.Resources})
	l := &lease{job: j.ID, assignment: j.Lease.AssignmentID, version: j.Version, node: n, tenant: p.tenant(j.TenantName()), queue: p.queue(j.QueueName()),
		key: spec.ConcurrencyKey, priority: spec.Priority, preemptible: spec.Preemptible && !spec.Retry.NoRetry, asked: j.PreemptRequested,
		units: p.units(&nd), since: j.Lease.GrantedAt, runTimeout: spec.RunTimeout.D(), amounts: nd.amounts, gpus: j.Lease.GPUs}
	p.begin(l)
}

func (p *Planner) begin(l *lease) {
	l.start = min(p.seconds(l.since), p.now)
	p.leases[l.job], l.node.leases[l.job] = l, l
	l.node.hold(l, 1)
	p.changed(l.node)
	l.queue.running++
	l.tenant.charge(l, l.start)
	p.gate(l.priority, 1)
	if l.key != "" {
		p.occupy(l.key, l.job)
	}
}

// end frees what a lease held. Used says whether the job may have run.
func (p *Planner) end(l *lease, used bool) {
	delete(p.leases, l.job)
	delete(l.node.leases, l.job)
	l.node.hold(l, -1)
	p.changed(l.node)
	p.helped(l.node)
	p.all = p.all || l.key != "" || l.queue.policy.MaxRunning > 0 || len(p.policy.Gates) > 0
	l.queue.running--
	l.tenant.settle(l, l.start, p.now, used)
	p.gate(l.priority, -1)
	if l.key != "" {
		p.vacate(l.key)
	}
}

// Choice is a job that was chosen for a worker. It holds its room from then on,
// until [Planner.Sync] or [Planner.Undo] says otherwise.
type Choice struct {
	ID        entropy.JobID
	Resources entropy.Resources
	GPUs      []entropy.GPUShare
}

// Undo gives back the room of a job that was chosen and could not be assigned. It
// is no longer queued: Sync tells what it is now.
func (p *Planner) Undo(id entropy.JobID, now time.Time) {
	p.tick(now)
	if l := p.leases[id]; l != nil && l.assignment == "" {
		p.end(l, false)
	}
}

// Pick chooses up to n jobs for a worker, in order.
func (p *Planner) Pick(w entropy.WorkerID, n int, now time.Time) []Choice {
	at := p.tick(now)
	node := p.workers[w]
	if node == nil || !node.worker.Schedulable() || len(p.queued) == 0 {
		return nil
	}
	var chosen []Choice
	for len(chosen) < n {
		e, alternative := p.next(node, at)
		if e == nil {
			break
		}
		chosen = append(chosen, p.choose(node, e, alternative, at))
	}
	return chosen
}

// next returns the job that goes first on a worker, and by which alternative.
func (p *Planner) next(n *node, now time.Time) (best *entry, alternative int) {
	if n.slots < 1 {
		return nil, 0
	}
	if r := n.reserved; r != nil {
		if i := n.room().fits(r.group.needs); i >= 0 && p.allowed(r.group) && r.entry.stands() {
			return r.entry, i
		}
	}
	for _, t := range p.inOrder() {
		for _, g := range t.groups {
			if len(g.jobs) == 0 || best != nil && !g.jobs[0].before(best) || !n.able.has(g.index) || !p.allowed(g) {
				continue
			}
			if i := n.room().fits(g.needs); i >= 0 && (n.reserved == nil || p.mayPass(n, g, i, now)) {
				best, alternative = g.jobs[0], i
			}
		}
		if best != nil {
			p.clock = max(p.clock, t.turn)
			return best, alternative
		}
	}
	return nil, 0
}

// allowed reports whether queue and gates let a group's jobs start.
func (p *Planner) allowed(g *group) bool { return g.queue.open() && p.passes(g.priority) }

func (p *Planner) choose(n *node, e *entry, alternative int, now time.Time) Choice {
	g := e.group
	nd := &g.needs[alternative]
	c := Choice{ID: e.id, Resources: nd.Resources, GPUs: n.room().pickGPUs(nd.gpu)}
	l := &lease{job: e.id, node: n, tenant: g.tenant, queue: g.queue, priority: g.priority,
		preemptible: g.spec.Preemptible, units: p.units(nd), since: now, runTimeout: e.runTimeout, amounts: nd.amounts, gpus: c.GPUs}
	if e.lane != nil {
		l.key = e.lane.key.name
	}
	p.remove(e.id)
	p.begin(l)
	return c
}
