package entropy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// KindAction is the entity kind of an [Action].
const KindAction = "action"

// ActionID names an action. It is the ID of the event that asked for it, else
// derived from the tenant and the idempotency key; see [NewActionID].
type ActionID string

// AttemptID names one issue of an action to the executors of its command. It is
// the fence: what an executor reports carries it.
type AttemptID string

// ActionState is where an action stands.
type ActionState string

// The states of an action. The last three are terminal.
const (
	ActionRequested ActionState = "requested"         // it is recorded, and issued when its turn comes
	ActionAwaiting  ActionState = "awaiting_approval" // a human has to approve it first
	ActionAccepted  ActionState = "accepted"          // one executor has taken it
	ActionStarted   ActionState = "started"           // that executor carries it out
	ActionRetrying  ActionState = "retrying"          // an attempt failed, another follows after the backoff
	ActionSucceeded ActionState = "succeeded"
	ActionFailed    ActionState = "failed"
	ActionCanceled  ActionState = "canceled"
)

// Terminal reports whether nothing follows s.
func (s ActionState) Terminal() bool {
	return s == ActionSucceeded || s == ActionFailed || s == ActionCanceled
}

// Limits of actions.
const (
	MaxActionSize   = 256 << 10 // bytes of a request's envelope, and of a result
	MaxCommandName  = 64        // bytes
	DefaultTTL      = 10 * time.Minute
	MaxTTL          = 30 * 24 * time.Hour
	DefaultActions  = 1 // attempts, when the request does not say
	MaxActionTries  = 100
	MaxCompensation = 1 // an on_failure has no on_failure of its own
)

// ActionSpec is what an action is asked to do: the attrs of its
// "action.requested" envelope. What is not known here is kept in the envelope.
type ActionSpec struct {
	Command   string          `json:"command"`                 // who executes: see [ValidateCommand]
	Args      json.RawMessage `json:"args,omitempty"`          // an object, for the executor
	TTL       int64           `json:"ttl_sec,omitempty"`       // seconds within which it must have been started; 0 means 600
	Timeout   int64           `json:"timeout_sec,omitempty"`   // seconds from start to end of an attempt; 0 means the TTL
	Heartbeat int64           `json:"heartbeat_sec,omitempty"` // seconds between two words of the executor; 0 means none is asked
	Retry     ActionRetry     `json:"retry,omitzero"`
	DryRun    bool            `json:"dry_run,omitempty"`    // the executor says what it would do, and does nothing
	Approval  bool            `json:"approval,omitempty"`   // ask a human first, even if the policy does not
	OnFailure *ActionSpec     `json:"on_failure,omitempty"` // compensation: requested when this one has failed
}

// ActionRetry says how often an action is tried. The zero value: once.
type ActionRetry struct {
	Max          int      `json:"max,omitempty"`           // attempts in all; 0 means 1
	Initial      Duration `json:"initial,omitzero"`        // before the second attempt; 0 means 1 s, doubling
	Cap          Duration `json:"cap,omitzero"`            // 0 means 5 min
	NonRetryable []string `json:"non_retryable,omitempty"` // error kinds that fail it at once
}

// NewActionID returns the ID of the action that an envelope asks for (H-6): the
// event's ID when it is one, else derived from tenant and idempotency key.
// CodeInvalid when it has neither.
func NewActionID(e *Event) (ActionID, error) {
	if e.ID != "" {
		if err := ValidateID("event id", e.ID); err != nil {
			return "", err
		}
		return ActionID(e.ID), nil
	}
	if e.IdempotencyKey == "" {
		return "", Errorf(CodeInvalid, "the request has neither an id nor an idempotency_key").
			WithHint("give it an idempotency_key that names what is to be done once, as in act:restart:job:abc123:1691685720")
	}
	h := sha256.Sum256([]byte(e.Tags["tenant"] + "\x00" + e.IdempotencyKey))
	return ActionID("act-" + hex.EncodeToString(h[:16])), nil
}

