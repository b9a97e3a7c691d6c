package rule

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// machineKey names the machine of a rule for an entity.
type machineKey struct{ rule, entity string }

// machine is where a rule stands for an entity: idle (there is none), pending,
// cooling. Firing takes no time.
type machine struct {
	key     machineKey
	since   time.Time
	until   time.Time // cooling until then; zero: pending
	due     time.Time // pending: fires then if it still deviates; zero: it counts
	last    time.Time
	matches int
	first   *deviation // that it holds
	began   time.Time  // of the spell of first
}

// Why a rule that matched did not fire.
const (
	ownEffectCause = "own_effect"
	coolingCause   = "cooldown"
	pendingCause   = "pending"
	limitCause     = "limit"
	entityCause    = "entity"
	floodCause     = "flood"
	staleCause     = "stale"
)

// pendingFor is how long a count of deviations waits for the next.
const pendingFor = 24 * time.Hour

// match moves the machine of a rule that holds for a deviation, and fires when it is
// time to.
func (e *Engine) match(r *Rule, d *deviation, v *env, t time.Time, live bool) []Order {
	c := e.counts[r.Name]
	if e.ownEffect(d, t) {
		c.suppressed[ownEffectCause]++
		return nil
	}
	k := machineKey{r.Name, d.event.EntityID}
	m, ok := e.machines.get(k)
	switch {
	case ok && !m.until.IsZero() && t.Before(m.until):
		c.suppressed[coolingCause]++
		return nil
	case !ok, !m.until.IsZero(), m.due.IsZero() && t.Sub(m.last) > pendingFor:
		m = &machine{key: k, since: t}
	}
	m.matches++
	m.last = t
	switch {
	case r.Hold > 0 && m.first == nil:
		m.first, m.due = d, t.Add(r.Hold)
		if s, ok := e.spells.get(d.subject()); ok {
			m.began = s.began
		}
		e.hold(m)
	case r.Hold > 0:
	case m.matches >= r.Matches:
		return e.fire(r, d, v, m, t, live)
	}
	e.machines.put(k, m)
	c.suppressed[pendingCause]++
	return nil
}

// fireDue fires what has been held long enough and has not recovered.
func (e *Engine) fireDue(t time.Time, live bool) (orders []Order) {
	for len(e.holding) > 0 && !t.Before(e.holding[0].due) {
		m := heap.Pop(&e.holding).(*machine)
		if now, ok := e.machines.get(m.key); ok && now == m && m.until.IsZero() { // else it was forgotten
			orders = append(orders, e.held(m, live)...)
		}
	}
	return orders
}

// hold has a machine looked at again when it is due.
func (e *Engine) hold(m *machine) {
	if len(e.holding) > 2*maxMachines { // half of them are forgotten
		e.holding = slices.DeleteFunc(e.holding, func(m *machine) bool {
			now, ok := e.machines.get(m.key)
			return !ok || now != m
		})
		heap.Init(&e.holding)
	}
	heap.Push(&e.holding, m)
}

// queue is machines that hold, by when they are due.
type queue []*machine

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q queue) Less(i, j int) bool {
	a, b := q[i], q[j]
	return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.key.entity, b.key.entity), cmp.Compare(a.key.rule, b.key.rule)) < 0
}

// Push implements [heap.Interface].
func (q *queue) Push(m any) { *q = append(*q, m.(*machine)) }

// Pop implements [heap.Interface].
func (q *queue) Pop() any {
	m := (*q)[len(*q)-1]
	(*q)[len(*q)-1] = nil
	*q = (*q)[:len(*q)-1]
	return m
}

// held decides about a machine whose time is over.
func (e *Engine) held(m *machine, live bool) []Order {
	e.machines.remove(m.key)
	r := e.set.rule(m.key.rule)
	s, ok := e.spells.get(m.first.subject())
	if !ok || !s.began.Equal(m.began) { // it has recovered
		return nil
	}
	if e.ownEffect(m.first, m.due) {
		e.counts[r.Name].suppressed[ownEffectCause]++
		return nil
	}
	return e.fire(r, m.first, e.environment(m.first, m.due), m, m.due, live)
}

