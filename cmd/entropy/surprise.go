package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/live"
	"github.com/entropy-fabric/entropy/fabric"
)

// analyzerFlags are the flags of the analyzer of a control plane.
type analyzerFlags struct {
	off                   bool
	zone, memory, predict string
}

func (f *analyzerFlags) register(s *pflag.FlagSet) {
	s.BoolVar(&f.off, "no-analyzer", false, "learn nothing from events, and find nothing in them (docs/ENTROPY.md)")
	s.StringVar(&f.zone, "analyzer-zone", "", "time `ZONE` of the hours of the week that are learned, as in Europe/Berlin (default UTC)")
	s.StringVar(&f.memory, "analyzer-memory", "", "about how much memory what is learned may take, as `AMOUNT` (default 512Mi: some 32,000 steps of entities)")
	s.StringVar(&f.predict, "predict", string(live.PredictSome), "which predictions become events: none, some (the first of a case that is sure, at most 60 a minute) or all")
}

// config returns what the facade wants of the flags.
func (f *analyzerFlags) config() (fabric.AnalyzerConfig, error) {
	c := fabric.AnalyzerConfig{Off: f.off, Zone: f.zone, Predict: live.Predict(f.predict)}
	if f.memory != "" {
		n, err := entropy.ParseAmount(f.memory)
		if err != nil {
			return c, usagef("--analyzer-memory: %v", entropy.AsError(err).Message).WithHint("write a number of bytes such as 256Mi or 1Gi")
		}
		c.Memory = int64(n / entropy.Unit)
		if c.Memory == 0 {
			c.Memory = 1 // too little, and said so
		}
	}
	if err := c.Validate(); err != nil {
		e := entropy.AsError(err)
		return c, usagef("%s", e.Message).WithHint("%s", e.Hint)
	}
	return c, nil
}

const surpriseLong = `Show what is not as it normally is, the most surprising first: a step that became
slower or more chaotic, an order that changed, runs that end badly more often than they
used to, something that is late or does not come. Everything has one unit, bits of
surprise: 10 bits is one in a thousand, 20 one in a million.

The analyzer learns what is normal by itself, from the events of the ledger: those from
outside (entropy import) and the fabric's own. See docs/ENTROPY.md.`

func (a *app) surpriseCommand() *cobra.Command {
	var f entropy.DeviationFilter
	var since string
	var single bool
	c := &cobra.Command{Use: "surprise", Short: "Show what is not as it normally is", Long: surpriseLong, Args: argument(0, 0, ""),
		Example: "  entropy surprise --open\n  entropy surprise --entity supplier: --since 24h\n  entropy surprise show supplier:3 process"}
	c.Flags().StringVar(&f.Entity, "entity", "", "of this entity, as `KIND:ID`, or KIND: for all of a kind")
	c.Flags().StringVar(&f.Step, "step", "", "of this `STEP`")
	c.Flags().StringVar(&f.Channel, "channel", "", "of this `CHANNEL`: location, shape, spread, tail, transition, unseen, sequence, value, outcome, late or missing")
	c.Flags().StringVar(&since, "since", "", "known since this `TIME`, RFC 3339, or a duration ago, as in 24h")
	c.Flags().BoolVar(&f.Open, "open", false, "those that have not ended only")
	c.Flags().BoolVar(&single, "all", false, "also what was late or missing once, as one in a thousand is by chance, and came after all")
	c.Flags().BoolVar(&f.Recent, "recent", false, "the newest first")
	c.Flags().IntVar(&f.Limit, "limit", 20, "at most `N`, up to 1000")
	c.AddCommand(a.surpriseShowCommand(), a.surprisePhiCommand(), a.surpriseEffectCommand(), a.surprisePredictCommand())
	return a.command(c, func(ctx context.Context, _ []string) error {
		var err error
		f.Bounded = !single
		if f.Since, err = pastTime(since, a.now()); err != nil {
			return err
		}
		if f.Limit < 1 || f.Limit > 1000 {
			return usagef("--limit is %d", f.Limit).WithHint("it is from 1 to 1000")
		}
		service, err := a.entropyService()
		if err != nil {
			return err
		}
		all, err := service.Deviations(ctx, f)
		if err != nil {
			return err
		}
		if len(all) == 0 && a.global.output == outputText {
			return a.quiet(ctx, service)
		}
		if a.global.output == outputText {
			a.noteSilence(ctx, service)
		}
		if n := a.columns(); n > 0 && n < tableWidth && a.global.output == outputText {
			return a.drawDeviations(all, n)
		}
		return list(a, all, deviationTable)
	})
}

