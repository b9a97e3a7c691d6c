package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer"
)

const dueLong = `List when what runs about once a day, or on certain days of the week, is due next, and
what became of the last due times: MET, LATE, MISSING, or EXPECTED while its window is
open. The due time is the median of its runs on that day of the week, by the clock on
the wall; the window is from one in ten to nine in ten of them, and 15 minutes at least.
A day of the week with fewer than 20 runs takes the times of all days.

It is what the control plane has learned (in the zone of --analyzer-zone; --zone is that
of the display) or, with --events, what a file of events in the envelope teaches, one
JSON object a line ("-" is the standard input), of what belongs to no case.`

func (a *app) dueCommand() *cobra.Command {
	var events, zone, at string
	c := &cobra.Command{Use: "due [ENTITY]", Short: "List when what recurs is due", Long: dueLong, Args: argument(0, 1, "the entity")}
	f := c.Flags()
	f.StringVar(&events, "events", "", "learn from this `FILE`, JSON lines, without a control plane")
	f.StringVar(&zone, "zone", "UTC", "time `ZONE` of the due times, as in Europe/Berlin")
	f.StringVar(&at, "at", "", "as of this `TIME`, RFC 3339 (default: of the newest event)")
	return a.command(c, func(ctx context.Context, args []string) error {
		location, err := time.LoadLocation(zone)
		if err != nil {
			return usagef("--zone is %q: %v", zone, err).WithHint("write it as in Europe/Berlin")
		}
		entity := ""
		if len(args) > 0 {
			entity = args[0]
		}
		runs, err := a.dueRuns(ctx, entity, events, at, location)
		if err != nil {
			return err
		}
		if len(runs) == 0 {
			a.notef("nothing has a due time: it takes 20 runs, of what belongs to no case and runs about once a day")
		}
		return list(a, runs, func(runs []entropy.EntropyDue) *table { return dueTable(runs, location) })
	})
}

// dueRuns returns the due times, learned from a file or, when none is named, as the
// control plane has them.
func (a *app) dueRuns(ctx context.Context, entity, events, at string, zone *time.Location) ([]entropy.EntropyDue, error) {
	if events == "" && at != "" {
		return nil, usagef("--at is for --events only").WithHint("a control plane says it as of now")
	}
	if events == "" {
		service, err := a.entropyService()
		if err != nil {
			return nil, err
		}
		return service.EntropyDue(ctx, entity)
	}
	an, now, err := a.learn(events, analyzer.Config{Zone: zone})
	if err != nil {
		return nil, err
	}
	if at != "" {
		if now, err = time.Parse(time.RFC3339, at); err != nil {
			return nil, usagef("--at is %q", at).WithHint("write it as in 2026-03-02T10:00:00Z")
		}
	}
	return an.Due(entity, now, entropy.MaxDue), nil
}

func dueTable(runs []entropy.EntropyDue, zone *time.Location) *table {
	t := new(table)
	t.row("ENTITY", "STEP", "STATUS", "DUE", "FROM", "UNTIL", "RAN", "RUNS")
	for _, r := range runs {
		ran, runs := "", itoa(r.N)
		if r.RanAt != nil {
			ran = r.RanAt.In(zone).Format("15:04")
		}
		if r.Pooled {
			runs += ", all days"
		}
		t.row(r.EntityID, r.Step, r.Status, r.DueAt.In(zone).Format("Mon 2006-01-02 15:04"), r.From.In(zone).Format("15:04"), r.Until.In(zone).Format("15:04"), ran, runs)
	}
	return t
}
