package entropy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ActionRequest asks for an action: the envelope, as it came. What is in it beyond
// the fields of [Event] and [ActionSpec] is kept.
type ActionRequest struct {
	Envelope json.RawMessage `json:"envelope"`
	// StoredAt is when it was stored where nobody can lose it any more, by the
	// server's clock: its TTL counts from there (H-7). Zero means now. What is sent
	// over HTTP has none.
	StoredAt time.Time `json:"-"`
}

// Asked is a request that was read and found in order.
type Asked struct {
	ID       ActionID
	Event    Event // without what it does not know
	Spec     ActionSpec
	Envelope json.RawMessage // all of it, compact
	Digest   string          // of what is asked: of its entity, tags and attrs, however they are written
	Priority int
	StoredAt time.Time
}

// Priorities that a request names by a word, in its tag "priority".
var actionPriorities = map[string]int{"": 0, "low": -10, "normal": 0, "high": 10}

// Limits of what a request repeats to itself.
const (
	maxActionKey    = 256 // bytes of an idempotency key, an entity or a correlation id
	maxActionTags   = 64
	maxNonRetryable = 100
	maxErrorKind    = 64 // bytes
)

// Read reads a request and reports everything that is wrong with it. now is the
// server's clock. CodeInvalid; CodeTooLarge.
func (r *ActionRequest) Read(now time.Time) (*Asked, error) {
	if len(r.Envelope) > MaxActionSize {
		return nil, Errorf(CodeTooLarge, "the request has %d bytes, at most %d are allowed", len(r.Envelope), MaxActionSize).
			WithHint("put large data where the executor can fetch it, and name the place in args")
	}
	if !utf8.Valid(r.Envelope) {
		return nil, Errorf(CodeInvalid, "the request is not UTF-8")
	}
	q, err := r.decode(now)
	if err != nil {
		return nil, err
	}
	if t := strings.ToLower(q.Event.Type); t != ActionRequestedType {
		return nil, Errorf(CodeInvalid, "the event_type is %q and not %s", cut(q.Event.Type), ActionRequestedType)
	}
	if err := q.check(); err != nil {
		return nil, err
	}
	if q.ID, err = NewActionID(&q.Event); err != nil {
		return nil, err
	}
	q.Digest, err = q.digest()
	return q, err
}

// decode reads a request without a look at what it says.
func (r *ActionRequest) decode(now time.Time) (*Asked, error) {
	q := &Asked{StoredAt: stored(now)}
	if at := stored(r.StoredAt); !r.StoredAt.IsZero() && at.Before(q.StoredAt) {
		q.StoredAt = at
	}
	if err := json.Unmarshal(r.Envelope, &q.Event); err != nil {
		return nil, Errorf(CodeInvalid, "the request is not an envelope: %s", jsonProblem(err)).WithHint("docs/ACTIONS.md has an example")
	}
	if len(q.Event.Attrs) == 0 {
		return nil, Errorf(CodeInvalid, "the request has no attrs").WithHint(`it says what is to be done there, as in {"command": "restart_job"}`)
	}
	if err := json.Unmarshal(q.Event.Attrs, &q.Spec); err != nil {
		return nil, Errorf(CodeInvalid, "attrs: %s", jsonProblem(err))
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, r.Envelope); err != nil {
		return nil, Errorf(CodeInvalid, "the request is not JSON: %v", err)
	}
	q.Envelope = compact.Bytes()
	q.Priority, _ = actionPriority(q.Event.Tags["priority"])
	return q, nil
}

// actionPriority reads the tag that says how urgent an action is.
func actionPriority(tag string) (int, bool) {
	if p, ok := actionPriorities[strings.ToLower(tag)]; ok {
		return p, true
	}
	n, err := strconv.Atoi(tag)
	if err != nil || n < MinPriority || n > MaxPriority {
		return 0, false
	}
	return n, true
}

// check reports what is wrong, in one [Error].
func (q *Asked) check() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	q.Spec.validate("attrs", bad)
	e := &q.Event
	for name, s := range map[string]string{"entity_id": e.EntityID, "idempotency_key": e.IdempotencyKey, "correlation_id": e.CorrelationID, "causation_id": e.CausationID} {
		if len(s) > maxActionKey {
			bad("%s has %d bytes, at most %d are allowed", name, len(s), maxActionKey)
		}
	}
	if len(e.Tags) > maxActionTags {
		bad("it has %d tags, at most %d are allowed", len(e.Tags), maxActionTags)
	}
	if t := e.Tags["tenant"]; t != "" {
		if err := ValidateID("tags.tenant", t); err != nil {
			bad("%w", err)
		}
	}
	if _, ok := actionPriority(e.Tags["priority"]); !ok {
		bad("tags.priority is %q; it is low, normal, high or a number in %d to %d", cut(e.Tags["priority"]), MinPriority, MaxPriority)
	}
	if len(problems) == 0 {
		return nil
	}
	return Errorf(CodeInvalid, "action: %s", strings.ReplaceAll(errors.Join(problems...).Error(), "\n", "; "))
}

