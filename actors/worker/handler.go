package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/workspace"
)

// Handler carries out jobs in the worker's own process. It runs in its own
// goroutine, with as many others as the node has slots.
//
// The result is encoded as JSON, at most [entropy.MaxResult] bytes, and stored
// with the job. An error, or a panic, fails the attempt. The context ends when
// the job is to stop: its run timeout, a cancel, the end of trust under the
// contract "stop", or the end of the node. A handler that goes on regardless
// cannot be killed: it keeps its slot and its lease until it returns.
type Handler func(ctx context.Context, run *Run) (result any, err error)

// Run is what a handler knows about its job. It is valid until the handler returns.
type Run struct {
	JobID        entropy.JobID
	AssignmentID entropy.AssignmentID
	Attempt      int             // 1 for the first
	Payload      json.RawMessage // of the job; do not change it
	Env          map[string]string
	GPUs         []entropy.GPUShare // that the attempt owns, by index

	h      *handlers
	dir    workspace.Dir
	inputs int
	stdout *workspace.Log // nil until asked for
	stderr *workspace.Log
	maxLog int64
	logger *slog.Logger
}

// InputDir returns the directory of the job's inputs. It must not be changed.
func (r *Run) InputDir() string { return r.dir.InputsOrEmpty(r.inputs) }

// ArtifactDir makes and returns a directory. Every file in it when the handler
// returns without an error becomes an artifact of the job.
func (r *Run) ArtifactDir() (string, error) {
	d, err := r.h.workspace(r.AssignmentID)
	return d.Artifacts(), err
}

// Stdout returns the job's standard output. It is capped; see Config.MaxLog.
// Like Stderr and Logger it may be called from the handler's goroutine only;
// what it returns may be used from any.
func (r *Run) Stdout() io.Writer { return r.stream(&r.stdout, workspace.Stdout) }

// Stderr returns the job's standard error.
func (r *Run) Stderr() io.Writer { return r.stream(&r.stderr, workspace.Stderr) }

func (r *Run) stream(l **workspace.Log, name string) io.Writer {
	if *l == nil {
		if _, err := r.h.workspace(r.AssignmentID); err != nil {
			r.logger.Warn("the output of a handler cannot be kept", slog.Any("error", err))
		}
		*l = workspace.NewLog(r.dir.Log(name), r.maxLog)
	}
	return *l
}

// Logger returns a logger that writes to the job's standard error.
func (r *Run) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(r.Stderr(), nil)) }

// Permanent marks an error that another attempt would not cure: the job fails.
func Permanent(err error) error {
	e := exitError{error: err, code: 1, permanent: true}
	if old, ok := errors.AsType[*exitError](err); ok {
		e.code = old.code
	}
	return &e
}

// WithExitCode gives the attempt that fails with err an exit code, for the
// job's retry policy to tell by; 1 is that of an error without.
func WithExitCode(err error, code int) error { return &exitError{error: err, code: code} }

type exitError struct {
	error
	code      int
	permanent bool
}

func (e *exitError) Unwrap() error { return e.error }

// call runs a handler and describes its end.
func call(ctx context.Context, h Handler, run *Run, c *entropy.Completion) {
	defer func() {
		if p := recover(); p != nil {
			fail(c, fmt.Errorf("the handler panicked: %v", p))
		}
	}()
	result, err := h(ctx, run)
	if err != nil {
		fail(c, err)
		return
	}
	if result != nil {
		if c.Result, err = json.Marshal(result); err != nil {
			fail(c, fmt.Errorf("the handler's result cannot be written as JSON: %w", err))
			return
		}
	}
	if len(c.Result) > entropy.MaxResult {
		n := len(c.Result)
		c.Result = nil
		fail(c, fmt.Errorf("the handler's result has %d bytes, at most %d are allowed; leave an artifact instead", n, entropy.MaxResult))
		return
	}
	c.Outcome = entropy.OutcomeSucceeded
}

func fail(c *entropy.Completion, err error) {
	code := 1
	if e, ok := errors.AsType[*exitError](err); ok {
		code, c.Permanent = e.code, e.permanent
	}
	c.Outcome, c.Reason, c.ExitCode, c.Message = entropy.OutcomeFailed, entropy.ReasonExit, &code, cut(err.Error())
}

func cut(s string) string {
	if len(s) <= entropy.MaxMessage {
		return s
	}
	return s[:entropy.MaxMessage-3] + "..."
}
