package action

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Line is the line of actions that wait for their turns. It knows no clock: every
// time is an argument.
//
// Of each entity, at most one action is out: has had its turn and has not ended.
// Invariant: an action is in the heap of its command at most once, and only while
// it could go if its command let it.
type Line struct {
	rule     func(command string) entropy.CommandPolicy
	all      map[entropy.ActionID]*entry
	entities map[string]*queue
	commands map[string]*command
	later    laterHeap
	place    uint64
}

// entry is one action in the line.
type entry struct {
	id         entropy.ActionID
	command    string
	target     string
	priority   int
	version    uint64
	first      bool // a compensation: before the others of its entity
	place      uint64
	waits      bool // for its turn
	heaped     bool
	notBefore  time.Time
	lastFailed int // attempts that were counted
}

// queue are the actions of one entity.
type queue struct {
	out  *entry   // has had its turn
	line []*entry // the others: compensations first, then by place
}

// command is what holds the actions of one command back.
type command struct {
	ready  readyHeap
	tokens float64
	at     time.Time // of tokens
	failed int       // attempts in a row
	broken time.Time // until then; zero: whole
	probe  entropy.ActionID
}

// NewLine returns an empty line under a policy.
func NewLine(rule func(command string) entropy.CommandPolicy) *Line {
	return &Line{rule: rule, all: make(map[entropy.ActionID]*entry), entities: make(map[string]*queue), commands: make(map[string]*command)}
}

// Len returns how many actions are in the line or have had their turn and not ended.
func (l *Line) Len() int { return len(l.all) }

// Follow is told how an action stands now, in the order of the commits.
func (l *Line) Follow(a *entropy.Action, now time.Time) {
	e := l.all[a.ID]
	if e != nil {
		if a.Version < e.version {
			return // what was read from the journal is newer
		}
		e.version = a.Version
		l.judge(e, a, now)
	}
	if a.State.Terminal() {
		l.end(e)
		return
	}
	if a.State == entropy.ActionAwaiting {
		return // it takes its place when it is approved
	}
	if e == nil {
		l.place++
		e = &entry{id: a.ID, version: a.Version, command: a.Spec.Command, target: a.Target, priority: a.Priority, first: a.Compensates != "", place: l.place, lastFailed: ended(a)}
		l.all[a.ID] = e
		l.line(e)
	}
	e.waits = a.Live() == nil
	e.notBefore = time.Time{}
	if a.RetryAt != nil {
		e.notBefore = *a.RetryAt
	}
	if !e.waits || a.State == entropy.ActionRetrying {
		l.leaves(e)
	}
	l.offer(e, now)
}

// ended returns how many attempts of an action are over.
func ended(a *entropy.Action) int {
	n := len(a.Attempts)
	if a.Live() != nil {
		n--
	}
	return n
}

// judge tells the circuit of the command what an attempt has shown.
func (l *Line) judge(e *entry, a *entropy.Action, now time.Time) {
	n := ended(a)
	if n <= e.lastFailed {
		return
	}
	e.lastFailed = n
	c := l.command(e.command)
	rule := l.rule(e.command)
	probe := c.probe == e.id
	if probe {
		c.probe = ""
	}
	c.judge(&rule, a.Attempts[n-1].Outcome, probe, now)
}

func (l *Line) command(name string) *command {
	c := l.commands[name]
	if c == nil {
		c = new(command)
		l.commands[name] = c
	}
	return c
}

// line puts an action among those of its entity.
func (l *Line) line(e *entry) {
	if e.target == "" {
		return
	}
	q := l.entities[e.target]
	if q == nil {
		q = new(queue)
		l.entities[e.target] = q
	}
	i, _ := slices.BinarySearchFunc(q.line, e, compare)
	q.line = slices.Insert(q.line, i, e)
}

