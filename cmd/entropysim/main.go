// Command entropysim runs seeded histories of the fabric's pure core in virtual
// time, and reports the promises that were broken.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy/actors/sim"
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

// options are the flags.
type options struct {
	n, parallel, tail int
	seed              uint64
	mutant            string
	quiet             bool
}

// run returns the exit code: 0 when every promise was kept.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	f := flag.NewFlagSet("entropysim", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.n, "n", 1000, "how many histories to run")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the first history; the others follow it")
	f.IntVar(&o.parallel, "parallel", runtime.GOMAXPROCS(0), "how many to run at a time")
	f.IntVar(&o.tail, "tail", 60, "how many of the last events of a broken history to show")
	f.StringVar(&o.mutant, "mutant", "", "take a protection away; one of "+fmt.Sprint(sim.Mutants))
	f.BoolVar(&o.quiet, "q", false, "print the last line only")
	if err := f.Parse(args); err != nil {
		return exitUsage
	}
	if err := o.check(f.Args()); err != nil {
		fmt.Fprintf(stderr, "entropysim: %v\nType entropysim -h for the flags.\n", err)
		return exitUsage
	}
	return o.simulate(ctx, stdout)
}

func (o *options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case o.n < 1 || o.n > 1e9:
		return fmt.Errorf("-n %d: run 1 to a billion histories", o.n)
	case o.parallel < 1 || o.parallel > 1024:
		return fmt.Errorf("-parallel %d: run 1 to 1024 at a time", o.parallel)
	case o.tail < 1:
		return fmt.Errorf("-tail %d: show at least one event", o.tail)
	case o.mutant != "" && !slices.Contains(sim.Mutants, sim.Mutant(o.mutant)):
		return fmt.Errorf("there is no mutant %q; there are %v", o.mutant, sim.Mutants)
	}
	return nil
}

func (o *options) simulate(ctx context.Context, out io.Writer) int {
	began := time.Now()
	s := sim.Many(ctx, sim.Config{Seed: o.seed, Mutant: sim.Mutant(o.mutant), Tail: o.tail}, o.n, o.parallel, nil)
	took := time.Since(began)
	if !o.quiet {
		fmt.Fprintf(out, "hard states reached:\n%s", s.Tally)
	}
	if b := s.First; b != nil {
		fmt.Fprintf(out, "\nseed %d broke %v\nits last events:\n", b.Seed, b.Violation)
		for _, line := range b.Tail {
			fmt.Fprintln(out, line)
		}
		fmt.Fprintf(out, "see it again with: go run ./cmd/entropysim -n 1 -seed %d -tail 100000", b.Seed)
		if o.mutant != "" {
			fmt.Fprintf(out, " -mutant %s", o.mutant)
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "histories=%d violations=%d seed=%d events=%d steps=%d virtual=%s hash=%016x took=%s\n", s.Histories, s.Violations,
		o.seed, s.Events, s.Steps, s.Virtual.Round(time.Second), s.Hash, took.Round(time.Millisecond))
	if s.Violations > 0 || s.Histories < o.n {
		return exitBroken
	}
	return 0
}
