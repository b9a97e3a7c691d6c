package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

func (a *app) workersCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "workers",
		Short: "List the workers and what they hold",
		Args:  argument(0, 0, ""),
	}
	return a.command(c, func(ctx context.Context, _ []string) error {
		service, err := a.connect()
		if err != nil {
			return err
		}
		workers, err := service.Workers(ctx)
		if err != nil {
			return err
		}
		now := a.now()
		return list(a, workers, func(ws []entropy.WorkerInfo) *table { return workerTable(ws, now) })
	})
}

func workerTable(workers []entropy.WorkerInfo, now time.Time) *table {
	t := new(table)
	t.row("NAME", "STATE", "SLOTS", "RUNNING", "SPOOLED", "HEARTBEAT", "HOST", "VERSION", "LABELS")
	for i := range workers {
		w := &workers[i]
		beat := "-"
		if w.LastHeartbeat != nil {
			beat = age(w.LastHeartbeat, now) + " ago"
		}
		t.row(string(w.ID), workerState(&w.Worker), itoa(w.Slots), itoa(w.Running), itoa(w.Spooled), beat,
			dash(w.Hostname), dash(w.AgentVersion), shorten(printable(dash(pairs(w.Labels))), 60))
	}
	return t
}

func workerState(w *entropy.Worker) string {
	words := []string{string(w.State)}
	if w.Draining {
		words = append(words, "draining")
	}
	if w.Quarantined {
		words = append(words, "quarantined")
	}
	if w.Probation > 0 {
		words = append(words, "on probation for "+itoa(w.Probation)+" jobs")
	}
	s := strings.Join(words, ",")
	if w.Reason != "" {
		s += " (" + shorten(printable(w.Reason), 40) + ")"
	}
	return s
}

// modeCommand makes drain, resume and quarantine.
func (a *app) modeCommand(mode entropy.WorkerMode, short string) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   string(mode) + " NAME",
		Short: short,
		Args:  argument(1, 1, "a worker's name"),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for people; shown with the worker")
	return a.command(c, func(ctx context.Context, args []string) error {
		if err := entropy.ValidateID("worker name", args[0]); err != nil {
			return err
		}
		service, err := a.connect()
		if err != nil {
			return err
		}
		op := entropy.Operation{ID: entropy.NewID(), Reason: reason}
		var info entropy.WorkerInfo
		p := &patience{a: a, limit: sendPatience}
		err = p.do(ctx, func() (err error) {
			info, err = service.SetWorker(ctx, entropy.WorkerID(args[0]), mode, op)
			return err
		})
		if err != nil {
			return err
		}
		return a.one(info, func() error {
			return a.printf("%s  %s, %d running\n", info.ID, workerState(&info.Worker), info.Running)
		})
	})
}
