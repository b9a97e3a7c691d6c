package entropy

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Event is the one envelope every fact is written in. The same bytes are
// journaled, published and analyzed.
type Event struct {
	ID             string            `json:"id"`
	Seq            uint64            `json:"seq,omitempty"` // position in the journal, gapless; assigned at commit
	TS             time.Time         `json:"ts"`            // wall clock, informational; never orders anything
	Type           string            `json:"event_type"`
	EntityID       string            `json:"entity_id"`         // "<kind>:<id>"
	Version        uint64            `json:"version,omitempty"` // position in the entity's stream, from 1, gapless
	CorrelationID  string            `json:"correlation_id,omitempty"`
	CausationID    string            `json:"causation_id,omitempty"`
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
	Source         Source            `json:"source"`
	Tags           map[string]string `json:"tags,omitempty"`
	Attrs          json.RawMessage   `json:"attrs,omitempty"`
	Schema         int               `json:"schema"`
}

// Source says which system and which part of it stated the fact.
type Source struct {
	System string            `json:"system"`
	NS     map[string]string `json:"ns,omitempty"`
}

// The entity kinds of the fabric's own events.
const (
	KindJob    = "job"
	KindWorker = "worker"
	KindToken  = "token"
)

// Entity returns the entity id of an entity: "<kind>:<id>".
func Entity(kind, id string) string { return kind + ":" + id }

// SplitEntity returns the kind and the id of an entity id.
func SplitEntity(entity string) (kind, id string) {
	kind, id, _ = strings.Cut(entity, ":")
	return kind, id
}

// Position is a place in the journal. Epoch rises at every promotion or
// restore, so positions of two histories are never confused.
type Position struct {
	Epoch uint64
	Seq   uint64
}

// String formats p as "epoch:seq", the form of Last-Event-ID.
func (p Position) String() string { return fmt.Sprintf("%d:%d", p.Epoch, p.Seq) }

// ParsePosition reads "epoch:seq".
func ParsePosition(s string) (Position, error) {
	e, q, ok := strings.Cut(s, ":")
	epoch, err1 := strconv.ParseUint(e, 10, 64)
	seq, err2 := strconv.ParseUint(q, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return Position{}, Errorf(CodeInvalid, "%q is not a position", s).WithHint("write EPOCH:SEQ, as in 1:42")
	}
	return Position{Epoch: epoch, Seq: seq}, nil
}

// Change is what one entity contributes to an append: its new events and its
// state after them, from which the journal writes projections in the same
// transaction.
type Change struct {
	Entity   string  // entity id
	Expected uint64  // the entity's version before Events; a mismatch is a conflict
	Events   []Event // ID, TS, Type, Attrs set by the caller; EntityID, Version and Seq by the journal
	Before   any     // the state before Events; nil or a zero state when the entity is new
	State    any     // *Job, *Worker or *Token after Events; nobody may change it once handed over

	// Operation, when set, is recorded in the same transaction and must be new
	// for its principal, else the whole append is a conflict.
	Operation *OperationRecord
}

// OperationRecord remembers that a principal's operation was carried out.
type OperationRecord struct {
	Principal string // Principal.String
	ID        string // chosen by the caller, unique per principal
	Digest    string // of what was asked: a repeat with another digest is a conflict
	Entity    string // what it acted on or made
}
