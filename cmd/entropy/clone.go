package main

import (
	"context"
	"maps"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/entropy-fabric/entropy"
)

const cloneLong = `Submit a new job with the specification of another, changed by the flags that
are given, and print its ID. What follows "--" replaces the command line. A flag
that may be repeated replaces all values of the old job, but for --env, --label,
--require and --resource, which change only the keys they name.`

func (a *app) cloneCommand() *cobra.Command {
	var f submitFlags
	c := &cobra.Command{Use: "clone JOB [flags] [-- ARGV…]", Short: "Submit a job like another, with changes", Long: cloneLong,
		Example: "  entropy clone 0198c0de --gpus 2 --name bigger", Args: argument(1, -1, "a job ID")}
	f.register(c.Flags())
	return a.command(c, func(ctx context.Context, args []string) error { return a.clone(ctx, c.Flags(), &f, args) })
}

func (a *app) clone(ctx context.Context, given *pflag.FlagSet, f *submitFlags, args []string) error {
	id, err := jobID(args[0])
	if err != nil {
		return err
	}
	if len(args) > 1 && given.ArgsLenAtDash() != 1 {
		return usagef("%q is one argument too many", args[1]).WithHint("write -- before the new command line")
	}
	service, err := a.connect()
	if err != nil {
		return err
	}
	p := &patience{a: a, limit: sendPatience}
	var old *entropy.Job
	if err := p.do(ctx, func() (err error) {
		old, err = service.Job(ctx, id)
		return err
	}); err != nil {
		return err
	}
	sub, files, err := a.changed(ctx, given, f, old, args[1:])
	if err != nil {
		return err
	}
	if err := files.upload(ctx, service, p); err != nil {
		return err
	}
	result, err := a.send(ctx, service, p, sub)
	if err != nil {
		return err
	}
	return a.one(result, func() error { return a.printf("%s\n", result.ID) })
}

// changed returns a submission like an old job, changed by what is given.
func (a *app) changed(ctx context.Context, given *pflag.FlagSet, f *submitFlags, old *entropy.Job, argv []string) (entropy.Submission, inputFiles, error) {
	command := old.Spec.Command
	if len(argv) > 0 {
		command = argv
	} else if f.handler == "" && old.Spec.Handler != "" {
		command = []string{"-"} // for the check of the flags alone; the old handler stays
	}
	sub, err := f.submission(command, a.now())
	if err == nil {
		err = f.graph.apply(a, &sub)
	}
	if err != nil {
		return sub, nil, err
	}
	if old.Array != nil && sub.Array == nil {
		return sub, nil, usagef("%s is an array", old.ID).WithHint("say of what: with --array or --each-line")
	}
	files, err := gatherInputs(ctx, f.input)
	if err != nil {
		return sub, nil, err
	}
	sub.Spec.Inputs = files.inputs()
	spec := old.Spec
	spec.RetryOf, spec.Array = "", nil
	given.Visit(func(fl *pflag.Flag) {
		if take := specOf[fl.Name]; take != nil {
			take(&spec, &sub.Spec)
		}
	})
	if len(argv) > 0 {
		spec.Command, spec.Handler, spec.Payload = argv, "", nil
	} else if f.handler != "" {
		spec.Command = nil
	}
	sub.Spec = spec
	return sub, files, sub.Spec.Validate()
}

// specOf says for each flag of submit which part of a specification it sets.
var specOf = map[string]func(to, from *entropy.JobSpec){
	"name":          func(to, from *entropy.JobSpec) { to.Name = from.Name },
	"queue":         func(to, from *entropy.JobSpec) { to.Queue = from.Queue },
	"tenant":        func(to, from *entropy.JobSpec) { to.Tenant = from.Tenant },
	"priority":      func(to, from *entropy.JobSpec) { to.Priority = from.Priority },
	"max-attempts":  func(to, from *entropy.JobSpec) { to.Retry.MaxAttempts = from.Retry.MaxAttempts },
	"no-retry":      func(to, from *entropy.JobSpec) { to.Retry.NoRetry = from.Retry.NoRetry },
	"run-timeout":   func(to, from *entropy.JobSpec) { to.RunTimeout = from.RunTimeout },
	"queue-timeout": func(to, from *entropy.JobSpec) { to.QueueTimeout = from.QueueTimeout },
	"not-before":    func(to, from *entropy.JobSpec) { to.NotBefore = from.NotBefore },
	"require":       func(to, from *entropy.JobSpec) { to.Require = joined(to.Require, from.Require) },
	"label":         func(to, from *entropy.JobSpec) { to.Labels = joined(to.Labels, from.Labels) },
	"env":           func(to, from *entropy.JobSpec) { to.Env = joined(to.Env, from.Env) },
	"input":         func(to, from *entropy.JobSpec) { to.Inputs = from.Inputs },
	"artifact":      func(to, from *entropy.JobSpec) { to.Artifacts = from.Artifacts },
	"cwd":           func(to, from *entropy.JobSpec) { to.Cwd = from.Cwd },
	"disconnect":    func(to, from *entropy.JobSpec) { to.Disconnect.Worker = from.Disconnect.Worker },
	"image":         func(to, from *entropy.JobSpec) { to.Image = from.Image },
	"handler":       func(to, from *entropy.JobSpec) { to.Handler = from.Handler },
	"payload":       func(to, from *entropy.JobSpec) { to.Payload = from.Payload },
	"after":         func(to, from *entropy.JobSpec) { to.After = from.After },
	"cpus":          takeResources,
	"mem":           takeResources,
	"gpus":          takeResources,
	"resource":      takeResources,
	"checkpoint":    func(to, from *entropy.JobSpec) { to.Checkpoint = from.Checkpoint },
	"preemptible":   func(to, from *entropy.JobSpec) { to.Preemptible = from.Preemptible },
	"key": func(to, from *entropy.JobSpec) {
		to.ConcurrencyKey, to.Disconnect.Worker = from.ConcurrencyKey, from.Disconnect.Worker
	},
}

func takeResources(to, from *entropy.JobSpec) { to.Resources = joined(to.Resources, from.Resources) }

// joined returns a copy of base with the entries of over in place of its own.
func joined[M ~map[K]V, K comparable, V any](base, over M) M {
	m := maps.Clone(base)
	if m == nil {
		m = make(M, len(over))
	}
	maps.Copy(m, over)
	return m
}
