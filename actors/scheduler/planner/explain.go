package planner

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

// The codes of the hurdles that the planner knows of, in the order in which it
// looks for them.
const (
	NoWorkers       = "no_workers"        // nobody has ever joined
	NoHandler       = "no_handler"        // no worker offers the job's Go handler
	NoRuntime       = "no_container"      // no worker runs container images
	NoLabel         = "no_label"          // no worker carries a required label
	NoMatch         = "no_worker_matches" // each label is there, but not all on one worker
	TooLarge        = "too_large"         // more of a resource than any worker has
	ExcludedByAll   = "excluded"          // every worker that could run it refused it or broke under it
	NoneSchedulable = "not_schedulable"   // those that could run it are lost, draining or quarantined
	QueuePaused     = "queue_paused"
	QueueLimit      = "queue_limit"
	GateClosed      = "gate"
	KeyHeld         = "concurrency_key"
	Reserved        = "reserved"   // what is free is kept for another job
	Busy            = "busy"       // those that could run it have no room
	Turn            = "turn"       // other tenants or older and more urgent jobs go first
	Unclaimed       = "next_claim" // nothing: the next worker that asks gets it
)

// maxCounted bounds how many jobs are counted that go before another.
const maxCounted = 10_000

// Explain returns what keeps a queued job from running, the most decisive first,
// and whether as the fleet is now nothing could ever run it. A job that is not
// queued has no hurdles here.
func (p *Planner) Explain(id entropy.JobID, now time.Time) (hurdles []entropy.Hurdle, never bool) {
	e := p.queued[id]
	if e == nil {
		return nil, false
	}
	x := &explainer{p: p, e: e, g: e.group, now: p.tick(now)}
	if x.impossible() {
		return x.hurdles, true
	}
	if x.nobodyHere() {
		return x.hurdles, false
	}
	x.policies()
	x.key()
	x.room()
	if len(x.hurdles) == 0 {
		x.turn()
	}
	return x.hurdles, false
}

type explainer struct {
	p       *Planner
	e       *entry
	g       *group
	now     time.Time
	able    []*node // those that could run it if all of them were free
	here    []*node // of these, those that take work
	hurdles []entropy.Hurdle
}

func (x *explainer) add(code, fix, format string, args ...any) {
	x.hurdles = append(x.hurdles, entropy.Hurdle{Code: code, Text: fmt.Sprintf(format, args...), Fix: fix})
}

func (x *explainer) nodes() []*node {
	var all []*node
	for _, id := range slices.Sorted(maps.Keys(x.p.workers)) {
		all = append(all, x.p.workers[id])
	}
	return all
}

// impossible looks whether any worker could ever run the job.
func (x *explainer) impossible() bool {
	all := x.nodes()
	for _, n := range all {
		if n.able.has(x.g.index) {
			x.able = append(x.able, n)
		}
	}
	if len(x.able) > 0 {
		return false
	}
	if len(all) == 0 {
		x.add(NoWorkers, "entropy worker --server URL --token-file FILE", "no worker has joined yet")
		return true
	}
	spec := x.g.spec
	if spec.Handler != "" && !slices.ContainsFunc(all, func(n *node) bool { return slices.Contains(n.worker.Handlers, spec.Handler) }) {
		x.add(NoHandler, "", "no worker offers the Go handler %q; start one whose program has it", spec.Handler)
	}
	withoutImage := entropy.JobSpec{Handler: spec.Handler, Require: spec.Require, Resources: spec.Resources, AnyOf: spec.AnyOf}
	if spec.Image != "" && slices.ContainsFunc(all, func(n *node) bool { return n.worker.Offers(&withoutImage) }) {
		x.add(NoRuntime, "", "no worker that could take it runs container images; install podman or docker on one of them and start it again")
	}
	for i := range x.g.needs {
		x.missing(&x.g.needs[i], all)
	}
	if len(x.hurdles) == 0 {
		x.excluded(all)
	}
	return true
}

