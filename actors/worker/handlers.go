package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/boottime"
	"github.com/entropy-fabric/entropy/actors/worker/deadline"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
	"github.com/entropy-fabric/entropy/actors/worker/supervisor"
	"github.com/entropy-fabric/entropy/actors/worker/workspace"
)

// handlers is the executor of Go handlers. Its runs end with the process; the
// next one reports them as a worker error.
type handlers struct {
	conf  Config
	spool *spool.Spool
	watch *deadline.Watch
	root  *workspace.Root

	mu      sync.Mutex
	runs    map[entropy.AssignmentID]*handlerRun
	made    map[entropy.AssignmentID]bool // those that have a workspace: most need none
	closing bool
	idle    chan struct{} // closed once closing and nothing runs

	ended *queue[spool.Exit]
	life  context.Context // ends when the executor is closed
	end   context.CancelFunc
}

// handlerRun is one handler at work.
type handlerRun struct {
	h      *handlers
	item   supervisor.StartItem
	cancel context.CancelCauseFunc

	mu     sync.Mutex
	ended  bool
	reason entropy.Reason
}

// Term implements deadline.Target: it ends the handler's context.
func (r *handlerRun) Term(reason entropy.Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended || r.reason != "" {
		return
	}
	r.reason = reason
	r.cancel(fmt.Errorf("the job is to end: %s", reason))
}

// Kill implements deadline.Target. A goroutine cannot be killed.
func (r *handlerRun) Kill() {
	r.h.conf.Logger.Warn("a handler goes on after its context has ended; it keeps its slot until it returns",
		slog.String("handler", r.item.Assignment.Spec.Handler), slog.String("job_id", string(r.item.Assignment.JobID)))
}

// openHandlers opens the handlers' spool and reports what an earlier process
// left unfinished.
func openHandlers(conf Config) (*handlers, error) {
	state := filepath.Join(conf.DataDir, "handlers")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, err
	}
	h := &handlers{conf: conf, runs: map[entropy.AssignmentID]*handlerRun{}, made: map[entropy.AssignmentID]bool{},
		idle: make(chan struct{}), ended: newQueue[spool.Exit]()}
	h.life, h.end = context.WithCancel(context.Background())
	var err error
	if h.root, err = workspace.OpenRoot(state); err != nil {
		return nil, err
	}
	if h.spool, err = spool.Open(spool.Config{Path: filepath.Join(state, "spool.log"), Logger: conf.Logger}); err != nil {
		return nil, err
	}
	if err := h.recover(); err != nil {
		return nil, errors.Join(err, h.spool.Close())
	}
	if h.watch, err = deadline.NewWatch(); err != nil {
		return nil, errors.Join(err, h.spool.Close())
	}
	go h.collect()
	return h, nil
}

func (h *handlers) recover() error {
	starts, _ := h.spool.Unfinished()
	for _, s := range starts {
		var err error
		if s.BootID != h.conf.bootID {
			err = h.spool.Decide([]spool.Decision{{AssignmentID: s.AssignmentID, Verdict: entropy.VerdictStop}})
		} else {
			err = h.spool.Exit(spool.Exit{Completion: entropy.Completion{JobID: s.JobID, AssignmentID: s.AssignmentID,
				Outcome: entropy.OutcomeFailed, Reason: entropy.ReasonWorkerError, Message: "the worker's process ended while its handler ran",
				StartedAt: s.At, FinishedAt: time.Now().UTC()}})
		}
		if err != nil {
			return fmt.Errorf("report what an earlier process left: %w", err)
		}
	}
	h.root.Sweep(func(id entropy.AssignmentID) bool {
		h.made[id] = h.spool.Knows(id)
		return h.made[id]
	}, h.conf.Logger)
	return nil
}

// workspace makes the workspace of an assignment.
func (h *handlers) workspace(id entropy.AssignmentID) (workspace.Dir, error) {
	h.mu.Lock()
	h.made[id] = true
	h.mu.Unlock()
	d := h.root.Dir(id)
	return d, d.Make()
}

