package entropy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// This file says what becomes of an action: by a caller's wish, and by time. What
// executors report is judged in action_report.go. Each method returns the events of
// the decision; none means that nothing changes.

// Create returns what records the action that was asked for; old is the one of its
// ID, or nil. No events mean that it is there already. CodeConflict when another is;
// CodeForbidden when the policy does not let it through.
func (q *Asked) Create(old *Action, rule CommandPolicy, principal string, now time.Time) ([]Event, error) {
	if old != nil {
		if old.Digest == q.Digest {
			return nil, nil
		}
		return nil, Errorf(CodeConflict, "the action %s was asked for before with another content", old.ID).
			WithHint("give another wish another id, or another idempotency_key")
	}
	ask, err := rule.admit(&q.Spec)
	if err != nil {
		return nil, err
	}
	return q.created(ask, principal, "", now)
}

func (q *Asked) created(ask bool, principal string, compensates ActionID, now time.Time) ([]Event, error) {
	at := actionAttrs{State: ActionRequested, Request: q.Envelope, Digest: q.Digest, StoredAt: &q.StoredAt, Compensates: compensates, Principal: principal}
	if ask {
		at.State = ActionAwaiting
	}
	a := &Action{ID: q.ID, Spec: q.Spec, Target: q.Event.EntityID, CorrelationID: q.Event.CorrelationID, CausationID: q.Event.CausationID,
		IdempotencyKey: q.Event.IdempotencyKey, Tags: q.Event.Tags}
	return a.one(ActionRequestedType, at, now)
}

// one returns the event of a decision. Every event of an action carries what
// correlates it with the request.
func (a *Action) one(typ string, at actionAttrs, now time.Time) ([]Event, error) {
	at.ActionID, at.Command, at.Target, at.DryRun = a.ID, a.Spec.Command, a.Target, a.Spec.DryRun
	if at.State == "" {
		to, ok := NextActionState(a.State, typ, "")
		if !ok {
			return nil, fmt.Errorf("action %s: no event %s in state %s", a.ID, typ, a.State)
		}
		at.State = to
	}
	attrs, err := json.Marshal(&at)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", typ, err)
	}
	cause := a.CausationID
	if typ != ActionRequestedType {
		cause = orDefault(at.Report, string(a.ID))
	}
	return []Event{{ID: NewID(), TS: stored(now), Type: typ, CorrelationID: a.CorrelationID, CausationID: cause, IdempotencyKey: a.IdempotencyKey,
		Source: fabricSource, Tags: a.Tags, Attrs: attrs, Schema: ActionSchema}}, nil
}

// ActionVerb is what SetAction does.
type ActionVerb string

// The verbs.
const (
	ActionApprove ActionVerb = "approve" // it may be carried out
	ActionReject  ActionVerb = "reject"  // it ends as failed, rejected
	ActionCancel  ActionVerb = "cancel"  // it ends as canceled, once no executor carries it out any more
)

// Set returns what carries out a verb. No events mean that it was carried out
// already. CodeConflict; CodeForbidden when who asked for the action approves it.
func (a *Action) Set(verb ActionVerb, principal string, op Operation, now time.Time) ([]Event, error) {
	at := actionAttrs{Principal: principal, Operation: op.ID, Message: cut(op.Reason)}
	switch verb {
	case ActionCancel:
		return a.cancel(at, now)
	case ActionApprove, ActionReject:
	default:
		return nil, Errorf(CodeInvalid, "%q is nothing that can be done to an action", cut(string(verb))).WithHint("it is approve, reject or cancel")
	}
	switch {
	case verb == ActionApprove && a.Approver != "" && a.Reason != FailedRejected,
		verb == ActionReject && a.Reason == FailedRejected:
		return nil, nil
	case a.State != ActionAwaiting:
		return nil, Errorf(CodeConflict, "action %s is %s and waits for no approval", a.ID, a.State)
	case verb == ActionReject:
		at.Reason = FailedRejected
		return a.one(ActionFailedType, at, now)
	case principal == a.Principal:
		return nil, Errorf(CodeForbidden, "%s asked for this action and cannot approve it", orDefault(principal, "nobody")).
			WithHint("it takes another credential: entropy token create makes one")
	case !now.Before(a.Deadline):
		return nil, Errorf(CodeConflict, "action %s has expired", a.ID).WithHint("ask for it again")
	}
	return a.one(ActionApprovedType, at, now)
}

