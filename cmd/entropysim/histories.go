package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy/actors/explore"
	"github.com/entropy-fabric/entropy/actors/sim"
)

const aboutHistories = usage + `
Without a command it runs histories: clients, a control plane, its journal, workers
and a network, with faults drawn from the seed; then everything heals, and all must
come to rest. Equal seeds give equal histories. It ends with one line for scripts,
  histories=N violations=0 seed=S events=… steps=… virtual=… hash=… took=…
and exits 0 only if N histories ran and broke no promise. For one that did it prints
the seed, the promise, the fewest faults that still break it, and the last events.

  entropysim -n 20000                    as the tests do
  entropysim -n 1 -seed 4711 -tail 100000   one history, in words
  entropysim -n 100 -mutant no-fencing   what a missing protection leads to
`

// options are the flags of the histories.
type options struct {
	n, parallel, tail int
	seed              uint64
	mutant, policy    string
	quiet             bool
}

func historiesCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	f := newFlags("entropysim", aboutHistories, stderr)
	f.IntVar(&o.n, "n", 1000, "how many `histories` to run")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the first history; the others follow it")
	f.IntVar(&o.parallel, "parallel", runtime.GOMAXPROCS(0), "how many to run at a time")
	f.IntVar(&o.tail, "tail", 50, "how many of the last events of a broken history to show; with -n 1, of any")
	f.StringVar(&o.mutant, "mutant", "", "take a protection away; entropysim mutants lists them")
	f.StringVar(&o.policy, "policy", "", "who gets what: fabric or reference; both, by the seed, when empty")
	f.BoolVar(&o.quiet, "q", false, "print the last line only")
	if code, ok := parse(f, args, stderr, o.check); !ok {
		return code
	}
	return o.simulate(ctx, stdout)
}

func (o *options) check() error {
	switch {
	case o.n < 1 || o.n > 1e9:
		return fmt.Errorf("-n %d: run 1 to a billion histories", o.n)
	case o.parallel < 1 || o.parallel > 1024:
		return fmt.Errorf("-parallel %d: run 1 to 1024 at a time", o.parallel)
	case o.tail < 1:
		return fmt.Errorf("-tail %d: show at least one event", o.tail)
	case o.mutant != "" && !slices.Contains(sim.Mutants, sim.Mutant(o.mutant)):
		return fmt.Errorf("there is no mutant %q; there are %v", o.mutant, sim.Mutants)
	case o.policy != "" && planners[o.policy] == nil:
		return fmt.Errorf("there is no policy %q for histories; there are fabric and reference", o.policy)
	}
	return nil
}

var planners = map[string]func(time.Time) sim.Planner{"fabric": sim.NewFabric, "reference": sim.NewReference}

func (o *options) config() sim.Config {
	return sim.Config{Seed: o.seed, Mutant: sim.Mutant(o.mutant), Tail: o.tail, Planner: planners[o.policy]}
}

func (o *options) simulate(ctx context.Context, out io.Writer) int {
	began := time.Now()
	s := sim.Many(ctx, o.config(), o.n, o.parallel, nil)
	took := time.Since(began)
	if !o.quiet {
		o.report(out, &s)
	}
	fmt.Fprintf(out, "histories=%d violations=%d seed=%d events=%d steps=%d virtual=%s hash=%016x took=%s\n", s.Histories, s.Violations,
		o.seed, s.Events, s.Steps, s.Virtual.Round(time.Second), s.Hash, took.Round(time.Millisecond))
	if s.Violations > 0 || s.Histories < o.n {
		return exitBroken
	}
	return 0
}

func (o *options) report(out io.Writer, s *sim.Summary) {
	fmt.Fprintf(out, "hard states reached:\n%s", s.Tally)
	switch b := s.First; {
	case b != nil:
		o.broken(out, b)
	case o.n == 1 && s.Histories == 1:
		cfg := o.config()
		cfg.Trace = true
		o.describe(out, new(sim.Run(cfg)))
	}
}

func (o *options) describe(out io.Writer, r *sim.Report) {
	fmt.Fprintf(out, "\n%d workers, %d jobs; the faults:\n", r.Workers, r.Jobs)
	for _, f := range r.Faults {
		fmt.Fprintln(out, f)
	}
	fmt.Fprintf(out, "the last events:\n%s\n", strings.Join(r.Tail, "\n"))
}

