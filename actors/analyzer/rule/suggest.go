package rule

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Component is what the source of the engine's events names.
const Component = "rules"

// maxKey is the most bytes that an action's request takes of an entity or a
// correlation id.
const maxKey = 256

func digest(prefix string, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return prefix + hex.EncodeToString(h.Sum(nil)[:16])
}

// suggestion returns what a rule makes of a deviation at t, before the guards. Its ID
// is that of the rule and the deviation, so that it is made once.
func (r *Rule) suggestion(d *deviation, v *env, t time.Time) (s *entropy.Suggestion, err error) {
	id := digest("", r.Name, d.event.ID)
	s = &entropy.Suggestion{ID: "sug-" + id, ActionID: entropy.ActionID("act-" + id), At: t.UTC(), Rule: r.Name, Mode: r.Mode,
		DeviationID: d.event.ID, CorrelationID: d.event.CorrelationID, Entity: d.event.EntityID, Step: d.Step, Channel: d.Channel, Bits: d.Bits,
		Command: r.Do.Command, Target: d.event.EntityID, Priority: r.Do.Priority, TTL: int64(r.Do.TTL / time.Second), Timeout: int64(r.Do.Timeout / time.Second),
		DryRun: r.Do.DryRun, Reversible: r.Reversible}
	if tenant := v.Tags["tenant"]; entropy.ValidateID("tenant", tenant) == nil {
		s.Tenant = tenant
	}
	if r.Do.entity != nil {
		if s.Target, err = r.Do.entity.string(v); err != nil {
			return nil, fmt.Errorf("entity: %w", err)
		}
	}
	if len(s.Target) > maxKey {
		return nil, fmt.Errorf("entity: it has %d bytes, an action takes %d", len(s.Target), maxKey)
	}
	if s.Args, err = r.Do.args.render(v); err != nil {
		return nil, fmt.Errorf("args: %w", err)
	}
	if s.Reason, err = r.Do.reason.string(v); err != nil {
		return nil, fmt.Errorf("reason: %w", err)
	}
	if s.Benefit, err = r.Do.benefit.string(v); err != nil {
		return nil, fmt.Errorf("benefit: %w", err)
	}
	return s, nil
}

// event returns an event of the engine's own.
func event(id, typ, entity, correlation, causation string, t time.Time, tags map[string]string, attrs any) entropy.Event {
	b, err := json.Marshal(attrs)
	if err != nil {
		panic(fmt.Sprintf("rule: encode %s: %v", typ, err)) // attrs are structs of plain values
	}
	return entropy.Event{ID: id, TS: t.UTC(), Type: typ, EntityID: entity, CorrelationID: correlation, CausationID: causation, IdempotencyKey: id,
		Source: entropy.Source{System: fabric, NS: map[string]string{"component": Component}}, Tags: tags, Attrs: b, Schema: 1}
}

func suggestionEvent(s *entropy.Suggestion) entropy.Event {
	tags := map[string]string{"rule": s.Rule, "mode": string(s.Mode), "action": s.Command}
	if s.Tenant != "" {
		tags["tenant"] = s.Tenant
	}
	return event(s.ID, entropy.SuggestedType, s.Entity, s.CorrelationID, s.DeviationID, s.At, tags, s)
}

// Request returns the request of a suggestion's action. Its id and its idempotency
// key follow from the rule and the deviation: asked for again, it is the same action.
func Request(s *entropy.Suggestion) (entropy.ActionRequest, error) {
	tags := map[string]string{"action": s.Command, "rule": s.Rule}
	if s.Priority != "" {
		tags["priority"] = s.Priority
	}
	if s.Tenant != "" {
		tags["tenant"] = s.Tenant
	}
	attrs, err := json.Marshal(&entropy.ActionSpec{Command: s.Command, Args: s.Args, TTL: s.TTL, Timeout: s.Timeout, DryRun: s.DryRun, Approval: s.Mode == entropy.RuleAsk})
	if err != nil {
		return entropy.ActionRequest{}, fmt.Errorf("encode the action of suggestion %s: %w", s.ID, err)
	}
	e := entropy.Event{ID: string(s.ActionID), TS: s.At, Type: entropy.ActionRequestedType, EntityID: s.Target, CausationID: s.DeviationID,
		IdempotencyKey: "rule:" + s.ID, Source: entropy.Source{System: fabric, NS: map[string]string{"component": Component}}, Tags: tags, Attrs: attrs}
	if len(s.CorrelationID) <= maxKey {
		e.CorrelationID = s.CorrelationID
	}
	if len(s.DeviationID) > maxKey {
		e.CausationID = s.ID
	}
	b, err := json.Marshal(&e)
	return entropy.ActionRequest{Envelope: b}, err
}

func (e *Engine) recallSuggestion(ev *entropy.Event) {
	s := new(entropy.Suggestion)
	if _, known := e.suggestions.get(ev.ID); known || json.Unmarshal(ev.Attrs, s) != nil || s.ID != ev.ID {
		return
	}
	s.State = entropy.SuggestionOpen
	acting := s.Mode == entropy.RuleAsk || s.Mode == entropy.RuleAct
	if acting {
		s.State = entropy.SuggestionRequested
	}
	e.suggestions.put(s.ID, s)
	if acting {
		e.decided(s, s.At)
	}
	e.note(firing{s.At, s.Rule, s.Entity, s.Target, acting})
}

