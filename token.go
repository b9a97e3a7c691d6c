package entropy

import (
	"encoding/json"
	"fmt"
	"time"
)

// The types of a token's events, and of an enrollment's.
const (
	TokenCreated      = "token.created"
	TokenUsed         = "token.used"    // a worker joined with it
	TokenRefused      = "token.refused" // it was tried for what it does not allow; for the audit
	TokenRevoked      = "token.revoked"
	TokenRotated      = "token.rotated"      // it has a new secret; the old one is good for a while
	EnrollmentMade    = "enrollment.made"    // a worker was let in
	EnrollmentRevoked = "enrollment.revoked" // its key is good for nothing any more
)

// TokenSchema is the schema number of the token and enrollment events written now.
const TokenSchema = 1

// TokenUse is what the events token.used, token.refused and token.revoked carry.
type TokenUse struct {
	Worker    WorkerID `json:"worker,omitempty"`
	KeyHash   string   `json:"key_hash,omitempty"` // of the key that was shown
	Reason    string   `json:"reason,omitempty"`
	Principal string   `json:"principal,omitempty"` // who revoked it
}

// NewToken returns the change that records a new token.
func NewToken(t Token) (Change, error) {
	t.Version = 1
	attrs, err := json.Marshal(&t)
	if err != nil {
		return Change{}, fmt.Errorf("encode token: %w", err)
	}
	return Change{Entity: Entity(KindToken, t.ID), State: &t,
		Events: []Event{{ID: NewID(), TS: t.CreatedAt, Type: TokenCreated, Source: fabricSource, Attrs: attrs, Schema: TokenSchema}}}, nil
}

// Change returns the change that one event makes of the token: TokenUsed,
// TokenRefused or TokenRevoked. The token itself is left as it is.
func (t *Token) Change(event string, use TokenUse, now time.Time) (Change, error) {
	attrs, err := json.Marshal(&use)
	if err != nil {
		return Change{}, fmt.Errorf("encode %s: %w", event, err)
	}
	return t.with(Event{ID: NewID(), TS: now.UTC().Truncate(time.Millisecond), Type: event, Source: fabricSource, Attrs: attrs, Schema: TokenSchema})
}

// tokenRotated is what the event token.rotated carries.
type tokenRotated struct {
	Hash      string    `json:"hash"` // of the new secret
	Beacon    string    `json:"beacon,omitempty"`
	OldUntil  time.Time `json:"old_until"`
	Principal string    `json:"principal"`
}

// Rotate returns the change that gives the token a new secret; the old one is good
// until a time. Hash and Beacon are those of next; see [Token].
func (t *Token) Rotate(hash, beacon string, until time.Time, principal string, now time.Time) (Change, error) {
	attrs, err := json.Marshal(tokenRotated{Hash: hash, Beacon: beacon, OldUntil: until, Principal: principal})
	if err != nil {
		return Change{}, fmt.Errorf("encode %s: %w", TokenRotated, err)
	}
	return t.with(Event{ID: NewID(), TS: now.UTC().Truncate(time.Millisecond), Type: TokenRotated, Source: fabricSource, Attrs: attrs, Schema: TokenSchema})
}

// with returns the change that an event makes of the token.
func (t *Token) with(e Event) (Change, error) {
	next := *t
	if err := next.Apply(e); err != nil {
		return Change{}, err
	}
	return Change{Entity: Entity(KindToken, t.ID), Expected: t.Version, Events: []Event{e}, Before: t, State: &next}, nil
}

// Live reports whether a secret with this hash is one of the token's at now: the
// newest, or the one before it while both are good.
func (t *Token) Live(hash string, now time.Time) bool {
	return t.Hash == hash || t.Former != nil && t.Former.Hash == hash && now.Before(t.Former.Until)
}

// Entity implements [Document].
func (t *Token) Entity() (id string, version uint64) { return Entity(KindToken, t.ID), t.Version }

// Apply makes t the token after e. On an error t is as it was.
func (t *Token) Apply(e Event) error {
	next := *t
	switch e.Type {
	case TokenCreated:
		if t.Version != 0 {
			return fmt.Errorf("token %s: created twice", t.ID)
		}
		if err := json.Unmarshal(e.Attrs, &next); err != nil {
			return fmt.Errorf("decode %s: %w", e.Type, err)
		}
		next.Version = 0
	case TokenUsed:
		next.Uses++
	case TokenRefused:
		next.Refused++
	case TokenRevoked:
		next.Revoked = true
	case TokenRotated:
		var a tokenRotated
		if err := json.Unmarshal(e.Attrs, &a); err != nil {
			return fmt.Errorf("decode %s: %w", e.Type, err)
		}
		next.Former = &FormerSecret{Hash: t.Hash, Beacon: t.Beacon, Until: a.OldUntil}
		next.Hash, next.Beacon = a.Hash, a.Beacon
	default:
		return fmt.Errorf("token %s: event %s is unknown", t.ID, e.Type)
	}
	if e.Type != TokenCreated && t.Version == 0 {
		return fmt.Errorf("token: event %s before it was created", e.Type)
	}
	next.Version++
	*t = next
	return nil
}

