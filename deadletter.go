package entropy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// KindDeadLetter is the entity kind of a [DeadLetter].
const KindDeadLetter = "deadletter"

// The types of a dead letter's events.
const (
	DeadLetterAdded    = "deadletter.added"
	DeadLetterReplayed = "deadletter.replayed"
	DeadLetterDropped  = "deadletter.dropped"
)

// DeadLetterSchema is the schema number of the events written now.
const DeadLetterSchema = 1

// MaxDeadLetter bounds what is kept of a message that could not be understood, in
// bytes.
const MaxDeadLetter = 64 << 10

// DeadLetter is what nothing more is done about by itself: an action that failed,
// or a message that could not be understood. It is a [Document].
type DeadLetter struct {
	ID      string          `json:"id"` // of an action: the action's
	Version uint64          `json:"version"`
	State   DeadLetterState `json:"state"`
	At      time.Time       `json:"at"`
	Reason  string          `json:"reason"` // an [ActionReason], or "unprocessable"
	Message string          `json:"message,omitempty"`

	// Of an action.
	Action        ActionID `json:"action_id,omitempty"`
	Command       string   `json:"command,omitempty"`
	Target        string   `json:"entity_id,omitempty"`
	Tenant        string   `json:"tenant,omitempty"`
	CorrelationID string   `json:"correlation_id,omitempty"`

	// Of a message.
	Subject string `json:"subject,omitempty"` // where it came in
	Raw     []byte `json:"raw,omitempty"`     // its first MaxDeadLetter bytes; base64 in JSON
	Size    int    `json:"size,omitempty"`    // of the whole message

	Principal string     `json:"principal,omitempty"` // who replayed or dropped it
	ClosedAt  *time.Time `json:"closed_at"`
	Replay    ActionID   `json:"replay,omitempty"` // the action that was asked for again
}

// DeadLetterState is where a dead letter stands.
type DeadLetterState string

// The states of a dead letter.
const (
	DeadLetterOpen  DeadLetterState = "open"
	DeadLetterAgain DeadLetterState = "replayed"
	DeadLetterGone  DeadLetterState = "dropped"
)

// Unprocessable is the reason of a dead letter that is no action.
const Unprocessable = "unprocessable"

type deadLetterAttrs struct {
	Letter    *DeadLetter `json:"letter,omitempty"`
	Replay    ActionID    `json:"replay,omitempty"`
	Message   string      `json:"message,omitempty"`
	Principal string      `json:"principal,omitempty"`
	Operation string      `json:"operation_id,omitempty"`
}

// NewDeadLetter returns the dead letter of a message that came in on a subject and
// could not be processed. The same message has the same ID.
func NewDeadLetter(subject string, raw []byte, why error) *DeadLetter {
	h := sha256.New()
	h.Write([]byte(subject + "\x00"))
	h.Write(raw)
	return &DeadLetter{ID: "msg-" + hex.EncodeToString(h.Sum(nil)[:16]), Reason: Unprocessable, Message: cut(AsError(why).Error()),
		Subject: cut(subject), Raw: raw[:min(len(raw), MaxDeadLetter)], Size: len(raw)}
}

// DeadLetter returns the dead letter of an action that has failed, or nil: nobody
// has to look after one that a human rejected, or after a dry run.
func (a *Action) DeadLetter() *DeadLetter {
	if a.State != ActionFailed || a.Reason == FailedRejected || a.Spec.DryRun {
		return nil
	}
	return &DeadLetter{ID: string(a.ID), Reason: string(a.Reason), Message: a.Message, Action: a.ID, Command: a.Spec.Command, Target: a.Target,
		Tenant: a.Tenant, CorrelationID: a.CorrelationID}
}

// Add returns what records the dead letter.
func (d *DeadLetter) Add(now time.Time) ([]Event, error) {
	return d.one(DeadLetterAdded, deadLetterAttrs{Letter: d}, now)
}

// Drop returns what records that nobody wants it any more. No events mean that it
// was dropped before. CodeConflict when it was replayed.
func (d *DeadLetter) Drop(principal string, op Operation, now time.Time) ([]Event, error) {
	switch d.State {
	case DeadLetterGone:
		return nil, nil
	case DeadLetterAgain:
		return nil, Errorf(CodeConflict, "the dead letter %s was replayed as action %s", d.ID, d.Replay)
	}
	return d.one(DeadLetterDropped, deadLetterAttrs{Principal: principal, Operation: op.ID, Message: cut(op.Reason)}, now)
}