func (a *Action) cancel(at actionAttrs, now time.Time) ([]Event, error) {
	switch l := a.Live(); {
	case a.State == ActionCanceled, a.CancelRequested && !a.State.Terminal():
		return nil, nil
	case a.State.Terminal():
		return nil, Errorf(CodeConflict, "action %s has ended: it is %s", a.ID, a.State)
	case l != nil && l.Executor != "":
		return a.one(ActionCancelRequestedType, at, now)
	case l != nil:
		at.AttemptID, at.Attempt, at.Outcome = l.ID, l.Number, AttemptUntaken
	}
	return a.one(ActionCanceledType, at, now)
}

// Ready reports whether an order could be issued now: it waits for nothing but its
// turn.
func (a *Action) Ready(now time.Time) bool {
	return (a.State == ActionRequested || a.State == ActionRetrying) && a.Live() == nil && now.Before(a.Deadline) && (a.RetryAt == nil || !now.Before(*a.RetryAt))
}

// Issue returns what records that an order is given under a fresh attempt id. No
// events mean that it is not [Action.Ready].
func (a *Action) Issue(attempt AttemptID, now time.Time) ([]Event, error) {
	if !a.Ready(now) {
		return nil, nil
	}
	return a.one(ActionIssuedType, actionAttrs{AttemptID: attempt, Attempt: len(a.Attempts) + 1}, now)
}

// Order returns the order of the live attempt while nobody has accepted it: what is
// issued to the executors, and the envelope it travels in, whose ID is the
// attempt's, so that a repeat is known as one. Else it reports false.
func (a *Action) Order(now time.Time) (ActionOrder, Event, bool) {
	l := a.Live()
	if l == nil || l.Executor != "" || !now.Before(a.Deadline) {
		return ActionOrder{}, Event{}, false
	}
	o := ActionOrder{ActionID: a.ID, AttemptID: l.ID, Attempt: l.Number, Command: a.Spec.Command, Args: a.Spec.Args, DryRun: a.Spec.DryRun,
		RemainingMS: a.Deadline.Sub(now).Milliseconds(), TimeoutMS: a.Spec.TimeoutOrDefault().Milliseconds(), HeartbeatMS: a.Spec.Heartbeat * 1000}
	attrs, err := json.Marshal(&o)
	if err != nil {
		return ActionOrder{}, Event{}, false // its args are JSON: they were read
	}
	return o, Event{ID: string(l.ID), TS: stored(now), Type: ActionRequestedType, EntityID: a.Target, CorrelationID: a.CorrelationID,
		CausationID: string(a.ID), IdempotencyKey: a.IdempotencyKey, Source: fabricSource, Tags: a.Tags, Attrs: attrs, Schema: ActionSchema}, true
}

// WakeAt returns when time changes something about the action; zero: never. Heard
// is when its executor last said something.
func (a *Action) WakeAt(heard time.Time) time.Time {
	l := a.Live()
	switch {
	case a.State.Terminal():
		return time.Time{}
	case l == nil || l.Executor == "":
		return a.Deadline
	}
	at := l.AcceptedAt.Add(ActionStartWithin)
	if l.StartedAt != nil {
		at = l.StartedAt.Add(a.Spec.TimeoutOrDefault())
	}
	if beat := a.nextWord(l, heard); !beat.IsZero() && beat.Before(at) {
		at = beat
	}
	return at
}

