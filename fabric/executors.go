package fabric

import (
	"context"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/executor"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/all"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/jobs"
)

// OwnExecutor is the name by which the control plane executes.
const OwnExecutor = "fabric"

const (
	spoolDir = "executor" // in the data directory: results that wait for their verdict
	ownSlots = 8          // how many actions the control plane carries out at once
)

// checkExecutors says what is wrong with the settings, before anything runs.
func checkExecutors(set all.Config) error {
	if err := set.Register(executor.New(executor.Config{})); err != nil {
		return entropy.Errorf(entropy.CodeInvalid, "executors: %s", strings.ReplaceAll(err.Error(), "\n", "; ")).WithHint("docs/EXECUTORS.md has every setting")
	}
	return nil
}

// newExecutor returns who carries out the control plane's own commands.
func (c *Control) newExecutor() (*executor.Executor, error) {
	x := executor.New(executor.Config{Name: OwnExecutor, Conn: c.bus.Conn(), Spool: c.dir.Join(spoolDir), Slots: ownSlots, Logger: c.cfg.Logger})
	set := c.cfg.Executors
	set.Jobs = &jobs.Config{Service: c.Service()}
	return x, set.Register(x)
}

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
