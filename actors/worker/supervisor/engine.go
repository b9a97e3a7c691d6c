package supervisor

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
	"github.com/entropy-fabric/entropy/actors/worker/container"
	"github.com/entropy-fabric/entropy/actors/worker/deadline"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
	"github.com/entropy-fabric/entropy/actors/worker/workspace"
)

// DefaultMaxLog is how much of each stream of output is kept, in bytes.
const DefaultMaxLog = 16 << 20

// StartItem asks that an assignment begin.
type StartItem struct {
	Assignment entropy.Assignment `json:"assignment"`
	Trust      time.Duration      `json:"trust"`             // until when the lease can be trusted, on the boot clock
	MaxLog     int64              `json:"max_log,omitempty"` // bytes of each stream; 0 means DefaultMaxLog
	Runtime    *container.Runtime `json:"runtime,omitempty"` // what runs its image; nil without one
	Note       string             `json:"note,omitempty"`    // a line for the beginning of its standard error; "" for none
	Broken     string             `json:"broken,omitempty"`  // why it cannot run after all: it is reported as a worker error at once
}

// Engine runs commands. It is what the supervisor process is made of, apart
// from its socket. Its methods may be called from any goroutine.
type Engine struct {
	log      *slog.Logger
	spool    *spool.Spool
	watch    *deadline.Watch
	root     *workspace.Root
	slots    *slots
	groups   *cgroups // nil: none on this machine
	children *children
	boxes    *boxes
	null     *os.File
	bootID   string
	baseEnv  []variable

	mu      sync.Mutex
	running int
	ending  bool          // nothing is begun any more
	idle    chan struct{} // closed and replaced when running falls to 0
	closing chan struct{}
	removal chan entropy.AssignmentID
	removed sync.WaitGroup
}

type variable struct{ name, value string }

// OpenEngine opens the spool below a state directory, ends what a supervisor
// before left behind, and returns an engine that is ready. The caller holds the
// directory's lock.
func OpenEngine(state string, log *slog.Logger) (*Engine, error) {
	e := &Engine{log: log, idle: make(chan struct{}), closing: make(chan struct{}), removal: make(chan entropy.AssignmentID, 1024), baseEnv: baseEnv()}
	var err error
	if e.bootID, err = boottime.BootID(); err != nil {
		return nil, err
	}
	if e.children, err = newChildren(); err != nil {
		return nil, err
	}
	if e.root, err = workspace.OpenRoot(state); err != nil {
		return nil, err
	}
	if e.null, err = os.Open(os.DevNull); err != nil {
		return nil, err
	}
	if e.spool, err = spool.Open(spool.Config{Path: filepath.Join(state, "spool.log"), Logger: log}); err != nil {
		return nil, err
	}
	if e.boxes, err = openBoxes(state, e.spool.ID(), e.children, log); err != nil {
		return nil, err
	}
	if err := e.recover(); err != nil {
		return nil, fmt.Errorf("end what the supervisor before left: %w", err)
	}
	if e.watch, err = deadline.NewWatch(); err != nil {
		return nil, err
	}
	e.slots = &slots{log: log}
	if e.groups, err = openCgroups(e.spool.ID()[:12]); err != nil {
		log.Warn("jobs run without control groups; their process trees are followed by process group, parent and environment", slog.Any("cause", err))
	}
	e.slots.cgroups = e.groups
	e.removed.Go(e.remover)
	return e, nil
}

// baseEnv is what a job's environment takes over from the worker's.
func baseEnv() []variable {
	path := os.Getenv("PATH")
	if path == "" {
		path = DefaultPath
	}
	vars := []variable{{"PATH", path}}
	for _, name := range []string{"HOME", "LANG"} {
		if v := os.Getenv(name); v != "" {
			vars = append(vars, variable{name, v})
		}
	}
	return vars
}

