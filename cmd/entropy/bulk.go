package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

// selectFlags select jobs by what they are, in place of their IDs.
type selectFlags struct {
	states, labels []string
	filter         entropy.JobFilter
	array          string
	yes            bool
}

func (f *selectFlags) register(c *cobra.Command) {
	s := c.Flags()
	s.StringSliceVar(&f.states, "state", nil, "act on jobs in these `STATES` (default: all that this command is about)")
	s.StringVar(&f.filter.Queue, "queue", "", "act on the jobs of this `QUEUE`")
	s.StringVar(&f.filter.Tenant, "tenant", "", "act on the jobs of this `TENANT`")
	s.StringVar(&f.filter.Name, "name", "", "act on the jobs of this `NAME`")
	s.StringVar(&f.array, "array", "", "act on the members of this array, by its `ID`")
	s.StringArrayVar(&f.labels, "label", nil, "act on the jobs with this label `KEY=VALUE` (repeatable)")
	s.BoolVar(&f.yes, "yes", false, "do it; without this flag the selected jobs are only counted")
}

// given reads the flags and reports whether they select anything.
func (f *selectFlags) given() (given bool, err error) {
	if f.filter.States, err = jobStates(f.states); err != nil {
		return false, err
	}
	if f.filter.Labels, err = keyValues("label", f.labels); err != nil {
		return false, err
	}
	if f.array != "" {
		if f.filter.Array, err = jobID(f.array); err != nil {
			return false, err
		}
	}
	given = len(f.states) > 0 || len(f.labels) > 0 || f.filter.Queue != "" || f.filter.Tenant != "" || f.filter.Name != "" || f.array != ""
	return given, nil
}

// changeCommand finishes a command that does one thing to jobs that are named by
// ID, or selected by flags.
func (a *app) changeCommand(c *cobra.Command, r *entropy.BulkRequest, named func(ctx context.Context, args []string) error) *cobra.Command {
	var f selectFlags
	f.register(c)
	c.Args = cobra.ArbitraryArgs
	return a.command(c, func(ctx context.Context, args []string) error {
		selected, err := f.given()
		switch {
		case err != nil:
			return err
		case selected && len(args) > 0:
			return usagef("job IDs and flags that select jobs exclude each other")
		case !selected && len(args) == 0:
			return usageError{usagef("a job ID is missing").WithHint("name jobs, or select them as with --queue night --yes"), c}
		case f.yes && !selected:
			return usagef("--yes is for jobs that are selected by flags")
		case selected:
			r.Filter = f.filter
			return a.bulk(ctx, r, f.yes)
		}
		return named(ctx, args)
	})
}

// bulk carries out a request page by page. Each page is repeated over an outage;
// its operation ID makes that harmless. The first error decides the exit code.
func (a *app) bulk(ctx context.Context, r *entropy.BulkRequest, do bool) error {
	service, err := a.connect()
	if err != nil {
		return err
	}
	p := &patience{a: a, limit: sendPatience}
	r.Operation.ID = entropy.NewID()
	if !do {
		return a.countSelected(ctx, service, p, r)
	}
	var first error
	total, failed := 0, 0
	for more := true; more; more = r.Filter.Cursor != "" {
		var reply entropy.BulkReply
		err := p.do(ctx, func() (err error) {
			reply, err = service.Bulk(ctx, *r)
			return err
		})
		if err != nil {
			return err
		}
		for i := range reply.Items {
			total++
			if err := a.sayItem(r.Verb, &reply.Items[i]); err != nil {
				return err
			}
			if e := reply.Items[i].Error; e != nil {
				failed++
				if first == nil {
					first = e
				}
			}
		}
		r.Filter.Cursor = reply.Next
	}
	if failed > 1 {
		a.notef("%d of %d jobs refused; the first:", failed, total)
	}
	if total == 0 {
		a.notef("no job is selected")
	}
	return first
}

func (a *app) countSelected(ctx context.Context, service entropy.Service, p *patience, r *entropy.BulkRequest) error {
	r.DryRun = true
	var reply entropy.BulkReply
	err := p.do(ctx, func() (err error) {
		reply, err = service.Bulk(ctx, *r)
		return err
	})
	if err != nil {
		return err
	}
	return a.one(reply, func() error {
		if reply.Matched > 0 {
			a.notef("nothing is done yet: repeat it with --yes to %s them", r.Verb)
		}
		return a.printf("%d jobs are selected\n", reply.Matched)
	})
}

// sayItem writes the outcome for one job; one that was refused goes to stderr.
func (a *app) sayItem(verb entropy.Verb, it *entropy.BulkItem) error {
	if a.global.output != outputText {
		return a.writeLine(it)
	}
	switch {
	case it.Error != nil:
		a.notef("%s: %s", it.ID, printable(it.Error.Message))
		return nil
	case verb == entropy.VerbRetry:
		return a.printf("%s\n", it.New)
	}
	return a.printf("%s  %s\n", it.ID, it.State)
}
