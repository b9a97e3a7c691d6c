package action

import (
	"context"

	"github.com/entropy-fabric/entropy"
)

// Journal is what the actors need of the journal.
type Journal interface {
	Append(ctx context.Context, changes ...entropy.Change) (entropy.Position, error)
	Document(ctx context.Context, entity string) (entropy.Document, error)
}

// Orders issues orders to the executors of a command. Its method is called outside
// of the actors, several at once, and may block.
type Orders interface {
	// Issue hands an order over and returns when it is durable on its way. The
	// envelope carries it; its ID is the attempt's. Repeating it is harmless.
	Issue(ctx context.Context, o entropy.ActionOrder, envelope entropy.Event) error
}

// Request asks for an action. The answer is an [Outcome].
type Request struct {
	Asked     *entropy.Asked
	Principal string
	Operation *entropy.OperationRecord // of its idempotency key; nil: it has none
}

// Set carries out a verb on an action. The answer is an [Outcome].
type Set struct {
	Verb      entropy.ActionVerb
	Principal string
	Op        entropy.Operation
	Operation *entropy.OperationRecord
}

// Outcome is an action after what was asked, and whether it was as it is before.
type Outcome struct {
	Action    *entropy.Action // shared: nobody may change it
	Unchanged bool
}

// Report is what an executor says. The answer is an [entropy.ActionVerdict].
type Report struct {
	Type   string // see entropy.ReadActionReport
	ID     string // of its envelope
	Report entropy.ActionReport
}

// Turn tells an action that it may be issued.
type Turn struct{}

// Revive brings an action back that had not ended when the control plane stopped.
// Its executor's time until its next word counts from now.
type Revive struct{}

// Again has the order of an action that nobody has accepted issued once more.
type Again struct{}