// validate reports what is wrong with s, which stands at the place named.
func (s *ActionSpec) validate(at string, bad report) {
	if err := ValidateCommand(s.Command); err != nil {
		bad("%s: %w", at, err)
	}
	if a := bytes.TrimSpace(s.Args); len(a) > 0 && a[0] != '{' && !bytes.Equal(a, []byte("null")) {
		bad("%s.args is not an object", at)
	}
	for name, sec := range map[string]int64{"ttl_sec": s.TTL, "timeout_sec": s.Timeout, "heartbeat_sec": s.Heartbeat} {
		if sec < 0 || sec > int64(MaxTTL/time.Second) {
			bad("%s.%s is %d; it must lie between 0 and %d", at, name, sec, int64(MaxTTL/time.Second))
		}
	}
	if r := &s.Retry; r.Max < 0 || r.Max > MaxActionTries || r.Initial < 0 || r.Cap < 0 || r.Initial.D() > MaxTTL || r.Cap.D() > MaxTTL || len(r.NonRetryable) > maxNonRetryable {
		bad("%s.retry: max is from 0 to %d, initial and cap from 0 to %s, and non_retryable has at most %d kinds", at, MaxActionTries, MaxTTL, maxNonRetryable)
	}
	if s.OnFailure == nil {
		return
	}
	if at != "attrs" {
		bad("%s.on_failure: a compensation has none of its own", at)
		return
	}
	s.OnFailure.validate(at+".on_failure", bad)
}

// digest returns what tells two requests apart that have one key: the JSON of what
// is asked, its keys in order.
func (q *Asked) digest() (string, error) {
	d := json.NewDecoder(bytes.NewReader(q.Event.Attrs))
	d.UseNumber()
	var attrs any
	if err := d.Decode(&attrs); err != nil {
		return "", Errorf(CodeInvalid, "attrs: %s", jsonProblem(err))
	}
	b, err := json.Marshal(map[string]any{"entity_id": q.Event.EntityID, "tags": q.Event.Tags, "attrs": attrs})
	if err != nil {
		return "", Errorf(CodeInvalid, "attrs: %s", jsonProblem(err))
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:]), nil
}

// Key returns what names the request's idempotency key among all tenants', for an
// [OperationRecord]; "" when it has none.
func (q *Asked) Key() string {
	if q.Event.IdempotencyKey == "" {
		return ""
	}
	h := sha256.Sum256([]byte(q.Event.Tags["tenant"] + "\x00" + q.Event.IdempotencyKey))
	return "key-" + hex.EncodeToString(h[:24])
}

// TTLOrDefault returns how long after its storage the action must have been taken.
func (s *ActionSpec) TTLOrDefault() time.Duration {
	if s.TTL == 0 {
		return DefaultTTL
	}
	return time.Duration(s.TTL) * time.Second
}

// TimeoutOrDefault returns how long an attempt may take from its start.
func (s *ActionSpec) TimeoutOrDefault() time.Duration {
	if s.Timeout == 0 {
		return s.TTLOrDefault()
	}
	return time.Duration(s.Timeout) * time.Second
}

// Tries returns how many attempts there may be in all.
func (r *ActionRetry) Tries() int { return orDefaultInt(r.Max, DefaultActions) }

// delay returns how long to wait before the attempt that follows n ended ones.
func (r *ActionRetry) delay(n int, seed string) time.Duration {
	return RetryPolicy{Backoff: r.Initial, BackoffCap: r.Cap}.Delay(n, seed)
}

// reworded returns an envelope with some of its fields replaced, or left out where
// the value is nil; what else is in it stays.
func reworded(envelope json.RawMessage, fields map[string]any) (json.RawMessage, error) {
	all := make(map[string]json.RawMessage)
	if err := json.Unmarshal(envelope, &all); err != nil {
		return nil, fmt.Errorf("decode an envelope: %w", err)
	}
	for name, v := range fields {
		if v == nil {
			delete(all, name)
			continue
		}
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encode an envelope: %w", err)
		}
		all[name] = b
	}
	return json.Marshal(all)
}

// derivedActionID returns the ID of an action that another, or a dead letter, has
// for its cause: always the same.
func derivedActionID(why, of string) ActionID {
	h := sha256.Sum256([]byte(why + "\x00" + of))
	return ActionID("act-" + hex.EncodeToString(h[:16]))
}

// jsonProblem says in words of JSON what was wrong with a text, where the library
// speaks of Go.
func jsonProblem(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if e.Field == "" {
			return "it is a JSON " + e.Value + ", not an object"
		}
		return cut(e.Field) + " may not be a JSON " + cut(e.Value)
	}
	if e, ok := errors.AsType[*time.ParseError](err); ok {
		return "the time " + cut(e.Value) + " is not as in 2025-08-10T16:42:00Z"
	}
	return err.Error()
}
