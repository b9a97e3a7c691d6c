package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

type logsFlags struct {
	follow, stderr, raw bool
	attempt             int
	tail                int64
}

const logsLong = `Print what a job wrote: the output of its newest attempt that started.

On a terminal, control sequences other than colors are shown as escapes; --raw,
a file or a pipe gets the bytes as they were written.`

func (a *app) logsCommand() *cobra.Command {
	var f logsFlags
	c := &cobra.Command{
		Use:   "logs [-f] ID",
		Short: "Print what a job wrote",
		Long:  logsLong,
		Args:  argument(1, 1, "a job ID"),
	}
	s := c.Flags()
	s.BoolVarP(&f.follow, "follow", "f", false, "go on until the job has ended")
	s.BoolVar(&f.stderr, "stderr", false, "standard error instead of standard output")
	s.IntVar(&f.attempt, "attempt", 0, "the attempt with this `NUMBER` (default: the newest that started)")
	s.Int64Var(&f.tail, "tail", 0, "only the last `BYTES`")
	s.BoolVar(&f.raw, "raw", false, "write the bytes as they are, on a terminal too")
	return a.command(c, func(ctx context.Context, args []string) error { return a.logs(ctx, f, args[0]) })
}

func (a *app) logs(ctx context.Context, f logsFlags, arg string) error {
	id, err := jobID(arg)
	if err != nil {
		return err
	}
	if f.attempt < 0 || f.tail < 0 {
		return usagef("--attempt and --tail are not negative")
	}
	service, err := a.connect()
	if err != nil {
		return err
	}
	q := entropy.LogQuery{JobID: id, Stream: "stdout", Attempt: f.attempt, Offset: -f.tail}
	if f.stderr {
		q.Stream = "stderr"
	}
	out := a.stdout
	if !f.raw && isTerminal(a.stdout) {
		out = &tame{w: a.stdout}
	}
	l := &logReader{a: a, service: service, out: out, patience: &patience{a: a, limit: sendPatience}}
	if f.follow {
		q.Wait = waitRound
		return l.follow(ctx, q, f.attempt == 0)
	}
	return l.read(ctx, q)
}

type logReader struct {
	a        *app
	service  entropy.Service
	out      io.Writer
	patience *patience
}

// next reads one piece and writes it. The query it returns asks for what follows.
func (l *logReader) next(ctx context.Context, q entropy.LogQuery) (entropy.LogQuery, entropy.LogChunk, error) {
	var chunk entropy.LogChunk
	err := l.patience.do(ctx, func() (err error) {
		chunk, err = l.service.Log(ctx, q)
		return err
	})
	if err != nil {
		return q, chunk, err
	}
	l.patience.limit = watchPatience
	if _, err := l.out.Write(chunk.Data); err != nil {
		return q, chunk, err
	}
	if chunk.Attempt > 0 { // else none has started yet
		q.Offset, q.Attempt = chunk.Next, chunk.Attempt
	}
	return q, chunk, nil
}

// read prints what there is now.
func (l *logReader) read(ctx context.Context, q entropy.LogQuery) error {
	for {
		next, chunk, err := l.next(ctx, q)
		if err != nil || chunk.EOF || len(chunk.Data) == 0 {
			return err
		}
		q = next
	}
}

// follow prints until the attempt has ended and, with later, the attempts that
// come after it, until the job has ended.
func (l *logReader) follow(ctx context.Context, q entropy.LogQuery, later bool) error {
	for {
		next, chunk, err := l.next(ctx, q)
		if err != nil {
			return err
		}
		q = next
		if !chunk.EOF {
			if err := l.breathe(ctx, chunk); err != nil {
				return err
			}
			continue
		}
		if !later {
			return nil
		}
		newest, live, err := l.newest(ctx, q)
		switch {
		case err != nil:
			return err
		case newest > q.Attempt:
			l.a.notef("attempt %d of job %s:", newest, q.JobID)
			q.Attempt, q.Offset = newest, 0
		case !live:
			return l.read(ctx, q) // what a late result may have brought
		}
	}
}

// breathe keeps a server that answers early with nothing from being asked in a
// tight loop.
func (l *logReader) breathe(ctx context.Context, chunk entropy.LogChunk) error {
	if len(chunk.Data) > 0 {
		return nil
	}
	select {
	case <-time.After(firstPause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// newest waits until the job has ended, or runs an attempt: one that came after
// the attempt that was read, or that one again, reattached. It returns the number
// of the newest attempt that started, and whether the job has not ended.
func (l *logReader) newest(ctx context.Context, q entropy.LogQuery) (newest int, live bool, err error) {
	for {
		var j *entropy.Job
		err := l.patience.do(ctx, func() (err error) {
			if _, err = l.service.Wait(ctx, []entropy.JobID{q.JobID}, time.Second); err == nil {
				j, err = l.service.Job(ctx, q.JobID)
			}
			return err
		})
		if err != nil {
			return 0, false, err
		}
		newest, runs := newestStarted(j)
		if newest > q.Attempt || runs || j.State.Terminal() {
			return newest, !j.State.Terminal(), nil
		}
	}
}

// newestStarted returns the number of the newest attempt that started, 0 for
// none, and whether it has not ended.
func newestStarted(j *entropy.Job) (number int, runs bool) {
	for i := len(j.Attempts) - 1; i >= 0; i-- {
		if a := &j.Attempts[i]; a.StartedAt != nil {
			return a.Number, a.End == ""
		}
	}
	return 0, false
}
