package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/entropy-fabric/entropy"
)

// submitFlags are the flags of submit, before they are a [entropy.Submission].
type submitFlags struct {
	id, key, name, queue, tenant string
	priority, maxAttempts        int
	noRetry                      bool
	runTimeout, queueTimeout     time.Duration
	notBefore                    string
	require, label, env          []string
	input, artifact              []string
	cwd, disconnect              string
	handler, payload, image      string
	graph                        graphFlags
	file, script                 string
	wait, checkpoint             bool
	waitTimeout                  time.Duration
}

const submitLong = `Submit a job: a command line that a worker runs without a shell.

It prints the job's ID and nothing else; of an array, its one ID. The ID is made here, before the first
send, and a send without an answer is repeated with it: there is one job, however
often it was sent. --wait stays until the job has ended.

Without "--" the first word may name a script on this machine that begins with
"#!": it is shipped, and lines "#ENTROPY --gpus 1 --run-timeout 2h" in its header
are flags, which those of the command line override. -f reads a job file in YAML:
one job, or several that are accepted as a whole; see docs/JOBFILE.md.`

const submitExample = `  entropy submit -- echo hello
  entropy submit --wait --artifact 'out/*.csv' --input data.json -- python3 crunch.py
  entropy submit --name nightly --max-attempts 5 --run-timeout 2h -- sh -c 'make && ./bench'
  entropy submit --image docker.io/library/python:3.13 -- python3 -c 'print(1)'
  entropy submit --array 0-99 --after prepare -- ./train --fold {}
  entropy submit ./train.sh --fold 3
  entropy submit -f pipeline.yaml --wait`

func (a *app) submitCommand() *cobra.Command {
	var f submitFlags
	c := &cobra.Command{
		Use:     "submit [flags] -- ARGV… | SCRIPT [ARG…] | -f FILE",
		Short:   "Submit a job and print its ID",
		Long:    submitLong,
		Example: submitExample,
	}
	s := c.Flags()
	s.SetInterspersed(false) // flags after the command's name are the command's own
	f.register(s)
	s.StringVarP(&f.file, "file", "f", "", "a job `FILE` in YAML, or - for standard input, instead of ARGV")
	s.BoolVar(&f.wait, "wait", false, "wait until the job has ended; exit 7 when it did not succeed")
	s.DurationVar(&f.waitTimeout, "wait-timeout", 0, "`LIMIT` on --wait; exit 8 when it is reached")
	return a.command(c, func(ctx context.Context, args []string) error {
		if f.file != "" {
			return a.submitFile(ctx, c.Flags(), &f, args)
		}
		if c.ArgsLenAtDash() >= 0 || len(args) == 0 {
			return a.submit(ctx, &f, args)
		}
		script, err := readScript(args[0])
		if err != nil || script == nil {
			return errOr(err, func() error { return a.submit(ctx, &f, args) })
		}
		merged, err := script.flags(c.Flags(), &f)
		if err != nil {
			return err
		}
		return a.submit(ctx, merged, script.argv(args[1:]))
	})
}

// errOr returns err, or what do returns when it is nil.
func errOr(err error, do func() error) error {
	if err != nil {
		return err
	}
	return do()
}

// register adds the flags that say what a job is.
func (f *submitFlags) register(s *pflag.FlagSet) {
	f.graph.register(s)
	s.StringVar(&f.id, "id", "", "the job's `ID`; repeating a submission with it is harmless")
	s.StringVar(&f.key, "idempotency-key", "", "a `KEY` that makes repeating this submission harmless, instead of --id")
	s.StringVar(&f.name, "name", "", "a `NAME` for people; need not be unique")
	s.StringVar(&f.queue, "queue", "", "the `QUEUE` it waits in (default \"default\")")
	s.StringVar(&f.tenant, "tenant", "", "the `TENANT` it belongs to (default \"default\")")
	s.IntVar(&f.priority, "priority", 0, "`NUMBER` from -100 to 100; higher is sooner")
	s.IntVar(&f.maxAttempts, "max-attempts", 0, "the `NUMBER` of failures allowed before the job fails (default 3)")
	s.BoolVar(&f.noRetry, "no-retry", false, "never run it a second time, for any reason")
	s.DurationVar(&f.runTimeout, "run-timeout", 0, "`LIMIT` on one attempt, as in 90s or 2h")
	s.DurationVar(&f.queueTimeout, "queue-timeout", 0, "`LIMIT` on the time it may wait for its first start")
	s.StringVar(&f.notBefore, "not-before", "", "`TIME` before which it does not start: RFC 3339, or a duration from now")
	s.StringArrayVar(&f.require, "require", nil, "a label `KEY=VALUE` the worker must carry (repeatable)")
	s.StringArrayVar(&f.input, "input", nil, "a file or directory `PATH` to ship into ENTROPY_INPUT_DIR (repeatable)")
	s.StringArrayVar(&f.artifact, "artifact", nil, "a `GLOB` of files to keep from its working directory (repeatable)")
	s.StringArrayVar(&f.env, "env", nil, "a variable `KEY=VALUE` for the process (repeatable)")
	s.StringVar(&f.cwd, "cwd", "", "absolute `DIR` at the worker to run in (default: a fresh scratch directory)")
	s.StringArrayVar(&f.label, "label", nil, "a label `KEY=VALUE` of the job, for people and filters (repeatable)")
	s.StringVar(&f.disconnect, "disconnect", "", "`MODE` of its worker when cut off: continue or stop (default continue)")
	s.StringVar(&f.handler, "handler", "", "`NAME` of a Go handler at the worker, instead of ARGV")
	s.StringVar(&f.image, "image", "", "the OCI image `REF` that ARGV runs in; without ARGV, its own command; its workers have podman, docker or nerdctl")
	s.BoolVar(&f.checkpoint, "checkpoint", false, "it saves its state by renaming it into $ENTROPY_CHECKPOINT_DIR/ready/, and finds it again in restored/")
	s.StringVar(&f.payload, "payload", "", "the handler's argument: `JSON`, or @FILE")
}