// State says whether the token is good for anything at now. An exhausted token
// still lets the workers back in that used it.
func (t *Token) State(now time.Time) TokenState {
	switch {
	case t.Revoked:
		return TokenIsRevoked
	case t.ExpiresAt != nil && !now.Before(*t.ExpiresAt):
		return TokenExpired
	case t.MaxUses > 0 && t.Uses >= t.MaxUses:
		return TokenExhausted
	}
	return TokenActive
}

// Info returns the token as lists show it at now.
func (t *Token) Info(now time.Time) TokenInfo {
	info := TokenInfo{ID: t.ID, Role: t.Role, State: t.State(now), Note: t.Note, Name: t.Name, Commands: t.Commands, Uses: t.Uses, MaxUses: t.MaxUses, Refused: t.Refused,
		CreatedAt: t.CreatedAt, CreatedBy: t.CreatedBy, ExpiresAt: t.ExpiresAt}
	if t.Former != nil && !t.Revoked && now.Before(t.Former.Until) {
		info.FormerUntil = &t.Former.Until
	}
	return info
}

// KindEnrollment is the entity kind of enrollments.
const KindEnrollment = "enrollment"

// Enrollment records that a worker was let in, under which key and by which token. It
// is written in the transaction that counts the token's use, so that neither is
// ever there without the other. It implements [Document].
type Enrollment struct {
	ID       WorkerID  `json:"id"`
	Version  uint64    `json:"version"`
	KeyHash  string    `json:"key_hash"`            // SHA-256 of the worker's key, hex
	Token    string    `json:"token"`               // the id of the join token; "" when it was paired
	PairedBy string    `json:"paired_by,omitempty"` // who confirmed its code; Principal.String
	Hostname string    `json:"hostname"`
	JoinedAt time.Time `json:"joined_at"`
	Revoked  bool      `json:"revoked,omitempty"`
}

// NewEnrollment returns the change that records a new enrollment.
func NewEnrollment(m Enrollment) (Change, error) {
	m.Version = 1
	attrs, err := json.Marshal(&m)
	if err != nil {
		return Change{}, fmt.Errorf("encode enrollment: %w", err)
	}
	return Change{Entity: Entity(KindEnrollment, string(m.ID)), State: &m,
		Events: []Event{{ID: NewID(), TS: m.JoinedAt, Type: EnrollmentMade, Source: fabricSource, Attrs: attrs, Schema: TokenSchema}}}, nil
}

// Revoke returns the change that ends the worker's key. M is left as it is.
func (m *Enrollment) Revoke(principal string, now time.Time) (Change, error) {
	attrs, err := json.Marshal(TokenUse{Worker: m.ID, KeyHash: m.KeyHash, Principal: principal})
	if err != nil {
		return Change{}, fmt.Errorf("encode %s: %w", EnrollmentRevoked, err)
	}
	e := Event{ID: NewID(), TS: now.UTC().Truncate(time.Millisecond), Type: EnrollmentRevoked, Source: fabricSource, Attrs: attrs, Schema: TokenSchema}
	next := *m
	if err := next.Apply(e); err != nil {
		return Change{}, err
	}
	return Change{Entity: Entity(KindEnrollment, string(m.ID)), Expected: m.Version, Events: []Event{e}, Before: m, State: &next}, nil
}

// Entity implements [Document].
func (m *Enrollment) Entity() (id string, version uint64) {
	return Entity(KindEnrollment, string(m.ID)), m.Version
}

// Apply makes m the enrollment after e. On an error m is as it was.
func (m *Enrollment) Apply(e Event) error {
	next := *m
	switch {
	case e.Type == EnrollmentMade && m.Version == 0:
		next = Enrollment{}
		if err := json.Unmarshal(e.Attrs, &next); err != nil {
			return fmt.Errorf("decode %s: %w", e.Type, err)
		}
		next.Version = 0
	case e.Type == EnrollmentRevoked && m.Version > 0:
		next.Revoked = true
	default:
		return fmt.Errorf("enrollment %s: event %s does not follow version %d", m.ID, e.Type, m.Version)
	}
	next.Version++
	*m = next
	return nil
}
