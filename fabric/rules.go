package fabric

import (
	"context"
	"log/slog"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/reflex"
	"github.com/entropy-fabric/entropy/cluster/telemetry"
	"github.com/entropy-fabric/entropy/persistence/ledger"
)

// RulesConfig says by which rules the fabric acts on what the analyzer finds.
type RulesConfig struct {
	// File is the file of rules, which is read again when it changes; "" means the
	// rules that come along, which only suggest (docs/RULES.md).
	File string
	// Off applies none.
	Off bool
}

// validate reads the file, so that a wrong one is said before anything runs.
func (c RulesConfig) validate() error {
	if c.Off && c.File != "" {
		return entropy.Errorf(entropy.CodeInvalid, "a file of rules and no rules exclude each other").WithHint("leave out --rules or --no-rules")
	}
	_, _, err := reflex.Load(c.File)
	return err
}

// openRules makes who applies the rules.
func (c *Control) openRules() (err error) {
	if c.cfg.Rules.Off {
		return nil
	}
	c.reflex, err = reflex.New(reflex.Config{Ledger: c.ledger, Ask: c.system.RequestAction, File: c.cfg.Rules.File, Logger: c.cfg.Logger})
	return err
}

// runRules applies the rules to what comes into the ledger, until ctx ends.
func (c *Control) runRules(ctx context.Context) {
	if c.reflex == nil {
		return
	}
	row, err := c.ledger.Cursor(ctx, reflex.Name)
	if err == nil {
		err = c.reflex.Begin(ctx, row)
	}
	if err != nil {
		if ctx.Err() == nil {
			c.cfg.Logger.Error("no rules are applied: the ledger cannot be read", slog.Any("error", err))
		}
		return
	}
	f := ledger.Follower{Source: c.ledger, Name: reflex.Name, Types: reflex.Types(), Batch: ruleRows, Handle: c.reflex.Handle, Reached: c.reflex.Reached, Logger: c.cfg.Logger}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.reflex.Run(ctx)
	}()
	if err := f.Run(ctx); err != nil {
		c.cfg.Logger.Error("no rules are applied any more", slog.Any("error", err))
	}
	<-done
}

// ruleStats gives telemetry the rules' figures in its own words.
func (c *Control) ruleStats() telemetry.RulesStats {
	st := telemetry.RulesStats{Suppressed: make(map[string]int64)}
	r, err := c.reflex.Rules(context.Background())
	if err != nil {
		return st // they have not begun
	}
	st.Storm = r.Storm.On
	for _, h := range r.Harm {
		if h.Demoted {
			st.Demoted++
		}
	}
	for i := range r.Rules {
		st.Matched += r.Rules[i].Matched
		st.Fired += r.Rules[i].Fired
		st.Errors += r.Rules[i].Errors
		for why, n := range r.Rules[i].Suppressed {
			st.Suppressed[why] += n
		}
	}
	return st
}

// ruleRows bounds the rows after which the rules' cursor is kept.
const ruleRows = 100

// Rules returns who applies the rules, without HTTP; nil when nobody does.
func (c *Control) Rules() entropy.RuleService {
	if c.reflex == nil {
		return nil
	}
	return c.reflex
}
