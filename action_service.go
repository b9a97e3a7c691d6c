package entropy

import (
	"context"
	"slices"
	"time"
)

// ActionService is the part of [Service] that is about actions.
type ActionService interface {
	// RequestAction asks for an action, once: the same ID, or the same idempotency
	// key of a tenant, always means the same action, which is then returned as a
	// duplicate. It returns when the request is durable. CodeInvalid; CodeTooLarge;
	// CodeConflict when it was asked for before with another content; CodeForbidden
	// when the policy of the command refuses it.
	RequestAction(ctx context.Context, r ActionRequest) (ActionResult, error)
	// Action returns one action, with how far its executor says it has come.
	// CodeNotFound.
	Action(ctx context.Context, id ActionID) (ActionInfo, error)
	// Actions lists actions, the newest first, each as [Action.Summary] gives it.
	Actions(ctx context.Context, f ActionFilter) (ActionPage, error)
	// WaitAction blocks until the action has ended, or max has passed, and returns it
	// as it is then. CodeNotFound.
	WaitAction(ctx context.Context, id ActionID, max time.Duration) (ActionInfo, error)
	// SetAction approves, rejects or cancels an action. One that an executor has is
	// canceled when that confirms it or its times are over. Repeating it is
	// harmless. CodeInvalid; CodeNotFound; CodeConflict when it has ended, or waits
	// for no approval; CodeForbidden when who asked for it approves it.
	SetAction(ctx context.Context, id ActionID, verb ActionVerb, op Operation) (ActionInfo, error)

	// DeadLetters lists what nothing more is done about by itself, by ID.
	DeadLetters(ctx context.Context, f DeadLetterFilter) (DeadLetterPage, error)
	// DeadLetter returns one. CodeNotFound.
	DeadLetter(ctx context.Context, id string) (*DeadLetter, error)
	// ReplayDeadLetter asks again, as a new action whose cause is the old one.
	// Repeating it is harmless. CodeNotFound; CodeConflict when it was dropped;
	// CodeInvalid when it still cannot be understood; CodeForbidden.
	ReplayDeadLetter(ctx context.Context, id string, op Operation) (ActionResult, error)
	// DropDeadLetter forgets one. Repeating it is harmless. CodeNotFound;
	// CodeConflict when it was replayed.
	DropDeadLetter(ctx context.Context, id string, op Operation) (*DeadLetter, error)
}

// ActionResult is the outcome of a request.
type ActionResult struct {
	Action    ActionInfo `json:"action"`
	Duplicate bool       `json:"duplicate"` // it was asked for before, and this is how it stands
}

// ActionInfo is an action and how far its executor says it has come.
type ActionInfo struct {
	Action
	Progress *ActionProgress `json:"progress"` // nil: it has said nothing, or not since the control plane started
}

// ActionProgress is the last word of an executor on its way. It is kept in memory.
type ActionProgress struct {
	AttemptID AttemptID `json:"attempt_id"`
	Percent   *float64  `json:"percent"`
	Message   string    `json:"message,omitempty"`
	At        time.Time `json:"at"`
}

// ActionFilter selects actions. Zero fields select all.
type ActionFilter struct {
	States  []ActionState `json:"states,omitempty"`
	Command string        `json:"command,omitempty"`
	Tenant  string        `json:"tenant,omitempty"`
	Target  string        `json:"entity_id,omitempty"`
	Limit   int           `json:"limit,omitempty"`  // 0 means 100, at most MaxBatch
	Cursor  string        `json:"cursor,omitempty"` // Next of the page before
}

// Selects reports whether the filter selects an action, whatever its Limit and Cursor.
func (f *ActionFilter) Selects(a *Action) bool {
	return (len(f.States) == 0 || slices.Contains(f.States, a.State)) && (f.Command == "" || f.Command == a.Spec.Command) &&
		(f.Tenant == "" || f.Tenant == a.Tenant) && (f.Target == "" || f.Target == a.Target)
}

// ActionPage is one page of a listing.
type ActionPage struct {
	Actions []*Action `json:"actions"`
	Next    string    `json:"next,omitempty"` // "" on the last page
}

// DeadLetterFilter selects dead letters. The zero value selects the open ones.
type DeadLetterFilter struct {
	All     bool   `json:"all,omitempty"` // those too that were replayed or dropped
	Command string `json:"command,omitempty"`
	Limit   int    `json:"limit,omitempty"`  // 0 means 100, at most MaxBatch
	Cursor  string `json:"cursor,omitempty"` // Next of the page before
}

// Selects reports whether the filter selects a dead letter.
func (f *DeadLetterFilter) Selects(d *DeadLetter) bool {
	return (f.All || d.State == DeadLetterOpen) && (f.Command == "" || f.Command == d.Command) && d.ID > f.Cursor
}

// DeadLetterPage is one page of a listing.
type DeadLetterPage struct {
	Letters []*DeadLetter `json:"letters"`
	Next    string        `json:"next,omitempty"` // "" on the last page
}
