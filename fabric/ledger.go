package fabric

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/live"
	"github.com/entropy-fabric/entropy/actors/reflex"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/cluster/ingest"
	ledgerdb "github.com/entropy-fabric/entropy/persistence/ledger/sqlite"
)

// The files of the ledger in the data directory.
const (
	LedgerFile  = "ledger.db"
	HashKeyFile = "hash.key" // keys the hashes of personal data; without it they cannot be compared any more
)

// openLedger opens the ledger and the inbox before it.
func (c *Control) openLedger(ctx context.Context) error {
	rules := c.cfg.Normalize
	key, err := hashKey(filepath.Join(c.cfg.DataDir, HashKeyFile))
	if err != nil {
		return err
	}
	rules.HashKey = key
	normalizer, err := ingest.New(rules)
	if err != nil {
		return err
	}
	if c.ledger, err = ledgerdb.Open(ctx, filepath.Join(c.cfg.DataDir, LedgerFile)); err != nil {
		return err
	}
	c.inbox = ingest.NewInbox(normalizer, c.ledger, time.Now)
	if err := c.forgetFollowers(ctx); err != nil {
		return err
	}
	if err := c.openAnalyzer(ctx); err != nil {
		return err
	}
	if err := c.openRules(); err != nil {
		return err
	}
	if err := c.openClickHouse(ctx); err != nil {
		return err
	}
	return c.addRelay("ledger", ledgerSink{c.ledger, c.journal.Epoch()})
}

// forgetFollowers lets go of the cursors of what is switched off: old events would be
// kept for it for ever.
func (c *Control) forgetFollowers(ctx context.Context) error {
	analyzer, rules := c.cfg.Analyzer.Off, c.cfg.Rules.Off
	for name, off := range map[string]bool{live.CursorName: analyzer, reflex.Name: rules, busFollower: c.cfg.Bus.Off || analyzer && rules} {
		if !off {
			continue
		}
		if err := c.ledger.Forget(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// ledgerSink gives the ledger what the journal has. It implements [outbox.Sink].
type ledgerSink struct {
	ledger *ledgerdb.Ledger
	epoch  uint64
}

// Deliver implements [outbox.Sink].
func (s ledgerSink) Deliver(ctx context.Context, events []entropy.Event) error {
	return s.ledger.Relay(ctx, time.Now(), events, entropy.Position{Epoch: s.epoch, Seq: events[len(events)-1].Seq})
}

// Last implements [outbox.Sink].
func (s ledgerSink) Last(ctx context.Context) (entropy.Position, error) { return s.ledger.Relayed(ctx) }

// hashKey reads the key of the hashes of personal data, or makes it.
func hashKey(path string) ([]byte, error) {
	secret, err := identity.ReadSecretFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret, err = rand.Text(), nil
		if err := identity.WriteSecretFile(path, secret); err != nil {
			return nil, err
		}
	}
	return []byte(secret), err
}

// Ingest returns who takes events from outside, without HTTP.
func (c *Control) Ingest() entropy.IngestService { return c.inbox }
