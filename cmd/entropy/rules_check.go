package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer"
	"github.com/entropy-fabric/entropy/actors/analyzer/rule"
)

const rulesCheckLong = `Check a file of rules without a control plane, and show what it would do: about
deviations of every kind that are made up, or, with --against, about events of your
own. These are JSON lines in the envelope, by time: deviations as entropy ledger events
--type entropy.deviation -o jsonl prints them, or plain events, in which the analyzer
looks for deviations first. Each action is taken to succeed after a minute. Nothing
is asked for.`

func (a *app) rulesCheckCommand() *cobra.Command {
	var against string
	c := &cobra.Command{Use: "check FILE | -", Short: "Check a file of rules, and show what it would do", Long: rulesCheckLong,
		Example: "  entropy rules check rules.yaml\n  entropy rules check rules.yaml --against events.jsonl", Args: argument(1, 1, "a file of rules")}
	c.Flags().StringVar(&against, "against", "", "`FILE` of events, JSON lines (.gz too), or - for standard input")
	return a.command(c, func(ctx context.Context, args []string) error {
		if args[0] == "-" && against == "-" {
			return usagef("standard input holds the rules or the events, not both")
		}
		set, err := a.readRuleFile(args[0])
		if err != nil {
			return err
		}
		rows := sampleRows()
		if against != "" {
			if rows, err = a.deviationRows(ctx, against, set.Zone); err != nil {
				return err
			}
			if len(rows) == 0 {
				a.notef("nothing in %s deviates", against)
			}
		}
		out := rule.Rehearse(set, rows)
		return a.one(out, func() error { return a.drawRehearsal(&out, len(rows)) })
	})
}

