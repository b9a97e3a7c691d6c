package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// submitBody is a body of POST /v1/jobs: one submission, or a batch.
type submitBody struct {
	ID             entropy.JobID        `json:"id"`
	IdempotencyKey string               `json:"idempotency_key"`
	Spec           *entropy.JobSpec     `json:"spec"`
	Array          *entropy.ArraySpec   `json:"array"`
	Hold           bool                 `json:"hold"`
	Atomic         bool                 `json:"atomic"`
	Jobs           []entropy.Submission `json:"jobs"`
}

// submit accepts one job (201 when it is new, 200 when it existed with the same
// spec, else the error of that job) or a batch (200 with one result per job).
func (s *Server) submit(w *response, r *http.Request) error {
	var body submitBody
	if err := firstOf(noQuery(r), readJSON(w, r, largeBody, &body)); err != nil {
		return err
	}
	single := body.Spec != nil || body.ID != "" || body.IdempotencyKey != "" || body.Array != nil || body.Hold || body.Atomic
	switch {
	case single && body.Jobs != nil:
		return entropy.Errorf(entropy.CodeInvalid, "the body has jobs and also the fields of one job").
			WithHint(`send {"spec": …} for one job, or {"jobs": […]} for several`)
	case single:
		return s.submitOne(w, r, body)
	}
	if err := checkBatch("jobs", len(body.Jobs)); err != nil {
		return err
	}
	results, err := s.conf.Service.Submit(r.Context(), body.Jobs)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.SubmitResults{Results: results})
}

func (s *Server) submitOne(w *response, r *http.Request, body submitBody) error {
	if body.Spec == nil {
		return entropy.Errorf(entropy.CodeInvalid, "spec is missing").WithHint(`send {"spec": {"command": ["echo", "hello"]}}`)
	}
	sub := entropy.Submission{ID: body.ID, IdempotencyKey: body.IdempotencyKey, Spec: *body.Spec, Array: body.Array, Hold: body.Hold, Atomic: body.Atomic}
	results, err := s.conf.Service.Submit(r.Context(), []entropy.Submission{sub})
	if err != nil {
		return err
	}
	res := results[0]
	if res.Error != nil {
		return res.Error
	}
	w.Header().Set("Location", "/v1/jobs/"+url.PathEscape(string(res.ID)))
	if res.Created {
		return answer(w, http.StatusCreated, res)
	}
	return answer(w, http.StatusOK, res)
}

func (s *Server) listJobs(w *response, r *http.Request) error {
	q := newQuery(r)
	f := entropy.JobFilter{Queue: q.text("queue"), Tenant: q.text("tenant"), Name: q.text("name"), Array: entropy.JobID(q.text("array")), Limit: int(q.number("limit", 0, entropy.MaxBatch)), Cursor: q.text("cursor")}
	for _, v := range q.all("state") {
		for name := range strings.SplitSeq(v, ",") {
			if state := entropy.State(name); slices.Contains(entropy.States, state) {
				f.States = append(f.States, state)
			} else {
				q.bad("there is no state %.40q", name)
			}
		}
	}
	for _, v := range q.all("label") {
		key, value, ok := strings.Cut(v, "=")
		if _, again := f.Labels[key]; !ok || key == "" || again || len(f.Labels) >= entropy.MaxLabels {
			q.bad("label %.80q is not key=value, is given twice or is one too many", v)
			break
		}
		if f.Labels == nil {
			f.Labels = map[string]string{}
		}
		f.Labels[key] = value
	}
	if err := q.err(); err != nil {
		return err
	}
	page, err := s.conf.Service.Jobs(r.Context(), f)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, page)
}

// jobID returns the job that the path names.
func jobID(r *http.Request) (entropy.JobID, error) {
	id := r.PathValue("id")
	return entropy.JobID(id), entropy.ValidateID("job ID", id)
}

func (s *Server) getJob(w *response, r *http.Request) error {
	id, err := jobID(r)
	if err := firstOf(err, noQuery(r)); err != nil {
		return err
	}
	j, err := s.conf.Service.Job(r.Context(), id)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, j)
}

// operation reads the body of an action: an operation, or nothing.
func operation(w *response, r *http.Request) (op entropy.Operation, err error) {
	if err := firstOf(noQuery(r), readOptionalJSON(w, r, smallBody, &op)); err != nil {
		return op, err
	}
	return op, checkOperation(op)
}

func checkOperation(op entropy.Operation) error {
	if len(op.Reason) > entropy.MaxMessage {
		return entropy.Errorf(entropy.CodeInvalid, "reason is longer than %d bytes", entropy.MaxMessage)
	}
	if op.ID != "" {
		return entropy.ValidateID("operation_id", op.ID)
	}
	return nil
}

func (s *Server) cancelJob(w *response, r *http.Request) error {
	return changeJob(w, r, s.conf.Service.Cancel)
}

func (s *Server) retryJob(w *response, r *http.Request) error {
	return changeJob(w, r, s.conf.Service.Retry)
}

// changeJob carries out an operation on the job that the path names, and answers
// with the job that comes of it.
func changeJob(w *response, r *http.Request, change func(context.Context, entropy.JobID, entropy.Operation) (*entropy.Job, error)) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	op, err := operation(w, r)
	if err != nil {
		return err
	}
	j, err := change(r.Context(), id, op)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, j)
}

// waitJob answers with the job once it has ended, or as it is when the timeout
// has passed.
func (s *Server) waitJob(w *response, r *http.Request) error {
	id, err := jobID(r)
	q := newQuery(r)
	timeout := q.wait("timeout")
	if err := firstOf(err, q.err()); err != nil {
		return err
	}
	done, err := s.conf.Service.Wait(r.Context(), []entropy.JobID{id}, timeout)
	if err != nil {
		return err
	}
	if len(done) > 0 {
		return answer(w, http.StatusOK, done[0])
	}
	j, err := s.conf.Service.Job(r.Context(), id)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, j)
}

// waitJobs answers with those of the jobs that have ended, once all have or the
// timeout has passed.
func (s *Server) waitJobs(w *response, r *http.Request) error {
	var body entropy.WaitRequest
	if err := firstOf(noQuery(r), readJSON(w, r, batchBody, &body)); err != nil {
		return err
	}
	if err := checkBatch("ids", len(body.IDs)); err != nil {
		return err
	}
	if body.Timeout < 0 {
		return entropy.Errorf(entropy.CodeInvalid, "timeout is negative")
	}
	done, err := s.conf.Service.Wait(r.Context(), body.IDs, min(body.Timeout.D(), entropy.MaxWait))
	if err != nil {
		return err
	}
	if done == nil {
		done = []*entropy.Job{}
	}
	return answer(w, http.StatusOK, entropy.JobList{Jobs: done})
}

// checkBatch refuses an empty batch and one that is too large.
func checkBatch(field string, n int) error {
	switch {
	case n == 0:
		return entropy.Errorf(entropy.CodeInvalid, "%s is missing or empty", field).WithHint("send 1 to %d items", entropy.MaxBatch)
	case n > entropy.MaxBatch:
		return entropy.Errorf(entropy.CodeTooLarge, "%s has %d items", field, n).WithHint("send at most %d at once", entropy.MaxBatch)
	}
	return nil
}

// firstOf returns the first error.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
