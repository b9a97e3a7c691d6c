package ledger

import (
	"context"

	"github.com/entropy-fabric/entropy"
)

// Row is an event of a ledger with what was stamped on it when it came in and cannot
// be told from it alone.
type Row struct {
	entropy.LedgerEntry
	Prev string // the step before it in its case; "": there was none, or it came out of order
}

// MirrorState says how far a ledger was copied to another one. The zero value: it
// never was.
type MirrorState struct {
	ID   string // of the ledger, as the other one knows it
	Base int64  // what is added to a row to make it one of the other's; -1: not agreed yet
	Sent uint64 // up to this row the other one has everything
	// Pending is the last row of a batch that may be on its way. While it is beyond
	// Sent, that batch, and no other, has to be sent next.
	Pending uint64
}

// Mirrored is a ledger that can be copied.
type Mirrored interface {
	Source
	// Rows returns the rows behind after up to through: at most limit, and no more once
	// their events have so many bytes.
	Rows(ctx context.Context, after, through uint64, limit, bytes int) ([]Row, error)
	// Mirror returns the state of a copy; SetMirror keeps it, durably.
	Mirror(ctx context.Context, name string) (MirrorState, error)
	SetMirror(ctx context.Context, name string, s MirrorState) error
}