// nextWord returns until when the executor of an attempt must say something; zero
// when no heartbeat is asked for.
func (a *Action) nextWord(l *ActionAttempt, heard time.Time) time.Time {
	if a.Spec.Heartbeat == 0 {
		return time.Time{}
	}
	last := *l.AcceptedAt
	if l.StartedAt != nil {
		last = *l.StartedAt
	}
	if heard.After(last) {
		last = heard
	}
	return last.Add(time.Duration(a.Spec.Heartbeat) * time.Second)
}

// Wake returns what time has brought: the end of the TTL, or of an attempt whose
// executor did not keep to its times.
func (a *Action) Wake(heard, now time.Time) ([]Event, error) {
	at := a.WakeAt(heard)
	if at.IsZero() || now.Before(at) {
		return nil, nil
	}
	l := a.Live()
	if l == nil || l.Executor == "" {
		return a.expire(l, now)
	}
	end := attemptEnd{attempt: l, outcome: AttemptLost}
	beat := a.nextWord(l, heard)
	switch {
	case !beat.IsZero() && !now.Before(beat):
		end.kind, end.err = KindNoHeartbeat, "no word from "+l.Executor+" for "+strconv.FormatInt(a.Spec.Heartbeat, 10)+" s"
	case l.StartedAt == nil:
		end.kind, end.err = KindNotStarted, l.Executor+" accepted it and did not start it within "+ActionStartWithin.String()
	default:
		end.kind, end.err = KindTimeout, "it took longer than "+a.Spec.TimeoutOrDefault().String()
	}
	return a.end(end, now)
}

func (a *Action) expire(l *ActionAttempt, now time.Time) ([]Event, error) {
	at := actionAttrs{Reason: FailedExpired, Message: "nobody took it within " + a.Spec.TTLOrDefault().String()}
	switch {
	case a.State == ActionAwaiting:
		at.Message = "nobody approved it within " + a.Spec.TTLOrDefault().String()
	case len(a.Attempts) > 1 || len(a.Attempts) == 1 && l == nil: // it was tried, and has failed
		at.Reason, at.Message = FailedExhausted, "its TTL ended before another attempt; the last: "+a.Message
		at.Message = cut(at.Message)
	}
	if l != nil {
		at.AttemptID, at.Attempt, at.Outcome = l.ID, l.Number, AttemptUntaken
	}
	return a.one(ActionFailedType, at, now)
}

// attemptEnd is how the live attempt ended otherwise than in success.
type attemptEnd struct {
	attempt    *ActionAttempt
	outcome    AttemptOutcome
	kind, err  string
	report     string
	durationMS int64
	final      bool
	after      time.Duration // not retried sooner
}

// end decides what follows an attempt that did not succeed.
func (a *Action) end(x attemptEnd, now time.Time) ([]Event, error) {
	at := actionAttrs{AttemptID: x.attempt.ID, Attempt: x.attempt.Number, Executor: x.attempt.Executor, Report: x.report, Outcome: x.outcome,
		Kind: x.kind, Error: x.err, DurationMS: x.durationMS}
	n := len(a.Attempts)
	retryAt := stored(now.Add(max(a.Spec.Retry.delay(n, string(a.ID)), x.after)))
	switch {
	case a.CancelRequested:
		at.Message = cut("canceled; its last attempt: " + x.err)
		return a.one(ActionCanceledType, at, now)
	case x.final || slices.Contains(a.Spec.Retry.NonRetryable, x.kind) && x.kind != "":
		at.Reason = FailedFinal
	case n >= a.Spec.Retry.Tries():
		at.Reason = FailedExhausted
	case !retryAt.Before(a.Deadline):
		at.Reason, at.Message = FailedExhausted, cut("its TTL ends before another attempt; the last: "+x.err)
	default:
		at.RetryAt = &retryAt
		return a.one(ActionRetryingType, at, now)
	}
	return a.one(ActionFailedType, at, now)
}
