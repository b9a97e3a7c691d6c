package fabric

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entropy-fabric/entropy/actors"
	ledgerdb "github.com/entropy-fabric/entropy/persistence/ledger/sqlite"
)

// SetKeyGrace makes a rotation of the cluster's keys wait no longer for a worker.
func SetKeyGrace(c *Control, d time.Duration) {
	c.keys.mu.Lock()
	defer c.keys.mu.Unlock()
	c.keys.grace = d
}

// LedgerOf returns the ledger itself, into which the fabric's own parts write.
func LedgerOf(c *Control) *ledgerdb.Ledger { return c.ledger }

// FillDeadLetters records as many messages that cannot be understood as are kept.
func FillDeadLetters(c *Control) error {
	var n atomic.Int64
	var filling sync.WaitGroup
	failed := make(chan error, 64)
	for range cap(failed) {
		filling.Go(func() {
			var err error
			for err == nil {
				err = c.system.TakeDeadLetter(context.Background(), "actions.requested", fmt.Append(nil, n.Add(1)), "to fill")
			}
			if !errors.Is(err, actors.ErrDeadLettersFull) {
				failed <- err
			}
		})
	}
	filling.Wait()
	close(failed)
	return <-failed
}

// PruneLedger removes what is old, as is done once an hour.
func PruneLedger(ctx context.Context, c *Control) { c.pruneOnce(ctx, time.Now()) }
