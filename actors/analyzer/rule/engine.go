package rule

import (
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer"
)

// Bounds of what an engine remembers.
const (
	maxMachines    = 20_000 // (rule, entity) pairs that are not idle
	maxSpells      = 20_000 // deviations that have not ended
	maxTrails      = 10_000 // entities
	maxSuggestions = 10_000
	maxActs        = 10_000
	maxEnded       = 5_000  // deviations that have ended
	maxWindow      = 10_000 // firings
	maxVerdicts    = 1_000  // of one rule, command and kind
	maxPeriods     = 100    // storms
)

// staleSpell is when a deviation that was not heard of again is forgotten: by then
// the analyzer takes it for normal.
const staleSpell = 21 * 24 * time.Hour

// Engine applies a [Set] to what is in the ledger. It is owned by one goroutine.
//
// First it is told what is in the ledger: [Engine.Recall] with every event of the
// types of [Facts], then [Engine.Apply] with the rows of those of [Findings] up to where
// it had come, not live. From there on it is live, and what it returns is to be recorded, and
// asked for, before the next row is given to it.
type Engine struct {
	set        *Set
	phi        float64
	deviations int64

	machines *shelf[machineKey, *machine]
	holding  queue
	counts   map[string]*count

	spells *shelf[subject, *spell]
	openOf map[string]map[subject]bool // by entity
	trails *shelf[string, *trail]
	ended  []*spell

	suggestions *shelf[string, *entropy.Suggestion]
	firings     []firing // by time

	acts       *shelf[entropy.ActionID, *act]
	touched    map[string][]*act
	treatments map[subject][]*act
	unjudged   []*act

	storms []period
	wanted time.Time // when a rule last wanted to act during a storm

	harm    map[harmKey]*harm
	verdict bool // one came since harm was last looked at
	remind  time.Time
}

// Order is what an engine wants done: Event is to be recorded in the ledger, durably
// and once by its ID; if Ask is set, its action is to be asked for then.
type Order struct {
	Event entropy.Event
	Ask   *entropy.Suggestion
}

// Facts are the types that [Engine.Recall] is told of, as those of [entropy.LedgerFilter].
func Facts() []string {
	return []string{entropy.SuggestedType, "entropy.suggestion.", "entropy.rule."}
}

// Findings are the types that [Engine.Apply] is given.
func Findings() []string { return []string{DeviationType, RecoveredType, PhiType, actionPrefix} }

const actionPrefix = "action."

// New returns an engine that has seen nothing.
func New(s *Set) *Engine {
	e := &Engine{set: s, counts: make(map[string]*count), openOf: make(map[string]map[subject]bool),
		touched: make(map[string][]*act), treatments: make(map[subject][]*act), harm: make(map[harmKey]*harm)}
	for _, r := range s.Rules {
		e.counts[r.Name] = &count{suppressed: make(map[string]int64)}
	}
	e.machines = newShelf[machineKey, *machine](maxMachines, nil)
	e.spells = newShelf[subject, *spell](maxSpells, func(s *spell) { e.notOpen(s.subject) })
	e.trails = newShelf[string, *trail](maxTrails, nil)
	e.suggestions = newShelf[string, *entropy.Suggestion](maxSuggestions, nil)
	e.acts = newShelf[entropy.ActionID, *act](maxActs, e.forgetAct)
	return e
}

// Recall tells of a fact, one of the engine's own decisions. They may come twice, and
// before what they were about. Others' events change nothing.
func (e *Engine) Recall(ev *entropy.Event) {
	if ev.Source.System != fabric {
		return
	}
	switch ev.Type {
	case entropy.SuggestedType:
		e.recallSuggestion(ev)
	case entropy.SuggestionAcceptedType, entropy.SuggestionDismissedType, entropy.SuggestionRefusedType:
		e.recallAnswer(ev)
	case entropy.RuleStormType:
		e.recallStorm(ev)
	case entropy.RuleJudgedType, entropy.RuleDemotedType, entropy.RuleResetType:
		e.recallHarm(ev)
	}
}