// submission builds what the flags and the command line ask for, inputs aside.
func (f *submitFlags) submission(args []string, now time.Time) (entropy.Submission, error) {
	sub := entropy.Submission{ID: entropy.JobID(f.id), IdempotencyKey: f.key}
	if f.id != "" && f.key != "" {
		return sub, usagef("--id and --idempotency-key exclude each other")
	}
	if f.waitTimeout != 0 && !f.wait {
		return sub, usagef("--wait-timeout needs --wait")
	}
	if err := notNegative(map[string]time.Duration{"run-timeout": f.runTimeout, "queue-timeout": f.queueTimeout, "wait-timeout": f.waitTimeout}); err != nil {
		return sub, err
	}
	sub.Spec = entropy.JobSpec{
		Name: f.name, Command: args, Handler: f.handler, Image: f.image, Queue: f.queue, Tenant: f.tenant, Priority: f.priority,
		Cwd: f.cwd, Artifacts: f.artifact, Disconnect: entropy.Disconnect{Worker: f.disconnect},
		Retry:      entropy.RetryPolicy{MaxAttempts: f.maxAttempts, NoRetry: f.noRetry},
		RunTimeout: entropy.Duration(f.runTimeout), QueueTimeout: entropy.Duration(f.queueTimeout),
	}
	if f.checkpoint {
		sub.Spec.Checkpoint = new(entropy.CheckpointPolicy)
	}
	err := f.maps(&sub.Spec, now)
	if err == nil {
		err = sub.Spec.Validate()
	}
	if err != nil {
		return sub, err
	}
	if sub.ID == "" && sub.IdempotencyKey == "" {
		sub.ID = entropy.JobID(entropy.NewID())
	} else if sub.ID != "" {
		err = entropy.ValidateID("--id", f.id)
	}
	return sub, err
}

func (f *submitFlags) maps(spec *entropy.JobSpec, now time.Time) (err error) {
	if spec.Require, err = keyValues("require", f.require); err != nil {
		return err
	}
	if spec.Labels, err = keyValues("label", f.label); err != nil {
		return err
	}
	if spec.Env, err = keyValues("env", f.env); err != nil {
		return err
	}
	if spec.NotBefore, err = moment("not-before", f.notBefore, now); err != nil {
		return err
	}
	spec.Payload, err = payload(f.payload)
	return err
}

// payload reads a handler's argument: JSON, or @ and a file that holds it.
func payload(s string) (json.RawMessage, error) {
	if s == "" {
		return nil, nil
	}
	b := []byte(s)
	if name, ok := strings.CutPrefix(s, "@"); ok {
		var err error
		if b, err = os.ReadFile(name); err != nil {
			return nil, usagef("--payload: %v", err)
		}
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, b); err != nil {
		return nil, usagef("--payload is not JSON: %v", err).WithHint(`quote it for the shell, as in --payload '{"n": 3}'`)
	}
	return compact.Bytes(), nil
}

func (a *app) submit(ctx context.Context, f *submitFlags, args []string) error {
	sub, err := f.submission(args, a.now())
	if err != nil {
		return err
	}
	if err := f.graph.apply(a, &sub); err != nil {
		return err
	}
	files, err := gatherInputs(ctx, f.input)
	if err != nil {
		return err
	}
	files.makeExecutable(f.script)
	sub.Spec.Inputs = files.inputs()
	if err := sub.Spec.Validate(); err != nil {
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
	result, err := a.send(ctx, service, p, sub)
	if err != nil {
		return err
	}
	err = a.one(result, func() error { return a.printf("%s\n", result.ID) })
	if err != nil || !f.wait {
		return err
	}
	return a.waitFor(ctx, service, []entropy.JobID{result.ID}, waitOptions{timeout: f.waitTimeout, quiet: true})
}

// send submits one job, repeating it over an outage.
func (a *app) send(ctx context.Context, service entropy.Service, p *patience, sub entropy.Submission) (entropy.SubmitResult, error) {
	var result entropy.SubmitResult
	err := p.do(ctx, func() error {
		results, err := service.Submit(ctx, []entropy.Submission{sub})
		if err != nil {
			return err
		}
		if len(results) != 1 {
			return entropy.Errorf(entropy.CodeInternal, "one job was submitted and %d results came back", len(results))
		}
		if results[0].Error != nil {
			return results[0].Error
		}
		result = results[0]
		return nil
	})
	if err != nil && entropy.ErrorCode(err) == entropy.CodeUnknown {
		same := "--id " + string(sub.ID)
		if sub.ID == "" {
			same = "the same --idempotency-key"
		}
		return result, entropy.Errorf(entropy.CodeUnknown, "the job may or may not have been accepted: %s", entropy.AsError(err).Message).
			WithHint("repeat the command with %s: if it was accepted, that answers with the same job", same)
	}
	return result, err
}
