package fabric

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer"
	"github.com/entropy-fabric/entropy/actors/analyzer/live"
	"github.com/entropy-fabric/entropy/actors/reflex"
	"github.com/entropy-fabric/entropy/cluster/telemetry"
	"github.com/entropy-fabric/entropy/persistence/ledger"
)

// AnalyzerConfig configures the analyzer of a control plane. The zero value runs it.
type AnalyzerConfig struct {
	Off bool
	// Zone is the location of the hours of the week, as in Europe/Berlin; "" means UTC.
	Zone string
	// Memory bounds what is learned, in bytes, about; 0 means 512 MiB.
	Memory int64
	// Predict says which predictions are written down; "" means some.
	Predict live.Predict
	// Learn is how the analyzer learns; the zero value is what it was measured at. Its
	// Zone is Zone's.
	Learn analyzer.Config
}

// settings returns what the watcher wants of it.
func (a *AnalyzerConfig) settings() (live.Config, error) {
	c := live.Config{Analyzer: a.Learn, Memory: a.Memory, Predict: a.Predict}
	if a.Zone != "" {
		zone, err := time.LoadLocation(a.Zone)
		if err != nil {
			return c, entropy.Errorf(entropy.CodeInvalid, "%q is not a time zone: %v", a.Zone, err).WithHint("write it as in Europe/Berlin")
		}
		c.Analyzer.Zone = zone
	}
	return c, c.Validate()
}

// Room returns how much memory the analyzer may take, in bytes.
func (a *AnalyzerConfig) Room() int64 {
	switch {
	case a.Off:
		return 0
	case a.Memory == 0:
		return live.DefaultMemory
	}
	return a.Memory
}

// Validate reports what is wrong with the settings as they are written.
func (a *AnalyzerConfig) Validate() error {
	_, err := a.settings()
	return err
}

// validate reports what is wrong with the settings as they are written.
func (c *ControlConfig) validate() error {
	return errors.Join(c.Bus.Validate(), c.Ledger.Validate(), c.Analyzer.Validate(), c.Rules.validate())
}

// openAnalyzer makes the analyzer, before anything is recorded in the ledger.
func (c *Control) openAnalyzer(ctx context.Context) error {
	if c.cfg.Analyzer.Off {
		return nil
	}
	conf, err := c.cfg.Analyzer.settings()
	if err != nil {
		return err
	}
	conf.Ledger, conf.Logger = c.ledger, c.cfg.Logger
	c.watch, err = live.Open(ctx, conf)
	return err
}

// runAnalyzer runs the analyzer until ctx ends.
func (c *Control) runAnalyzer(ctx context.Context) {
	if c.watch != nil {
		c.watch.Run(ctx)
	}
}

// Entropy returns what the analyzer knows, without HTTP; nil when there is none.
func (c *Control) Entropy() entropy.EntropyService {
	if c.watch == nil {
		return nil
	}
	return c.watch
}

// analyzerStats gives telemetry the analyzer's figures in its own words.
func (c *Control) analyzerStats() telemetry.AnalyzerStats {
	s := c.watch.Stats()
	return telemetry.AnalyzerStats{Live: s.State == entropy.EntropyLive, Lag: s.LastRow - min(s.Row, s.LastRow), Phi: s.Phi, Silent: s.Silent,
		Series: s.Health.Series, Open: s.Health.Open, Evicted: s.Health.Evicted, Events: s.Health.Events, Deviations: s.Health.Deviations, FalseAlarms: s.Health.FalseAlarms}
}

// busFollower names, in the ledger, how far findings are published.
const busFollower = "bus.entropy"

// publishFindings publishes what the analyzer records, until ctx ends: at least once,
// from where it was before the last stop.
func (c *Control) publishFindings(ctx context.Context) {
	if c.bus == nil || c.watch == nil && c.reflex == nil {
		return
	}
	f := ledger.Follower{Source: c.ledger, Name: busFollower, Types: []string{analyzer.OwnPrefix}, Batch: 256, Logger: c.cfg.Logger,
		Handle: func(ctx context.Context, rows []entropy.LedgerEntry) error {
			return c.bus.PublishFindings(ctx, ownFindings(rows))
		}}
	if err := f.Run(ctx); err != nil {
		c.cfg.Logger.Error("what the analyzer finds is not published", "error", err)
	}
}

// ownFindings returns the events of rows that are the analyzer's own, or the rules', and for others:
// that it was started is not.
func ownFindings(rows []entropy.LedgerEntry) (events []entropy.Event) {
	for i := range rows {
		var e entropy.Event
		own := rows[i].Origin == live.Origin || rows[i].Origin == reflex.Name
		if own && json.Unmarshal(rows[i].Event, &e) == nil && e.Type != entropy.EntropyStarted {
			events = append(events, e)
		}
	}
	return events
}
