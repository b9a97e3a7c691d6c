package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

const cancelLong = `Cancel jobs. A queued job is canceled at once; a running one when its processes
are confirmed gone or its lease has ended. Canceling a job twice is harmless.`

func (a *app) cancelCommand() *cobra.Command {
	r := &entropy.BulkRequest{Verb: entropy.VerbCancel}
	c := &cobra.Command{
		Use:     "cancel JOB… | - | --queue Q --yes",
		Short:   "Cancel jobs",
		Long:    cancelLong,
		Example: "  entropy cancel --queue night --state pending --yes",
	}
	c.Flags().StringVar(&r.Operation.Reason, "reason", "", "why, for people; recorded with the event")
	return a.changeCommand(c, r, func(ctx context.Context, args []string) error {
		return a.change(ctx, args, r.Operation.Reason, entropy.Service.Cancel, func(j *entropy.Job) string {
			if j.State.Terminal() {
				return string(j.ID) + "  " + string(j.State)
			}
			return string(j.ID) + "  cancel requested, " + string(j.State) + " until its processes are gone"
		})
	})
}

const retryLong = `Submit a new job with the specification of one that has ended, and print the
new job's ID. Of an array that is a new array of the members that did not succeed.`

func (a *app) retryCommand() *cobra.Command {
	r := &entropy.BulkRequest{Verb: entropy.VerbRetry}
	c := &cobra.Command{
		Use:     "retry JOB… | - | --queue Q --yes",
		Short:   "Run ended jobs again, as new jobs",
		Long:    retryLong,
		Example: "  entropy retry --queue night --state failed --yes",
	}
	c.Flags().StringVar(&r.Operation.Reason, "reason", "", "why, for people; recorded with the event")
	c.Flags().BoolVar(&r.Dependents, "dependents", false, "also make new jobs of those that failed because these did; all or none")
	return a.changeCommand(c, r, func(ctx context.Context, args []string) error {
		if r.Dependents {
			return a.retryDependents(ctx, r, args)
		}
		return a.change(ctx, args, r.Operation.Reason, entropy.Service.Retry, func(j *entropy.Job) string { return string(j.ID) })
	})
}

// retryDependents makes new jobs of some and of those that failed because of them.
func (a *app) retryDependents(ctx context.Context, r *entropy.BulkRequest, args []string) (err error) {
	if r.IDs, err = a.readIDs(args); err != nil || len(r.IDs) == 0 {
		return err
	}
	return a.bulk(ctx, r, true)
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
