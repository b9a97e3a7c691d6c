package worker

import (
	"context"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
	"github.com/entropy-fabric/entropy/actors/worker/supervisor"
)

// executor holds runs and their results. The remote one speaks to the
// supervisor, the other runs Go handlers. All methods may be called from any
// goroutine; the errors mean that it could not be asked, or could not do it.
type executor interface {
	// spoolID returns the id of the executor's spool.
	spoolID() string
	// check says why an assignment could not be begun here, before it is ACKed.
	check(*entropy.Assignment) error
	// start begins assignments whose ACK was answered; each at most once.
	start(context.Context, []supervisor.StartItem) ([]*entropy.Error, error)
	// stop asks assignments to end: TERM, grace, KILL. Unknown ones are ignored.
	stop(context.Context, []entropy.StopDirective) error
	// renew moves the end of trust of assignments.
	renew(context.Context, []entropy.AssignmentID, time.Duration) error
	// held returns everything started and not decided, if the executor works.
	held(context.Context) ([]entropy.Held, error)
	// exits blocks for durable exits numbered above after.
	exits(ctx context.Context, after uint64, limit int) ([]spool.Exit, error)
	// amend replaces an exit; the new one is among exits.
	amend(context.Context, spool.Exit) error
	// decide forgets assignments and removes their files.
	decide(context.Context, []spool.Decision) error
}
