package rule

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// harmKey is what harm is remembered of.
type harmKey struct {
	Rule    string `json:"rule"`
	Command string `json:"command"`
	Kind    string `json:"kind"` // of entities
}

// harm is what the actions of a key were followed by.
type harm struct {
	verdicts []verdict
	reset    time.Time   // what was judged up to then counts no more
	demoted  []time.Time // when
}

type verdict struct {
	action entropy.ActionID
	at     time.Time
	word   string
}

// What an action was followed by.
const (
	better = "better"
	worse  = "worse"
	same   = "same"
)

// harmful is the e-value from which a rule is demoted: by Ville's inequality at most
// one harmless rule in ten ever reaches it, however often it is looked at.
const harmful = 10

// judgedAttrs is what an entropy.rule.judged event says: the bits of deviations of
// what the action was for, an hour, before and after, and the same of others of the
// kind that no rule's action touched.
type judgedAttrs struct {
	harmKey
	ActionID entropy.ActionID `json:"action_id"`
	Verdict  string           `json:"verdict"`
	At       time.Time        `json:"at"`
	Before   float64          `json:"before_bits"`
	After    float64          `json:"after_bits"`
	Control  float64          `json:"control_bits"` // the mean change of the others
	Controls int              `json:"controls"`     // how many they are
	Window   entropy.Duration `json:"window"`
}

// demotedAttrs is what entropy.rule.demoted and entropy.rule.reset events say.
type demotedAttrs struct {
	harmKey
	At       time.Time `json:"at"`
	Worse    int       `json:"worse,omitempty"`
	Better   int       `json:"better,omitempty"`
	Evidence float64   `json:"evidence,omitempty"`
	By       string    `json:"by,omitempty"`
	Why      string    `json:"why"`
}

func (e *Engine) harmOf(k harmKey) *harm {
	h := e.harm[k]
	if h == nil {
		h = new(harm)
		e.harm[k] = h
	}
	return h
}

func (e *Engine) recallHarm(ev *entropy.Event) {
	switch ev.Type {
	case entropy.RuleJudgedType:
		var at judgedAttrs
		if json.Unmarshal(ev.Attrs, &at) != nil {
			return
		}
		h := e.harmOf(at.harmKey)
		if slices.ContainsFunc(h.verdicts, func(v verdict) bool { return v.action == at.ActionID }) {
			return
		}
		e.verdict = true
		h.verdicts = append(h.verdicts, verdict{action: at.ActionID, at: at.At, word: at.Verdict})
		if len(h.verdicts) > maxVerdicts {
			h.verdicts = slices.Delete(h.verdicts, 0, maxVerdicts/10)
		}
		if a, ok := e.acts.get(at.ActionID); ok {
			a.judged = true
		}
	case entropy.RuleDemotedType, entropy.RuleResetType:
		var at demotedAttrs
		if json.Unmarshal(ev.Attrs, &at) != nil {
			return
		}
		h := e.harmOf(at.harmKey)
		if ev.Type == entropy.RuleDemotedType {
			h.demoted = append(h.demoted, at.At)
			h.demoted = h.demoted[max(0, len(h.demoted)-maxPeriods):]
		} else {
			h.reset = later(h.reset, at.At)
		}
	}
}

// tally counts the verdicts since the last reset.
func (h *harm) tally() (b, w, s int) {
	for _, v := range h.verdicts {
		switch {
		case !v.at.After(h.reset):
		case v.word == better:
			b++
		case v.word == worse:
			w++
		default:
			s++
		}
	}
	return b, w, s
}

// isDemoted reports whether it is since the last reset, as of t.
func (h *harm) isDemoted(t time.Time) bool {
	return slices.ContainsFunc(h.demoted, func(d time.Time) bool { return d.After(h.reset) && !d.After(t) })
}

func (e *Engine) demoted(k harmKey, t time.Time) bool {
	h := e.harm[k]
	return h != nil && h.isDemoted(t)
}

// evidence returns the e-value against "an action makes it worse at most as often as
// it makes it better": the likelihood of k in n under a rate that may be any between
// one half and one, over that under one half. It may be looked at after every action
// (Ville 1939; Robbins 1970).
func evidence(k, n int) float64 {
	if n == 0 {
		return 1
	}
	// The integral of p^k (1-p)^(n-k) over [1/2, 1] is B(k+1, n-k+1) times the
	// probability that a binomial of n+1 and one half is at most k.
	a, _ := math.Lgamma(float64(k + 1))
	b, _ := math.Lgamma(float64(n - k + 1))
	c, _ := math.Lgamma(float64(n + 2))
	tail := 1 - stat.BinomialTail(float64(k+1), float64(n+1), 0.5)
	return 2 * tail * math.Exp(float64(n)*math.Ln2+a+b-c)
}

// judge judges the actions whose time after is over, and demotes what did harm.
func (e *Engine) judge(t time.Time) (orders []Order) {
	var rest []*act
	for _, a := range e.unjudged {
		switch {
		case a.judged, !a.ended.IsZero() && a.started.IsZero(), a.ended.IsZero() && t.Sub(a.since) > entropy.MaxTTL:
		case a.ended.IsZero() || t.Before(a.ended.Add(e.set.Judge)):
			rest = append(rest, a)
		default:
			orders = append(orders, e.judgeAct(a, a.ended.Add(e.set.Judge)))
		}
	}
	e.unjudged = rest
	if !e.verdict && t.Before(e.remind) {
		return orders
	}
	e.verdict, e.remind = false, t.Add(24*time.Hour)
	for _, k := range e.harmKeys() {
		if o, demoted := e.demote(k); demoted {
			orders = append(orders, o)
		}
		if o, again := e.sayAgain(k, t); again {
			orders = append(orders, o)
		}
	}
	return orders
}

