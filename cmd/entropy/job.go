package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

func itoa(n int) string { return strconv.Itoa(n) }

func (a *app) jobCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "job ID",
		Short: "Show one job: its attempts, its end, its artifacts",
		Args:  argument(1, 1, "a job ID"),
	}
	return a.command(c, func(ctx context.Context, args []string) error {
		id, err := jobID(args[0])
		if err != nil {
			return err
		}
		service, err := a.connect()
		if err != nil {
			return err
		}
		j, err := service.Job(ctx, id)
		if err != nil {
			return err
		}
		return a.one(j, func() error { return a.drawJob(j) })
	})
}

// drawJob writes a job for people: facts, the timeline of its attempts, artifacts.
func (a *app) drawJob(j *entropy.Job) error {
	facts := new(table)
	for _, f := range jobFacts(j, a.now()) {
		facts.row(f[0], f[1])
	}
	if err := facts.write(a.stdout); err != nil {
		return err
	}
	if len(j.Attempts) > 0 {
		a.printf("\nAttempts:\n")
		if err := attemptTable(j.Attempts).write(a.stdout); err != nil {
			return err
		}
	}
	if len(j.Artifacts) > 0 {
		a.printf("\nArtifacts:\n")
		return artifactTable(j.Artifacts).write(a.stdout)
	}
	return nil
}

// jobFacts returns what there is to say about a job, label and value. Lines
// without a value are left out.
func jobFacts(j *entropy.Job, now time.Time) [][2]string {
	var facts [][2]string
	add := func(label, value string) {
		if value != "" && value != "-" {
			facts = append(facts, [2]string{label, value})
		}
	}
	add("ID", string(j.ID))
	add("Name", j.Spec.Name)
	add("State", stateOf(j))
	add("Message", j.Message)
	add("Command", workOf(&j.Spec))
	add("Queue", fmt.Sprintf("%s (tenant %s, priority %d)", j.QueueName(), j.TenantName(), j.Priority()))
	add("Array", arrayOf(j))
	add("Waits for", afterOf(j))
	add("Resources", j.Spec.Resources.String())
	add("Labels", pairs(j.Spec.Labels))
	add("Requires", pairs(j.Spec.Require))
	add("Worker", workerOf(j))
	if j.Attempt > 0 {
		add("Attempt", fmt.Sprintf("%d (failures %d, losses %d)", j.Attempt, j.Failures, j.Losses))
	}
	if j.ExitCode != nil {
		add("Exit code", itoa(*j.ExitCode))
	}
	add("Signal", j.Signal)
	if string(j.Result) != "null" {
		add("Result", string(j.Result))
	}
	add("Checkpoint", checkpointOf(j, now))
	add("Not saved", j.CheckpointRefused)
	add("Retry of", string(j.Spec.RetryOf))
	add("Submitted", when(&j.CreatedAt, now))
	add("Not before", when(j.Spec.NotBefore, now))
	add("Started", when(j.StartedAt, now))
	add("Next try", when(j.RetryAt, now))
	add("Finished", when(j.FinishedAt, now))
	add("Took", took(j, now))
	return facts
}

// checkpointOf says what a next attempt would resume from.
func checkpointOf(j *entropy.Job, now time.Time) string {
	from := j.ResumeFrom()
	if len(from) == 0 {
		return ""
	}
	c := from[0]
	return fmt.Sprintf("%d of attempt %d, %s, %s", c.Seq, c.Attempt, size(c.Size), when(&c.At, now))
}

// arrayOf says how the members of an array stand, or of which array a job is a member.
func arrayOf(j *entropy.Job) string {
	if m := j.Spec.Array; m != nil {
		return fmt.Sprintf("member %d of %s", m.Index, m.Of)
	}
	if j.Array == nil {
		return ""
	}
	text := fmt.Sprintf("%d members, %d to %d:", j.Array.Count, j.Array.First, j.Array.Last)
	for _, s := range entropy.States {
		if n := j.Array.States[s]; n > 0 {
			text += fmt.Sprintf(" %d %s", n, s)
		}
	}
	return text
}

// afterOf writes what a job waits for, as --after reads it.
func afterOf(j *entropy.Job) string {
	words := make([]string, len(j.Spec.After))
	for i, d := range j.Spec.After {
		if words[i] = string(d.Job); d.On == entropy.OnEnd {
			words[i] += ":end"
		}
	}
	return strings.Join(words, " ")
}

// when writes a moment and its distance from now.
func when(t *time.Time, now time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	d := age(t, now)
	if strings.HasPrefix(d, "in ") {
		return stamp(t) + " (" + d + ")"
	}
	return stamp(t) + " (" + d + " ago)"
}

func pairs(m map[string]string) string {
	var b strings.Builder
	for i, k := range sortedKeys(m) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(k + "=" + m[k])
	}
	return b.String()
}

func attemptTable(attempts []entropy.Attempt) *table {
	t := new(table)
	t.row("  #", "WORKER", "ASSIGNED", "STARTED", "ENDED", "END", "NOTE")
	for i := range attempts {
		at := &attempts[i]
		end := string(at.End)
		if end == "" {
			end = "live"
		}
		t.row("  "+itoa(at.Number), string(at.WorkerID), stamp(&at.AssignedAt), stamp(at.StartedAt), stamp(at.EndedAt), end, attemptNote(at))
	}
	return t
}

// attemptNote says what is worth knowing about an attempt's end.
func attemptNote(at *entropy.Attempt) string {
	var notes []string
	add := func(ok bool, format string, args ...any) {
		if ok {
			notes = append(notes, fmt.Sprintf(format, args...))
		}
	}
	add(at.ExitCode != nil && *at.ExitCode != 0, "exit code %d", value(at.ExitCode))
	add(at.Signal != "", "%s", at.Signal)
	add(at.Reason != "" && at.Reason != entropy.ReasonExit, "%s", at.Reason)
	add(at.Message != "", "%s", at.Message)
	add(at.Counted != "", "counted as a %s", at.Counted)
	add(at.Reattached > 0, "reattached %d×", at.Reattached)
	add(at.Late, "its result came late")
	return strings.Join(notes, "; ")
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
