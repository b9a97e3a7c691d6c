package entropy

import (
	"encoding/json"
	"strings"
	"time"
)

// ReadActionReport reads what an executor says: the envelope of a report. The
// executor is the one whose credential said it. CodeInvalid; CodeTooLarge;
// CodeForbidden when it speaks for another.
func ReadActionReport(executor string, e *Event) (typ string, r ActionReport, err error) {
	typ = actionWord(e.Type)
	switch typ {
	case ActionAcceptedType, ActionStartedType, ActionProgressType, ActionSucceededType, ActionFailedType, ActionCanceledType:
	default:
		return typ, r, Errorf(CodeInvalid, "%q is nothing that an executor reports", cut(e.Type))
	}
	if err := ValidateID("the report's id", e.ID); err != nil {
		return typ, r, err
	}
	if len(e.Attrs) > MaxActionSize {
		return typ, r, Errorf(CodeTooLarge, "the report has %d bytes, at most %d are allowed", len(e.Attrs), MaxActionSize).
			WithHint("put a large result where others can fetch it, and report the place")
	}
	if err := json.Unmarshal(e.Attrs, &r); err != nil {
		return typ, r, Errorf(CodeInvalid, "attrs: %s", jsonProblem(err))
	}
	switch {
	case r.ActionID == "" || r.AttemptID == "":
		return typ, r, Errorf(CodeInvalid, "the report names no action_id or no attempt_id")
	case r.Executor != executor:
		return typ, r, Errorf(CodeForbidden, "%s reports as %q", executor, cut(r.Executor))
	case len(r.Kind) > maxErrorKind:
		return typ, r, Errorf(CodeInvalid, "kind has %d bytes, at most %d are allowed", len(r.Kind), maxErrorKind)
	case r.DurationMS < 0 || r.RetryAfter < 0 || r.RetryAfter > MaxTTL.Milliseconds():
		return typ, r, Errorf(CodeInvalid, "duration_ms and retry_after_ms must not be negative, and retry_after_ms at most %d", MaxTTL.Milliseconds())
	}
	r.Error, r.Message = cut(r.Error), cut(r.Message)
	if r.Percent != nil {
		*r.Percent = min(max(*r.Percent, 0), 100)
	}
	return typ, r, ValidateID("action id", string(r.ActionID))
}

// actionWord reads an event type or a state as others write it: in any case, and
// with two l.
func actionWord(s string) string {
	return strings.ReplaceAll(strings.ToLower(s), "cancel"+"led", "canceled")
}

// ParseActionState reads a state as a caller writes it. CodeInvalid.
func ParseActionState(s string) (ActionState, error) {
	for _, known := range ActionStates {
		if ActionState(actionWord(s)) == known {
			return known, nil
		}
	}
	return "", Errorf(CodeInvalid, "%q is not a state of an action", cut(s)).WithHint("the states are requested, awaiting_approval, accepted, started, retrying, succeeded, failed and canceled")
}

// Report judges what an executor says of an attempt (H-6): typ is the type of its
// envelope and id the envelope's ID. It returns the events of the decision and the
// verdict, which may be told once they are durable.
//
// The first executor that speaks of an attempt is bound to it; others are refused.
// A success counts whenever it comes before the action's end, also of an attempt
// that was given up. A failure counts for the live attempt only. Of the results of
// one attempt the first counts, and a repeat of it gets its answer again.
func (a *Action) Report(typ, id string, r ActionReport, now time.Time) ([]Event, ActionVerdict, error) {
	v := ActionVerdict{Report: id, ActionID: r.ActionID, AttemptID: r.AttemptID, Verdict: ReportAccepted}
	t := a.attempt(r.AttemptID)
	no := func(verdict, why string) ([]Event, ActionVerdict, error) {
		v.Verdict, v.Message = verdict, why
		return nil, v, nil
	}
	result := typ == ActionSucceededType || typ == ActionFailedType || typ == ActionCanceledType
	switch {
	case t == nil:
		return no(ReportRefused, "the action has no such attempt")
	case t.Executor != "" && t.Executor != r.Executor && typ == ActionAcceptedType:
		return no(ReportSuperseded, "another executor has it")
	case t.Executor != "" && t.Executor != r.Executor:
		return no(ReportRefused, "another executor is bound to this attempt")
	case result && t.Report != "":
		if t.Report == id {
			return no(t.Verdict, "")
		}
		return no(ReportSuperseded, "this attempt has reported its end before")
	case !result && t.EndedAt != nil:
		return no(ReportSuperseded, "this attempt is over: it is "+string(t.Outcome))
	case typ == ActionAcceptedType && t.StartedAt != nil:
		return no(ReportSuperseded, "it was started before")
	case t.EndedAt != nil:
		return a.late(typ, id, t, &r, v, now)
	}
	events, err := a.judge(typ, id, t, &r, now)
	switch {
	case err != nil:
		return nil, v, err
	case len(events) > 0 && events[len(events)-1].Type == ActionFailedType && !result: // it had expired
		v.Verdict, v.Message = ReportSuperseded, "its TTL is over"
	case !result:
		v.Cancel = a.CancelRequested
	}
	return events, v, nil
}

