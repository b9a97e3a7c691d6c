package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/sim/study"
)

const aboutStudy = `entropysim study runs a workload of jobs through a scheduling policy in virtual time
and prints waits, slowdowns, utilization and what the decisions cost.

  entropysim study -policy fabric,fifo,sjf -jobs 10000 -rate 2 -workers 100
  entropysim study -trace SDSC-SP2-1998-4.2-cln.swf -workers 1 -slots 128 -policy fcfs -out jobs.csv
  entropysim study -workers 10000 -jobs 1000000

Policies: fabric (the fabric's own: tenants, aging, reservations with backfill,
preemption), fifo (who fits goes), fcfs (nobody passes the first), priority, sjf, ljf.

A trace is CSV (header: id,submit,runtime and optionally estimate,cpus,gpus,priority,
tenant,queue,after; times in seconds) or the Standard Workload Format of the Parallel
Workloads Archive (.swf). A job runs on one worker, takes one slot and its CPUs there:
a parallel machine is one worker with all its processors as slots.
`

// studyOptions are the flags of a study.
type studyOptions struct {
	cfg                     study.Config
	draw                    study.Synthetic
	policies                string
	trace, out, export, csv string
	cpus, gpus              string
	aging, reserve          time.Duration
	preempt                 int
}

// noPreemption is out of the range of priorities.
const noPreemption = entropy.MaxPriority + 1

func studyCommand(args []string, stdout, stderr io.Writer) int {
	o := studyOptions{}
	f := newFlags("entropysim study", aboutStudy, stderr)
	f.StringVar(&o.trace, "trace", "", "read the workload from this `file`, .swf or .csv; empty: draw one")
	f.IntVar(&o.draw.Jobs, "jobs", 10_000, "how many jobs to draw")
	f.Float64Var(&o.draw.Rate, "rate", 0, "jobs submitted per second, at random; 0: all at once")
	f.DurationVar(&o.draw.Runtime, "runtime", time.Minute, "median run time of the drawn jobs")
	f.Float64Var(&o.draw.Spread, "spread", 1, "of the logarithm of their run time; 0: all alike")
	f.IntVar(&o.draw.CPUs, "job-cpus", 0, "drawn jobs ask for 1 to as many CPUs; 0: for a slot only")
	f.IntVar(&o.draw.Priorities, "priorities", 0, "drawn priorities go from −n to n")
	f.IntVar(&o.draw.Tenants, "tenants", 1, "drawn jobs are of as many tenants")
	f.Uint64Var(&o.draw.Seed, "seed", 1, "of the drawing and of the failures")
	f.IntVar(&o.cfg.Workers, "workers", 10, "how many workers")
	f.IntVar(&o.cfg.Slots, "slots", 1, "jobs at once on each")
	f.StringVar(&o.cpus, "cpus", "", "CPUs of each; empty: one per slot")
	f.StringVar(&o.gpus, "gpus", "0", "GPUs of each")
	f.StringVar(&o.policies, "policy", "fabric", "one or several of fabric, fifo, fcfs, priority, sjf, ljf")
	f.DurationVar(&o.aging, "aging", entropy.DefaultAgingStep, "wait that makes up for one step of priority")
	f.DurationVar(&o.reserve, "reserve-after", entropy.DefaultReserveAfter, "wait after which a worker is reserved (fabric)")
	f.IntVar(&o.preempt, "preempt", noPreemption, "jobs of at least this priority preempt others (fabric)")
	f.DurationVar(&o.cfg.Grace, "grace", 5*time.Second, "of a preempted job")
	f.Float64Var(&o.cfg.Fail, "fail", 0, "share of attempts that fail and are tried again")
	f.StringVar(&o.out, "out", "", "write one row per job to this CSV `file` (with several policies: NAME-POLICY.csv)")
	f.StringVar(&o.csv, "summary", "", "append the figures to this CSV `file`")
	f.StringVar(&o.export, "export", "", "write the workload to this `file`, .swf or .csv")
	if code, ok := parse(f, args, stderr, o.check); !ok {
		return code
	}
	if err := o.study(stdout); err != nil {
		fmt.Fprintf(stderr, "entropysim study: %v\n", err)
		if entropy.ErrorCode(err) == entropy.CodeInvalid {
			return exitUsage
		}
		return exitBroken
	}
	return 0
}

