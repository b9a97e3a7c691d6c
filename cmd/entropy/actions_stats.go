package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

const actionsStatsLong = `Show how actions went, by command and tenant: how many were asked for and how they ended,
the mean time until an executor took one (MTTA), the mean time from the deviation that
caused one to its success (MTTR), and the errors by kind, the most frequent first. Dry
runs are not counted. The numbers are ClickHouse's where one is configured and there,
else the embedded ledger's; they are the same (docs/LEDGER.md).`

func (a *app) actionsStatsCommand() *cobra.Command {
	var f entropy.ActionStatsFilter
	var from, to string
	c := &cobra.Command{Use: "stats", Short: "Show how actions went: MTTA, MTTR, success rate, errors", Long: actionsStatsLong, Args: argument(0, 0, ""),
		Example: "  entropy actions stats\n  entropy actions stats --command restart_job --from 2026-01-01T00:00:00Z -o json"}
	s := c.Flags()
	s.StringVar(&f.Command, "command", "", "only those of this `COMMAND`")
	s.StringVar(&f.Tenant, "tenant", "", "only those of this `TENANT`")
	s.StringVar(&from, "from", "", "asked for at this `TIME` or later, RFC 3339")
	s.StringVar(&to, "to", "", "asked for before this `TIME`")
	s.IntVar(&f.Limit, "limit", 1000, "at most this many rows, up to 10000")
	return a.command(c, func(ctx context.Context, _ []string) error {
		if err := cmp.Or(readTime(from, &f.From), readTime(to, &f.To)); err != nil {
			return err
		}
		l, err := a.analyticsService()
		if err != nil {
			return err
		}
		all, err := l.ActionStats(ctx, f)
		if err != nil {
			return err
		}
		return list(a, all, actionStatsTable)
	})
}

// analyticsService connects to who answers questions about the ledger.
func (a *app) analyticsService() (entropy.AnalyticsService, error) {
	service, err := a.connect()
	if err != nil {
		return nil, err
	}
	if l, ok := service.(entropy.AnalyticsService); ok {
		return l, nil
	}
	return nil, entropy.Errorf(entropy.CodeNotFound, "this control plane keeps no ledger")
}

func actionStatsTable(all []entropy.ActionStats) *table {
	t := new(table)
	t.row("COMMAND", "TENANT", "ASKED", "OPEN", "OK", "FAILED", "CANCELED", "SUCCESS", "RETRIES", "MTTA", "MTTR", "ERRORS")
	n := func(n uint64) string { return strconv.FormatUint(n, 10) }
	for i := range all {
		s := &all[i]
		var errs []string
		for _, e := range s.Errors {
			errs = append(errs, fmt.Sprintf("%s %d", e.Kind, e.N))
		}
		success := "-"
		if s.SuccessRate != nil {
			success = fmt.Sprintf("%.1f%%", 100**s.SuccessRate)
		}
		t.row(printable(s.Command), dash(printable(s.Tenant)), n(s.Requested), n(s.Open), n(s.Succeeded), n(s.Failed), n(s.Canceled), success, n(s.Retries),
			meanTime(s.MTTA), meanTime(s.MTTR), shorten(printable(dash(strings.Join(errs, ", "))), 60))
	}
	return t
}

// meanTime shows a mean time in three or four digits.
func meanTime(s *float64) string {
	if s == nil {
		return "-"
	}
	d := time.Duration(*s * float64(time.Second))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// readTime reads the time of a flag; what is empty leaves it as it is.
func readTime(text string, to *time.Time) error {
	if text == "" {
		return nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return usagef("%q is not a time", text).WithHint("write it as in 2026-01-31T16:42:00Z")
	}
	*to = t
	return nil
}
