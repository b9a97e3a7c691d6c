package fabric

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/executor"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/controlm"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/httpcall"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/jobs"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/local"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/notify"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/s3"
)

// ExecutorConfig says which commands the control plane executes itself, beside those
// that act on its own jobs and workers. Each part that is nil is left out.
type ExecutorConfig struct {
	HTTP     *httpcall.Config `json:"http"`
	Notify   *notify.Config   `json:"notify"`
	S3       *s3.Config       `json:"s3"`
	ControlM *controlm.Config `json:"controlm"`
	Local    *local.Config    `json:"local"`
}

// OwnExecutor is the name by which the control plane executes.
const OwnExecutor = "fabric"

// spoolDir is where results wait for their verdict, in the data directory.
const spoolDir = "executor"

// register gives what is set to an executor. CodeInvalid when it cannot be.
func (set *ExecutorConfig) register(to executor.Registry) error {
	var errs []error
	if set.HTTP != nil {
		errs = append(errs, httpcall.Register(to, *set.HTTP))
	}
	if set.Notify != nil {
		errs = append(errs, notify.Register(to, *set.Notify))
	}
	if set.S3 != nil {
		errs = append(errs, s3.Register(to, *set.S3))
	}
	if set.ControlM != nil {
		errs = append(errs, controlm.Register(to, *set.ControlM))
	}
	if set.Local != nil {
		errs = append(errs, local.Register(to, *set.Local))
	}
	if err := errors.Join(errs...); err != nil {
		return entropy.Errorf(entropy.CodeInvalid, "executors: %s", strings.ReplaceAll(err.Error(), "\n", "; ")).WithHint("docs/EXECUTORS.md has every setting")
	}
	return nil
}

// newExecutor returns who carries out the control plane's own commands.
func (c *Control) newExecutor() (*executor.Executor, error) {
	x := executor.New(executor.Config{Name: OwnExecutor, Conn: c.bus.Conn(), Spool: c.dir.Join(spoolDir), Slots: ownSlots, Logger: c.cfg.Logger})
	return x, errors.Join(jobs.Register(x, jobs.Config{Service: c.Service()}), c.cfg.Executors.register(x))
}

// ownSlots is how many actions the control plane carries out at once.
const ownSlots = 8

// execute carries out the control plane's own commands until ctx ends.
func (c *Control) execute(ctx context.Context) {
	for ctx.Err() == nil {
		x, err := c.newExecutor()
		for _, command := range x.Commands() {
			if err == nil {
				err = c.bus.EnsureCommand(ctx, command)
			}
		}
		if err == nil {
			err = x.Run(ctx)
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		c.cfg.Logger.Error("the control plane executes nothing for now", "error", err)
		select {
		case <-time.After(5 * time.Second):
		case <-ctx.Done():
		}
	}
}
