package entropy

// The types of an action's events, beside those that executors report. Those of
// the second group leave the state as it is.
const (
	ActionRequestedType = "action.requested"
	ActionApprovedType  = "action.approved"
	ActionRetryingType  = "action.retrying"

	ActionIssuedType          = "action.issued"           // its order was given to the executors of the command
	ActionCancelRequestedType = "action.cancel_requested" // its executor is asked to end it
	ActionEvidenceType        = "action.evidence"         // a report that was judged and not applied
)

// ActionTransition is one row of the table of actions.
type ActionTransition struct {
	From  ActionState // "" before the action exists
	Event string
	To    ActionState
	Note  string
}

// ActionTransitions is the only source of which event may follow which state of an
// action. Every pair that is not in it is refused. docs/LIFECYCLE.md is generated
// from it.
var ActionTransitions = []ActionTransition{
	{"", ActionRequestedType, ActionRequested, ""},
	{"", ActionRequestedType, ActionAwaiting, "the request, or the policy of its command, asks for approval"},
	{ActionAwaiting, ActionApprovedType, ActionRequested, "by another than who asked for it"},
	{ActionRequested, ActionAcceptedType, ActionAccepted, "the first executor to accept the order is bound"},
	{ActionRetrying, ActionAcceptedType, ActionAccepted, "of the next attempt"},
	{ActionAccepted, ActionStartedType, ActionStarted, ""},
	{ActionAccepted, ActionRetryingType, ActionRetrying, "it failed, or was not started in time"},
	{ActionStarted, ActionRetryingType, ActionRetrying, "it failed or went silent, and attempts remain"},

	{ActionAccepted, ActionSucceededType, ActionSucceeded, "the word that it was started is still on its way"},
	{ActionStarted, ActionSucceededType, ActionSucceeded, ""},
	{ActionRetrying, ActionSucceededType, ActionSucceeded, "a late success of an attempt that was given up"},

	{ActionAwaiting, ActionFailedType, ActionFailed, "rejected, or expired"},
	{ActionRequested, ActionFailedType, ActionFailed, "expired: nobody took it within its TTL"},
	{ActionRetrying, ActionFailedType, ActionFailed, "expired"},
	{ActionAccepted, ActionFailedType, ActionFailed, ""},
	{ActionStarted, ActionFailedType, ActionFailed, ""},

	{ActionAwaiting, ActionCanceledType, ActionCanceled, ""},
	{ActionRequested, ActionCanceledType, ActionCanceled, "no executor has it"},
	{ActionRetrying, ActionCanceledType, ActionCanceled, "no executor has it"},
	{ActionAccepted, ActionCanceledType, ActionCanceled, "its executor confirms, or its time is over"},
	{ActionStarted, ActionCanceledType, ActionCanceled, "its executor confirms, or its time is over"},

	// Facts that leave the state as it is.
	{ActionRequested, ActionIssuedType, ActionRequested, "attempt += 1, fresh attempt id"},
	{ActionRetrying, ActionIssuedType, ActionRetrying, "the backoff is over; attempt += 1"},
	{ActionAccepted, ActionCancelRequestedType, ActionAccepted, ""},
	{ActionStarted, ActionCancelRequestedType, ActionStarted, ""},
	{ActionAccepted, ActionEvidenceType, ActionAccepted, "an attempt that was given up has failed after all"},
	{ActionStarted, ActionEvidenceType, ActionStarted, ""},
	{ActionRetrying, ActionEvidenceType, ActionRetrying, ""},
	{ActionSucceeded, ActionEvidenceType, ActionSucceeded, ""},
	{ActionFailed, ActionEvidenceType, ActionFailed, "a result that came after the end"},
	{ActionCanceled, ActionEvidenceType, ActionCanceled, ""},
}

// ActionEventTypes lists every event type of an action, in the order of the table.
var ActionEventTypes = []string{
	ActionRequestedType, ActionApprovedType, ActionIssuedType, ActionAcceptedType, ActionStartedType, ActionRetryingType,
	ActionSucceededType, ActionFailedType, ActionCanceledType, ActionCancelRequestedType, ActionEvidenceType,
}

// ActionStates lists every state in the order of an action's life.
var ActionStates = []ActionState{ActionRequested, ActionAwaiting, ActionAccepted, ActionStarted, ActionRetrying, ActionSucceeded, ActionFailed, ActionCanceled}

var actionNext = func() moves[ActionState] {
	m := make(moves[ActionState], len(ActionTransitions))
	for _, t := range ActionTransitions {
		m.add(t.From, t.Event, t.To)
	}
	return m
}()

// NextActionState returns the state that the table gives for event in state from.
// A request has two; want chooses between them and is ignored otherwise. It
// reports false for a pair that is not in the table.
func NextActionState(from ActionState, event string, want ActionState) (ActionState, bool) {
	return actionNext.next(from, event, want)
}
