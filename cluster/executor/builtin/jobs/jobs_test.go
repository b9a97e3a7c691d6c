package jobs_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/jobs"
	"github.com/entropy-fabric/entropy/cluster/executor/executortest"
)

// The whole service is one.
var _ jobs.Service = entropy.Service(nil)

// fake is a fabric with one job and one worker.
type fake struct {
	t     *testing.T
	state entropy.State
	end   entropy.State // that a canceled job comes to
	waits int           // that pass before it has ended
	calls []string
	done  map[string]entropy.JobID // by operation or key
}

func (f *fake) called(ctx context.Context, what string, op entropy.Operation) {
	f.calls = append(f.calls, what)
	if p := entropy.PrincipalFrom(ctx); p.Role != entropy.RoleAdmin {
		f.t.Errorf("%s is called by %q", what, p)
	}
	if err := entropy.ValidateID("operation", op.ID); err != nil {
		f.t.Error(err)
	}
}

func (f *fake) job() *entropy.Job { return &entropy.Job{ID: "abc123", State: f.state} }

func (f *fake) Job(_ context.Context, id entropy.JobID) (*entropy.Job, error) {
	if id != "abc123" {
		return nil, entropy.Errorf(entropy.CodeNotFound, "no such job")
	}
	return f.job(), nil
}

func (f *fake) Cancel(ctx context.Context, _ entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	f.called(ctx, "cancel", op)
	return f.job(), nil
}

func (f *fake) Wait(context.Context, []entropy.JobID, time.Duration) ([]*entropy.Job, error) {
	f.calls = append(f.calls, "wait")
	if f.waits--; f.waits > 0 {
		return nil, nil
	}
	f.state = f.end
	return []*entropy.Job{f.job()}, nil
}

func (f *fake) Retry(ctx context.Context, _ entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	f.called(ctx, "retry", op)
	if !f.state.Terminal() {
		return nil, entropy.Errorf(entropy.CodeConflict, "it has not ended")
	}
	return &entropy.Job{ID: f.once(op.ID)}, nil
}

func (f *fake) once(key string) entropy.JobID {
	if f.done == nil {
		f.done = map[string]entropy.JobID{}
	}
	if f.done[key] == "" {
		f.done[key] = entropy.JobID("new-" + string(rune('0'+len(f.done)+1)))
	}
	return f.done[key]
}

func (f *fake) Submit(_ context.Context, subs []entropy.Submission) ([]entropy.SubmitResult, error) {
	if len(subs[0].Spec.Command) == 0 {
		return []entropy.SubmitResult{{Error: entropy.Errorf(entropy.CodeInvalid, "no command")}}, nil
	}
	return []entropy.SubmitResult{{ID: f.once(subs[0].IdempotencyKey), Created: true}}, nil
}

func (f *fake) SetWorker(ctx context.Context, id entropy.WorkerID, mode entropy.WorkerMode, op entropy.Operation) (entropy.WorkerInfo, error) {
	f.called(ctx, string(mode)+" "+string(id), op)
	return entropy.WorkerInfo{Running: 2}, nil
}

func handlers(t *testing.T, f *fake) executortest.Handlers {
	f.t = t
	h := executortest.Handlers{}
	if err := jobs.Register(h, jobs.Config{Service: f}); err != nil {
		t.Fatal(err)
	}
	return h
}

// proves A-6: restart_job is a confirmed cancel and then a retry, once per action
// however often it is attempted.
func TestRestart(t *testing.T) {
	f := &fake{state: entropy.Running, end: entropy.Canceled, waits: 3}
	h := handlers(t, f)
	const args = `{"job_id":"abc123","force":true}` // as the mission's document has it
	for range 2 {
		res, err := h.Call(t.Context(), "restart_job", args)
		if err != nil || res["new_job_id"] != "new-1" {
			t.Fatalf("got %v, %v", res, err)
		}
	}
	if want := []string{"cancel", "wait", "wait", "wait", "retry", "retry"}; !slices.Equal(f.calls, want) {
		t.Errorf("the calls were %v, want %v", f.calls, want)
	}
}

