package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

// maxWaited bounds the jobs of one wait.
const maxWaited = 100_000

const waitLong = `Wait until the jobs have ended, and print one line for each as it ends.

"-" reads job IDs from standard input, one a line. Exit code 0: all succeeded;
7: at least one failed or was canceled; 8: the timeout was reached first. Ctrl-C
(exit 130) leaves the jobs alone. A restart of the control plane is sat out.`

func (a *app) waitCommand() *cobra.Command {
	var o waitOptions
	c := &cobra.Command{
		Use:     "wait JOB… | -",
		Short:   "Wait until jobs have ended",
		Long:    waitLong,
		Example: "  entropy submit -- make test | entropy wait --timeout 10m -",
		Args:    argument(1, -1, "a job ID"),
	}
	c.Flags().DurationVar(&o.timeout, "timeout", 0, "`LIMIT` after which to exit with 8 (default: none)")
	return a.command(c, func(ctx context.Context, args []string) error {
		if err := notNegative(map[string]time.Duration{"timeout": o.timeout}); err != nil {
			return err
		}
		ids, err := a.readIDs(args)
		if err != nil || len(ids) == 0 {
			return err
		}
		service, err := a.connect()
		if err != nil {
			return err
		}
		return a.waitFor(ctx, service, ids, o)
	})
}

// readIDs returns the distinct job IDs of the arguments, in order; "-" stands for
// the lines of standard input.
func (a *app) readIDs(args []string) ([]entropy.JobID, error) {
	var ids []entropy.JobID
	seen := make(map[entropy.JobID]bool)
	add := func(s string) error {
		id, err := jobID(s)
		if err != nil || seen[id] {
			return err
		}
		if len(ids) == maxWaited {
			return usagef("more than %d jobs are named", maxWaited)
		}
		seen[id] = true
		ids = append(ids, id)
		return nil
	}
	for _, arg := range args {
		if arg != "-" {
			if err := add(arg); err != nil {
				return nil, err
			}
			continue
		}
		lines := bufio.NewScanner(a.stdin)
		for lines.Scan() {
			if s := strings.TrimSpace(lines.Text()); s != "" {
				if err := add(s); err != nil {
					return nil, err
				}
			}
		}
		if err := lines.Err(); err != nil && !errors.Is(err, io.EOF) {
			return nil, usagef("standard input cannot be read: %v", err)
		}
	}
	return ids, nil
}

type waitOptions struct {
	timeout time.Duration // 0: none
	quiet   bool          // say nothing on stdout
}

const (
	// waitRound is how long one call waits for one job.
	waitRound = 20 * time.Second
	// manyRound is how long one call waits for several: their ends are reported
	// when the call returns, so it returns often.
	manyRound = 2 * time.Second
	// answerSlack is what the last call may take beyond the timeout, so that its
	// answer is not thrown away.
	answerSlack = 3 * time.Second
)

// waitFor waits until every job has ended. Its error carries the exit code.
func (a *app) waitFor(ctx context.Context, service entropy.Service, ids []entropy.JobID, o waitOptions) error {
	w := &waiter{a: a, service: service, quiet: o.quiet, patience: &patience{a: a, limit: sendPatience}}
	if o.timeout > 0 {
		w.deadline = a.now().Add(o.timeout)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout+answerSlack)
		defer cancel()
	}
	for open := ids; len(open) > 0; {
		var err error
		open, err = w.round(ctx, open)
		if len(open) > 0 && (w.left(waitRound) <= 0 || errors.Is(ctx.Err(), context.DeadlineExceeded)) {
			return outcome{exitTimedOut, fmt.Sprintf("%d of %d jobs had not ended after %s", len(open), len(ids), o.timeout)}
		}
		if err != nil {
			return err
		}
	}
	if len(w.bad) > 0 {
		return outcome{exitJobFailed, w.verdict(len(ids))}
	}
	return nil
}

type waiter struct {
	a        *app
	service  entropy.Service
	quiet    bool
	deadline time.Time // zero: none
	patience *patience
	bad      []*entropy.Job // ended otherwise than in success
}

// left returns d, or the time to the deadline when that is shorter.
func (w *waiter) left(d time.Duration) time.Duration {
	if w.deadline.IsZero() {
		return d
	}
	return min(d, w.deadline.Sub(w.a.now()))
}

// round asks once about a batch of the open jobs and returns those still open,
// the ones asked about last.
func (w *waiter) round(ctx context.Context, open []entropy.JobID) ([]entropy.JobID, error) {
	n := min(len(open), entropy.MaxBatch)
	batch, limit := open[:n], waitRound
	if len(open) > 1 {
		limit = manyRound
	}
	jobs, err := w.service.Wait(ctx, batch, max(0, w.left(limit)))
	if err != nil {
		return open, w.patience.failed(ctx, err)
	}
	w.patience.ok()
	w.patience.limit = watchPatience // it was there once: a restart is worth waiting for
	ended := make(map[entropy.JobID]bool, len(jobs))
	for _, j := range jobs {
		ended[j.ID] = true
		if err := w.end(j); err != nil {
			return open, err
		}
	}
	rest := append([]entropy.JobID(nil), open[n:]...)
	for _, id := range batch {
		if !ended[id] {
			rest = append(rest, id)
		}
	}
	return rest, ctx.Err()
}

// end reports one job that has ended.
func (w *waiter) end(j *entropy.Job) error {
	if j.State != entropy.Succeeded {
		w.bad = append(w.bad, j)
	}
	if w.quiet {
		return nil
	}
	if w.a.global.output != outputText {
		return w.a.writeLine(j)
	}
	return w.a.printf("%s  %s\n", j.ID, endOf(j))
}

// endOf says in words how a job ended: "failed: exit code 3".
func endOf(j *entropy.Job) string {
	s := string(j.State)
	switch {
	case j.State == entropy.Succeeded || j.State == entropy.Canceled:
		return s
	case j.Reason == entropy.ReasonExit && j.Signal != "":
		return s + ": " + printable(j.Signal)
	case j.Reason == entropy.ReasonExit && j.ExitCode != nil:
		return fmt.Sprintf("%s: exit code %d", s, *j.ExitCode)
	case j.Array != nil:
		return s + ": " + printable(j.Message)
	case j.Message != "":
		return fmt.Sprintf("%s: %s: %s", s, j.Reason, printable(j.Message))
	}
	return fmt.Sprintf("%s: %s", s, j.Reason)
}

// verdict is the last line of a wait that did not end well.
func (w *waiter) verdict(total int) string {
	if total == 1 {
		j := w.bad[0]
		look := "entropy job"
		if j.Reason == entropy.ReasonExit {
			look = "entropy logs --stderr"
		}
		return fmt.Sprintf("job %s %s (look with: %s %s)", j.ID, endOf(j), look, j.ID)
	}
	return fmt.Sprintf("%d of %d jobs did not succeed, the first is %s: %s", len(w.bad), total, w.bad[0].ID, endOf(w.bad[0]))
}
