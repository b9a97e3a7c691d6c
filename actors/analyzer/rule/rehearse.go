package rule

import (
	"encoding/json"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Rehearsal is what rules would have done.
type Rehearsal struct {
	Suggestions []entropy.Suggestion `json:"suggestions"` // in the order they were made
	Report      entropy.RuleReport   `json:"report"`      // as it stands after the last row
}

// rehearsed is how long an action is taken to last, which succeeds.
const rehearsed = time.Minute

// Rehearse says what rules would have done about rows, by time, each action having
// succeeded a minute after it was asked for.
func Rehearse(s *Set, rows []Row) Rehearsal {
	e := New(s)
	out := Rehearsal{Suggestions: []entropy.Suggestion{}}
	var coming []Row
	follow := func(orders []Order, at time.Time) {
		for _, o := range orders {
			if o.Event.Type == entropy.SuggestedType {
				made, _ := e.Suggestion(o.Event.ID, at)
				out.Suggestions = append(out.Suggestions, made)
			}
			if o.Ask != nil {
				coming = append(coming, actionRow(o.Ask, entropy.ActionStartedType, entropy.ActionStarted, at), actionRow(o.Ask, entropy.ActionSucceededType, entropy.ActionSucceeded, at.Add(rehearsed)))
			}
		}
	}
	var last time.Time
	for _, r := range rows {
		for len(coming) > 0 && !coming[0].At.After(r.At) {
			next := coming[0]
			coming = coming[1:]
			follow(e.Apply(next, true), next.At)
		}
		follow(e.Apply(r, true), r.At)
		last = r.At
	}
	end := last.Add(longestHold)
	for _, r := range coming {
		follow(e.Apply(r, true), r.At)
	}
	follow(e.Advance(end, true), end)
	out.Report = e.Report(last)
	return out
}

// longestHold is the longest that a rule may wait for.
const longestHold = 24 * time.Hour

func actionRow(s *entropy.Suggestion, typ string, state entropy.ActionState, at time.Time) Row {
	attrs, _ := json.Marshal(map[string]any{"action_id": s.ActionID, "command": s.Command, "target": s.Target, "state": state}) // plain values
	return Row{at, entropy.Event{ID: string(s.ActionID) + typ, TS: at, Type: typ, EntityID: entropy.Entity(entropy.KindAction, string(s.ActionID)),
		Source: entropy.Source{System: fabric}, Attrs: attrs}}
}