// remove removes the workspaces of those assignments that have one.
func (h *handlers) remove(ds []spool.Decision) {
	var todo []workspace.Dir
	h.mu.Lock()
	for _, d := range ds {
		if h.made[d.AssignmentID] {
			todo = append(todo, h.root.Dir(d.AssignmentID))
		}
		delete(h.made, d.AssignmentID)
	}
	h.mu.Unlock()
	for _, d := range todo {
		if err := d.Remove(); err != nil {
			h.conf.Logger.Warn("cannot remove a workspace", slog.Any("error", err))
		}
	}
}

func (h *handlers) hasWorkspace(id entropy.AssignmentID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.made[id]
}

func (h *handlers) spoolID() string { return h.spool.ID() }

func (h *handlers) check(a *entropy.Assignment) error {
	if h.conf.Handlers[a.Spec.Handler] == nil {
		return entropy.Errorf(entropy.CodeInvalid, "this worker has no handler %q", a.Spec.Handler)
	}
	return nil
}

func (h *handlers) start(_ context.Context, items []supervisor.StartItem) ([]*entropy.Error, error) {
	now := time.Now().UTC()
	starts := make([]spool.Start, len(items))
	for i, it := range items {
		starts[i] = spool.Start{JobID: it.Assignment.JobID, AssignmentID: it.Assignment.AssignmentID, Attempt: it.Assignment.Attempt, GPUs: it.Assignment.GPUs,
			BootID: h.conf.bootID, At: now}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return nil, errors.New("the node is stopping")
	}
	fresh, err := h.spool.Start(starts)
	if err != nil {
		return nil, err
	}
	for i := range items {
		if fresh[i] {
			h.begin(items[i])
		}
	}
	return make([]*entropy.Error, len(items)), nil
}

// begin starts the goroutine of a run. The caller holds mu.
func (h *handlers) begin(it supervisor.StartItem) {
	ctx, cancel := context.WithCancelCause(context.Background())
	r := &handlerRun{h: h, item: it, cancel: cancel}
	id, spec := it.Assignment.AssignmentID, &it.Assignment.Spec
	l := deadline.Limits{Trust: it.Trust, Contract: spec.Disconnect.Worker == entropy.DisconnectStop, Grace: spec.Grace.D()}
	if l.Grace == 0 {
		l.Grace = h.conf.Grace
	}
	if spec.RunTimeout > 0 {
		l.Timeout = boottime.Now() + spec.RunTimeout.D()
	}
	h.runs[id] = r
	h.watch.Add(id, l, r)
	go r.main(ctx)
}

// main runs the handler to its end.
func (r *handlerRun) main(ctx context.Context) {
	a := &r.item.Assignment
	began := time.Now()
	x := spool.Exit{Completion: entropy.Completion{JobID: a.JobID, AssignmentID: a.AssignmentID, StartedAt: began.UTC()}}
	run := &Run{JobID: a.JobID, AssignmentID: a.AssignmentID, Attempt: a.Attempt, GPUs: a.GPUs, Payload: a.Spec.Payload, Env: a.Spec.Env,
		h: r.h, dir: r.h.root.Dir(a.AssignmentID), inputs: len(a.Spec.Inputs), maxLog: r.item.MaxLog, logger: r.h.conf.Logger}
	switch {
	case r.item.Broken != "":
		x.Completion.Outcome, x.Completion.Reason, x.Completion.Message = entropy.OutcomeFailed, entropy.ReasonWorkerError, cut(r.item.Broken)
	case ctx.Err() == nil:
		call(ctx, r.h.conf.Handlers[a.Spec.Handler], run, &x.Completion)
	}
	r.mu.Lock()
	r.ended = true
	reason := r.reason
	r.mu.Unlock()
	r.cancel(nil)
	r.describe(run, &x, reason)
	ended := time.Now()
	x.Completion.FinishedAt = ended.UTC()
	x.Completion.Usage = &entropy.Usage{Wall: entropy.Duration(ended.Sub(began))}
	r.h.ended.put(x)
}

