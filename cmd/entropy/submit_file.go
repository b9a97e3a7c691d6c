package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cmd/entropy/jobfile"
)

// submitFile submits the jobs of a job file as a whole and prints their IDs, in
// its order.
func (a *app) submitFile(ctx context.Context, given *pflag.FlagSet, f *submitFlags, args []string) error {
	var other string
	given.Visit(func(fl *pflag.Flag) {
		if f.describes(fl.Name) {
			other = fl.Name
		}
	})
	switch {
	case len(args) > 0:
		return usagef("-f and a command line exclude each other").WithHint("write the command into the file, as command: [%s]", args[0])
	case other != "":
		return usagef("--%s and -f exclude each other", other).WithHint("write it into the file")
	case f.waitTimeout != 0 && !f.wait:
		return usagef("--wait-timeout needs --wait")
	}
	if err := notNegative(map[string]time.Duration{"wait-timeout": f.waitTimeout}); err != nil {
		return err
	}
	jobs, dir, err := a.readJobFile(f.file)
	if err != nil {
		return err
	}
	subs, files, err := a.fileSubmissions(ctx, f.file, dir, jobs)
	if err != nil {
		return err
	}
	service, err := a.connect()
	if err != nil {
		return err
	}
	p := &patience{a: a, limit: sendPatience}
	if err := files.upload(ctx, service, p); err != nil {
		return err
	}
	return a.submitAll(ctx, service, p, f, subs)
}

// describes reports whether a flag says what a job is.
func (f *submitFlags) describes(name string) bool {
	s := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(submitFlags).register(s)
	return s.Lookup(name) != nil
}

// readJobFile returns the jobs of a file and the directory that its paths start from.
func (a *app) readJobFile(name string) (jobs []jobfile.Job, dir string, err error) {
	if name == "-" {
		jobs, err = jobfile.Read("standard input", a.stdin)
		return jobs, ".", err
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, "", usagef("-f: %v", err)
	}
	defer file.Close()
	jobs, err = jobfile.Read(name, file)
	return jobs, filepath.Dir(name), err
}

// fileSubmissions completes the submissions of a job file with what lies on this
// machine: inputs and lines.
func (a *app) fileSubmissions(ctx context.Context, name, dir string, jobs []jobfile.Job) ([]entropy.Submission, inputFiles, error) {
	subs := jobfile.Submissions(jobs, entropy.NewID)
	var all inputFiles
	for i := range jobs {
		j, sub := &jobs[i], &subs[i]
		bad := func(err error) error {
			e := *entropy.AsError(err)
			e.Message = name + ":" + itoa(j.Line) + ": " + e.Message
			return &e
		}
		switch {
		case j.EachLine != "" && sub.Array != nil:
			return nil, nil, bad(usagef("array and each_line exclude each other"))
		case j.EachLine != "":
			array, err := a.readLines(below(dir, j.EachLine))
			if err != nil {
				return nil, nil, bad(err)
			}
			array.Replace = j.Replace
			sub.Array = array
		case j.Replace != "" && sub.Array == nil:
			return nil, nil, bad(usagef("replace needs array or each_line"))
		}
		paths := make([]string, len(j.Inputs))
		for k, p := range j.Inputs {
			paths[k] = below(dir, p)
		}
		files, err := gatherInputs(ctx, paths)
		if err != nil {
			return nil, nil, bad(err)
		}
		sub.Spec.Inputs = files.inputs()
		all = append(all, files...)
		if err := sub.Spec.Validate(); err != nil {
			return nil, nil, bad(err)
		}
	}
	_, err := entropy.NewGroup(subs, "", a.now()) // says here what the control plane would say
	return subs, all, err
}

// below returns a path of a job file as seen from here. "-" is standard input.
func below(dir, path string) string {
	if filepath.IsAbs(path) || path == "-" {
		return path
	}
	return filepath.Join(dir, path)
}

// submitAll sends submissions that belong together, repeating them over an outage.
func (a *app) submitAll(ctx context.Context, service entropy.Service, p *patience, f *submitFlags, subs []entropy.Submission) error {
	var results []entropy.SubmitResult
	err := p.do(ctx, func() (err error) {
		results, err = service.Submit(ctx, subs)
		return err
	})
	if err != nil {
		return err
	}
	ids := make([]entropy.JobID, len(results))
	for i := range results {
		ids[i] = results[i].ID
	}
	err = list(a, results, func(results []entropy.SubmitResult) *table {
		t := new(table)
		for i := range results {
			t.row(string(results[i].ID))
		}
		return t
	})
	if err != nil || !f.wait {
		return err
	}
	return a.waitFor(ctx, service, ids, waitOptions{timeout: f.waitTimeout, quiet: true})
}
