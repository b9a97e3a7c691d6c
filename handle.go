package entropy

import (
	"context"
	"io"
	"iter"
	"time"
)

// Handle is a submitted job, seen from the program that submitted it. It holds
// no resource and is safe for concurrent use.
type Handle struct {
	service Service
	id      JobID
}

// How a handle repeats a call whose outcome is unknown, and reads that found
// the control plane away.
const (
	repeatFirst = 100 * time.Millisecond
	repeatMost  = 5 * time.Second
	repeatFor   = time.Minute // an unknown submission is given up after this long
)

// Spawn submits one job under an ID made here and returns a handle on it. When
// the outcome of the submission is unknown it is repeated with that ID, which
// never makes a second job, for up to a minute or until ctx ends. An error with
// [CodeUnknown] names the ID in its hint.
func Spawn(ctx context.Context, s Service, spec JobSpec) (*Handle, error) {
	h := &Handle{service: s, id: JobID(NewID())}
	err := h.repeat(ctx, repeatFor, false, func() error {
		results, err := s.Submit(ctx, []Submission{{ID: h.id, Spec: spec}})
		if err != nil {
			return err
		}
		if len(results) == 1 && results[0].Error != nil {
			return results[0].Error
		}
		return nil
	})
	if ErrorCode(err) == CodeUnknown {
		e := AsError(err).WithHint("look with `entropy job %s`, or submit again with this ID", h.id)
		return nil, &callError{e: e, cause: err}
	}
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Attach returns a handle on a job that was submitted elsewhere. It asks nothing.
func Attach(s Service, id JobID) *Handle { return &Handle{service: s, id: id} }

// ID returns the job's ID.
func (h *Handle) ID() JobID { return h.id }

// Job returns the job as it is now.
func (h *Handle) Job(ctx context.Context) (*Job, error) { return h.service.Job(ctx, h.id) }

// Wait blocks until the job has ended and returns it. That it failed or was
// canceled is no error: see Job.State. A control plane that is away is waited
// for. Only ctx, or an error that waiting cannot cure, ends it early.
func (h *Handle) Wait(ctx context.Context) (*Job, error) {
	for {
		var done []*Job
		err := h.repeat(ctx, 0, true, func() (err error) {
			done, err = h.service.Wait(ctx, []JobID{h.id}, MaxWait/2)
			return err
		})
		switch {
		case err != nil:
			return nil, err
		case len(done) > 0:
			return done[0], nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
	}
}

// Cancel asks that the job end, and repeats that while the outcome is unknown.
// It returns the job as it is then; Wait waits for its end.
func (h *Handle) Cancel(ctx context.Context) (*Job, error) {
	op := Operation{ID: NewID()}
	var j *Job
	err := h.repeat(ctx, repeatFor, false, func() (err error) {
		j, err = h.service.Cancel(ctx, h.id, op)
		return err
	})
	return j, err
}

// Events yields the job's events from the first on, and ends after the one that
// ended the job. An error is yielded once and ends the sequence.
func (h *Handle) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		f := EventFilter{Entity: Entity(KindJob, string(h.id)), Wait: MaxWait / 2}
		for {
			var page EventPage
			err := h.repeat(ctx, 0, true, func() (err error) {
				page, err = h.service.Events(ctx, f)
				return err
			})
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Event{}, err)
				return
			}
			for _, e := range page.Events {
				if !yield(e, nil) || endsJob(e.Type) {
					return
				}
			}
			f.After = page.Next
		}
	}
}

func endsJob(event string) bool {
	return event == JobSucceeded || event == JobFailed || event == JobCanceled
}

// Logs returns the standard output of the newest attempt, from its beginning,
// followed until the attempt has ended. The caller closes it. Before the first
// attempt has started, reading blocks.
func (h *Handle) Logs(ctx context.Context) io.ReadCloser { return h.Log(ctx, LogQuery{}) }

// Log is Logs for another stream, attempt or offset. The job in q is ignored;
// an empty stream means standard output.
func (h *Handle) Log(ctx context.Context, q LogQuery) io.ReadCloser {
	q.JobID = h.id
	if q.Stream == "" {
		q.Stream = "stdout"
	}
	if q.Wait == 0 {
		q.Wait = MaxWait / 2
	}
	ctx, cancel := context.WithCancel(ctx)
	return &logReader{handle: h, ctx: ctx, cancel: cancel, query: q}
}

// logReader follows one stream of one attempt.
type logReader struct {
	handle *Handle
	ctx    context.Context
	cancel context.CancelFunc
	query  LogQuery
	rest   []byte
	eof    bool
}

// Read returns the next bytes of the output; it blocks until there are some.
func (r *logReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.eof {
			return 0, io.EOF
		}
		if len(p) == 0 {
			return 0, nil
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *logReader) fill() error {
	var chunk LogChunk
	err := r.handle.repeat(r.ctx, 0, true, func() (err error) {
		chunk, err = r.handle.service.Log(r.ctx, r.query)
		return err
	})
	if err == nil && len(chunk.Data) == 0 && !chunk.EOF {
		err = r.ctx.Err()
	}
	if err != nil {
		return err
	}
	r.rest, r.eof = chunk.Data, chunk.EOF
	r.query.Offset = chunk.Next
	if chunk.Attempt > 0 {
		r.query.Attempt = chunk.Attempt // stay with the attempt that was begun
	}
	return nil
}

// Close ends the reading and any wait in it.
func (r *logReader) Close() error {
	r.cancel()
	return nil
}

// repeat calls try until it succeeds or fails for good. An unknown outcome is
// tried again; with patient, so is an absent or overloaded control plane, which
// else is waited for only once an outcome is unknown. limit bounds the time
// spent repeating; 0 means until ctx ends.
func (h *Handle) repeat(ctx context.Context, limit time.Duration, patient bool, try func() error) error {
	delay, start := repeatFirst, time.Now()
	var unknown error
	for {
		err := try()
		switch ErrorCode(err) {
		case CodeUnknown:
			unknown = err
		case CodeUnavailable, CodeOverloaded:
			if !patient && unknown == nil {
				return err
			}
		default:
			return err
		}
		if ctx.Err() != nil || limit > 0 && time.Since(start)+delay > limit {
			if unknown != nil {
				return unknown // what came after it does not make it known
			}
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		delay = min(2*delay, repeatMost)
	}
}
