package rule

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

// act is an action in the engine's memory, whoever asked for it. One that a rule
// brought about is there from the decision on, others from their request.
type act struct {
	id         entropy.ActionID
	command    string
	state      entropy.ActionState
	suggestion *entropy.Suggestion // nil: it is not one of the rules'
	since      time.Time           // it was decided about, or asked for
	started    time.Time           // zero: it has not
	ended      time.Time           // zero: it has not
	asked      bool                // its request is recorded
	judged     bool
	keys       []string // what it touches
}

// own reports whether a rule brought it about, by itself or through a person.
func (a *act) own() bool { return a.suggestion != nil }

// actAttrs is what the engine reads of an action's event.
type actAttrs struct {
	ActionID entropy.ActionID    `json:"action_id"`
	Command  string              `json:"command"`
	Target   string              `json:"target"`
	State    entropy.ActionState `json:"state"`
	Executor string              `json:"executor"`
	Request  json.RawMessage     `json:"request"`
	Result   json.RawMessage     `json:"result"`
}

// followAction takes an event of an action, in the order of the action's own events.
func (e *Engine) followAction(ev *entropy.Event) {
	var at actAttrs
	if json.Unmarshal(ev.Attrs, &at) != nil || at.ActionID == "" {
		return
	}
	a, ok := e.acts.get(at.ActionID)
	if !ok {
		if ev.Type != entropy.ActionRequestedType {
			return // its beginning is forgotten
		}
		a = &act{id: at.ActionID, command: at.Command, state: entropy.ActionRequested, since: ev.TS}
		var request struct {
			Attrs entropy.ActionSpec `json:"attrs"`
		}
		_ = json.Unmarshal(at.Request, &request) // what is of another shape touches nothing that is known
		e.acts.put(a.id, a)
		e.touchAll(a, at.Target, ev.CorrelationID, request.Attrs.Args)
	}
	a.asked = true
	if a.state.Terminal() {
		return // evidence, or a repetition
	}
	if at.State != "" {
		a.state = at.State
	}
	if at.Executor != "" {
		e.touch(a, "e:executor:"+at.Executor)
	}
	if ev.Type == entropy.ActionStartedType && a.started.IsZero() {
		a.started = ev.TS
	}
	if a.state.Terminal() {
		a.ended = ev.TS
		e.touchArgs(a, at.Result) // a job that was submitted anew
	}
}

// decided makes an act of a suggestion whose action is asked for.
func (e *Engine) decided(s *entropy.Suggestion, t time.Time) {
	if _, ok := e.acts.get(s.ActionID); ok {
		return
	}
	a := &act{id: s.ActionID, command: s.Command, state: entropy.ActionRequested, since: t, suggestion: s}
	e.acts.put(a.id, a)
	k := treatedBy(s)
	e.treatments[k] = append(e.treatments[k], a)
	e.unjudged = append(e.unjudged, a)
	e.touchAll(a, s.Target, s.CorrelationID, s.Args)
	e.touch(a, "e:"+s.Entity)
}

// treatedBy returns what the action of a suggestion is for.
func treatedBy(s *entropy.Suggestion) subject {
	return subject{s.Entity, s.Step, s.Channel, caseOf(s.CorrelationID)}
}

// touchAll notes what an action touches: entities (e:) and cases (c:).
func (e *Engine) touchAll(a *act, target, correlation string, args json.RawMessage) {
	e.touch(a, "c:"+string(a.id))
	e.touch(a, "e:action:"+a.command)
	if target != "" {
		e.touch(a, "e:"+target)
	}
	if correlation != "" {
		e.touch(a, "c:"+correlation)
	}
	if kind, id := entropy.SplitEntity(target); kind == entropy.KindJob {
		e.touch(a, "c:"+id)
	}
	e.touchArgs(a, args)
}

// touchArgs notes the jobs and the worker that args, or a result, name.
func (e *Engine) touchArgs(a *act, args json.RawMessage) {
	var of struct {
		JobID    string `json:"job_id"`
		NewJobID string `json:"new_job_id"`
		WorkerID string `json:"worker_id"`
	}
	_ = json.Unmarshal(args, &of) // what is of another shape touches nothing that is known
	for _, id := range []string{of.JobID, of.NewJobID} {
		if id != "" {
			e.touch(a, "e:job:"+id)
			e.touch(a, "c:"+id)
		}
	}
	if of.WorkerID != "" {
		e.touch(a, "e:worker:"+of.WorkerID)
	}
}

func (e *Engine) touch(a *act, key string) {
	if slices.Contains(a.keys, key) {
		return
	}
	a.keys = append(a.keys, key)
	e.touched[key] = append(e.touched[key], a)
}

// forgetAct lets go of an act that is the oldest of too many.
func (e *Engine) forgetAct(a *act) {
	isIt := func(b *act) bool { return a == b }
	for _, k := range a.keys {
		if e.touched[k] = slices.DeleteFunc(e.touched[k], isIt); len(e.touched[k]) == 0 {
			delete(e.touched, k)
		}
	}
	if s := a.suggestion; s != nil {
		k := treatedBy(s)
		if e.treatments[k] = slices.DeleteFunc(e.treatments[k], isIt); len(e.treatments[k]) == 0 {
			delete(e.treatments, k)
		}
		e.unjudged = slices.DeleteFunc(e.unjudged, isIt)
	}
}

// longestAct is how long an action that was not heard to end may have effects.
const longestAct = 24 * time.Hour

// working reports whether what happens at t may be an effect of the action on what
// it touches.
func (a *act) working(t time.Time, effect time.Duration) bool {
	if !a.since.Before(t) {
		return false
	}
	if a.ended.IsZero() || a.ended.After(t) {
		return t.Before(a.since.Add(longestAct))
	}
	return t.Before(a.ended.Add(effect))
}

// ownEffect reports whether a deviation at t may be the effect of an action that a
// rule brought about: of an entity that one touches, during the action and for a
// while after it; or of a case that one touches, or caused by one, at any time.
func (e *Engine) ownEffect(d *deviation, t time.Time) bool {
	for _, a := range e.touched["e:"+d.event.EntityID] {
		if a.own() && a.working(t, e.set.Effect) {
			return true
		}
	}
	if a, ok := e.acts.get(entropy.ActionID(d.event.CausationID)); ok && a.own() && a.since.Before(t) {
		return true
	}
	if s, ok := e.suggestions.get(d.event.CausationID); ok && s.At.Before(t) {
		return true
	}
	if c := d.event.CorrelationID; c != "" && e.ofOwn(c, t) {
		return true
	}
	return len(d.Cases) > 0 && !slices.ContainsFunc(d.Cases, func(c string) bool { return !e.ofOwn(c, t) })
}

// ofOwn reports whether a case is touched by an action that a rule brought about
// before t. The fabric's own cases name the job or the action between slashes.
func (e *Engine) ofOwn(item string, t time.Time) bool {
	own := func(c string) bool {
		return slices.ContainsFunc(e.touched["c:"+c], func(a *act) bool { return a.own() && a.since.Before(t) })
	}
	if own(item) {
		return true
	}
	if strings.Contains(item, "/") && !strings.HasPrefix(item, "win:") {
		for part := range strings.SplitSeq(item, "/") {
			if own(part) {
				return true
			}
		}
	}
	return false
}
