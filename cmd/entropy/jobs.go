package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

type jobsFlags struct {
	states []string
	labels []string
	filter entropy.JobFilter
}

func (a *app) jobsCommand() *cobra.Command {
	var f jobsFlags
	c := &cobra.Command{
		Use:   "jobs",
		Short: "List jobs, newest first",
		Example: `  entropy jobs --state running,lost
  entropy jobs --label team=vision -o jsonl`,
		Args: argument(0, 0, ""),
	}
	s := c.Flags()
	s.StringSliceVar(&f.states, "state", nil, "only these `STATES`, separated by commas")
	s.StringVar(&f.filter.Queue, "queue", "", "only this `QUEUE`")
	s.StringVar(&f.filter.Tenant, "tenant", "", "only this `TENANT`")
	s.StringVar(&f.filter.Name, "name", "", "only jobs of this `NAME`")
	s.StringVar((*string)(&f.filter.Array), "array", "", "only the members of this array, by its `ID`")
	s.StringArrayVar(&f.labels, "label", nil, "only jobs with this label `KEY=VALUE` (repeatable)")
	s.IntVar(&f.filter.Limit, "limit", 100, "at most this many, up to 1000")
	s.StringVar(&f.filter.Cursor, "cursor", "", "continue after the page that named this `CURSOR`")
	return a.command(c, func(ctx context.Context, _ []string) error { return a.jobs(ctx, f) })
}

func (a *app) jobs(ctx context.Context, f jobsFlags) (err error) {
	if f.filter.Limit < 1 || f.filter.Limit > entropy.MaxBatch {
		return usagef("--limit is %d", f.filter.Limit).WithHint("it is from 1 to %d", entropy.MaxBatch)
	}
	if f.filter.States, err = jobStates(f.states); err != nil {
		return err
	}
	if f.filter.Labels, err = keyValues("label", f.labels); err != nil {
		return err
	}
	service, err := a.connect()
	if err != nil {
		return err
	}
	page, err := service.Jobs(ctx, f.filter)
	if err != nil {
		return err
	}
	now := a.now()
	err = list(a, page.Jobs, func(jobs []*entropy.Job) *table { return jobTable(jobs, now) })
	if err == nil && page.Next != "" {
		a.notef("there are more: entropy jobs --cursor %s", printable(page.Next))
	}
	return err
}

func jobTable(jobs []*entropy.Job, now time.Time) *table {
	t := new(table)
	t.row("ID", "STATE", "NAME", "ATTEMPT", "WORKER", "AGE", "TOOK", "COMMAND")
	for _, j := range jobs {
		t.row(string(j.ID), stateOf(j), shorten(dash(printable(j.Spec.Name)), 24), attemptOf(j), dash(workerOf(j)),
			age(&j.CreatedAt, now), took(j, now), shorten(printable(workOf(&j.Spec)), 48))
	}
	return t
}

// stateOf writes the state of a job with what explains it.
func stateOf(j *entropy.Job) string {
	s := string(j.State)
	switch {
	case j.State == entropy.Failed && j.Reason != "":
		s += "(" + string(j.Reason) + ")"
	case j.State.Terminal():
	case j.CancelRequested:
		s += ",canceling"
	case j.Held:
		s += ",held"
	case j.Blocked:
		s += ",waiting"
	}
	return s
}

func attemptOf(j *entropy.Job) string {
	if j.Attempt == 0 {
		return "-"
	}
	return itoa(j.Attempt)
}

func workerOf(j *entropy.Job) string {
	if j.Lease != nil {
		return string(j.Lease.WorkerID)
	}
	if a := j.LastAttempt(); a != nil {
		return string(a.WorkerID)
	}
	return ""
}

// took is the time between a job's first start and its end, or until now.
func took(j *entropy.Job, now time.Time) string {
	switch {
	case j.StartedAt == nil:
		return "-"
	case j.FinishedAt != nil:
		return span(max(0, j.FinishedAt.Sub(*j.StartedAt)))
	}
	return span(max(0, now.Sub(*j.StartedAt)))
}

// workOf writes what a job runs.
func workOf(s *entropy.JobSpec) string {
	if s.Handler != "" {
		return strings.TrimSpace("handler " + s.Handler + " " + string(s.Payload))
	}
	if s.Image != "" {
		return strings.TrimSpace("image " + s.Image + " " + shellWords(s.Command))
	}
	return shellWords(s.Command)
}
