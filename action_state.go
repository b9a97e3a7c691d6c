package entropy

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Action is one thing that somebody asked to be done, once. It is a [Document]: the
// fold of its events, and only its actor writes them.
//
// Invariant: at most one attempt lasts, and it is the last. Once the state is
// terminal, nothing but evidence is added.
type Action struct {
	ID      ActionID     `json:"id"`
	Version uint64       `json:"version"`
	State   ActionState  `json:"state"`
	Reason  ActionReason `json:"reason,omitempty"`  // of a failure
	Message string       `json:"message,omitempty"` // for people

	Spec           ActionSpec        `json:"spec"`
	Request        json.RawMessage   `json:"request,omitempty"` // the envelope, with what is not known here
	Digest         string            `json:"digest"`            // of what is asked
	Target         string            `json:"entity_id,omitempty"`
	Tenant         string            `json:"tenant,omitempty"`
	Tags           map[string]string `json:"tags,omitempty"`
	Priority       int               `json:"priority,omitempty"`
	CorrelationID  string            `json:"correlation_id,omitempty"`
	CausationID    string            `json:"causation_id,omitempty"`
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
	Principal      string            `json:"principal,omitempty"`   // who asked for it
	Compensates    ActionID          `json:"compensates,omitempty"` // the action whose failure this one makes good

	CreatedAt  time.Time  `json:"created_at"`
	StoredAt   time.Time  `json:"stored_at"` // the TTL counts from here, by the server's clock
	Deadline   time.Time  `json:"deadline"`  // after it, no attempt may be accepted
	StartedAt  *time.Time `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`

	Approver        string          `json:"approver,omitempty"` // who approved or rejected it
	Attempts        []ActionAttempt `json:"attempts,omitempty"`
	RetryAt         *time.Time      `json:"retry_at,omitempty"` // not before then
	CancelRequested bool            `json:"cancel_requested,omitempty"`
	Result          json.RawMessage `json:"result,omitempty"`
}

// ActionAttempt is one issue of an action.
type ActionAttempt struct {
	ID         AttemptID      `json:"attempt_id"`
	Number     int            `json:"attempt"` // from 1
	IssuedAt   time.Time      `json:"issued_at"`
	Executor   string         `json:"executor,omitempty"` // bound; "" while nobody has accepted it
	AcceptedAt *time.Time     `json:"accepted_at"`
	StartedAt  *time.Time     `json:"started_at"`
	EndedAt    *time.Time     `json:"ended_at"` // nil while it lasts
	Outcome    AttemptOutcome `json:"outcome,omitempty"`
	Kind       string         `json:"kind,omitempty"` // of a failure or a loss, for the taxonomy
	Error      string         `json:"error,omitempty"`
	DurationMS int64          `json:"duration_ms,omitempty"`
	// Report is the ID of the report that said how it ended, also when that came too
	// late to count, and Verdict the answer, which a repeat gets again.
	Report  string `json:"report,omitempty"`
	Verdict string `json:"verdict,omitempty"`
	Late    bool   `json:"late,omitempty"` // its report came after it was given up
}

// AttemptOutcome is how an attempt of an action ended.
type AttemptOutcome string

// The outcomes of attempts.
const (
	AttemptSucceeded  AttemptOutcome = "succeeded"
	AttemptFailed     AttemptOutcome = "failed"
	AttemptCanceled   AttemptOutcome = "canceled"
	AttemptLost       AttemptOutcome = "lost"       // its executor did not keep to a time
	AttemptSuperseded AttemptOutcome = "superseded" // an earlier attempt succeeded after all
	AttemptUntaken    AttemptOutcome = "untaken"    // the action ended before anybody accepted it
)

// ActionReason says why an action failed.
type ActionReason string

// The reasons.
const (
	FailedExpired   ActionReason = "expired"   // nobody had taken it when its TTL was over
	FailedRejected  ActionReason = "rejected"  // by a human
	FailedFinal     ActionReason = "final"     // of an error that no other attempt would cure
	FailedExhausted ActionReason = "exhausted" // it has had all its attempts
)

// The kinds of errors that the fabric itself finds.
const (
	KindTimeout     = "timeout"      // it took longer than timeout_sec
	KindNoHeartbeat = "no_heartbeat" // no word for heartbeat_sec
	KindNotStarted  = "not_started"  // accepted, and not started within ActionStartWithin
)

