package fabric

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence/ledger"
	"github.com/entropy-fabric/entropy/persistence/ledger/clickhouse"
	ledgerdb "github.com/entropy-fabric/entropy/persistence/ledger/sqlite"
)

// LedgerConfig says where the ledger is kept, and how long. The zero value keeps it in
// the data directory alone.
type LedgerConfig struct {
	// ClickHouse is the long memory. Everything comes into the embedded ledger first,
	// so that it may be away, also when the control plane starts.
	ClickHouse clickhouse.Config
	// Keep is how long the embedded ledger keeps events; 0 means 90 days. What
	// ClickHouse or another follower has not got stays longer. KeepCounts is how long it
	// keeps what was counted of them; 0 means 400 days. Negative: without end.
	Keep, KeepCounts time.Duration
}

// Validate reports what is wrong with the settings as they are written.
func (l *LedgerConfig) Validate() error {
	if l.Keep > 0 && l.Keep < time.Hour || l.KeepCounts > 0 && l.KeepCounts < time.Hour {
		return entropy.Errorf(entropy.CodeInvalid, "the ledger would forget what came in before everybody has seen it").
			WithHint("give --ledger-keep and --ledger-keep-counts an hour at least, as in 2160h")
	}
	return l.ClickHouse.Validate()
}

const (
	ledgerKeep       = 90 * 24 * time.Hour
	ledgerKeepCounts = 400 * 24 * time.Hour
	pruneEvery       = time.Hour
)

// openClickHouse makes the mirror, when one is configured. It connects to nothing.
func (c *Control) openClickHouse(ctx context.Context) (err error) {
	cfg := c.cfg.Ledger.ClickHouse
	if cfg.URL == "" {
		return nil
	}
	if c.clickhouse, err = clickhouse.New(cfg, c.journal.ClusterID(), c.cfg.Logger); err != nil {
		return err
	}
	m, err := clickhouse.NewMirror(ctx, c.clickhouse, c.ledger)
	if err != nil {
		return err
	}
	c.mirror.Store(m)
	return nil
}

// runLedger copies the ledger to ClickHouse and removes what is old, until ctx ends.
func (c *Control) runLedger(ctx context.Context) {
	var running sync.WaitGroup
	if m := c.mirror.Load(); m != nil {
		running.Go(func() {
			if err := m.Run(ctx); err != nil {
				c.cfg.Logger.Error("the ledger is not copied to ClickHouse any more; start the control plane again", "error", err)
			}
		})
	}
	running.Go(func() { c.pruneLedger(ctx) })
	running.Wait()
}

// pruneLedger removes what is old from the embedded ledger, now and once an hour.
func (c *Control) pruneLedger(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		c.pruneOnce(ctx, time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (c *Control) pruneOnce(ctx context.Context, now time.Time) {
	var r ledgerdb.Retention
	before := func(keep, usual time.Duration) time.Time {
		switch {
		case keep < 0:
			return time.Time{}
		case keep == 0:
			keep = usual
		}
		return now.Add(-keep)
	}
	r.Events, r.Counts = before(c.cfg.Ledger.Keep, ledgerKeep), before(c.cfg.Ledger.KeepCounts, ledgerKeepCounts)
	if c.mirror.Load() != nil {
		r.Mirrors = []string{clickhouse.MirrorName}
	}
	n, holder, err := c.ledger.Prune(ctx, r)
	switch {
	case err != nil && ctx.Err() == nil:
		c.cfg.Logger.Warn("remove old events from the ledger; it is tried again in an hour", "error", err)
	case holder != "":
		c.cfg.Logger.Warn("events older than is asked for stay in the ledger: not everybody has got them", "waits_for", holder, "removed", n)
	case n > 0:
		c.cfg.Logger.Info("removed old events from the ledger", "events", n)
	}
}

// ClickHouse returns how far the ledger is copied to ClickHouse; ok is false when none is
// configured.
func (c *Control) ClickHouse() (s clickhouse.Stats, ok bool) {
	m := c.mirror.Load()
	if m == nil {
		return s, false
	}
	s, err := m.Stats(context.Background(), time.Now())
	if err != nil && s.Error == "" {
		s.Error = err.Error()
	}
	return s, true
}

// alarms says what is wrong with the parts around the actors.
func (c *Control) alarms(context.Context) (all []string) {
	if s, ok := c.ClickHouse(); ok && !s.Down.IsZero() {
		all = append(all, fmt.Sprintf("ClickHouse takes no events since %s; %d wait in the embedded ledger, the oldest for %s, and nothing is lost: %s",
			s.Down.UTC().Format(time.RFC3339), s.Behind, s.For.Round(time.Second), s.Error))
	}
	return all
}

// analytics asks ClickHouse where one is configured and there, else the embedded
// ledger, which has counted the same. It implements [entropy.AnalyticsService].
type analytics struct{ *Control }

// ActionStats implements [entropy.AnalyticsService].
func (a analytics) ActionStats(ctx context.Context, f entropy.ActionStatsFilter) ([]entropy.ActionStats, error) {
	return ask(ctx, a, func(l ledger.Analytics) ([]entropy.ActionStats, error) { return l.ActionStats(ctx, f) })
}

// Steps implements [entropy.AnalyticsService].
func (a analytics) Steps(ctx context.Context, f entropy.StepFilter) ([]entropy.StepCounts, error) {
	return ask(ctx, a, func(l ledger.Analytics) ([]entropy.StepCounts, error) { return l.Steps(ctx, f) })
}

// Transitions implements [entropy.AnalyticsService].
func (a analytics) Transitions(ctx context.Context, f entropy.StepFilter) ([]entropy.TransitionCount, error) {
	return ask(ctx, a, func(l ledger.Analytics) ([]entropy.TransitionCount, error) { return l.Transitions(ctx, f) })
}

// ask asks ClickHouse, and the embedded ledger when that cannot answer.
func ask[T any](ctx context.Context, a analytics, question func(l ledger.Analytics) ([]T, error)) ([]T, error) {
	if s, ok := a.ClickHouse(); ok && s.Error == "" && s.Met {
		all, err := question(a.clickhouse)
		if err == nil || entropy.ErrorCode(err) == entropy.CodeInvalid || errors.Is(err, context.Canceled) {
			return all, err
		}
		a.cfg.Logger.Warn("ClickHouse does not answer: the embedded ledger does", "error", err)
	}
	return question(a.ledger)
}

// Analytics returns who answers questions about the ledger, without HTTP.
func (c *Control) Analytics() entropy.AnalyticsService { return analytics{c} }
