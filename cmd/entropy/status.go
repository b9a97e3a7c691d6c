package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

func (a *app) statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the control plane at a glance",
		Args:  argument(0, 0, ""),
	}
	return a.command(c, func(ctx context.Context, _ []string) error {
		service, err := a.connect()
		if err != nil {
			return err
		}
		s, err := service.Status(ctx)
		if err != nil {
			return err
		}
		return a.one(s, func() error { return a.drawStatus(&s) })
	})
}

func (a *app) drawStatus(s *entropy.Status) error {
	t := new(table)
	t.row("Version", dash(s.Version))
	t.row("Cluster", dash(s.ClusterID))
	t.row("Position", entropy.Position{Epoch: s.Epoch, Seq: s.Seq}.String())
	t.row("Up", age(&s.StartedAt, a.now()))
	t.row("Jobs", jobCounts(s.Jobs))
	t.row("Workers", counts(s.Workers))
	t.row("Bus", busRow(s.Bus, a.now()))
	for _, r := range s.Relays {
		t.row("Outbox", relayRow(&r))
	}
	t.row("Dead letters", fmt.Sprintf("%d (entropy dlq ls), %d from outside (entropy ledger dead ls)", s.DeadLetters, s.DeadItems))
	t.row("Since start", counts(s.Counters))
	if s.ReadOnly {
		t.row("Read-only", "yes: nothing is accepted until the disk has room again")
	}
	if err := t.write(a.stdout); err != nil {
		return err
	}
	for _, alarm := range s.Alarms {
		a.printf("ALARM  %s\n", printable(alarm))
	}
	return nil
}

// busRow says in one line how the bus is.
func busRow(b *entropy.BusStatus, now time.Time) string {
	if b == nil {
		return "none"
	}
	kind, state := "external", "connected"
	if b.Embedded {
		kind = "embedded"
	}
	if !b.Connected {
		state = "NOT connected"
	}
	line := fmt.Sprintf("%s, %s for %s at %s, %s of %s stored", kind, state, age(&b.Since, now), dash(printable(b.Address)), size(int64(b.Bytes)), size(b.MaxBytes))
	for _, s := range b.Streams {
		if s.Rebuilding {
			line += ", " + s.Name + " is being filled again"
		}
	}
	return line
}

// relayRow says in one line how far a sink is.
func relayRow(r *entropy.RelayStatus) string {
	line := r.Sink + ": up to date"
	if r.Lag > 0 {
		line = fmt.Sprintf("%s: %d events behind, for %.1f s", r.Sink, r.Lag, r.LagSeconds)
	}
	if r.Problem != "" {
		line += ": " + printable(r.Problem)
	}
	return line
}

// jobCounts lists the states of a job's life in order, those with jobs only.
func jobCounts(jobs map[entropy.State]int64) string {
	var parts []string
	for _, state := range entropy.States {
		if n := jobs[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	return dash(strings.Join(parts, ", "))
}

func counts[N int | float64](m map[string]N) string {
	var parts []string
	for _, k := range sortedKeys(m) {
		if m[k] != 0 {
			parts = append(parts, fmt.Sprintf("%v %s", m[k], k))
		}
	}
	return dash(strings.Join(parts, ", "))
}