// missing says what one alternative lacks.
func (x *explainer) missing(n *need, all []*node) {
	which := ""
	if len(x.g.needs) > 1 {
		which = "alternative " + (&need{Need: n.Need}).String() + ": "
	}
	lacking := false
	for _, k := range slices.Sorted(maps.Keys(n.Require)) {
		label := k + "=" + n.Require[k]
		if !slices.ContainsFunc(all, func(o *node) bool { return o.worker.Labels[k] == n.Require[k] }) {
			lacking = true
			x.add(NoLabel, "entropy worker --label "+label, "%sno worker carries the label %s%s", which, label, others(all, k))
		}
	}
	var matching []*node
	for _, o := range all {
		if n.Matches(o.worker.Labels) {
			matching = append(matching, o)
		}
	}
	if len(matching) == 0 && !lacking && len(n.Require) > 0 {
		x.add(NoMatch, "entropy workers", "%sno worker carries all of its labels, %s, though each is there", which, labels(n.Require))
	}
	for _, name := range slices.Sorted(maps.Keys(n.Resources)) {
		x.tooLarge(which, name, n.Resources[name], matching)
	}
}

// tooLarge says that of those that match, nobody has so much of a resource.
func (x *explainer) tooLarge(which, name string, want entropy.Amount, matching []*node) {
	var most entropy.Amount
	var who entropy.WorkerID
	for _, n := range matching {
		if has := n.worker.Resources[name]; has > most {
			most, who = has, n.worker.ID
		}
	}
	switch {
	case len(matching) == 0 || most >= want:
	case most == 0:
		x.add(TooLarge, "entropy worker --resource "+name+"="+want.String(), "%sit asks for %s %s, and no worker that matches has any", which, name, want)
	default:
		x.add(TooLarge, "entropy worker --resource "+name+"="+want.String(), "%sit asks for %s %s; the most that any worker has is %s (%s)", which, name, want, most, who)
	}
}

func (x *explainer) excluded(all []*node) {
	var names []string
	for _, n := range all {
		if n.worker.Offers(&x.g.spec) {
			names = append(names, string(n.worker.ID))
		}
	}
	if len(names) == 0 {
		x.add(NoMatch, "entropy workers", "no worker has at once all that it asks for")
		return
	}
	x.add(ExcludedByAll, "entropy cancel "+string(x.e.id), "every worker that could run it refused it or broke under it (%s); canceled and retried, it starts with a clean slate", few(names))
}

// nobodyHere looks whether those that could run it take work at all.
func (x *explainer) nobodyHere() bool {
	var why []string
	fix := ""
	for _, n := range x.able {
		w := n.worker
		switch {
		case w.Schedulable():
			x.here = append(x.here, n)
			continue
		case w.State == entropy.WorkerLost:
			why = append(why, string(w.ID)+" is lost")
		case w.State == entropy.WorkerLeft:
			why = append(why, string(w.ID)+" has left")
		case w.Quarantined:
			why = append(why, string(w.ID)+" is quarantined")
		default:
			why = append(why, string(w.ID)+" is draining")
		}
		if fix == "" && w.State == entropy.WorkerAlive {
			fix = "entropy worker resume " + string(w.ID)
		}
	}
	if len(x.here) > 0 {
		return false
	}
	x.add(NoneSchedulable, fix, "no worker that could run it takes work: %s", few(why))
	return true
}

// policies looks at the queue and the gates.
func (x *explainer) policies() {
	q, name := x.g.queue, x.g.spec.Queue
	if q.policy.Paused {
		x.add(QueuePaused, "entropy queue resume "+name, "its queue %s is paused%s", name, bracket(q.policy.Reason))
	}
	if q.policy.MaxRunning > 0 && q.running >= q.policy.MaxRunning {
		x.add(QueueLimit, fmt.Sprintf("entropy queue set %s --max-running %d", name, q.policy.MaxRunning+1), "its queue %s runs %s, as many as it may", name, count(q.running, "job"))
	}
	for i, g := range x.p.policy.Gates {
		if x.g.priority < g.Priority && x.p.below[i]+1 > x.p.slots-g.Slots {
			x.add(GateClosed, "entropy policy set --gate none", "%d of the %d slots are kept for jobs submitted with priority %d or more, and the others are taken; it has %d",
				g.Slots, x.p.slots, g.Priority, x.g.priority)
		}
	}
}

func (x *explainer) key() {
	if l := x.e.lane; l != nil && l.key.holder != "" {
		x.add(KeyHeld, "entropy explain "+string(l.key.holder), "only one job of the key %s runs at a time, and %s does", l.key.name, l.key.holder)
	} else if l != nil && l.head != x.e {
		x.add(KeyHeld, "entropy explain "+string(l.head.id), "only one job of the key %s runs at a time, and %s goes first", l.key.name, l.head.id)
	}
}