// remindAfter is when a demotion is said again, so that the ledger has it when it
// has forgotten the first.
const remindAfter = 30 * 24 * time.Hour

// sayAgain says a demotion again that is in force and was said long ago.
func (e *Engine) sayAgain(k harmKey, t time.Time) (Order, bool) {
	h := e.harm[k]
	if !h.isDemoted(t) {
		return Order{}, false
	}
	last := slices.MaxFunc(h.demoted, time.Time.Compare)
	if t.Sub(last) < remindAfter {
		return Order{}, false
	}
	return e.demotion(demotedAttrs{harmKey: k, At: last.Add(remindAfter).UTC(), Why: "still: a person has not reset it"}), true
}

// demotion records a demotion.
func (e *Engine) demotion(at demotedAttrs) Order {
	o := Order{Event: event(digest("dem-", at.Rule, at.Command, at.Kind, at.At.Format(time.RFC3339Nano)), entropy.RuleDemotedType, Everything, "", "", at.At,
		map[string]string{"rule": at.Rule, "action": at.Command}, at)}
	e.Recall(&o.Event)
	return o
}

func (a *act) harmKey() harmKey {
	kind, _ := entropy.SplitEntity(a.suggestion.Entity)
	return harmKey{a.suggestion.Rule, a.command, kind}
}

// judgeAct compares the bits of an action's entity before and after with each other,
// and the change with that of others.
func (e *Engine) judgeAct(a *act, t time.Time) Order {
	s := a.suggestion
	k := a.harmKey()
	at := judgedAttrs{harmKey: k, ActionID: a.id, At: t.UTC(), Window: entropy.Duration(e.set.Judge), Verdict: same}
	change := func(tr *trail) (before, after float64) {
		_, before = tr.within(a.since.Add(-e.set.Judge), a.since)
		_, after = tr.within(a.ended, a.ended.Add(e.set.Judge))
		return before, after
	}
	if tr, ok := e.trails.get(s.Entity); ok {
		at.Before, at.After = change(tr)
	}
	at.Before = max(at.Before, s.Bits) // what it was asked for came before, whatever the clocks say
	e.trails.each(func(entity string, tr *trail) bool {
		treated := slices.ContainsFunc(e.touched["e:"+entity], func(b *act) bool {
			return b.own() && b.since.Before(t) && (b.ended.IsZero() || b.ended.After(a.since.Add(-e.set.Judge)))
		})
		if tr.kind == k.Kind && entity != s.Entity && !treated {
			before, after := change(tr)
			at.Control += after - before
			at.Controls++
		}
		return true
	})
	if at.Controls > 0 {
		at.Control /= float64(at.Controls)
	}
	switch own := at.After - at.Before; {
	case own > 0 && own > at.Control:
		at.Verdict = worse
	case own < 0 && own < at.Control:
		at.Verdict = better
	}
	o := Order{Event: event(digest("jdg-", string(a.id)), entropy.RuleJudgedType, s.Entity, s.CorrelationID, string(a.id), t,
		map[string]string{"rule": s.Rule, "action": a.command, "verdict": at.Verdict}, at)}
	e.Recall(&o.Event)
	return o
}

// demote makes a rule ask that did harm, as of its last verdict.
func (e *Engine) demote(k harmKey) (Order, bool) {
	h := e.harmOf(k)
	b, w, _ := h.tally()
	ev := evidence(w, w+b)
	if ev < harmful {
		return Order{}, false
	}
	t := h.verdicts[len(h.verdicts)-1].at
	if h.isDemoted(t) {
		return Order{}, false
	}
	at := demotedAttrs{harmKey: k, At: t.UTC(), Worse: w, Better: b, Evidence: ev,
		Why: fmt.Sprintf("%d of %d actions %s of rule %s were followed by more surprise of their %s than before, and than others had: it asks from now on, until entropy rules reset %s",
			w, w+b, k.Command, k.Rule, k.Kind, k.Rule)}
	return e.demotion(at), true
}

// Reset trusts a rule again. CodeNotFound when nothing was judged of it.
func (e *Engine) Reset(rule, by string, t time.Time) (orders []Order, err error) {
	for _, k := range e.harmKeys() {
		if k.Rule != rule {
			continue
		}
		at := demotedAttrs{harmKey: k, At: t.UTC(), By: by, Why: "a person trusts it again"}
		o := Order{Event: event(digest("res-", k.Rule, k.Command, k.Kind, at.At.Format(time.RFC3339Nano)), entropy.RuleResetType, Everything, "", "", t,
			map[string]string{"rule": k.Rule, "action": k.Command}, at)}
		e.Recall(&o.Event)
		orders = append(orders, o)
	}
	if orders == nil {
		err = entropy.Errorf(entropy.CodeNotFound, "no action of a rule %.100q was judged", rule).WithHint("entropy rules lists what was")
	}
	return orders, err
}

func (e *Engine) harmKeys() []harmKey {
	var all []harmKey
	for k := range e.harm {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b harmKey) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Command, b.Command), cmp.Compare(a.Kind, b.Kind))
	})
	return all
}
