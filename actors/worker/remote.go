package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/container"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
	"github.com/entropy-fabric/entropy/actors/worker/supervisor"
	"github.com/entropy-fabric/entropy/actors/worker/workspace"
)

// SupervisorMain is the supervisor process: the program behind
// Config.SupervisorCommand calls it with the remaining arguments and exits with
// what it returns.
func SupervisorMain(args []string) int { return supervisor.Main(args) }

// supervisorPatience bounds a supervisor's start: it may have to end what one
// before it left.
const supervisorPatience = 60 * time.Second

// remote is the executor of commands: the supervisor, over its socket. It
// connects again by itself, and starts a supervisor when there is none.
type remote struct {
	conf Config
	root *workspace.Root // of the supervisor's workspaces, for inputs and logs

	images atomic.Pointer[container.Runtime] // what runs images; nil while nothing does

	mu     sync.Mutex
	client *supervisor.Client // nil while there is none
	closed bool
}

// openRemote finds or starts the supervisor.
func openRemote(ctx context.Context, conf Config) (*remote, error) {
	root, err := workspace.OpenRoot(conf.DataDir)
	if err != nil {
		return nil, err
	}
	r := &remote{conf: conf, root: root}
	c, err := r.connected(ctx)
	if err != nil {
		return r, err
	}
	if h := c.Hello(); h.Version != conf.Version && h.Running == 0 {
		conf.Logger.Info("an idle supervisor of another release is replaced", slog.String("release", h.Version))
		if err := c.Shutdown(ctx); err != nil {
			return r, err
		}
		_, err = r.connected(ctx)
	}
	return r, err
}

// sweep removes the workspaces of assignments that nobody holds. No assignment
// may be on its way.
func (r *remote) sweep(held []entropy.Held) {
	keep := make(map[entropy.AssignmentID]bool, len(held))
	for _, h := range held {
		keep[h.AssignmentID] = true
	}
	r.root.Sweep(func(id entropy.AssignmentID) bool { return keep[id] }, r.conf.Logger)
}

// connected returns the connection, making one if need be.
func (r *remote) connected(ctx context.Context) (*supervisor.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errors.New("the node has stopped")
	}
	if r.client != nil {
		select {
		case <-r.client.Gone():
			r.conf.Logger.Warn("the supervisor is gone; starting another")
			r.client = nil
		default:
			return r.client, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, supervisorPatience)
	defer cancel()
	var err error
	if r.client, err = supervisor.Dial(ctx, r.conf.DataDir); err == nil || entropy.ErrorCode(err) == entropy.CodeConflict {
		return r.client, err
	}
	if err := supervisor.Spawn(ctx, r.conf.SupervisorCommand, r.conf.DataDir, r.conf.Version, r.conf.SupervisorIdleExit); err != nil {
		return nil, err
	}
	if r.client, err = supervisor.Dial(ctx, r.conf.DataDir); err != nil {
		return nil, err
	}
	r.conf.Logger.Info("supervisor started", slog.Int("pid", r.client.Hello().PID))
	return r.client, nil
}

// close lets go of the supervisor. If it runs nothing it ends, otherwise it goes
// on without an agent.
func (r *remote) close(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.client == nil {
		return nil
	}
	err := r.client.Shutdown(ctx)
	if entropy.ErrorCode(err) == entropy.CodeConflict {
		r.conf.Logger.Info("jobs go on under the supervisor; the next agent reports them", slog.Int("pid", r.client.Hello().PID))
		err = nil
	}
	r.client.Close()
	return err
}

func (r *remote) spoolID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client == nil {
		return ""
	}
	return r.client.Hello().SpoolID
}

func (r *remote) check(a *entropy.Assignment) error {
	if a.Spec.Image != "" && r.runtime() == nil {
		return entropy.Errorf(entropy.CodeInvalid, "this worker has no container runtime that works")
	}
	return supervisor.Check(&a.Spec)
}

// runtime returns what runs images now, or nil. A supervisor that is older than
// images would run the command without its image.
func (r *remote) runtime() *container.Runtime {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client == nil || !r.client.Hello().Images {
		return nil
	}
	return r.images.Load()
}

func (r *remote) start(ctx context.Context, items []supervisor.StartItem) ([]*entropy.Error, error) {
	for i := range items {
		if items[i].Assignment.Spec.Image != "" {
			items[i].Runtime = r.runtime()
		}
	}
	c, err := r.connected(ctx)
	if err != nil {
		return nil, err
	}
	return c.Start(ctx, items)
}

func (r *remote) stop(ctx context.Context, stops []entropy.StopDirective) error {
	c, err := r.connected(ctx)
	if err != nil {
		return err
	}
	return c.Stop(ctx, stops)
}

func (r *remote) renew(ctx context.Context, ids []entropy.AssignmentID, trust time.Duration) error {
	c, err := r.connected(ctx)
	if err != nil {
		return err
	}
	return c.Renew(ctx, ids, trust)
}

func (r *remote) held(ctx context.Context) ([]entropy.Held, error) {
	c, err := r.connected(ctx)
	if err != nil {
		return nil, err
	}
	return c.Held(ctx)
}

func (r *remote) exits(ctx context.Context, after uint64, limit int) ([]spool.Exit, error) {
	c, err := r.connected(ctx)
	if err != nil {
		return nil, err
	}
	return c.Exits(ctx, after, limit)
}

func (r *remote) amend(ctx context.Context, x spool.Exit) error {
	c, err := r.connected(ctx)
	if err != nil {
		return err
	}
	return c.Amend(ctx, x)
}

func (r *remote) decide(ctx context.Context, ds []spool.Decision) error {
	c, err := r.connected(ctx)
	if err != nil {
		return err
	}
	return c.Decide(ctx, ds)
}

// lockAgent keeps a second agent off a state directory.
func lockAgent(state string) (io.Closer, error) {
	lock, err := supervisor.Lock(state + "/agent.lock")
	if err != nil {
		return nil, fmt.Errorf("another worker uses %s: %w", state, err)
	}
	return lock, nil
}