// ActionStartWithin is how long an executor has from its acceptance to say that it
// has started.
const ActionStartWithin = 30 * time.Second

// ActionSchema is the schema number of the action events written now.
const ActionSchema = 1

// actionAttrs is what the events of an action carry.
type actionAttrs struct {
	ActionID ActionID    `json:"action_id"`
	Command  string      `json:"command"`
	Target   string      `json:"target,omitempty"` // the entity that the request names
	State    ActionState `json:"state"`            // after it
	DryRun   bool        `json:"dry_run,omitempty"`

	Request     json.RawMessage `json:"request,omitempty"`
	Digest      string          `json:"digest,omitempty"`
	StoredAt    *time.Time      `json:"stored_at,omitempty"`
	Compensates ActionID        `json:"compensates,omitempty"`

	AttemptID  AttemptID       `json:"attempt_id,omitempty"`
	Attempt    int             `json:"attempt,omitempty"`
	Executor   string          `json:"executor,omitempty"`
	Report     string          `json:"report,omitempty"`
	Outcome    AttemptOutcome  `json:"outcome,omitempty"`
	Reason     ActionReason    `json:"reason,omitempty"`
	Kind       string          `json:"kind,omitempty"`
	Error      string          `json:"error,omitempty"`
	DurationMS int64           `json:"duration_ms,omitempty"`
	Result     json.RawMessage `json:"result,omitempty"`
	RetryAt    *time.Time      `json:"retry_at,omitempty"`
	Late       bool            `json:"late,omitempty"`

	Message   string `json:"message,omitempty"`
	Principal string `json:"principal,omitempty"`
	Operation string `json:"operation_id,omitempty"`
}

// Live returns the attempt that lasts, or nil.
func (a *Action) Live() *ActionAttempt {
	if n := len(a.Attempts); n > 0 && a.Attempts[n-1].EndedAt == nil {
		return &a.Attempts[n-1]
	}
	return nil
}

// attempt returns an attempt by its ID, or nil.
func (a *Action) attempt(id AttemptID) *ActionAttempt {
	for i := range a.Attempts {
		if a.Attempts[i].ID == id {
			return &a.Attempts[i]
		}
	}
	return nil
}

// Entity implements [Document].
func (a *Action) Entity() (id string, version uint64) {
	return Entity(KindAction, string(a.ID)), a.Version
}