// noteSilence says which sources nothing is heard of, as nothing of theirs is late.
func (a *app) noteSilence(ctx context.Context, service entropy.EntropyService) {
	st, err := service.Entropy(ctx, false)
	if err != nil {
		return // what was asked for is there
	}
	if st.Problem != "" {
		a.notef("the analyzer waits: %s", printable(st.Problem))
	}
	for _, s := range st.Sources {
		if s.Silent {
			a.notef("source %s is silent since %s, longer than it ever is; nothing of it is called late meanwhile", printable(s.System), stamp(&s.Heard))
		}
	}
}

// tableWidth is from where on the table of deviations fits.
const tableWidth = 110

// drawDeviations draws deviations where there is no room for a table: a few lines each.
func (a *app) drawDeviations(all []entropy.Deviation, width int) error {
	for i := range all {
		d := &all[i]
		lines := []string{fmt.Sprintf("%s bits  %s  %s", decimal(d.Bits, 1), printable(d.EntityID), printable(d.Step)),
			fmt.Sprintf("  %s, %s, %s", channelWords(d), d.At.UTC().Format("01-02 15:04"), stateWords(d))}
		for _, w := range d.Why[:min(1, len(d.Why))] {
			lines = append(lines, "  "+printable(w))
		}
		for _, l := range lines {
			if err := a.printf("%s\n", shorten(l, width)); err != nil {
				return err
			}
		}
	}
	return nil
}

func channelWords(d *entropy.Deviation) string {
	if d.Direction == "" {
		return printable(d.Channel)
	}
	return printable(d.Channel + " (" + d.Direction + ")")
}

func stateWords(d *entropy.Deviation) string {
	if d.Open {
		return "open"
	}
	return dash(printable(d.Ended))
}

// pastTime reads a time in the past: RFC 3339, or how long ago.
func pastTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := daysOr(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, usagef("--since %q is not a time", s).WithHint("write RFC 3339 as in 2026-11-20T16:42:00Z, or how long ago as in 24h or 7d")
	}
	return t, nil
}

// entropyService connects to who knows what surprises.
func (a *app) entropyService() (entropy.EntropyService, error) {
	service, err := a.connect()
	if err != nil {
		return nil, err
	}
	if s, ok := service.(entropy.EntropyService); ok {
		return s, nil
	}
	return nil, entropy.Errorf(entropy.CodeNotFound, "this control plane runs no analyzer")
}

// quiet says that nothing was found, and in what.
func (a *app) quiet(ctx context.Context, service entropy.EntropyService) error {
	st, err := service.Entropy(ctx, false)
	if err != nil {
		return err
	}
	if st.State == entropy.EntropyRebuilding {
		return a.printf("nothing yet: the analyzer reads the past, row %d of %d\n", st.Row, st.LastRow)
	}
	return a.printf("nothing surprising in %d events of %d series; system entropy %.2f bits per event\n", st.Health.Events, st.Health.Series, st.Phi)
}

func deviationTable(all []entropy.Deviation) *table {
	t := new(table)
	t.row("BITS", "ENTITY", "STEP", "CHANNEL", "WHEN", "STATE", "WHY")
	for i := range all {
		d := &all[i]
		why := ""
		if len(d.Why) > 0 {
			why = d.Why[0]
		}
		t.row(decimal(d.Bits, 1), shorten(printable(d.EntityID), 40), shorten(printable(d.Step), 30), channelWords(d), d.At.UTC().Format("2006-01-02 15:04"), stateWords(d), shorten(printable(why), 110))
	}
	return t
}

