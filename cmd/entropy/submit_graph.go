package main

import (
	"bufio"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/entropy-fabric/entropy"
)

// graphFlags are the flags of submit about other jobs, arrays and resources.
type graphFlags struct {
	after              []string
	array, eachLine    string
	replace            string
	cpus, memory, gpus string
	resource           []string
	preemptible, hold  bool
	key                string
}

func (f *graphFlags) register(s *pflag.FlagSet) {
	s.StringSliceVar(&f.after, "after", nil, "`JOB`, … that must succeed first; JOB:end for any end (an array counts as all its members)")
	s.StringVar(&f.array, "array", "", "make one job for each index of `FIRST-LAST`; {} in ARGV and ENTROPY_INDEX are the index")
	s.StringVar(&f.eachLine, "each-line", "", "make one job for each line of `FILE` (- for standard input); {} in ARGV and ENTROPY_LINE are the line")
	s.StringVar(&f.replace, "replace", "", "`TEXT` in ARGV to replace instead of {}")
	s.StringVar(&f.cpus, "cpus", "", "the `NUMBER` of CPUs it holds while it runs, as in 2 or 0.5")
	s.StringVar(&f.memory, "mem", "", "the `SIZE` of memory it holds, as in 500M or 64Gi")
	s.StringVar(&f.gpus, "gpus", "", "the `NUMBER` of GPUs it holds, or a fraction of one")
	s.StringArrayVar(&f.resource, "resource", nil, "another resource it holds, `NAME=AMOUNT` (repeatable)")
	s.BoolVar(&f.preemptible, "preemptible", false, "it may be ended and queued again to make room for an urgent job")
	s.BoolVar(&f.hold, "hold", false, "submit it held: it waits for entropy release")
	s.StringVar(&f.key, "key", "", "of all jobs with this `KEY` at most one runs; implies --disconnect stop")
}

// apply adds what the flags say to a submission.
func (f *graphFlags) apply(a *app, sub *entropy.Submission) (err error) {
	spec := &sub.Spec
	sub.Hold, spec.Preemptible, spec.ConcurrencyKey = f.hold, f.preemptible, f.key
	if f.key != "" && spec.Disconnect.Worker == "" {
		spec.Disconnect.Worker = entropy.DisconnectStop // else two of them might run while one is cut off
	}
	for _, s := range f.after {
		d, err := entropy.ParseDependency(s)
		if err != nil {
			return err
		}
		spec.After = append(spec.After, d)
	}
	if spec.Resources, err = f.resources(); err != nil {
		return err
	}
	sub.Array, err = f.arraySpec(a)
	return err
}

func (f *graphFlags) resources() (entropy.Resources, error) {
	r, err := amounts("resource", f.resource)
	if err != nil {
		return nil, err
	}
	for _, p := range []struct{ name, flag, amount string }{{entropy.ResourceCPU, "cpus", f.cpus}, {entropy.ResourceMemory, "mem", f.memory}, {entropy.ResourceGPU, "gpus", f.gpus}} {
		if p.amount == "" {
			continue
		}
		n, err := amount("--"+p.flag+" ", p.amount)
		if err != nil {
			return nil, err
		}
		if r == nil {
			r = make(entropy.Resources, 1)
		}
		r[p.name] = n
	}
	return r, nil
}

func (f *graphFlags) arraySpec(a *app) (spec *entropy.ArraySpec, err error) {
	switch {
	case f.array != "" && f.eachLine != "":
		return nil, usagef("--array and --each-line exclude each other")
	case f.array != "":
		spec, err = entropy.ParseArray(f.array)
	case f.eachLine != "":
		spec, err = a.readLines(f.eachLine)
	case f.replace != "":
		return nil, usagef("--replace needs --array or --each-line")
	}
	if spec != nil {
		spec.Replace = f.replace
	}
	return spec, err
}

// readLines reads the lines of a file as an array; "-" is standard input. Lines
// count as they are, empty ones too, but the last line break ends a line and
// begins none.
func (a *app) readLines(name string) (*entropy.ArraySpec, error) {
	in := a.stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, usagef("--each-line: %v", err)
		}
		defer file.Close()
		in = file
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, entropy.MaxCommandSize)
	spec, size := new(entropy.ArraySpec), 0
	for lines.Scan() {
		if size += len(lines.Bytes()); size > entropy.MaxRequest/2 {
			return nil, usagef("--each-line: %s has over %d bytes", name, entropy.MaxRequest/2).WithHint("ship the data with --input and make an array of line numbers")
		}
		if len(spec.Lines) == entropy.MaxArray {
			return nil, usagef("--each-line: %s has more than %d lines", name, entropy.MaxArray).WithHint("submit it in pieces, as with split -l %d", entropy.MaxArray)
		}
		spec.Lines = append(spec.Lines, strings.TrimSuffix(lines.Text(), "\r"))
	}
	switch err := lines.Err(); {
	case err != nil:
		return nil, usagef("--each-line: %s: %v", name, err).WithHint("a line has at most %d bytes", entropy.MaxCommandSize)
	case len(spec.Lines) == 0:
		return nil, usagef("--each-line: %s has no lines", name).WithHint("an array has at least one member")
	}
	return spec, spec.Validate()
}
