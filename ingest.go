package entropy

import (
	"context"
	"encoding/json"
	"time"
)

// Limits of what comes from outside.
const (
	MaxIngest      = 1000      // items of one call
	MaxObservation = 256 << 10 // bytes of one item
)

// IngestStatus says what became of an item.
type IngestStatus string

// What becomes of an item.
const (
	IngestAccepted  IngestStatus = "accepted"      // it is in the ledger
	IngestDuplicate IngestStatus = "duplicate"     // it was there already
	IngestDiscarded IngestStatus = "discarded"     // a rule says that nobody wants it
	IngestDead      IngestStatus = "dead_lettered" // it was not understood, and is kept with the reason
)

// IngestResult is what became of one item.
type IngestResult struct {
	ID     string       `json:"id,omitempty"` // of the event, or "dead:N" of the dead letter
	Status IngestStatus `json:"status"`
	Reason string       `json:"reason,omitempty"` // of a dead letter, for people
}

// Observation is an event from outside in the fabric's envelope.
type Observation struct {
	Event  Event
	Body   json.RawMessage // the envelope with whatever else its sender put into it
	Origin string          // where it came in: "http:<credential>", "nats", "journal"
}

// DeadItem is what came from outside and was not understood. Nothing of it is
// lost; of an item larger than MaxObservation its beginning is kept.
type DeadItem struct {
	ID         int64     `json:"id"`
	ReceivedAt time.Time `json:"received_at"`
	Origin     string    `json:"origin"`
	Reason     string    `json:"reason"`
	Raw        string    `json:"raw"`   // as it came
	Times      int64     `json:"times"` // how often; it is kept once
}

// LedgerFilter selects events of the ledger, oldest first.
type LedgerFilter struct {
	After  uint64    // those behind this row
	Entity string    // "" means any
	Types  []string  // any of these; one that ends in a dot is every type that begins so. None means any
	From   time.Time // by the event's own time, inclusive; zero means from the beginning
	To     time.Time // exclusive; zero means without end
	Limit  int       // 0 means 100, at most MaxIngest
}

// LedgerEntry is one event of the ledger.
type LedgerEntry struct {
	Row        uint64          `json:"row"` // place in the ledger, rising
	ReceivedAt time.Time       `json:"received_at"`
	Origin     string          `json:"origin"`
	Event      json.RawMessage `json:"event"`
}

// LedgerPage is a part of the ledger.
type LedgerPage struct {
	Entries []LedgerEntry `json:"entries"`
	Next    uint64        `json:"next"` // pass it as After to go on
}

// IngestService takes events from outside and keeps them.
type IngestService interface {
	// Ingest normalizes items, which are JSON objects, and keeps them; when it
	// returns, what it says of each is durable. It answers for each in order.
	// CodeInvalid when there are none or more than MaxIngest; CodeDiskFull.
	Ingest(ctx context.Context, items []json.RawMessage) ([]IngestResult, error)
	// Ledger returns events of the ledger.
	Ledger(ctx context.Context, f LedgerFilter) (LedgerPage, error)
	// DeadItems returns dead letters behind one of that ID, oldest first, at most limit.
	DeadItems(ctx context.Context, after int64, limit int) ([]DeadItem, error)
	// ReplayDeadItem normalizes a dead letter again, by the rules of now; if it is
	// understood it is a dead letter no more. CodeNotFound.
	ReplayDeadItem(ctx context.Context, id int64) (IngestResult, error)
	// DropDeadItem forgets a dead letter. CodeNotFound.
	DropDeadItem(ctx context.Context, id int64) error
}

// IngestRequest is the body of POST /v1/ingest.
type IngestRequest struct {
	Items []json.RawMessage `json:"items"`
}

// IngestReply answers it, an item each, in order.
type IngestReply struct {
	Results []IngestResult `json:"results"`
}

// DeadItemList is a list of dead letters.
type DeadItemList struct {
	DeadItems []DeadItem `json:"dead_items"`
}
