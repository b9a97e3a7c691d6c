package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

const holdLong = `Keep jobs from being assigned until they are released. What runs goes on. An
array is held with all its members. Jobs are named by ID, or selected by flags.`

func (a *app) holdCommand() *cobra.Command {
	r := &entropy.BulkRequest{Verb: entropy.VerbHold}
	c := &cobra.Command{Use: "hold JOB… | - | --queue Q --yes", Short: "Keep jobs from being assigned", Long: holdLong,
		Example: "  entropy hold --queue night --reason 'cooling is down' --yes"}
	c.Flags().StringVar(&r.Operation.Reason, "reason", "", "why, for people; recorded with the event")
	return a.changeCommand(c, r, func(ctx context.Context, args []string) error {
		return a.change(ctx, args, r.Operation.Reason, entropy.Service.Hold, func(j *entropy.Job) string { return string(j.ID) + "  " + stateOf(j) })
	})
}

func (a *app) releaseCommand() *cobra.Command {
	r := &entropy.BulkRequest{Verb: entropy.VerbRelease}
	c := &cobra.Command{Use: "release JOB… | - | --queue Q --yes", Short: "Let held jobs go on",
		Long: "End a hold. A released job queues as if it had been submitted now."}
	return a.changeCommand(c, r, func(ctx context.Context, args []string) error {
		return a.change(ctx, args, "", entropy.Service.Release, func(j *entropy.Job) string { return string(j.ID) + "  " + stateOf(j) })
	})
}

func (a *app) prioritizeCommand() *cobra.Command {
	r := &entropy.BulkRequest{Verb: entropy.VerbPrioritize}
	var priority string
	c := &cobra.Command{Use: "prioritize --priority N JOB… | - | --queue Q --yes", Short: "Give jobs another priority",
		Long:    "Give jobs another priority, from -100 to 100. It counts from now on, in place of the one they were submitted with.",
		Example: "  entropy prioritize --priority 50 JOB"}
	c.Flags().StringVar(&priority, "priority", "", "`NUMBER` from -100 to 100; higher is sooner (required)")
	read := func(_ *cobra.Command, _ []string) (err error) {
		if r.Priority, err = strconv.Atoi(priority); err != nil || r.Priority < entropy.MinPriority || r.Priority > entropy.MaxPriority {
			return usagef("--priority %q is not a whole number from %d to %d", priority, entropy.MinPriority, entropy.MaxPriority)
		}
		return nil
	}
	c.PreRunE = read
	return a.changeCommand(c, r, func(ctx context.Context, args []string) error {
		set := func(s entropy.Service, ctx context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
			return s.Prioritize(ctx, id, r.Priority, op)
		}
		return a.change(ctx, args, "", set, func(j *entropy.Job) string { return string(j.ID) + "  priority " + itoa(r.Priority) })
	})
}
