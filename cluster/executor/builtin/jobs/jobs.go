// Package jobs executes the fabric's own commands: restart_job, retry_step,
// cancel_job, submit_job, drain_worker and quarantine_worker.
//
// Each is one or more calls of the fabric's service under operation IDs that are
// derived from the action's: whatever is repeated, a job is restarted once per
// action.
package jobs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/executor"
)

// Service is what is used of [entropy.Service], which has it all.
type Service interface {
	Submit(ctx context.Context, subs []entropy.Submission) ([]entropy.SubmitResult, error)
	Job(ctx context.Context, id entropy.JobID) (*entropy.Job, error)
	Cancel(ctx context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error)
	Retry(ctx context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error)
	Wait(ctx context.Context, ids []entropy.JobID, max time.Duration) ([]*entropy.Job, error)
	SetWorker(ctx context.Context, id entropy.WorkerID, mode entropy.WorkerMode, op entropy.Operation) (entropy.WorkerInfo, error)
}

// Config says on whose service the commands act, and as whom.
type Config struct {
	Service Service
	// As is who makes the calls. The zero Principal: an admin called "executor".
	As entropy.Principal
	// Poll is the longest single wait for a job to end; 0 means 20 s.
	Poll time.Duration
}

type handlers struct{ Config }

// Register gives the handlers to an executor.
func Register(to executor.Registry, conf Config) error {
	if conf.Service == nil {
		return errors.New("jobs: a service is required")
	}
	if conf.As == (entropy.Principal{}) {
		conf.As = entropy.Principal{Role: entropy.RoleAdmin, Name: "executor"}
	}
	if conf.Poll == 0 {
		conf.Poll = 20 * time.Second
	}
	h := &handlers{conf}
	for command, fn := range map[string]executor.Handler{
		"restart_job": h.restart, "retry_step": h.retry, "cancel_job": h.cancel, "submit_job": h.submit,
		"drain_worker": h.worker(entropy.WorkerDrain), "quarantine_worker": h.worker(entropy.WorkerQuarantine),
	} {
		to.Handle(command, func(ctx context.Context, t *executor.Task) (any, error) {
			return fn(entropy.WithPrincipal(ctx, h.As), t)
		}, executor.DryRun())
	}
	return nil
}

// op returns the operation of one step of an action. Its ID is hashed because an
// action's may be as long as an ID can be.
func op(t *executor.Task, step string) entropy.Operation {
	h := sha256.Sum256([]byte(t.ActionID()))
	return entropy.Operation{ID: step + "-" + hex.EncodeToString(h[:20]), Reason: "action " + t.ActionID() + " (" + t.Order.Command + ")"}
}

// jobArgs name a job. Without them it is the entity that the request is about.
type jobArgs struct {
	JobID entropy.JobID `json:"job_id"`
	Force bool          `json:"force"`
}

func (h *handlers) job(ctx context.Context, t *executor.Task) (jobArgs, *entropy.Job, error) {
	var args jobArgs
	if err := t.Args(&args); err != nil {
		return args, nil, err
	}
	if kind, id := entropy.SplitEntity(t.Event.EntityID); args.JobID == "" && kind == entropy.KindJob {
		args.JobID = entropy.JobID(id)
	}
	if args.JobID == "" {
		return args, nil, executor.Invalidf("job_id is missing, and the request is not about a job")
	}
	job, err := h.Service.Job(ctx, args.JobID)
	if err != nil {
		return args, nil, fmt.Errorf("job %s: %w", args.JobID, err)
	}
	return args, job, nil
}

// restart ends the job if it has not ended, waits until that is confirmed, and
// submits it anew. A job that has succeeded is restarted only by force.
func (h *handlers) restart(ctx context.Context, t *executor.Task) (any, error) {
	args, job, err := h.job(ctx, t)
	if err != nil {
		return nil, err
	}
	running := !job.State.Terminal()
	if job.State == entropy.Succeeded && !args.Force {
		return nil, executor.Final(fmt.Errorf("job %s has succeeded; it is restarted only with force", job.ID), string(entropy.CodeConflict))
	}
	if t.DryRun() {
		return map[string]any{"would": "restart", "job_id": job.ID, "state": job.State, "cancel_first": running}, nil
	}
	was := job.State
	if running {
		if job, err = h.end(ctx, t, job.ID); err != nil {
			return nil, err
		}
		// It may have ended well in between: then there is nothing to restart.
		if job.State == entropy.Succeeded && !args.Force {
			return map[string]any{"job_id": job.ID, "state": job.State, "restarted": false}, nil
		}
	}
	t.Progress(80, "job "+string(job.ID)+" is "+string(job.State)+"; submitting it anew")
	again, err := h.Service.Retry(ctx, job.ID, op(t, "retry"))
	if err != nil {
		return nil, fmt.Errorf("retry job %s: %w", job.ID, err)
	}
	return map[string]any{"job_id": job.ID, "was": was, "new_job_id": again.ID, "restarted": true}, nil
}