// broken shows a history that broke a promise, and how little it takes.
func (o *options) broken(out io.Writer, b *sim.Report) {
	fmt.Fprintf(out, "\nseed %d broke %v\n", b.Seed, b.Violation)
	o.describe(out, b)
	cfg := o.config()
	cfg.Seed = b.Seed
	small := sim.Shrink(cfg, 500)
	fmt.Fprintf(out, "of these faults the following are enough (calm network: %t):\n", small.Calm)
	for _, f := range sim.Run(small).Faults {
		fmt.Fprintln(out, f)
	}
	fmt.Fprintf(out, "see it again with: go run ./cmd/entropysim -n 1 -seed %d -tail 100000", b.Seed)
	if o.mutant != "" {
		fmt.Fprintf(out, " -mutant %s", o.mutant)
	}
	fmt.Fprintln(out)
}

const aboutMutants = `entropysim mutants takes one protection of the fabric away after the other, and
prints which promise is broken first and after how many histories. It exits 0 only
if each is caught within -n histories.
`

func mutantsCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	n := uint64(1000)
	f := newFlags("entropysim mutants", aboutMutants, stderr)
	f.Uint64Var(&n, "n", n, "how many `histories` to try for each")
	check := func() error {
		if n < 1 {
			return fmt.Errorf("-n 0: try at least one")
		}
		return nil
	}
	if code, ok := parse(f, args, stderr, check); !ok {
		return code
	}
	missed := 0
	fmt.Fprintf(stdout, "%-22s %-8s %9s  %s\n", "mutant", "promise", "histories", "how")
	for _, m := range sim.Mutants {
		r, tried := caught(ctx, m, n)
		if r.Violation == nil {
			missed++
			fmt.Fprintf(stdout, "%-22s %-8s %9d\n", m, "-", tried)
			continue
		}
		how, _, _ := strings.Cut(r.Violation.Message, "\n")
		fmt.Fprintf(stdout, "%-22s %-8s %9d  %.110s\n", m, r.Violation.Invariant, tried, how)
	}
	fmt.Fprintf(stdout, "mutants=%d missed=%d\n", len(sim.Mutants), missed)
	return min(missed, exitBroken)
}

// caught runs histories of a mutant until one breaks a promise.
func caught(ctx context.Context, m sim.Mutant, n uint64) (r sim.Report, tried uint64) {
	for tried < n && r.Violation == nil && ctx.Err() == nil {
		tried++
		r = sim.Run(sim.Config{Seed: tried, Mutant: m})
	}
	return r, tried
}

const aboutExplore = `entropysim explore visits every state that one job can reach on two workers, by the
real Decide and Apply, with messages that arrive late, again, or never. With two
assignments there is an end to it; more are bounded by -depth.
`

func exploreCommand(args []string, stdout, stderr io.Writer) int {
	cfg := explore.Config{}
	f := newFlags("entropysim explore", aboutExplore, stderr)
	f.IntVar(&cfg.Assignments, "assignments", 2, "how often the job is assigned at most; 1 to 4")
	f.IntVar(&cfg.Depth, "depth", 64, "how many commands from the beginning")
	f.IntVar(&cfg.MaxStates, "states", 5_000_000, "give up after so many states; a million take about 2 GB")
	check := func() error {
		if cfg.Assignments < 1 || cfg.Assignments > 4 || cfg.Depth < 1 || cfg.MaxStates < 1 {
			return fmt.Errorf("-assignments %d -depth %d -states %d are not all in range", cfg.Assignments, cfg.Depth, cfg.MaxStates)
		}
		return nil
	}
	if code, ok := parse(f, args, stderr, check); !ok {
		return code
	}
	code := 0
	for _, s := range explore.Scenarios() {
		s.Assignments, s.Depth, s.MaxStates = cfg.Assignments, cfg.Depth, cfg.MaxStates
		began := time.Now()
		r := explore.Run(s)
		fmt.Fprintf(stdout, "%-26s %s took=%s\n", s.Name, r, time.Since(began).Round(time.Millisecond))
		if r.Violation != nil {
			code = exitBroken
			fmt.Fprintf(stdout, "%v\n\t%s\n", r.Violation, strings.Join(r.Violation.Path, "\n\t"))
		}
	}
	return code
}