func (o *studyOptions) check() (err error) {
	if o.draw.Jobs < 1 || o.draw.Jobs > 1e8 || !(o.draw.Rate >= 0) || !(o.draw.Spread >= 0 && o.draw.Spread < 10) || o.draw.Runtime <= 0 {
		return fmt.Errorf("-jobs, -rate, -runtime or -spread is out of range")
	}
	if o.draw.Priorities < 0 || o.draw.Priorities > entropy.MaxPriority || o.draw.CPUs < 0 || o.draw.Tenants < 1 {
		return fmt.Errorf("-priorities, -job-cpus or -tenants is out of range")
	}
	if o.cpus != "" {
		if o.cfg.CPUs, err = entropy.ParseAmount(o.cpus); err != nil {
			return fmt.Errorf("-cpus: %w", err)
		}
	}
	if o.cfg.GPUs, err = entropy.ParseAmount(o.gpus); err != nil {
		return fmt.Errorf("-gpus: %w", err)
	}
	for _, name := range o.names() {
		if _, err := study.PolicyByName(name); err != nil {
			return err
		}
	}
	o.cfg.Seed = o.draw.Seed
	o.cfg.Scheduling.AgingStep, o.cfg.Scheduling.ReserveAfter = entropy.Duration(o.aging), entropy.Duration(o.reserve)
	if o.preempt != noPreemption {
		o.cfg.Scheduling.PreemptPriority = &o.preempt
	}
	return o.cfg.Scheduling.Validate()
}

func (o *studyOptions) names() []string { return strings.Split(o.policies, ",") }

func (o *studyOptions) study(stdout io.Writer) error {
	jobs, err := o.workload()
	if err != nil {
		return err
	}
	for i, name := range o.names() {
		cfg := o.cfg
		cfg.Policy = name
		results, sum, err := study.Run(jobs, cfg)
		if err != nil {
			return err
		}
		if i > 0 {
			fmt.Fprintln(stdout)
		}
		fmt.Fprint(stdout, sum.String())
		if err := o.write(name, jobs, results, &sum); err != nil {
			return err
		}
	}
	return nil
}

func (o *studyOptions) workload() (jobs study.Workload, err error) {
	if o.trace == "" {
		jobs = o.draw.Draw()
	} else if jobs, err = readTrace(o.trace); err != nil {
		return nil, fmt.Errorf("%s: %w", o.trace, err)
	}
	if o.export == "" {
		return jobs, nil
	}
	return jobs, create(o.export, func(w io.Writer) error {
		if filepath.Ext(o.export) == ".swf" {
			return study.WriteSWF(w, jobs, nil)
		}
		return study.WriteCSV(w, jobs)
	})
}

func readTrace(name string) (study.Workload, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, entropy.Errorf(entropy.CodeInvalid, "%v", err)
	}
	defer f.Close()
	if filepath.Ext(name) == ".swf" {
		return study.ReadSWF(f)
	}
	return study.ReadCSV(f)
}

// write writes the results where they were asked for.
func (o *studyOptions) write(policy string, jobs study.Workload, results []study.Result, sum *study.Summary) error {
	if o.out != "" {
		name := o.out
		if ext := filepath.Ext(name); len(o.names()) > 1 {
			name = strings.TrimSuffix(name, ext) + "-" + policy + ext
		}
		if err := create(name, func(w io.Writer) error { return study.WriteResults(w, jobs, results) }); err != nil {
			return err
		}
	}
	if o.csv == "" {
		return nil
	}
	_, err := os.Stat(o.csv)
	f, openErr := os.OpenFile(o.csv, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if openErr != nil {
		return openErr
	}
	out := csv.NewWriter(f)
	if errors.Is(err, os.ErrNotExist) {
		_ = out.Write(sum.Header()) // Error tells
	}
	_ = out.Write(sum.Row())
	out.Flush()
	return errors.Join(out.Error(), f.Close())
}

// create writes a file. What was there is replaced.
func create(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
