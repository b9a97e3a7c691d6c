package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

const ledgerStepsLong = `Show what the ledger has counted of steps, by entity and step: how many events, how many
of them state how long they took, the entropy of that in bits with its standard error, and
what is normal: the median of the hours' entropies and 1.4826 times their median absolute
deviation. The fabric's own events are counted as job:*, action:* and so on. -o json has
the histograms. The numbers are ClickHouse's where one is configured and there, else the
embedded ledger's; they are the same (docs/LEDGER.md).`

// stepFlags are the flags of what selects steps.
func stepFlags(c *cobra.Command, f *entropy.StepFilter) (read func() error) {
	s := c.Flags()
	s.StringVar(&f.Entity, "entity", "", "of this entity, as `KIND:ID`")
	s.StringVar(&f.Step, "step", "", "of this `STEP`; of transitions the later one")
	from := s.String("from", "", "not before this whole hour, `TIME` as in 2026-01-31T16:00:00Z, by the events' own time")
	to := s.String("to", "", "before this `TIME`, a whole hour too")
	s.IntVar(&f.Limit, "limit", 1000, "at most `N`, up to 10000")
	return func() error { return cmp.Or(readTime(*from, &f.From), readTime(*to, &f.To)) }
}

func (a *app) ledgerStepsCommand() *cobra.Command {
	var f entropy.StepFilter
	c := &cobra.Command{Use: "steps", Short: "Show what is counted of steps: latencies, entropy, what is normal", Long: ledgerStepsLong, Args: argument(0, 0, ""),
		Example: "  entropy ledger steps --entity order:7\n  entropy ledger steps --from 2026-01-31T00:00:00Z -o json"}
	read := stepFlags(c, &f)
	c.Flags().IntVar(&f.Least, "least", 20, "an hour counts for what is normal when it has `N` timed events")
	return a.command(c, func(ctx context.Context, _ []string) error {
		if err := read(); err != nil {
			return err
		}
		l, err := a.analyticsService()
		if err != nil {
			return err
		}
		all, err := l.Steps(ctx, f)
		if err != nil {
			return err
		}
		return list(a, all, stepsTable)
	})
}

func stepsTable(all []entropy.StepCounts) *table {
	t := new(table)
	t.row("ENTITY", "STEP", "EVENTS", "TIMED", "BITS", "HOURS", "NORMAL")
	for i := range all {
		s := &all[i]
		bits, normal := "-", "-"
		if s.Timed > 0 {
			bits = fmt.Sprintf("%.2f ± %.2f", s.Entropy, math.Sqrt(s.Variance))
		}
		if s.Windows > 0 {
			normal = fmt.Sprintf("%.2f ± %.2f", s.Median, s.Scale)
		}
		t.row(printable(s.Entity), printable(s.Step), strconv.FormatUint(s.N, 10), strconv.FormatUint(s.Timed, 10), bits, strconv.Itoa(s.Windows), normal)
	}
	return t
}

func (a *app) ledgerTransitionsCommand() *cobra.Command {
	var f entropy.StepFilter
	c := &cobra.Command{Use: "transitions", Short: "Show which step came how often after which", Args: argument(0, 0, ""),
		Long: "Show which step came how often after which, in its case (correlation_id), by entity. An\nevent that is older than what its case already has is none.", Example: "  entropy ledger transitions --entity 'job:*'"}
	read := stepFlags(c, &f)
	return a.command(c, func(ctx context.Context, _ []string) error {
		if err := read(); err != nil {
			return err
		}
		l, err := a.analyticsService()
		if err != nil {
			return err
		}
		all, err := l.Transitions(ctx, f)
		if err != nil {
			return err
		}
		return list(a, all, func(all []entropy.TransitionCount) *table {
			t := new(table)
			t.row("ENTITY", "FROM", "TO", "TIMES")
			for _, x := range all {
				t.row(printable(x.Entity), printable(x.From), printable(x.To), strconv.FormatUint(x.N, 10))
			}
			return t
		})
	})
}