// judge decides about a word on the live attempt, from its executor or the first
// that speaks of it.
func (a *Action) judge(typ, id string, t *ActionAttempt, r *ActionReport, now time.Time) ([]Event, error) {
	at := actionAttrs{AttemptID: t.ID, Attempt: t.Number, Executor: r.Executor, Report: id, DurationMS: r.DurationMS}
	if t.Executor == "" {
		return a.bind(typ, id, r, at, now)
	}
	switch typ {
	case ActionStartedType:
		if t.StartedAt != nil {
			return nil, nil
		}
		return a.one(ActionStartedType, at, now)
	case ActionSucceededType:
		at.Outcome, at.Result = AttemptSucceeded, r.Result
		return a.one(ActionSucceededType, at, now)
	case ActionCanceledType:
		at.Outcome, at.Message = AttemptCanceled, orDefault(r.Message, r.Error)
		return a.one(ActionCanceledType, at, now)
	case ActionFailedType:
		return a.end(attemptEnd{attempt: t, outcome: AttemptFailed, kind: r.Kind, err: orDefault(r.Error, r.Message), report: id, durationMS: r.DurationMS,
			final: r.Final, after: time.Duration(r.RetryAfter) * time.Millisecond}, now)
	}
	return nil, nil // accepted again, or progress
}

// bind makes the executor that of the live attempt, and then follows what it says.
// Nobody may begin after the deadline; what was done before is done.
func (a *Action) bind(typ, id string, r *ActionReport, at actionAttrs, now time.Time) ([]Event, error) {
	begins := typ == ActionAcceptedType || typ == ActionStartedType || typ == ActionProgressType
	if begins && !now.Before(a.Deadline) {
		return a.expire(a.Live(), now)
	}
	at.DurationMS = 0
	events, err := a.one(ActionAcceptedType, at, now)
	if err != nil || typ == ActionAcceptedType {
		return events, err
	}
	bound, err := a.Next(events)
	if err != nil {
		return nil, err
	}
	more, err := bound.judge(typ, id, bound.Live(), r, now)
	return append(events, more...), err
}

// late decides about a result of an attempt that is over.
func (a *Action) late(typ, id string, t *ActionAttempt, r *ActionReport, v ActionVerdict, now time.Time) ([]Event, ActionVerdict, error) {
	at := actionAttrs{AttemptID: t.ID, Attempt: t.Number, Executor: r.Executor, Report: id, Late: true}
	if t.Executor == "" {
		v.Verdict, v.Message = ReportSuperseded, "this attempt was over before anybody took it"
		return nil, v, nil
	}
	if typ == ActionSucceededType && t.Outcome == AttemptLost && !a.State.Terminal() {
		at.Outcome, at.Result, at.DurationMS = AttemptSucceeded, r.Result, r.DurationMS
		events, err := a.one(ActionSucceededType, at, now)
		return events, v, err
	}
	v.Verdict, v.Message = ReportSuperseded, "this attempt is over: it is "+string(t.Outcome)
	at.Kind, at.Error, at.Message, at.State = r.Kind, orDefault(r.Error, r.Message), "reported "+typ, a.State
	events, err := a.one(ActionEvidenceType, at, now)
	return events, v, err
}