// fire decides what comes of a rule that is to fire for a deviation at t.
func (e *Engine) fire(r *Rule, d *deviation, v *env, m *machine, t time.Time, live bool) []Order {
	c := e.counts[r.Name]
	cool := func() {
		c.fired++
		m.until, m.since, m.due, m.first, m.matches = t.Add(r.Cooldown), t, time.Time{}, nil, 0
		e.machines.put(m.key, m)
	}
	e.machines.remove(m.key)
	if r.Mode == entropy.RuleObserve {
		cool()
		return nil
	}
	s, err := r.suggestion(d, v, t)
	if err != nil {
		c.failed(err)
		return nil
	}
	acting := r.Mode == entropy.RuleAsk || r.Mode == entropy.RuleAct
	if acting && e.stormAt(t) && t.After(e.wanted) {
		e.wanted = t
	}
	if _, known := e.suggestions.get(s.ID); known {
		cool()
		return nil
	}
	orders, why := e.guard(r, s, t, live)
	if why != "" {
		c.suppressed[why]++
		return nil
	}
	if !live { // it did not fire then, for a reason that is forgotten
		return nil
	}
	cool()
	o := Order{Event: suggestionEvent(s)}
	e.Recall(&o.Event)
	if s.Mode != entropy.RuleSuggest {
		o.Ask = s
	}
	return append(orders, o)
}

// guard lowers the mode of a suggestion to what is allowed at t, or says why there
// is to be none.
func (e *Engine) guard(r *Rule, s *entropy.Suggestion, t time.Time, live bool) (orders []Order, why string) {
	if r.AtMost.AtMost > 0 && e.fired(r.AtMost.Per, t, func(f *firing) bool { return f.rule == r.Name }) >= r.AtMost.AtMost {
		return nil, limitCause
	}
	kind, _ := entropy.SplitEntity(s.Entity)
	if s.Mode == entropy.RuleAct && e.demoted(harmKey{r.Name, s.Command, kind}, t) {
		e.lower(s, entropy.RuleAsk, "harm")
	}
	if s.Mode == entropy.RuleAsk || s.Mode == entropy.RuleAct {
		acted := func(f *firing) bool { return f.acting }
		here := func(f *firing) bool { return f.acting && (f.is(s.Entity) || f.is(s.Target)) }
		switch {
		case e.fired(e.set.EntityCooldown, t, here) > 0:
			return nil, entityCause
		case e.stormAt(t):
			e.lower(s, entropy.RuleSuggest, "storm")
		case e.fired(e.set.Storm.Per, t, acted) >= e.set.Storm.AtMost:
			if live {
				orders = append(orders, e.beginStorm(s, t))
			}
			e.lower(s, entropy.RuleSuggest, "storm")
		}
	}
	if s.Mode == entropy.RuleSuggest && e.fired(flood.Per, t, func(f *firing) bool { return !f.acting }) >= flood.AtMost {
		return orders, floodCause
	}
	return orders, ""
}

func (e *Engine) lower(s *entropy.Suggestion, to entropy.RuleMode, because string) {
	if s.Wanted == "" {
		s.Wanted = s.Mode
	}
	s.Mode, s.Because = to, because
}

// firing is one suggestion, for the guards.
type firing struct {
	at                   time.Time
	rule, entity, target string
	acting               bool
}

func (f *firing) is(entity string) bool { return f.entity == entity || f.target == entity }

// note keeps a firing in the order of time.
func (e *Engine) note(f firing) {
	i := len(e.firings)
	for i > 0 && e.firings[i-1].at.After(f.at) {
		i--
	}
	e.firings = slices.Insert(e.firings, i, f)
	if len(e.firings) > maxWindow {
		e.firings = slices.Delete(e.firings, 0, maxWindow/10)
	}
}

// fired returns how many firings of a kind lie in (t-per, t].
func (e *Engine) fired(per time.Duration, t time.Time, which func(*firing) bool) (n int) {
	for i := len(e.firings) - 1; i >= 0; i-- {
		f := &e.firings[i]
		if f.at.After(t) {
			continue
		}
		if !f.at.After(t.Add(-per)) {
			break
		}
		if which(f) {
			n++
		}
	}
	return n
}