// end cancels a job and waits until its end is confirmed: its processes are gone,
// or its lease has ended.
func (h *handlers) end(ctx context.Context, t *executor.Task, id entropy.JobID) (*entropy.Job, error) {
	t.Progress(10, "canceling job "+string(id))
	job, err := h.Service.Cancel(ctx, id, op(t, "cancel"))
	if entropy.ErrorCode(err) == entropy.CodeConflict { // it has ended otherwise
		job, err = h.Service.Job(ctx, id)
	}
	if err != nil {
		return nil, fmt.Errorf("cancel job %s: %w", id, err)
	}
	for !job.State.Terminal() {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("job %s is %s, its end is not confirmed: %w", id, job.State, err)
		}
		t.Progress(40, "waiting until job "+string(id)+" has ended")
		ended, err := h.Service.Wait(ctx, []entropy.JobID{id}, h.Poll)
		if err != nil {
			return nil, fmt.Errorf("wait for job %s: %w", id, err)
		}
		if len(ended) > 0 {
			job = ended[0]
		}
	}
	return job, nil
}

// retry submits a job that has ended anew; of an array, the members that failed.
func (h *handlers) retry(ctx context.Context, t *executor.Task) (any, error) {
	args, job, err := h.job(ctx, t)
	if err != nil {
		return nil, err
	}
	switch {
	case !job.State.Terminal():
		return nil, executor.Final(fmt.Errorf("job %s is %s; restart_job ends it first", job.ID, job.State), string(entropy.CodeConflict))
	case job.State == entropy.Succeeded && !args.Force:
		return nil, executor.Final(fmt.Errorf("job %s has succeeded; it is retried only with force", job.ID), string(entropy.CodeConflict))
	case t.DryRun():
		return map[string]any{"would": "retry", "job_id": job.ID, "state": job.State}, nil
	}
	again, err := h.Service.Retry(ctx, job.ID, op(t, "retry"))
	if err != nil {
		return nil, fmt.Errorf("retry job %s: %w", job.ID, err)
	}
	return map[string]any{"job_id": job.ID, "new_job_id": again.ID}, nil
}

// cancel ends a job and waits until that is confirmed.
func (h *handlers) cancel(ctx context.Context, t *executor.Task) (any, error) {
	_, job, err := h.job(ctx, t)
	if err != nil {
		return nil, err
	}
	if t.DryRun() {
		return map[string]any{"would": "cancel", "job_id": job.ID, "state": job.State}, nil
	}
	if !job.State.Terminal() {
		if job, err = h.end(ctx, t, job.ID); err != nil {
			return nil, err
		}
	}
	return map[string]any{"job_id": job.ID, "state": job.State}, nil
}

// submit submits a job. Its key is the action's ID, so a repeat finds it.
func (h *handlers) submit(ctx context.Context, t *executor.Task) (any, error) {
	var args struct {
		Spec  json.RawMessage    `json:"spec"`
		Array *entropy.ArraySpec `json:"array"`
		Hold  bool               `json:"hold"`
	}
	if err := t.Args(&args); err != nil {
		return nil, err
	}
	sub := entropy.Submission{IdempotencyKey: "action:" + t.ActionID(), Array: args.Array, Hold: args.Hold}
	if err := json.Unmarshal(args.Spec, &sub.Spec); err != nil {
		return nil, executor.Invalidf("the spec: %w", err)
	}
	if t.DryRun() {
		return map[string]any{"would": "submit", "name": sub.Spec.Name, "command": sub.Spec.Command}, nil
	}
	res, err := h.Service.Submit(ctx, []entropy.Submission{sub})
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	if len(res) != 1 {
		return nil, fmt.Errorf("submit: %d answers to one submission", len(res))
	}
	if res[0].Error != nil {
		return nil, fmt.Errorf("submit: %w", res[0].Error)
	}
	return map[string]any{"job_id": res[0].ID, "created": res[0].Created}, nil
}

// worker sets the mode of a worker.
func (h *handlers) worker(mode entropy.WorkerMode) executor.Handler {
	return func(ctx context.Context, t *executor.Task) (any, error) {
		var args struct {
			WorkerID entropy.WorkerID `json:"worker_id"`
		}
		if err := t.Args(&args); err != nil {
			return nil, err
		}
		if kind, id := entropy.SplitEntity(t.Event.EntityID); args.WorkerID == "" && kind == entropy.KindWorker {
			args.WorkerID = entropy.WorkerID(id)
		}
		if args.WorkerID == "" {
			return nil, executor.Invalidf("worker_id is missing, and the request is not about a worker")
		}
		if t.DryRun() {
			return map[string]any{"would": mode, "worker_id": args.WorkerID}, nil
		}
		w, err := h.Service.SetWorker(ctx, args.WorkerID, mode, op(t, string(mode)))
		if err != nil {
			return nil, fmt.Errorf("worker %s: %w", args.WorkerID, err)
		}
		return map[string]any{"worker_id": args.WorkerID, "mode": mode, "running": w.Running}, nil
	}
}