func compare(a, b *entry) int {
	if a.first != b.first {
		if a.first {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.place, b.place)
}

// leaves marks an action as out: the others of its entity wait for its end.
func (l *Line) leaves(e *entry) {
	if q := l.entities[e.target]; q != nil && q.out != e {
		if i := slices.Index(q.line, e); i >= 0 {
			q.line = slices.Delete(q.line, i, i+1)
		}
		if q.out == nil {
			q.out = e
		}
	}
}

// end takes an action out of the line and lets the next of its entity step up.
func (l *Line) end(e *entry) {
	if e == nil {
		return
	}
	delete(l.all, e.id)
	e.waits = false
	if c := l.commands[e.command]; c != nil && c.probe == e.id {
		c.probe = ""
	}
	q := l.entities[e.target]
	if q == nil {
		return
	}
	if q.out == e {
		q.out = nil
	} else if i := slices.Index(q.line, e); i >= 0 {
		q.line = slices.Delete(q.line, i, i+1)
	}
	switch {
	case q.out == nil && len(q.line) > 0:
		l.offer(q.line[0], time.Time{})
	case q.out == nil:
		delete(l.entities, e.target)
	}
}

// mayGo reports whether it is an action's turn among those of its entity.
func (l *Line) mayGo(e *entry) bool {
	q := l.entities[e.target]
	return q == nil || q.out == e || q.out == nil && q.line[0] == e
}

// offer puts an action where it will be found when it may go.
func (l *Line) offer(e *entry, now time.Time) {
	switch {
	case !e.waits || e.heaped || !l.mayGo(e):
	case e.notBefore.After(now):
		heap.Push(&l.later, moment{e, e.notBefore})
	default:
		e.heaped = true
		heap.Push(&l.command(e.command).ready, e)
	}
}

// Next returns the actions whose turn it is, and when to ask again; zero when only
// a change can bring another turn. Each is out from then on.
func (l *Line) Next(now time.Time) (turns []entropy.ActionID, again time.Time) {
	for len(l.later) > 0 && !l.later[0].at.After(now) {
		m := heap.Pop(&l.later).(moment)
		if l.all[m.e.id] == m.e && m.e.notBefore.Equal(m.at) {
			l.offer(m.e, now)
		}
	}
	if len(l.later) > 0 {
		again = l.later[0].at
	}
	for name, c := range l.commands {
		at := l.run(name, c, now, &turns)
		if !at.IsZero() && (again.IsZero() || at.Before(again)) {
			again = at
		}
	}
	slices.Sort(turns) // a map has no order, and a run must be repeatable
	return turns, again
}

// run gives turns to the actions of one command while it lets them go.
func (l *Line) run(name string, c *command, now time.Time, turns *[]entropy.ActionID) (again time.Time) {
	rule := l.rule(name)
	for len(c.ready) > 0 {
		e := c.ready[0]
		if !e.waits || l.all[e.id] != e || !l.mayGo(e) || e.notBefore.After(now) {
			heap.Pop(&c.ready)
			if e.heaped = false; l.all[e.id] == e {
				l.offer(e, now)
			}
			continue
		}
		if at := c.heldUntil(&rule, now); !at.Equal(now) {
			return at
		}
		heap.Pop(&c.ready)
		e.heaped, e.waits = false, false
		l.leaves(e)
		c.tokens--
		if !c.broken.IsZero() {
			c.probe = e.id
		}
		*turns = append(*turns, e.id)
	}
	if len(l.commands) > 10_000 && c.failed == 0 {
		delete(l.commands, name) // names come from outside: do not keep them all
	}
	return time.Time{}
}

// heldUntil returns now when an order may be issued, else when that may change;
// zero when only an outcome can change it.
func (c *command) heldUntil(rule *entropy.CommandPolicy, now time.Time) time.Time {
	switch {
	case rule.BreakAfter == 0:
		c.broken = time.Time{}
	case !c.broken.IsZero() && c.probe != "":
		return time.Time{}
	case now.Before(c.broken):
		return c.broken
	}
	if c.fill(rule, now); c.tokens < 1 {
		return now.Add(time.Duration((1-c.tokens)/rule.Rate*float64(time.Second)) + time.Millisecond)
	}
	return now
}

// fill gives the command the tokens that have come since it was looked at last.
func (c *command) fill(rule *entropy.CommandPolicy, now time.Time) {
	full := float64(rule.BurstOrDefault())
	switch {
	case rule.Rate == 0:
		c.tokens = 1
	case c.at.IsZero():
		c.tokens = full
	default:
		c.tokens = min(full, c.tokens+max(now.Sub(c.at).Seconds(), 0)*rule.Rate)
	}
	c.at = now
}

// readyHeap has the most urgent on top, the oldest of them first.
type readyHeap []*entry

func (h readyHeap) Len() int { return len(h) }
func (h readyHeap) Less(i, j int) bool {
	if h[i].priority != h[j].priority {
		return h[i].priority > h[j].priority
	}
	return h[i].place < h[j].place
}
func (h readyHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *readyHeap) Push(x any)   { *h = append(*h, x.(*entry)) }
func (h *readyHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}

// moment is when an action may be looked at again.
type moment struct {
	e  *entry
	at time.Time
}

type laterHeap []moment

func (h laterHeap) Len() int           { return len(h) }
func (h laterHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h laterHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *laterHeap) Push(x any)        { *h = append(*h, x.(moment)) }
func (h *laterHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = moment{}
	*h = old[:len(old)-1]
	return last
}