// Apply takes the next row. When it is not live, it was decided about before: what
// it returned then is among the facts.
func (e *Engine) Apply(r Row, live bool) []Order {
	orders := e.Advance(r.At, live)
	ev := &r.Event
	switch ev.Type {
	case DeviationType:
		if d, ok := readDeviation(ev); ok {
			orders = append(orders, e.deviate(d, r.At, live)...)
		}
	case RecoveredType:
		if d, ok := readDeviation(ev); ok {
			e.recover(d, r.At)
		}
	case PhiType:
		e.readPhi(ev)
	default:
		if ev.Source.System == fabric && strings.HasPrefix(ev.Type, actionPrefix) {
			e.followAction(ev)
			break
		}
		e.Recall(ev)
	}
	return orders
}

// deviate remembers a deviation and applies the rules to it, in their order.
func (e *Engine) deviate(d *deviation, t time.Time, live bool) (orders []Order) {
	e.deviations++
	e.remember(d, t)
	v := e.environment(d, t)
	stale := e.set.MaxAge > 0 && t.Sub(d.At) > e.set.MaxAge
	for _, r := range e.set.Rules {
		yes, err := r.when.holds(v)
		if err != nil {
			e.counts[r.Name].failed(err)
			continue
		}
		switch {
		case yes && stale:
			e.counts[r.Name].matched++
			e.counts[r.Name].suppressed[staleCause]++
		case yes:
			e.counts[r.Name].matched++
			orders = append(orders, e.match(r, d, v, t, live)...)
		}
	}
	return orders
}

// remember keeps a deviation in its spell and in the trail of its entity.
func (e *Engine) remember(d *deviation, t time.Time) {
	if d.Channel != analyzer.Unseen && d.Channel != analyzer.Transition { // which are about one moment
		e.open(d, t)
	}
	tr, ok := e.trails.get(d.event.EntityID)
	if !ok {
		tr = &trail{entity: d.event.EntityID, kind: d.kind}
	}
	tr.add(mark{t, d.Bits})
	e.trails.put(tr.entity, tr)
}

// open begins a spell, or goes on with it.
func (e *Engine) open(d *deviation, t time.Time) {
	k := d.subject()
	s, ok := e.spells.get(k)
	if ok && t.Sub(s.last) > staleSpell {
		e.close(s, time.Time{})
		ok = false
	}
	if !ok {
		s = &spell{subject: k, began: t}
	}
	s.last = t
	e.spells.put(k, s)
	if e.openOf[k.entity] == nil {
		e.openOf[k.entity] = make(map[subject]bool)
	}
	e.openOf[k.entity][k] = true
}

// recover ends the spells that an event says have ended: of its step, channel and
// case, or of all channels when it names none.
func (e *Engine) recover(d *deviation, t time.Time) {
	for s := range e.openOf[d.event.EntityID] {
		// What was late before it was missing comes with it.
		same := d.Channel == "" || s.channel == d.Channel || s.channel == analyzer.Late && d.Channel == analyzer.Missing
		if s.step == d.Step && same && s.item == d.ofCase() {
			sp, _ := e.spells.get(s)
			e.close(sp, t)
		}
	}
}

// close ends a spell; one that ended at no time is forgotten.
func (e *Engine) close(s *spell, t time.Time) {
	e.spells.remove(s.subject)
	e.notOpen(s.subject)
	if t.IsZero() {
		return
	}
	s.ended = t
	for _, a := range e.treatments[s.subject] {
		if !a.since.Before(s.began) && a.since.Before(t) && s.treated == nil {
			s.treated = a
		}
	}
	if len(e.ended) >= maxEnded {
		e.ended = append(e.ended[:0], e.ended[maxEnded/10:]...)
	}
	e.ended = append(e.ended, s)
}

func (e *Engine) notOpen(s subject) {
	if delete(e.openOf[s.entity], s); len(e.openOf[s.entity]) == 0 {
		delete(e.openOf, s.entity)
	}
}

// Advance moves the time to t: what has been held long enough fires, actions are
// judged, a storm ends. Each happens as of when it was due, whenever Advance is called.
func (e *Engine) Advance(t time.Time, live bool) (orders []Order) {
	orders = e.fireDue(t, live)
	if live {
		orders = append(orders, e.judge(t)...)
		orders = append(orders, e.endStorm(t)...)
	}
	return orders
}

// count is what is shown of a rule.
type count struct {
	matched, fired, errors int64
	lastError              string
	suppressed             map[string]int64
}

func (c *count) failed(err error) {
	c.errors++
	c.lastError = cut(err.Error(), MaxText)
}
