package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

const cancelLong = `Cancel jobs. A queued job is canceled at once; a running one when its processes
are confirmed gone or its lease has ended. Canceling a job twice is harmless.`

func (a *app) cancelCommand() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "cancel JOB… | -",
		Short: "Cancel jobs",
		Long:  cancelLong,
		Args:  argument(1, -1, "a job ID"),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for people; recorded with the event")
	return a.command(c, func(ctx context.Context, args []string) error {
		return a.change(ctx, args, reason, entropy.Service.Cancel, func(j *entropy.Job) string {
			if j.State.Terminal() {
				return string(j.ID) + "  " + string(j.State)
			}
			return string(j.ID) + "  cancel requested, " + string(j.State) + " until its processes are gone"
		})
	})
}

const retryLong = `Submit a new job with the specification of one that has ended, and print the
new job's ID.`

func (a *app) retryCommand() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "retry JOB… | -",
		Short: "Run ended jobs again, as new jobs",
		Long:  retryLong,
		Args:  argument(1, -1, "a job ID"),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for people; recorded with the event")
	return a.command(c, func(ctx context.Context, args []string) error {
		return a.change(ctx, args, reason, entropy.Service.Retry, func(j *entropy.Job) string { return string(j.ID) })
	})
}

type changer func(entropy.Service, context.Context, entropy.JobID, entropy.Operation) (*entropy.Job, error)

// change asks for one thing for each of several jobs. Each has its own operation
// ID, made before the first send, so that repeating a send is harmless. All jobs
// are tried; the first error decides the exit code.
func (a *app) change(ctx context.Context, args []string, reason string, do changer, say func(*entropy.Job) string) error {
	ids, err := a.readIDs(args)
	if err != nil || len(ids) == 0 {
		return err
	}
	service, err := a.connect()
	if err != nil {
		return err
	}
	p := &patience{a: a, limit: sendPatience}
	var first error
	for _, id := range ids {
		op := entropy.Operation{ID: entropy.NewID(), Reason: reason}
		var j *entropy.Job
		err := p.do(ctx, func() (err error) {
			j, err = do(service, ctx, id, op)
			return err
		})
		if err == nil {
			err = a.one(j, func() error { return a.printf("%s\n", say(j)) })
		}
		switch {
		case err == nil:
		case ctx.Err() != nil || transient(err):
			return err // the rest would fare no better
		case first == nil:
			first = err
		default:
			message, _ := describe(err)
			a.notef("%s", message)
		}
	}
	return first
}