// Start begins assignments whose ACK was answered. One that is held already, or
// has ended undecided, is left as it is. The error of an item says why it could
// not be begun; it is then not held.
func (e *Engine) Start(items []StartItem) ([]*entropy.Error, error) {
	results := make([]*entropy.Error, len(items))
	starts := make([]spool.Start, 0, len(items))
	index := make([]int, 0, len(items))
	for i, it := range items {
		if err := entropy.ValidateID("assignment", string(it.Assignment.AssignmentID)); err != nil {
			results[i] = entropy.AsError(err)
			continue
		}
		starts = append(starts, spool.Start{JobID: it.Assignment.JobID, AssignmentID: it.Assignment.AssignmentID, GPUs: it.Assignment.GPUs,
			Attempt: it.Assignment.Attempt, BootID: e.bootID, Cgroup: e.slots.dir(), At: time.Now().UTC()})
		index = append(index, i)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ending {
		return nil, entropy.Errorf(entropy.CodeUnavailable, "the supervisor is stopping")
	}
	fresh, err := e.spool.Start(starts)
	if err != nil {
		return nil, err
	}
	for n, i := range index {
		if fresh[n] {
			e.begin(items[i])
		}
	}
	return results, nil
}

// begin starts the goroutine of a run. The caller holds mu.
func (e *Engine) begin(it StartItem) {
	if it.MaxLog <= 0 {
		it.MaxLog = DefaultMaxLog
	}
	spec := &it.Assignment.Spec
	r := &run{e: e, item: it, dir: e.root.Dir(it.Assignment.AssignmentID)}
	l := deadline.Limits{Trust: it.Trust, Contract: spec.Disconnect.Worker == entropy.DisconnectStop, Grace: spec.Grace.D()}
	if spec.RunTimeout > 0 {
		l.Timeout = boottime.Now() + spec.RunTimeout.D()
	}
	e.running++
	e.watch.Add(it.Assignment.AssignmentID, l, r)
	go r.main()
}

// finish spools the end of a run. A full disk holds the run where it is until
// there is room: its result is not given up.
func (e *Engine) finish(r *run, x spool.Exit) {
	defer func() {
		e.watch.Remove(x.ID())
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.running--; e.running == 0 {
			close(e.idle)
			e.idle = make(chan struct{})
		}
	}()
	for {
		err := e.spool.Exit(x)
		if err == nil {
			return
		}
		e.log.Error("the end of an assignment cannot be written to the spool", slog.Any("error", err), slog.String("assignment_id", string(x.ID())))
		if entropy.ErrorCode(err) != entropy.CodeDiskFull {
			return
		}
		select {
		case <-e.closing:
			return // the start is in the spool: the next supervisor reports it
		case <-time.After(time.Second):
		}
	}
}

// Stop asks running assignments to end: TERM, grace, KILL of the whole tree.
// Others are ignored.
func (e *Engine) Stop(stops []entropy.StopDirective) {
	for _, s := range stops {
		e.watch.Stop(s.AssignmentID, s.Reason)
	}
}

// Renew moves the end of trust of assignments.
func (e *Engine) Renew(ids []entropy.AssignmentID, trust time.Duration) {
	for _, id := range ids {
		e.watch.Renew(id, trust)
	}
}

// Held returns every assignment that runs or has ended undecided. It answers
// only while the engine does its work: deadlines are kept and the spool's disk
// takes writes.
func (e *Engine) Held(ctx context.Context) ([]entropy.Held, error) {
	if err := e.watch.Check(ctx); err != nil {
		return nil, err
	}
	_ = e.Running()          // a lock that somebody holds for ever is noticed here
	_ = e.children.orphans() // reaps those that ended by themselves
	return e.spool.Held(ctx)
}

// Decide forgets assignments that the fabric has decided, with their files.
func (e *Engine) Decide(ds []spool.Decision) error {
	if err := e.spool.Decide(ds); err != nil {
		return err
	}
	for _, d := range ds {
		select {
		case e.removal <- d.AssignmentID:
		case <-e.closing: // the next supervisor sweeps
		}
	}
	return nil
}

func (e *Engine) remover() {
	for {
		select {
		case id := <-e.removal:
			if err := e.root.Remove(id); err != nil {
				e.log.Warn("cannot remove a workspace", slog.Any("error", err))
			}
		case <-e.closing:
			return
		}
	}
}

// Running returns how many runs are in progress.
func (e *Engine) Running() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.running
}

// StopAll ends every run as the worker's own doing and blocks until all have
// ended or ctx has. Nothing is begun any more.
func (e *Engine) StopAll(ctx context.Context) error {
	e.mu.Lock()
	e.ending = true
	e.mu.Unlock()
	starts, _ := e.spool.Unfinished()
	for _, s := range starts {
		e.watch.Stop(s.AssignmentID, entropy.ReasonContract)
	}
	for {
		e.mu.Lock()
		n, idle := e.running, e.idle
		e.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close ends the engine. Runs in progress should have ended: their processes
// are left alone, for the next supervisor to end.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.ending = true
	idle := e.running == 0
	close(e.closing)
	e.mu.Unlock()
	e.removed.Wait()
	e.boxes.close(idle)
	e.slots.close()
	if e.groups != nil {
		e.groups.close()
	}
	e.root.Close()
	close(e.children.spawner)
	return errors.Join(e.watch.Close(), e.spool.Close(), e.null.Close())
}
