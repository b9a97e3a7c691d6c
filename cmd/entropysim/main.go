// Command entropysim runs the fabric's pure core in virtual time: seeded histories
// full of faults, whose promises it checks; workloads of jobs through a scheduling
// policy; and the exhaustive search through one job's states.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// The exit codes, as those of the entropy command.
const (
	exitBroken = 1
	exitUsage  = 2
)

const usage = `entropysim runs the fabric's pure core in virtual time.

  entropysim [-n N] [-seed S]      histories full of faults; every promise is checked
  entropysim mutants               which promise catches which missing protection
  entropysim explore               every state of one job on two workers
  entropysim study                 a workload of jobs through a scheduling policy

Each takes -h. docs/SIMULATOR.md explains them.
`

// run returns the exit code: 0 when every promise was kept.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "study":
			return studyCommand(args[1:], stdout, stderr)
		case "explore":
			return exploreCommand(args[1:], stdout, stderr)
		case "mutants":
			return mutantsCommand(ctx, args[1:], stdout, stderr)
		case "help":
			fmt.Fprint(stdout, usage)
			return 0
		}
	}
	return historiesCommand(ctx, args, stdout, stderr)
}

// newFlags returns a flag set whose -h says what the command is for.
func newFlags(name, about string, stderr io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprintf(stderr, "%s\nFlags:\n", about)
		f.PrintDefaults()
	}
	return f
}

// parse returns whether to go on, and the exit code if not.
func parse(f *flag.FlagSet, args []string, stderr io.Writer, check func() error) (int, bool) {
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0, false
	case err != nil:
		return exitUsage, false
	}
	err := check()
	if err == nil && f.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\nType %s -h for the flags.\n", f.Name(), err, f.Name())
		return exitUsage, false
	}
	return 0, true
}