func (a *app) readRuleFile(name string) (*rule.Set, error) {
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(io.LimitReader(a.stdin, rule.MaxFile+1))
	} else {
		err = reading(name, func(r io.Reader) (err error) {
			text, err = io.ReadAll(io.LimitReader(r, rule.MaxFile+1))
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	return rule.Parse(text)
}

func (a *app) drawRehearsal(out *rule.Rehearsal, n int) error {
	t := new(table)
	t.row("AT", "RULE", "WOULD", "COMMAND", "FOR", "ARGS", "BECAUSE OF")
	for _, s := range out.Suggestions {
		would := string(s.Mode)
		if s.Because != "" {
			would += " (" + s.Because + ")"
		}
		t.row(stamp(&s.At), s.Rule, would, s.Command, s.Target, dash(shorten(string(s.Args), 60)), fmt.Sprintf("%s %s %s, %.0f bits", s.Entity, s.Step, s.Channel, s.Bits))
	}
	if err := a.printf("%d deviations, %d suggestions or actions\n\n", n, len(out.Suggestions)); err != nil {
		return err
	}
	if err := t.write(a.stdout); err != nil {
		return err
	}
	sum := new(table)
	sum.row("RULE", "MODE", "MATCHED", "FIRED", "SUPPRESSED", "ERRORS")
	for _, r := range out.Report.Rules {
		sum.row(r.Name, string(r.Mode), count(r.Matched), count(r.Fired), causes(r.Suppressed), dash(shorten(r.LastError, 80)))
	}
	return a.drawUnder("rules", sum)
}

// sampleRows are deviations of every kind, hours apart.
func sampleRows() []rule.Row {
	at := time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)
	var rows []rule.Row
	add := func(entity, step, channel, direction, item string, bits float64) {
		at = at.Add(2 * time.Hour)
		d := analyzer.Deviation{Entity: entity, Step: step, Channel: channel, Direction: direction, At: at, From: at.Add(-time.Hour), To: at, Bits: bits, P: 1e-6,
			Bounded: true, N: 50, Why: []string{"made up: " + channel + " " + direction}}
		d.Cases = []string{"job/1", "job/2"}
		if item != "" {
			d.Cases = []string{item}
		}
		rows = append(rows, deviationRow(&d, len(rows)))
	}
	add("jobs:nightly", "run", "tail", "heavier", "", 22)
	add("jobs:nightly", "run", "spread", "chaotic", "", 18)
	add("jobs:nightly", "run", "spread", "stuck", "", 18)
	add("jobs:nightly", "run", "shape", "changed", "", 20)
	add("jobs:nightly", "run", "outcome", "worse", "", 25)
	add("jobs:nightly", "run", "location", "slower", "", 30)
	add("jobs:nightly", "run", "missing", "", "job/3", 15)
	add("worker:w1", "run", "outcome", "worse", "", 25)
	add("supplier:acme", "delivered", "late", "", "order-7", 11)
	add("supplier:acme", "delivered", "missing", "", "order-7", 16)
	add("order:8", "packed", "unseen", "", "order-8", 14)
	add("order:*", "*", "transition", "changed", "", 40)
	add("queue:default", "claimed", "location", "slower", "", 35)
	return rows
}

// deviationRow returns the event of a deviation as the ledger has it.
func deviationRow(d *analyzer.Deviation, n int) rule.Row {
	attrs, _ := json.Marshal(map[string]any{"step": d.Step, "channel": d.Channel, "direction": d.Direction, "at": d.At, "bits": d.Bits, "p": d.P, "n": d.N,
		"bounded": d.Bounded, "repeats": d.Repeats, "why": d.Why, "examples": d.Cases}) // plain values
	e := entropy.Event{ID: fmt.Sprintf("dev-%d", n), TS: d.At, Type: rule.DeviationType, EntityID: d.Entity, CorrelationID: fmt.Sprintf("win:%s/%s:%d", d.Entity, d.Step, n),
		Source: entropy.Source{System: "entropy"}, Attrs: attrs}
	switch d.Channel {
	case analyzer.Late, analyzer.Missing, analyzer.Unseen:
		if len(d.Cases) > 0 {
			e.CorrelationID = d.Cases[0]
		}
	}
	return rule.Row{At: d.At, Event: e}
}

// deviationRows returns the deviations of a file of events: those in it, or, when
// there are none, those that the analyzer finds.
func (a *app) deviationRows(ctx context.Context, file string, zone *time.Location) ([]rule.Row, error) {
	var given, found []rule.Row
	an := analyzer.New(analyzer.Config{Zone: zone})
	var now time.Time
	line := 0
	read := func(in io.Reader) error {
		s := bufio.NewScanner(in)
		s.Buffer(make([]byte, 64<<10), entropy.MaxObservation+64<<10)
		for s.Scan() {
			line++
			if ctx.Err() != nil {
				return ctx.Err()
			}
			e, err := readEvent(s.Bytes())
			if err != nil {
				return fmt.Errorf("line %d: %w", line, err)
			}
			if e == nil {
				continue
			}
			if slices.Contains(rule.Findings(), e.Type) {
				given = append(given, rule.Row{At: e.TS, Event: *e})
				continue
			}
			if e.TS.After(now) {
				now = e.TS
			}
			if o, ok := analyzer.FromEvent(e); ok {
				an.Observe(o, now)
			}
			for _, d := range an.Advance(now) {
				found = append(found, deviationRow(&d, len(found)))
			}
		}
		if errors.Is(s.Err(), bufio.ErrTooLong) {
			return fmt.Errorf("line %d is longer than %d bytes", line+1, entropy.MaxObservation)
		}
		return s.Err()
	}
	if err := a.input(file, read); err != nil {
		return nil, err
	}
	if len(given) > 0 {
		slices.SortStableFunc(given, func(x, y rule.Row) int { return x.At.Compare(y.At) })
		return given, nil
	}
	return found, nil
}

// readEvent reads a line: an event, or a row of the ledger that holds one; nil for
// an empty line.
func readEvent(line []byte) (*entropy.Event, error) {
	if len(line) == 0 {
		return nil, nil
	}
	var row struct {
		entropy.Event
		Inner json.RawMessage `json:"event"`
	}
	if err := json.Unmarshal(line, &row); err != nil {
		return nil, err
	}
	if len(row.Inner) > 0 {
		if err := json.Unmarshal(row.Inner, &row.Event); err != nil {
			return nil, err
		}
	}
	if row.TS.IsZero() || row.Type == "" || row.EntityID == "" {
		return nil, errors.New("it has no ts, event_type or entity_id: it is not in the envelope")
	}
	return &row.Event, nil
}