// room looks whether any worker has room, and whether it would give it.
func (x *explainer) room() {
	kept, free := "", 0
	var soonest time.Time
	for _, n := range x.here {
		if i := n.room().fits(x.g.needs); i >= 0 {
			if n.reserved == nil || n.reserved.entry == x.e || x.p.mayPass(n, x.g, i, x.now) {
				return
			}
			kept = string(n.reserved.entry.id)
		}
		if n.slots > 0 {
			free++
		}
		if at, _ := x.p.roomAt(n, x.g, nil); !at.IsZero() && (soonest.IsZero() || at.Before(soonest)) {
			soonest = at
		}
	}
	when := ""
	if !soonest.IsZero() {
		when = "; by their run timeouts there is room at " + soonest.UTC().Format(time.RFC3339) + " at the latest"
	}
	switch {
	case kept != "":
		x.add(Reserved, "entropy explain "+kept, "the room that is free is kept for %s, which has waited longer", kept)
	case free == 0:
		x.add(Busy, "entropy prioritize 50 "+string(x.e.id), "all slots of the %s that could run it are taken%s", count(len(x.here), "worker"), when)
	default:
		x.add(Busy, "entropy prioritize 50 "+string(x.e.id), "no worker that could run it has %s free%s", x.g.needs[0].String(), when)
	}
	if n := x.p.reservations[x.e.id]; n != nil {
		x.add(Reserved, "", "worker %s is reserved for it: room that becomes free there is kept for it", n.worker.ID)
	}
}

// turn says who goes first where there is room.
func (x *explainer) turn() {
	ahead := 0
	for _, g := range x.g.tenant.groups {
		if ahead > maxCounted || !slices.ContainsFunc(x.here, func(n *node) bool { return n.able.has(g.index) }) {
			continue
		}
		for _, o := range g.jobs {
			if o.before(x.e) {
				ahead++
			}
			if ahead > maxCounted {
				break
			}
		}
	}
	var before []string
	for _, t := range x.p.inOrder() {
		if t == x.g.tenant {
			break
		}
		before = append(before, t.name)
	}
	tenants := ""
	if len(before) > 0 {
		tenants = fmt.Sprintf("; tenants that have had less for their weight go first: %s", few(before))
	}
	switch {
	case ahead > maxCounted:
		x.add(Turn, "entropy prioritize 50 "+string(x.e.id), "more than %d older or more urgent jobs of its tenant go first%s", maxCounted, tenants)
	case ahead > 0:
		x.add(Turn, "entropy prioritize 50 "+string(x.e.id), "%s of its tenant, older or more urgent, before it%s", count(ahead, "job"), tenants)
	case tenants != "":
		x.add(Turn, "entropy tenant set "+x.g.tenant.name+" --weight W", "it is the first of its tenant%s", tenants)
	default:
		x.add(Unclaimed, "", "nothing: there is room on %s, and it goes first when that worker asks for work", few(names(x.here)))
	}
}

func names(nodes []*node) (out []string) {
	for _, n := range nodes {
		out = append(out, string(n.worker.ID))
	}
	return out
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprint(n, " ", noun, "s")
}

// few names at most three.
func few(list []string) string {
	if len(list) <= 3 {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:3], ", "), len(list)-3)
}

func bracket(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

func labels(m map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k+"="+m[k])
	}
	return strings.Join(parts, ", ")
}

// others names the values that a label has instead.
func others(all []*node, key string) string {
	values := make(map[string]bool)
	for _, n := range all {
		if v, ok := n.worker.Labels[key]; ok {
			values[v] = true
		}
	}
	if len(values) == 0 {
		return ""
	}
	return "; " + key + " is " + few(slices.Sorted(maps.Keys(values)))
}

// String returns what is needed, in words.
func (n *need) String() string {
	var parts []string
	if len(n.Require) > 0 {
		parts = append(parts, labels(n.Require))
	}
	if len(n.Resources) > 0 {
		parts = append(parts, n.Resources.String())
	}
	if len(parts) == 0 {
		return "a slot"
	}
	return strings.Join(parts, ", ")
}