// ValidateCommand reports whether s may name a command: 1 to 64 letters, digits,
// '_' and '-'. It becomes a token of a subject, so nothing else is accepted.
func ValidateCommand(s string) error {
	if s == "" {
		return Errorf(CodeInvalid, "the command is missing").WithHint("name it in attrs.command, as in restart_job")
	}
	if len(s) > MaxCommandName {
		return Errorf(CodeInvalid, "the command is %d bytes long, at most %d are allowed", len(s), MaxCommandName)
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != '_' && (c == '.' || !idByte(c, false)) {
			return Errorf(CodeInvalid, "the command %q may hold letters, digits, '_' and '-'", cut(s))
		}
	}
	return nil
}

// ActionOrder is what is issued to the executors of a command: the attrs of the
// envelope on "actions.requested.<command>". Its event type is "action.requested",
// its entity_id, tags and idempotency_key are those of the request.
type ActionOrder struct {
	ActionID    ActionID        `json:"action_id"`
	AttemptID   AttemptID       `json:"attempt_id"`
	Attempt     int             `json:"attempt"` // from 1
	Command     string          `json:"command"`
	Args        json.RawMessage `json:"args,omitempty"`
	DryRun      bool            `json:"dry_run,omitempty"`
	RemainingMS int64           `json:"remaining_ms"`           // of the TTL, when it was issued: it must have been started by then
	TimeoutMS   int64           `json:"timeout_ms"`             // from start to end
	HeartbeatMS int64           `json:"heartbeat_ms,omitempty"` // between two words; 0: none is asked
}

// ActionReport is what an executor says of an attempt: the attrs of an envelope of
// the types below, on "actions.progress.<executor>" or, when it ends the attempt,
// on "actions.result.<executor>". The envelope's ID names the report.
type ActionReport struct {
	ActionID  ActionID  `json:"action_id"`
	AttemptID AttemptID `json:"attempt_id"`
	Executor  string    `json:"executor"` // must be the one that the subject names

	Percent    *float64        `json:"percent,omitempty"` // of action.progress
	Message    string          `json:"message,omitempty"`
	Result     json.RawMessage `json:"result,omitempty"` // of action.succeeded
	DurationMS int64           `json:"duration_ms,omitempty"`
	Error      string          `json:"error,omitempty"`          // of action.failed
	Kind       string          `json:"kind,omitempty"`           // of action.failed: a word for the taxonomy, as in timeout
	Final      bool            `json:"final,omitempty"`          // of action.failed: do not retry
	RetryAfter int64           `json:"retry_after_ms,omitempty"` // of action.failed: not sooner than that
}

// The types of the events that executors report.
const (
	ActionAcceptedType  = "action.accepted"  // it would like to carry it out: it may when the verdict is accepted
	ActionStartedType   = "action.started"   // it has begun
	ActionProgressType  = "action.progress"  // it is alive, and this far; never journaled
	ActionSucceededType = "action.succeeded" // ends the attempt
	ActionFailedType    = "action.failed"    // ends the attempt
	ActionCanceledType  = "action.canceled"  // ends the attempt, as it was asked to
)

// ActionVerdict answers a report, on "actions.verdict.<executor>", after what it
// says is durable. An executor keeps a report until then, and repeats it.
type ActionVerdict struct {
	Report    string    `json:"report"` // ID of the report's envelope
	ActionID  ActionID  `json:"action_id"`
	AttemptID AttemptID `json:"attempt_id"`
	Verdict   string    `json:"verdict"` // one of the verdicts below
	Cancel    bool      `json:"cancel,omitempty"`
	Message   string    `json:"message,omitempty"` // why not
}

// The verdicts on a report.
const (
	ReportAccepted   = "accepted"   // go on, or forget it: it is recorded
	ReportSuperseded = "superseded" // another attempt or executor has it, or it has ended: stop, and forget it
	ReportRefused    = "refused"    // it is not understood or not yours: forget it
)