// answer is the attrs of what became of a suggestion by a person, or because its
// action could not be asked for.
type answer struct {
	Suggestion string    `json:"suggestion_id"`
	At         time.Time `json:"at"`
	By         string    `json:"by,omitempty"`
	Message    string    `json:"message,omitempty"`
}

func (e *Engine) recallAnswer(ev *entropy.Event) {
	var a answer
	if json.Unmarshal(ev.Attrs, &a) != nil {
		return
	}
	s, ok := e.suggestions.get(a.Suggestion)
	if !ok || ev.Type != entropy.SuggestionRefusedType && s.State != entropy.SuggestionOpen {
		return
	}
	s.By, s.Message = a.By, a.Message
	switch ev.Type {
	case entropy.SuggestionAcceptedType:
		s.State = entropy.SuggestionRequested
		e.note(firing{a.At, s.Rule, s.Entity, s.Target, true})
		e.decided(s, a.At)
	case entropy.SuggestionDismissedType:
		s.State = entropy.SuggestionDismissed
	default:
		s.State = entropy.SuggestionRefused
	}
}

func (e *Engine) answer(typ string, s *entropy.Suggestion, by, message string, t time.Time) Order {
	o := Order{Event: event(digest("ans-", typ, s.ID), typ, s.Entity, s.CorrelationID, s.ID, t, map[string]string{"rule": s.Rule}, answer{s.ID, t.UTC(), by, message})}
	e.Recall(&o.Event)
	return o
}

func (e *Engine) answerable(id string, t time.Time) (*entropy.Suggestion, error) {
	s, ok := e.suggestions.get(id)
	if !ok {
		return nil, entropy.Errorf(entropy.CodeNotFound, "there is no suggestion %.100q", id).WithHint("entropy suggestions lists them")
	}
	if s.State == entropy.SuggestionOpen && t.Sub(s.At) > entropy.SuggestionTTL {
		return nil, entropy.Errorf(entropy.CodeConflict, "the suggestion %s is older than %v", id, entropy.SuggestionTTL).
			WithHint("look whether it is still wanted, and ask for the action itself: entropy actions request")
	}
	return s, nil
}

// Accept has the action of a suggestion asked for, in the name of a person. No
// orders mean that it was before. CodeNotFound; CodeConflict.
func (e *Engine) Accept(id, by string, t time.Time) (entropy.Suggestion, []Order, error) {
	s, err := e.answerable(id, t)
	switch {
	case err != nil:
		return entropy.Suggestion{}, nil, err
	case s.State == entropy.SuggestionRequested:
		return e.shown(s, t), nil, nil
	case s.State != entropy.SuggestionOpen:
		return entropy.Suggestion{}, nil, entropy.Errorf(entropy.CodeConflict, "the suggestion %s is %s", id, s.State).
			WithHint("entropy actions request asks for an action without one")
	}
	o := e.answer(entropy.SuggestionAcceptedType, s, by, "", t)
	o.Ask = s
	return e.shown(s, t), []Order{o}, nil
}

// Dismiss says that a suggestion is not wanted. No orders mean that it was before.
// CodeNotFound; CodeConflict.
func (e *Engine) Dismiss(id, by string, t time.Time) (entropy.Suggestion, []Order, error) {
	s, err := e.answerable(id, t)
	switch {
	case err != nil:
		return entropy.Suggestion{}, nil, err
	case s.State == entropy.SuggestionDismissed:
		return e.shown(s, t), nil, nil
	case s.State != entropy.SuggestionOpen:
		return entropy.Suggestion{}, nil, entropy.Errorf(entropy.CodeConflict, "the suggestion %s is %s: its action was asked for", id, s.State).
			WithHint("entropy actions cancel %s stops it", s.ActionID)
	}
	o := e.answer(entropy.SuggestionDismissedType, s, by, "", t)
	return e.shown(s, t), []Order{o}, nil
}

// Refused says that the action of a suggestion could not be asked for, and never will.
func (e *Engine) Refused(id, why string, t time.Time) []Order {
	s, ok := e.suggestions.get(id)
	if !ok || s.State == entropy.SuggestionRefused {
		return nil
	}
	return []Order{e.answer(entropy.SuggestionRefusedType, s, "", cut(why, MaxText), t)}
}

// Unasked returns the suggestions whose actions are to be asked for and, as far as is
// known, were not, for when the control plane stopped in between. Those that are older than what their
// action may wait are refused: what was right then need not be now.
func (e *Engine) Unasked(t time.Time) (orders []Order) {
	var old []*entropy.Suggestion
	e.suggestions.each(func(_ string, s *entropy.Suggestion) bool {
		if a, ok := e.acts.get(s.ActionID); !ok || a.asked || s.State != entropy.SuggestionRequested {
			return true
		}
		if ttl := (&entropy.ActionSpec{TTL: s.TTL}).TTLOrDefault(); t.Sub(s.At) > max(ttl, entropy.DefaultTTL) && s.By == "" {
			old = append(old, s)
			return true
		}
		orders = append(orders, Order{Event: suggestionEvent(s), Ask: s}) // it is recorded: the event changes nothing
		return true
	})
	for _, s := range old {
		orders = append(orders, e.answer(entropy.SuggestionRefusedType, s, "", "the control plane stopped before its action was asked for, and was away too long", t))
	}
	return orders
}
