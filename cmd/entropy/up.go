package main

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy/fabric"
)

const upLong = `Run a control plane and one worker in this process, and print what to type next.

The worker's files are in DIR/worker. Ctrl-C stops both in order; a second one at
once. Started again on the same directory, it goes on where it was.`

func (a *app) upCommand() *cobra.Command {
	var cf controlFlags
	var wf workerFlags
	c := &cobra.Command{
		Use:   "up",
		Short: "Run a control plane and a worker on this machine",
		Long:  upLong,
		Args:  argument(0, 0, ""),
	}
	cf.register(c.Flags(), a.dataDir())
	wf.register(c.Flags())
	return a.command(c, func(ctx context.Context, _ []string) error {
		cc, err := cf.config(a)
		if err != nil {
			return err
		}
		wc, err := wf.config(cc.Logger)
		if err != nil {
			return err
		}
		return a.up(ctx, cc, wc)
	})
}

// up runs both roles. The worker stops first, so that it can still say goodbye.
func (a *app) up(ctx context.Context, cc fabric.ControlConfig, wc fabric.WorkerConfig) error {
	relaxCollector(cc.Analyzer.Room())
	control, err := fabric.OpenControl(ctx, cc)
	if err != nil {
		return err
	}
	served, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	working, stopWorking := context.WithCancelCause(ctx)
	defer stopWorking(nil)
	controlEnd := make(chan error, 1)
	go func() {
		err := control.Run(served)
		stopWorking(err) // without a control plane of its own, up has no purpose
		controlEnd <- err
	}()

	wc.Control, wc.DataDir = control, filepath.Join(control.DataDir(), "worker")
	a.greet(control, wc)
	workerErr := runWorker(working, wc)
	stopServing()
	if err := <-controlEnd; err != nil {
		return err
	}
	return workerErr
}

func workerTokenOf(c *fabric.Control) string {
	return filepath.Join(c.DataDir(), fabric.WorkerTokenFile)
}

// greet says what runs and what to type next.
func (a *app) greet(c *fabric.Control, wc fabric.WorkerConfig) {
	a.printf("Entropy is up at %s: a control plane, and worker %s with %d slots.\n%sData is in %s.\n\nNext, in another terminal:\n",
		c.URL(), wc.Name, wc.Slots, busLine(c), c.DataDir())
	if c.DataDir() != a.dataDir() {
		a.printf("  export ENTROPY_SERVER=%s ENTROPY_TOKEN_FILE=%s\n", c.URL(), shellWords([]string{filepath.Join(c.DataDir(), fabric.AdminTokenFile)}))
	}
	a.printf("  entropy submit --wait -- echo hello\n  entropy jobs\n  entropy events --follow\n\n")
}

// busLine says where actions and facts are carried.
func busLine(c *fabric.Control) string {
	if c.BusURL() == "" {
		return ""
	}
	return "Actions and facts are carried by NATS at " + c.BusURL() + ".\n"
}

// logger returns the log of a role: text for people at a terminal, else JSON.
func (a *app) logger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("--log-level is %q", level).WithHint("it is debug, info, warn or error")
	}
	options := &slog.HandlerOptions{Level: l}
	if isTerminal(a.stderr) {
		return slog.New(slog.NewTextHandler(a.stderr, options)), nil
	}
	return slog.New(slog.NewJSONHandler(a.stderr, options)), nil
}
