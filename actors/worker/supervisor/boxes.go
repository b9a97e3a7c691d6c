package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/container"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
)

// boxes is what an engine knows of the containers of its runs: which runtimes
// may hold some, on disk before the first of each begins, and who ends them when
// the supervisor cannot.
type boxes struct {
	log      *slog.Logger
	children *children
	state    string // directory
	spool    string // label of all containers of this worker
	self     string // label of those of this process

	mu       sync.Mutex
	runtimes []container.Runtime // as on disk
	keeper   keeper
}

func openBoxes(state, spool string, c *children, log *slog.Logger) (*boxes, error) {
	b := &boxes{log: log, children: c, state: state, spool: spool, self: entropy.NewID()}
	var err error
	b.runtimes, err = readRuntimes(state)
	return b, err
}

// runtimesFile remembers through every crash which runtimes began containers.
func runtimesFile(state string) string { return filepath.Join(state, "containers.json") }

func readRuntimes(state string) ([]container.Runtime, error) {
	b, err := os.ReadFile(runtimesFile(state))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []container.Runtime
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("read which container runtimes were used: %w", err)
	}
	return list, nil
}

// use makes sure that what r begins will be found and ended, whatever happens to
// this process.
func (b *boxes) use(r *container.Runtime) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.ContainsFunc(b.runtimes, func(o container.Runtime) bool { return r.Equal(&o) }) {
		list := append(slices.Clone(b.runtimes), *r)
		if err := writeRuntimes(b.state, list); err != nil {
			return fmt.Errorf("note the container runtime: %w", err)
		}
		b.runtimes = list
	}
	return b.keeper.ensure(b)
}

// writeRuntimes replaces the file as a whole, durably.
func writeRuntimes(state string, list []container.Runtime) error {
	body, err := json.Marshal(list)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(state, ".containers-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.Write(body)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), runtimesFile(state)); err != nil {
		return err
	}
	d, err := os.Open(state)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (b *boxes) client(r *container.Runtime) *container.Client {
	return &container.Client{Runtime: r, Exec: b.children.output}
}

// removeAll ends the containers with a label, of every runtime that was used.
// One whose program is no more on this machine is passed over: nothing runs
// under it that could be ended through it.
func removeAll(ctx context.Context, runtimes []container.Runtime, run container.Exec, label, value string) error {
	var errs []error
	for i := range runtimes {
		c := container.Client{Runtime: &runtimes[i], Exec: run}
		if err := c.Remove(ctx, label, value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// sweep ends what earlier supervisors of this worker left in containers.
func (b *boxes) sweep(ctx context.Context) error {
	return removeAll(ctx, b.runtimes, b.children.output, container.LabelSpool, b.spool)
}

// sweepAssignments ends the containers of assignments, and blocks until every
// runtime has confirmed that. It reports false when the engine closes before.
func (b *boxes) sweepAssignments(left []spool.Start, closing <-chan struct{}) bool {
	b.mu.Lock()
	runtimes := slices.Clone(b.runtimes)
	b.mu.Unlock()
	for _, s := range left {
		for removeAll(context.Background(), runtimes, b.children.output, container.LabelAssignment, string(s.AssignmentID)) != nil {
			select {
			case <-time.After(time.Second):
			case <-closing:
				return false
			}
		}
	}
	return true
}

// discard blocks until the runtime has confirmed that an assignment's container
// is gone, and reports false when the engine closes before.
func (b *boxes) discard(r *container.Runtime, id entropy.AssignmentID, closing <-chan struct{}) bool {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		err := b.client(r).Discard(ctx, string(id))
		if err == nil {
			return true
		}
		b.log.Error("a container may still run, so its assignment is not over", slog.Any("error", err), slog.String("assignment_id", string(id)))
		select {
		case <-time.After(pause):
		case <-closing:
			return false
		}
	}
}
