package fabric

import (
	"time"

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
