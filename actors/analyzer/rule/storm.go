package rule

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Everything is the entity of events about all rules.
const Everything = "rules:all"

// period is a storm: from when until when. A zero until: it goes on.
type period struct{ from, until time.Time }

// stormAttrs is what an entropy.rule.storm event says.
type stormAttrs struct {
	State  string           `json:"state"` // began or ended
	Began  time.Time        `json:"began"`
	At     time.Time        `json:"at"`
	AtMost int              `json:"at_most"`
	Window entropy.Duration `json:"window"`
	Rule   string           `json:"rule,omitempty"` // that wanted one more
	Why    string           `json:"why"`
}

// stormAt reports whether a storm was on at t.
func (e *Engine) stormAt(t time.Time) bool {
	return slices.ContainsFunc(e.storms, func(p period) bool { return !t.Before(p.from) && (p.until.IsZero() || t.Before(p.until)) })
}

// beginStorm says that a suggestion wants one action too many.
func (e *Engine) beginStorm(s *entropy.Suggestion, t time.Time) Order {
	at := stormAttrs{State: "began", Began: t.UTC(), At: t.UTC(), AtMost: e.set.Storm.AtMost, Window: entropy.Duration(e.set.Storm.Per), Rule: s.Rule,
		Why: fmt.Sprintf("%d actions were asked for within %v, and rule %s wants another: all rules only suggest now, until none has wanted to act for %v",
			e.set.Storm.AtMost, e.set.Storm.Per, s.Rule, e.set.Storm.Quiet)}
	o := Order{Event: event(digest("storm-", "began", t.UTC().Format(time.RFC3339Nano)), entropy.RuleStormType, Everything, "", s.DeviationID, t, nil, at)}
	e.Recall(&o.Event)
	return o
}

// endStorm says that a storm is over, when no rule has wanted to act for long enough.
func (e *Engine) endStorm(t time.Time) []Order {
	if len(e.storms) == 0 || !e.storms[len(e.storms)-1].until.IsZero() {
		return nil
	}
	p := e.storms[len(e.storms)-1]
	over := later(p.from, e.wanted).Add(e.set.Storm.Quiet)
	if t.Before(over) {
		return nil
	}
	at := stormAttrs{State: "ended", Began: p.from.UTC(), At: over.UTC(), AtMost: e.set.Storm.AtMost, Window: entropy.Duration(e.set.Storm.Per),
		Why: fmt.Sprintf("no rule has wanted to act for %v: each goes as far again as it says", e.set.Storm.Quiet)}
	o := Order{Event: event(digest("storm-", "ended", p.from.UTC().Format(time.RFC3339Nano)), entropy.RuleStormType, Everything, "", "", over, nil, at)}
	e.Recall(&o.Event)
	return []Order{o}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (e *Engine) recallStorm(ev *entropy.Event) {
	var at stormAttrs
	if json.Unmarshal(ev.Attrs, &at) != nil {
		return
	}
	i := slices.IndexFunc(e.storms, func(p period) bool { return p.from.Equal(at.Began) })
	if i < 0 {
		e.storms = append(e.storms, period{from: at.Began})
		if len(e.storms) > maxPeriods {
			e.storms = slices.Delete(e.storms, 0, 1)
		}
		i = len(e.storms) - 1
	}
	if at.State == "ended" {
		e.storms[i].until = at.At
	}
}