func (a *app) surpriseShowCommand() *cobra.Command {
	c := &cobra.Command{Use: "show ENTITY STEP", Short: "Show one step of an entity: how it is now beside how it normally is, and why", Args: argument(2, 2, "an entity and a step"),
		Example: "  entropy surprise show supplier:3 process\n  entropy surprise show 'supplier:*' process -o json"}
	return a.command(c, func(ctx context.Context, args []string) error {
		service, err := a.entropyService()
		if err != nil {
			return err
		}
		s, err := service.EntropySeries(ctx, args[0], args[1])
		if err != nil {
			return err
		}
		return a.one(s, func() error { return a.drawSeries(&s) })
	})
}

func (a *app) surprisePredictCommand() *cobra.Command {
	c := &cobra.Command{Use: "predict CASE", Short: "Say what comes next in a case that is under way, when, and how sure that is", Args: argument(1, 1, "a case")}
	return a.command(c, func(ctx context.Context, args []string) error {
		service, err := a.entropyService()
		if err != nil {
			return err
		}
		p, err := service.Predict(ctx, args[0])
		if err != nil {
			return err
		}
		return a.one(p, func() error {
			t := new(table)
			t.row("NEXT", "PROBABILITY")
			for _, n := range p.Next {
				t.row(n.Step, decimal(100*n.P, 1)+" %")
			}
			if err := a.printf("%s of %s since %s\n", printable(p.Step), printable(p.Case), stamp(&p.Since)); err != nil {
				return err
			}
			if err := t.write(a.stdout); err != nil || p.Expected == nil {
				return err
			}
			return a.printf("half come within %s, 99 %% within %s; late from %s on; confidence %.0f %%\n",
				inWords(p.Expected.P50), inWords(p.Expected.P99), stamp(p.Deadline), 100*p.Confidence)
		})
	})
}

func (a *app) surprisePhiCommand() *cobra.Command {
	minutes := false
	c := &cobra.Command{Use: "phi", Short: "Show the system entropy, now and over time", Args: argument(0, 0, ""), Long: `Show the system entropy: how surprising events are on average, in bits each, by what was
known before them; what is late or missing counts as surprising as it is improbable.
Where all is as usual it is the entropy of what the system does; it rises when that changes.`}
	c.Flags().BoolVar(&minutes, "minutes", false, "by minute, not by hour")
	return a.command(c, func(ctx context.Context, _ []string) error {
		service, err := a.entropyService()
		if err != nil {
			return err
		}
		st, err := service.Entropy(ctx, false)
		if err != nil {
			return err
		}
		return a.one(st, func() error { return a.drawPhi(&st, minutes) })
	})
}

func (a *app) drawPhi(st *entropy.EntropyStatus, minutes bool) error {
	points, unit := st.Hours, "hours"
	if minutes {
		points, unit = st.Minutes, "minutes"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "system entropy %.2f bits per event (%s, %d events, %d series)\n", st.Phi, st.State, st.Health.Events, st.Health.Series)
	if width := a.width() - 2; len(points) > width {
		points = points[len(points)-width:]
	}
	if len(points) > 1 {
		low, high := points[0].Phi, points[0].Phi
		for _, p := range points {
			low, high = min(low, p.Phi), max(high, p.Phi)
		}
		values := make([]float64, len(points))
		for i, p := range points {
			values[i] = p.Phi
		}
		fmt.Fprintf(&b, "%s\n%s to %s, %d %s with events, from %.2f to %.2f\n", sparkline(values, low, high),
			points[0].At.UTC().Format("2006-01-02 15:04"), points[len(points)-1].At.UTC().Format("2006-01-02 15:04"), len(points), unit, low, high)
	}
	if err := a.printf("%s", b.String()); err != nil || len(st.Kinds) == 0 {
		return err
	}
	t := new(table)
	t.row("KIND", "BITS PER EVENT", "EVENTS", "LATE OR MISSING")
	for _, k := range st.Kinds {
		t.row(dash(k.Kind), decimal(k.Phi, 2), decimal(k.Events, 0), decimal(k.Absent, 0))
	}
	return t.write(a.stdout)
}
