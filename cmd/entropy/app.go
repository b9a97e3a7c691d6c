package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

// app is everything a command touches outside its arguments, so that a test can
// run the whole program in its own process.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	env    func(string) string
	now    func() time.Time
	dial   func(entropy.ClientConfig) (entropy.Service, error)

	global  globalFlags
	started bool // a command's own code has begun: errors before it are usage errors
}

// run executes one command line and returns the exit code. What went wrong is
// on stderr by then, in one or two lines.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if !a.started {
		err = usageError{err: err, command: cmd}
	}
	return a.fail(ctx, err)
}

// command finishes a cobra command: run is called with the context, and errors
// from then on are those of the work, no longer those of the command line.
func (a *app) command(c *cobra.Command, run func(ctx context.Context, args []string) error) *cobra.Command {
	c.DisableFlagsInUseLine = true
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := a.global.validate(); err != nil {
			return err
		}
		a.started = true
		return run(cmd.Context(), args)
	}
	return c
}

// group makes a command that only holds others: alone it prints its help, and
// anything it does not know is a usage error.
func (a *app) group(c *cobra.Command, children ...*cobra.Command) *cobra.Command {
	c.Args = cobra.NoArgs
	c.DisableFlagsInUseLine = true
	c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	c.AddCommand(children...)
	return c
}

// printf writes to stdout. A command whose answer could not be written has not
// answered, so the error counts.
func (a *app) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(a.stdout, format, args...)
	return err
}

// notef writes a remark for people to stderr.
func (a *app) notef(format string, args ...any) {
	fmt.Fprintf(a.stderr, "entropy: "+format+"\n", args...)
}

// isTerminal reports whether w is a terminal: a person is looking.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