// Replayed returns what records that it was asked for again, as an action. No
// events mean that this was recorded before. CodeConflict when it was dropped.
func (d *DeadLetter) Replayed(as ActionID, principal string, op Operation, now time.Time) ([]Event, error) {
	switch d.State {
	case DeadLetterAgain:
		return nil, nil
	case DeadLetterGone:
		return nil, Errorf(CodeConflict, "the dead letter %s was dropped", d.ID)
	}
	return d.one(DeadLetterReplayed, deadLetterAttrs{Replay: as, Principal: principal, Operation: op.ID, Message: cut(op.Reason)}, now)
}

func (d *DeadLetter) one(typ string, at deadLetterAttrs, now time.Time) ([]Event, error) {
	attrs, err := json.Marshal(&at)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", typ, err)
	}
	return []Event{{ID: NewID(), TS: stored(now), Type: typ, CorrelationID: d.CorrelationID, CausationID: string(d.Action), IdempotencyKey: at.Operation,
		Source: fabricSource, Attrs: attrs, Schema: DeadLetterSchema}}, nil
}

// ReplayRequest returns the request that asks again for what a dead letter is about;
// a is its action, nil for a message. It has an ID of its own, always the same, and
// no idempotency key: that of the first stands for the first outcome. CodeInvalid
// when the message was cut.
func (d *DeadLetter) ReplayRequest(a *Action) (ActionRequest, error) {
	if a == nil {
		if d.Size > len(d.Raw) {
			return ActionRequest{}, Errorf(CodeInvalid, "only the first %d of the message's %d bytes were kept", len(d.Raw), d.Size).WithHint("send it again yourself")
		}
		return ActionRequest{Envelope: d.Raw}, nil
	}
	envelope, err := reworded(a.Request, map[string]any{"id": derivedActionID("replay", d.ID), "idempotency_key": nil, "causation_id": string(a.ID)})
	return ActionRequest{Envelope: envelope}, err
}

// Compensation returns what asks for the compensation of an action that has failed,
// or nil when there is none. The policy lets it through, or not, as any other.
func (a *Action) Compensation(rule func(command string) CommandPolicy, now time.Time) (id ActionID, events []Event, err error) {
	if a.State != ActionFailed || a.Reason == FailedRejected || a.Spec.OnFailure == nil || a.Spec.DryRun {
		return "", nil, nil
	}
	id = derivedActionID("compensation", string(a.ID))
	envelope, err := reworded(a.Request, map[string]any{"id": id, "ts": stored(now), "idempotency_key": nil, "causation_id": string(a.ID),
		"correlation_id": orDefault(a.CorrelationID, string(a.ID)), "attrs": a.Spec.OnFailure, "source": fabricSource})
	if err != nil {
		return "", nil, err
	}
	q, err := (&ActionRequest{Envelope: envelope}).Read(now)
	if err != nil {
		return "", nil, err
	}
	policy := rule(q.Spec.Command)
	ask, err := policy.admit(&q.Spec)
	if err != nil {
		return "", nil, err
	}
	events, err = q.created(ask, a.Principal, a.ID, now)
	return id, events, err
}

// Entity implements [Document].
func (d *DeadLetter) Entity() (id string, version uint64) {
	return Entity(KindDeadLetter, d.ID), d.Version
}

// Next returns the dead letter after events, leaving d as it is; d may be nil.
func (d *DeadLetter) Next(events []Event) (*DeadLetter, error) {
	n := new(DeadLetter)
	if d != nil {
		*n = *d
	}
	for _, e := range events {
		if err := n.Apply(e); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Apply makes d the dead letter after e. On an error d is as it was.
func (d *DeadLetter) Apply(e Event) error {
	var at deadLetterAttrs
	if err := json.Unmarshal(e.Attrs, &at); err != nil {
		return fmt.Errorf("decode %s: %w", e.Type, err)
	}
	open := d.State == DeadLetterOpen
	switch {
	case e.Type == DeadLetterAdded && d.Version == 0 && at.Letter != nil:
		*d = *at.Letter
		d.Version, d.State, d.At = 1, DeadLetterOpen, e.TS
		return nil
	case e.Type == DeadLetterReplayed && open:
		d.State, d.Replay = DeadLetterAgain, at.Replay
	case e.Type == DeadLetterDropped && open:
		d.State, d.Raw = DeadLetterGone, nil // nobody needs it any more, and it may be large
	default:
		return fmt.Errorf("dead letter %s: event %s at version %d does not follow", d.ID, e.Type, d.Version)
	}
	d.Version++
	d.Principal, d.ClosedAt = at.Principal, new(e.TS)
	return nil
}
