package rule

import (
	"encoding/json"
	"maps"
	"time"

	"github.com/entropy-fabric/entropy"
)

const maxShown = 100 // entities of a rule

// Report returns how the rules stand at t. What is not the engine's to know (the
// file, when it was loaded) is left out.
func (e *Engine) Report(t time.Time) entropy.RuleReport {
	rep := entropy.RuleReport{Digest: e.set.Digest, Deviations: e.deviations, Rules: []entropy.RuleStatus{}, Harm: []entropy.HarmReport{}, Worth: e.worth()}
	rep.Storm = entropy.StormReport{AtMost: e.set.Storm.AtMost, Window: entropy.Duration(e.set.Storm.Per),
		Within: e.fired(e.set.Storm.Per, t, func(f *firing) bool { return f.acting })}
	if n := len(e.storms); n > 0 && e.storms[n-1].until.IsZero() {
		since := e.storms[n-1].from
		rep.Storm.On, rep.Storm.Since = true, &since
	}
	for _, r := range e.set.Rules {
		c := e.counts[r.Name]
		rep.Rules = append(rep.Rules, entropy.RuleStatus{Name: r.Name, When: r.When, Mode: r.Mode, Command: r.Do.Command, Matched: c.matched, Fired: c.fired,
			Suppressed: maps.Clone(c.suppressed), Errors: c.errors, LastError: c.lastError, Entities: e.entities(r, t)})
	}
	for _, k := range e.harmKeys() {
		h := e.harm[k]
		b, w, s := h.tally()
		rep.Harm = append(rep.Harm, entropy.HarmReport{Rule: k.Rule, Command: k.Command, Kind: k.Kind, Better: b, Worse: w, Same: s,
			Evidence: evidence(w, w+b), Demoted: h.isDemoted(t)})
	}
	return rep
}

// entities returns where a rule stands for the entities for which it is not idle.
func (e *Engine) entities(r *Rule, t time.Time) []entropy.RuleEntityState {
	all := []entropy.RuleEntityState{}
	e.machines.newest(func(k machineKey, m *machine) bool {
		if k.rule != r.Name {
			return true
		}
		st := entropy.RuleEntityState{Entity: k.entity, State: "pending", Since: m.since, Until: m.due, Matches: m.matches}
		if !m.until.IsZero() {
			st.State, st.Until = "cooling", m.until
		}
		if st.State == "pending" || t.Before(m.until) {
			all = append(all, st)
		}
		return len(all) < maxShown
	})
	return all
}

// Storming reports whether every rule only suggests at t.
func (e *Engine) Storming(t time.Time) bool { return e.stormAt(t) }

// Deviations returns how many deviations were looked at.
func (e *Engine) Deviations() int64 { return e.deviations }

// shown returns a copy of a suggestion with what became of it.
func (e *Engine) shown(s *entropy.Suggestion, t time.Time) entropy.Suggestion {
	c := *s
	if a, ok := e.acts.get(s.ActionID); ok && a.asked {
		c.Outcome = a.state
	}
	if c.State == entropy.SuggestionOpen && t.Sub(c.At) > entropy.SuggestionTTL {
		c.State = entropy.SuggestionExpired
	}
	if a, ok := e.acts.get(s.ActionID); ok && a.judged {
		for _, v := range e.harmOf(a.harmKey()).verdicts {
			if v.action == a.id {
				c.Verdict = v.word
			}
		}
	}
	return c
}

// Suggestion returns one suggestion, and whether it is known.
func (e *Engine) Suggestion(id string, t time.Time) (entropy.Suggestion, bool) {
	s, ok := e.suggestions.get(id)
	if !ok {
		return entropy.Suggestion{}, false
	}
	return e.shown(s, t), true
}

// Suggestions lists suggestions, the newest first.
func (e *Engine) Suggestions(f entropy.SuggestionFilter, t time.Time) []entropy.Suggestion {
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	all := []entropy.Suggestion{}
	e.suggestions.newest(func(_ string, s *entropy.Suggestion) bool {
		c := e.shown(s, t)
		if (f.State == "" || f.State == c.State) && (f.Rule == "" || f.Rule == c.Rule) && (f.Entity == "" || f.Entity == c.Entity) {
			all = append(all, c)
		}
		return len(all) < limit
	})
	return all
}

// readPhi takes the system's entropy of an entropy.phi event.
func (e *Engine) readPhi(ev *entropy.Event) {
	var at struct {
		Phi *float64 `json:"phi"`
	}
	if kind, _ := entropy.SplitEntity(ev.EntityID); ev.Source.System == fabric && kind != "kind" && json.Unmarshal(ev.Attrs, &at) == nil && at.Phi != nil {
		e.phi = *at.Phi
	}
}