// proves A-6: what a restart does in each state of the job.
func TestRestartByState(t *testing.T) {
	for _, c := range []struct {
		name       string
		state, end entropy.State
		args       string
		calls      []string
		kind       string
	}{
		{"failed", entropy.Failed, "", `{}`, []string{"retry"}, ""},
		{"succeeded", entropy.Succeeded, "", `{}`, nil, "conflict"},
		{"succeeded, by force", entropy.Succeeded, "", `{"force":true}`, []string{"retry"}, ""},
		{"succeeds in between", entropy.Running, entropy.Succeeded, `{}`, []string{"cancel", "wait"}, ""},
		{"unknown", entropy.Running, "", `{"job_id":"other"}`, nil, "not_found"},
		{"misspelled", entropy.Running, "", `{"jobid":"abc123"}`, nil, "invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fake{state: c.state, end: c.end}
			_, err := handlers(t, f).Call(t.Context(), "restart_job", c.args)
			kind, final := "", true
			if err != nil {
				kind, final = executortest.KindOf(err)
			}
			if kind != c.kind || !final || !slices.Equal(f.calls, c.calls) {
				t.Errorf("%v, calls %v", err, f.calls)
			}
		})
	}
}

// proves A-6: the other commands.
func TestCommands(t *testing.T) {
	f := &fake{state: entropy.Running, end: entropy.Canceled}
	h := handlers(t, f)
	if _, err := h.Call(t.Context(), "retry_step", `{}`); err == nil {
		t.Error("a running job was retried")
	}
	if res, err := h.Call(t.Context(), "cancel_job", `{}`); err != nil || res["state"] != "canceled" {
		t.Errorf("cancel_job: %v, %v", res, err)
	}
	if res, err := h.Call(t.Context(), "retry_step", `{}`); err != nil || res["new_job_id"] == nil {
		t.Errorf("retry_step: %v, %v", res, err)
	}
	for range 2 {
		if res, err := h.Call(t.Context(), "submit_job", `{"spec":{"command":["true"]}}`); err != nil || res["job_id"] != "new-2" {
			t.Errorf("submit_job: %v, %v", res, err)
		}
	}
	if _, err := h.Call(t.Context(), "submit_job", `{"spec":{}}`); err == nil {
		t.Error("a job without a command was submitted")
	}
	for _, command := range []string{"drain_worker", "quarantine_worker"} {
		if res, err := h.Call(t.Context(), command, `{"worker_id":"pi-1"}`); err != nil || res["running"] != 2.0 {
			t.Errorf("%s: %v, %v", command, res, err)
		}
	}
	if _, err := h.Call(t.Context(), "drain_worker", `{}`); err == nil {
		t.Error("no worker was drained")
	}
	if want := []string{"cancel", "wait", "retry", "drain pi-1", "quarantine pi-1"}; !slices.Equal(f.calls, want) {
		t.Errorf("the calls were %v, want %v", f.calls, want)
	}
}

// proves A-7: a dry run changes nothing.
func TestDryRun(t *testing.T) {
	f := &fake{state: entropy.Running}
	h := handlers(t, f)
	for command, args := range map[string]string{"restart_job": `{}`, "cancel_job": `{}`, "submit_job": `{"spec":{"command":["true"]}}`, "drain_worker": `{"worker_id":"pi-1"}`} {
		if res, err := h.Call(t.Context(), command, args, executortest.Dry); err != nil || res["would"] == nil {
			t.Errorf("%s: %v, %v", command, res, err)
		}
	}
	if len(f.calls) != 0 || f.done != nil {
		t.Errorf("it called %v", f.calls)
	}
}

// proves A-3: canceling a restart that waits for a job to end ends the wait.
func TestCanceledRestart(t *testing.T) {
	f := &fake{state: entropy.Running, waits: 1 << 30}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := handlers(t, f).Call(ctx, "restart_job", `{}`); err == nil {
		t.Error("it went on")
	}
}