// describe completes the exit with what the handler left, or why it was stopped.
func (r *handlerRun) describe(run *Run, x *spool.Exit, reason entropy.Reason) {
	c, spec := &x.Completion, &r.item.Assignment.Spec
	if run.stdout != nil {
		x.Stdout = run.stdout.Finish()
	}
	if run.stderr != nil {
		x.Stderr = run.stderr.Finish()
	}
	switch {
	case reason == entropy.ReasonTimeout:
		c.Outcome, c.Reason, c.Result = entropy.OutcomeFailed, reason, nil
		c.Message = "it ran longer than its run timeout of " + spec.RunTimeout.String()
		return
	case reason != "":
		c.Outcome, c.Reason, c.Result, c.Message = entropy.OutcomeStopped, reason, nil, "ended by the worker: "+string(reason)
		return
	case c.Outcome != entropy.OutcomeSucceeded:
		return
	}
	if len(spec.Artifacts) == 0 && !r.h.hasWorkspace(run.AssignmentID) {
		return // it never asked for a directory
	}
	var err error
	if c.Artifacts, x.Files, err = workspace.Collect(run.dir.Scratch(), run.dir.Artifacts(), spec.Artifacts); err != nil {
		c.Outcome, c.Reason, c.Message, c.Result = entropy.OutcomeFailed, entropy.ReasonArtifact, cut(err.Error()), nil
	}
}

// collect spools the ends of runs, as many as there are at once, until the
// executor is closed.
func (h *handlers) collect() {
	for {
		xs := h.ended.take(h.life, 256)
		if len(xs) == 0 {
			return
		}
		h.spoolExits(xs)
		for i := range xs {
			h.watch.Remove(xs[i].ID())
		}
		h.mu.Lock()
		for i := range xs {
			delete(h.runs, xs[i].ID())
		}
		if h.closing && len(h.runs) == 0 {
			close(h.idle)
		}
		h.mu.Unlock()
	}
}

// spoolExits writes exits to the spool. A full disk holds them until there is
// room: no result is given up.
func (h *handlers) spoolExits(xs []spool.Exit) {
	for {
		err := h.spool.ExitAll(xs)
		if err == nil {
			return
		}
		h.conf.Logger.Error("the ends of assignments cannot be written to the spool", slog.Any("error", err), slog.Int("count", len(xs)))
		if entropy.ErrorCode(err) != entropy.CodeDiskFull {
			return
		}
		select {
		case <-time.After(time.Second): // the disk tells nobody when it has room
		case <-h.life.Done():
			return // the starts are in the spool: the next process reports them
		}
	}
}

func (h *handlers) stop(_ context.Context, stops []entropy.StopDirective) error {
	for _, s := range stops {
		h.watch.Stop(s.AssignmentID, s.Reason)
	}
	return nil
}

func (h *handlers) renew(_ context.Context, ids []entropy.AssignmentID, trust time.Duration) error {
	for _, id := range ids {
		h.watch.Renew(id, trust)
	}
	return nil
}

func (h *handlers) held(ctx context.Context) ([]entropy.Held, error) {
	if err := h.watch.Check(ctx); err != nil {
		return nil, err
	}
	return h.spool.Held(ctx)
}

func (h *handlers) exits(ctx context.Context, after uint64, limit int) ([]spool.Exit, error) {
	return h.spool.Exits(ctx, after, limit)
}

func (h *handlers) amend(_ context.Context, x spool.Exit) error { return h.spool.Amend(x) }

func (h *handlers) decide(_ context.Context, ds []spool.Decision) error {
	if err := h.spool.Decide(ds); err != nil {
		return err
	}
	h.remove(ds)
	return nil
}

// shut ends every handler as the worker's own doing, and blocks until all have
// returned or ctx has ended. Nothing is begun any more.
func (h *handlers) shut(ctx context.Context) {
	h.mu.Lock()
	if !h.closing {
		h.closing = true
		if len(h.runs) == 0 {
			close(h.idle)
		}
	}
	ids := make([]entropy.AssignmentID, 0, len(h.runs))
	for id := range h.runs {
		ids = append(ids, id)
	}
	h.mu.Unlock()
	for _, id := range ids {
		h.watch.Stop(id, entropy.ReasonContract)
	}
	select {
	case <-h.idle:
	case <-ctx.Done():
		h.conf.Logger.Warn("handlers did not return; the next process reports them as broken off")
	}
}

// close closes the spool, if every handler has returned.
func (h *handlers) close() error {
	defer h.end()
	select {
	case <-h.idle:
		return errors.Join(h.watch.Close(), h.spool.Close())
	default:
		return h.watch.Close() // a handler may still write; its spool stays open with it
	}
}