// Next returns the action after events, leaving a as it is; a may be nil, of an
// action that is new.
func (a *Action) Next(events []Event) (*Action, error) {
	n := new(Action)
	if a != nil {
		*n = *a
	}
	for _, e := range events {
		if err := n.Apply(e); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Apply makes a the action after e. On an error a is as it was.
func (a *Action) Apply(e Event) error {
	var at actionAttrs
	if err := json.Unmarshal(e.Attrs, &at); err != nil {
		return fmt.Errorf("decode %s: %w", e.Type, err)
	}
	to, ok := NextActionState(a.State, e.Type, at.State)
	if !ok || to != at.State {
		return fmt.Errorf("action %s: event %s to %s does not follow state %s", a.ID, e.Type, at.State, orDefault(string(a.State), "none"))
	}
	n := *a
	n.Attempts = slices.Clone(a.Attempts)
	if err := n.follow(&e, &at); err != nil {
		return fmt.Errorf("action %s: event %s: %w", at.ActionID, e.Type, err)
	}
	n.Version, n.State = a.Version+1, to
	if to.Terminal() && n.FinishedAt == nil {
		n.FinishedAt, n.RetryAt = new(e.TS), nil
	}
	*a = n
	return nil
}

func (a *Action) follow(e *Event, at *actionAttrs) error {
	switch e.Type {
	case ActionRequestedType:
		return a.begin(e, at)
	case ActionApprovedType:
		a.Approver = at.Principal
		return nil
	case ActionIssuedType:
		if a.Live() != nil || at.AttemptID == "" || at.Attempt != len(a.Attempts)+1 {
			return fmt.Errorf("attempt %d, %q, cannot be issued", at.Attempt, at.AttemptID)
		}
		a.Attempts = append(a.Attempts, ActionAttempt{ID: at.AttemptID, Number: at.Attempt, IssuedAt: e.TS})
		a.RetryAt = nil
		return nil
	case ActionCancelRequestedType:
		a.CancelRequested, a.Message = true, at.Message
		return nil
	case ActionAcceptedType, ActionStartedType:
		return a.followBegin(e, at)
	}
	return a.followEnd(e, at)
}

// begin makes a the action that a request asks for.
func (a *Action) begin(e *Event, at *actionAttrs) error {
	if at.StoredAt == nil {
		return fmt.Errorf("it does not say when it was stored")
	}
	q, err := (&ActionRequest{Envelope: at.Request, StoredAt: *at.StoredAt}).decode(e.TS)
	if err != nil {
		return err
	}
	*a = Action{ID: at.ActionID, Spec: q.Spec, Request: q.Envelope, Digest: at.Digest, Target: q.Event.EntityID, Tenant: q.Event.Tags["tenant"],
		Tags: q.Event.Tags, Priority: q.Priority, CorrelationID: q.Event.CorrelationID, CausationID: q.Event.CausationID,
		IdempotencyKey: q.Event.IdempotencyKey, Principal: at.Principal, Compensates: at.Compensates,
		CreatedAt: e.TS, StoredAt: q.StoredAt, Deadline: q.StoredAt.Add(q.Spec.TTLOrDefault())}
	return nil
}

func (a *Action) followBegin(e *Event, at *actionAttrs) error {
	l := a.Live()
	if l == nil || l.ID != at.AttemptID || at.Executor == "" {
		return fmt.Errorf("attempt %q of %q is not live", at.AttemptID, at.Executor)
	}
	if e.Type == ActionAcceptedType {
		if l.Executor != "" {
			return fmt.Errorf("attempt %s is bound to %s", l.ID, l.Executor)
		}
		l.Executor, l.AcceptedAt = at.Executor, new(e.TS)
		return nil
	}
	if l.Executor != at.Executor {
		return fmt.Errorf("attempt %s is bound to %q, not to %s", l.ID, l.Executor, at.Executor)
	}
	l.StartedAt = new(e.TS)
	if a.StartedAt == nil {
		a.StartedAt = l.StartedAt
	}
	return nil
}

// followEnd follows what ends an attempt, or the action, or is only evidence.
func (a *Action) followEnd(e *Event, at *actionAttrs) error {
	t := a.attempt(at.AttemptID)
	if at.AttemptID != "" && t == nil {
		return fmt.Errorf("there is no attempt %q", at.AttemptID)
	}
	live := a.Live()
	switch {
	case e.Type == ActionEvidenceType:
		if t == nil || t.EndedAt == nil || t.Report != "" {
			return fmt.Errorf("evidence of attempt %q is not wanted", at.AttemptID)
		}
		t.Report, t.Verdict, t.Late = at.Report, ReportSuperseded, true
		t.Kind, t.Error = orDefault(at.Kind, t.Kind), orDefault(at.Error, t.Error)
		return nil
	case t != nil && at.Late:
		if e.Type != ActionSucceededType || t.Outcome != AttemptLost || t.Report != "" {
			return fmt.Errorf("attempt %s cannot succeed late", t.ID)
		}
	case t != live:
		return fmt.Errorf("attempt %q is not the live one", at.AttemptID)
	}
	if t != nil {
		t.EndedAt, t.Outcome, t.Kind, t.Error, t.Late = new(e.TS), at.Outcome, at.Kind, at.Error, at.Late
		t.Report, t.DurationMS = at.Report, at.DurationMS
		if at.Report != "" {
			t.Verdict = ReportAccepted
		}
	}
	if live != nil && live != t {
		live.EndedAt, live.Outcome = new(e.TS), AttemptSuperseded
	}
	a.Reason, a.Message, a.RetryAt, a.Result = at.Reason, orDefault(at.Message, at.Error), at.RetryAt, at.Result
	if at.Reason == FailedRejected {
		a.Approver = at.Principal
	}
	return nil
}

// Summary returns the action as a listing shows it: without its envelope, its args
// and its result, and with only its last attempt.
func (a *Action) Summary() *Action {
	s := *a
	s.Request, s.Result, s.Spec.Args, s.Spec.OnFailure = nil, nil, nil, nil
	if n := len(s.Attempts); n > 1 {
		s.Attempts = s.Attempts[n-1:]
	}
	return &s
}
