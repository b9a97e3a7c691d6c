package main

import (
	"context"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/entropy-fabric/entropy"
)

func (f *fakeService) Hold(_ context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	f.ops = append(f.ops, op)
	return &entropy.Job{ID: id, State: entropy.Pending, Held: true}, f.call("hold " + string(id))
}

func (f *fakeService) Release(_ context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	f.ops = append(f.ops, op)
	return &entropy.Job{ID: id, State: entropy.Pending}, f.call("release " + string(id))
}

func (f *fakeService) Prioritize(_ context.Context, id entropy.JobID, n int, op entropy.Operation) (*entropy.Job, error) {
	f.ops = append(f.ops, op)
	return &entropy.Job{ID: id, State: entropy.Pending, PriorityNow: &n}, f.call("prioritize " + string(id) + " " + itoa(n))
}

func (f *fakeService) Bulk(_ context.Context, r entropy.BulkRequest) (entropy.BulkReply, error) {
	f.bulks = append(f.bulks, r)
	if err := f.call("bulk"); err != nil {
		return entropy.BulkReply{}, err
	}
	reply := f.pages[0]
	f.pages = f.pages[1:]
	return reply, r.Validate()
}

// proves J-9, J-10, H-9: the flags about other jobs, arrays and resources reach the
// submission.
func TestSubmitGraphFlags(t *testing.T) {
	b := newBench(t)
	code := b.run("submit", "--id", "a", "--after", "x,y:end", "--after", "z:success", "--array", "3-7", "--replace", "@", "--cpus", "2", "--mem", "1Gi", "--gpus", "0.5",
		"--resource", "license=3", "--preemptible", "--hold", "--key", "db", "--", "run", "@")
	if code != 0 || b.stdout.String() != "a\n" {
		t.Fatalf("exit %d, stdout %q, stderr %q", code, b.stdout.String(), b.stderr.String())
	}
	want := []entropy.Submission{{ID: "a", Hold: true, Array: &entropy.ArraySpec{First: 3, Last: 7, Replace: "@"}, Spec: entropy.JobSpec{
		Command: []string{"run", "@"}, After: []entropy.Dependency{{Job: "x"}, {Job: "y", On: "end"}, {Job: "z"}}, Preemptible: true, ConcurrencyKey: "db",
		Disconnect: entropy.Disconnect{Worker: "stop"},
		Resources:  entropy.Resources{"cpu": 2000, "mem": (1 << 30) * 1000, "gpu": 500, "license": 3000}}}}
	if !reflect.DeepEqual(b.service.subs, want) {
		t.Errorf("submitted %+v\nwant %+v", b.service.subs, want)
	}
}

// proves J-10: --each-line reads lines as they are; {} without an array stays.
func TestSubmitEachLine(t *testing.T) {
	b := newBench(t)
	file := write(t, filepath.Join(t.TempDir(), "lines"), "one\n\ntwo words\r\n{}")
	if code := b.run("submit", "--id", "a", "--each-line", file, "--", "echo", "{}"); code != 0 {
		t.Fatal(b.stderr.String())
	}
	b.app.stdin = strings.NewReader("x\ny\n")
	if code := b.run("submit", "--id", "b", "--each-line", "-", "--", "echo", "{}"); code != 0 {
		t.Fatal(b.stderr.String())
	}
	if code := b.run("submit", "--id", "c", "--", "echo", "{}"); code != 0 {
		t.Fatal(b.stderr.String())
	}
	s := b.service.subs
	if !slices.Equal(s[0].Array.Lines, []string{"one", "", "two words", "{}"}) || !slices.Equal(s[1].Array.Lines, []string{"x", "y"}) || s[2].Array != nil || s[2].Spec.Command[1] != "{}" {
		t.Errorf("lines %q, %q, %v", s[0].Array.Lines, s[1].Array.Lines, s[2])
	}
}

// proves J-10, J-14: bad arrays, dependencies, files and selections are usage
// errors that name the reason, before anything is sent.
func TestGraphUsage(t *testing.T) {
	dir := t.TempDir()
	empty := write(t, filepath.Join(dir, "empty"), "")
	many := write(t, filepath.Join(dir, "many"), strings.Repeat("x\n", entropy.MaxArray+1))
	wide := write(t, filepath.Join(dir, "wide"), strings.Repeat("y", 1<<20))
	for _, c := range []struct {
		line, says string
	}{
		{"submit --array 5-1 -- x", "ends before it begins"},
		{"submit --array -5-1 -- x", "range of an array"},
		{"submit --array 0-999999999 -- x", "1000000000 members"},
		{"submit --array 0-99999999999999999999 -- x", "range of an array"},
		{"submit --array 0-1 --each-line f -- x", "exclude"},
		{"submit --replace @ -- x", "--replace needs"},
		{"submit --each-line " + empty + " -- x", "has no lines"},
		{"submit --each-line " + many + " -- x", "more than 10000 lines"},
		{"submit --each-line " + wide + " -- x", "too long"},
		{"submit --each-line /nowhere/at/all -- x", "no such file"},
		{"submit --after a:later -- x", "success or end"},
		{"submit --after ,a -- x", "empty"},
		{"submit --cpus many -- x", "not an amount"},
		{"submit --gpus 1.5 -- x", "whole number"},
		{"submit --key k --disconnect continue -- x", "concurrency_key"},
		{"submit --preemptible --no-retry -- x", "exclude each other"},
		{"cancel", "missing"},
		{"cancel --yes", "missing"},
		{"cancel --queue q JOB", "exclude each other"},
		{"cancel --state done --yes", "not a state"},
		{"hold --yes JOB", "--yes is for jobs that are selected"},
		{"prioritize JOB", "--priority"},
		{"prioritize --priority 101 JOB", "-100 to 100"},
		{"submit -f " + empty, "is empty"},
		{"submit -f " + empty + " -- x", "exclude each other"},
		{"submit -f " + empty + " --name x", "--name and -f exclude"},
		{"submit -f /nowhere", "no such file"},
		{"clone JOB other", "one argument too many"},
	} {
		b := newBench(t)
		if code := b.run(strings.Fields(c.line)...); code != 2 || !strings.Contains(b.stderr.String(), c.says) || len(b.service.calls) > 0 {
			t.Errorf("%s: exit %d, calls %v: %s", c.line, code, b.service.calls, b.stderr.String())
		}
	}
}

// proves J-15 and issue 3: the flags in a script's header count, those of the
// command line win, and the script is shipped and run by its own first line.
func TestSubmitScript(t *testing.T) {
	b := newBench(t)
	path := write(t, filepath.Join(t.TempDir(), "train.sh"), "#!/bin/bash\n# A comment.\n#ENTROPY --gpus 1 --run-timeout 2h\n\n"+
		"#ENTROPY --name 'two words' --env A=1 --env \"B=x y\" # why\n#ENTROPYX --nonsense\necho hi\n#ENTROPY --gpus 4\n")
	if code := b.run("submit", "--id", "s", "--gpus", "2", "--env", "C=3", path, "--fold", "3"); code != 0 {
		t.Fatal(b.stderr.String())
	}
	spec := b.service.subs[0].Spec
	if spec.Name != "two words" || spec.Resources["gpu"] != 2000 || spec.RunTimeout.String() != "2h0m0s" || !reflect.DeepEqual(spec.Env, map[string]string{"C": "3"}) {
		t.Errorf("spec %+v", spec)
	}
	if want := []string{"sh", "-c", `exec "$ENTROPY_INPUT_DIR/$0" "$@"`, "train.sh", "--fold", "3"}; !slices.Equal(spec.Command, want) {
		t.Errorf("command %q, want %q", spec.Command, want)
	}
	if len(spec.Inputs) != 1 || spec.Inputs[0].Path != "train.sh" || spec.Inputs[0].Mode&0o500 != 0o500 || len(b.service.blobs) != 1 {
		t.Errorf("inputs %+v", spec.Inputs)
	}
	plain := write(t, filepath.Join(t.TempDir(), "notes"), "no script\n#ENTROPY --gpus 9\n")
	if code := b.run("submit", "--id", "p", plain); code != 0 || b.service.subs[1].Spec.Command[0] != plain || b.service.subs[1].Spec.Resources != nil {
		t.Errorf("a file without #! is a command: %+v %s", b.service.subs[1], b.stderr.String())
	}
	if code := b.run("submit", "--id", "q", "--", path); code != 0 || b.service.subs[2].Spec.Command[0] != path {
		t.Errorf("after -- there is no script: %+v", b.service.subs[2])
	}
}

// proves issue 3: a directive can say what the job is and nothing else; the line
// is named.
func TestScriptInjection(t *testing.T) {
	for line, says := range map[string]string{
		"--nonsense":              "unknown flag: --nonsense",
		"--server http://evil":    "unknown flag: --server",
		"--token-file /etc/x":     "unknown flag",
		"-o json":                 "unknown shorthand",
		"--wait":                  "unknown flag: --wait",
		"-f other.yaml":           "unknown shorthand",
		"--id mine":               "cannot choose its job's ID",
		"--idempotency-key k":     "cannot choose its job's ID",
		"--name a b":              `"b" is not a flag`,
		"-- rm -rf /":             "is not a flag",
		"--gpus":                  "needs an argument",
		"--priority high":         "invalid argument",
		"--name 'open":            "quote is not closed",
		"--name a\\":              "quote is not closed",
		"--name \x1b[2Jx":         "control character",
		"--help":                  "help requested",
		"--run-timeout $(reboot)": "invalid argument",
	} {
		b := newBench(t)
		path := write(t, filepath.Join(t.TempDir(), "s.sh"), "#!/bin/sh\n#ENTROPY --cpus 1\n#ENTROPY "+line+"\ntrue\n")
		code := b.run("submit", path)
		if code != 2 || !strings.Contains(b.stderr.String(), says) || !strings.Contains(b.stderr.String(), "s.sh:3") || len(b.service.calls) > 0 {
			t.Errorf("%q: exit %d, %s", line, code, b.stderr.String())
		}
	}
	b := newBench(t)
	path := write(t, filepath.Join(t.TempDir(), "s.sh"), "#!/bin/sh\n#ENTROPY --name $(reboot)\n")
	if code := b.run("submit", path); code != 0 || b.service.subs[0].Spec.Name != "$(reboot)" {
		t.Errorf("nothing is expanded: exit %d, %+v", code, b.service.subs)
	}
}

// proves issue 3: a job file is one call; names become IDs, paths start from the file.
func TestSubmitFile(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "data", "n.txt"), "1\n2\n")
	file := write(t, filepath.Join(dir, "jobs.yaml"), `
defaults: {queue: night, env: {A: 1}}
jobs:
  - name: prepare
    command: [prep]
    inputs: [data]
  - name: part
    each_line: data/n.txt
    replace: "@"
    command: [work, "@"]
    env: {B: "2"}
    after: [prepare]
  - command: [sum]
    after: ["part:end", {job: other-job}]
    queue: day
`)
	b := newBench(t)
	if code := b.run("submit", "-f", file); code != 0 {
		t.Fatal(b.stderr.String())
	}
	s := b.service.subs
	if len(s) != 3 || strings.Join(b.service.calls, " ") != "has put submit" {
		t.Fatalf("%d submissions in calls %v", len(s), b.service.calls)
	}
	if got, want := b.stdout.String(), string(s[0].ID)+"\n"+string(s[1].ID)+"\n"+string(s[2].ID)+"\n"; got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if !s[0].Atomic || s[0].Spec.Inputs[0].Path != "data/n.txt" || s[0].Spec.Queue != "night" {
		t.Errorf("prepare: %+v", s[0])
	}
	if !reflect.DeepEqual(s[1].Array, &entropy.ArraySpec{Lines: []string{"1", "2"}, Replace: "@"}) || s[1].Spec.After[0].Job != s[0].ID || !reflect.DeepEqual(s[1].Spec.Env, map[string]string{"A": "1", "B": "2"}) {
		t.Errorf("part: %+v", s[1])
	}
	if !reflect.DeepEqual(s[2].Spec.After, []entropy.Dependency{{Job: s[1].ID, On: "end"}, {Job: "other-job"}}) || s[2].Spec.Queue != "day" {
		t.Errorf("sum: %+v", s[2])
	}
	cyclic := write(t, filepath.Join(dir, "c.yaml"), "jobs: [{name: a, command: [x], after: [b]}, {name: b, command: [x], after: [a]}]")
	if code := b.run("submit", "-f", cyclic); code != 2 || !strings.Contains(b.stderr.String(), "a after b after a") {
		t.Errorf("exit %d: %s", code, b.stderr.String())
	}
	missing := write(t, filepath.Join(dir, "m.yaml"), "command: [x]\ninputs: [nowhere]\n")
	if code := b.run("submit", "-f", missing); code != 2 || !strings.Contains(b.stderr.String(), "m.yaml:1") || !strings.Contains(b.stderr.String(), "nowhere") {
		t.Errorf("exit %d: %s", code, b.stderr.String())
	}
}

// proves J-14: without --yes the selected jobs are counted; with it every page is
// asked for, under one operation, and the first refusal decides the exit code.
func TestBulkCommands(t *testing.T) {
	b := newBench(t)
	b.service.pages = []entropy.BulkReply{{Matched: 1234}}
	if code := b.run("cancel", "--queue", "night", "--state", "pending,scheduled", "--label", "a=b"); code != 0 || b.stdout.String() != "1234 jobs are selected\n" || !b.service.bulks[0].DryRun {
		t.Errorf("exit %d, %q, %+v", code, b.stdout.String(), b.service.bulks)
	}
	b.service.bulks = nil
	b.service.pages = []entropy.BulkReply{{Items: []entropy.BulkItem{{ID: "a", State: entropy.Canceled}, {ID: "b", Error: entropy.Errorf(entropy.CodeConflict, "it has ended")}}, Next: "c1"},
		{Items: []entropy.BulkItem{{ID: "c", State: entropy.Canceled}}}}
	code := b.run("cancel", "--array", "arr", "--reason", "wrong data", "--yes")
	r := b.service.bulks
	if code != 5 || b.stdout.String() != "a  canceled\nc  canceled\n" || !strings.Contains(b.stderr.String(), "it has ended") || len(r) != 2 {
		t.Fatalf("exit %d, %q, %q", code, b.stdout.String(), b.stderr.String())
	}
	if r[0].Filter.Array != "arr" || r[1].Filter.Cursor != "c1" || r[0].Operation.ID == "" || r[0].Operation != r[1].Operation || r[0].Operation.Reason != "wrong data" {
		t.Errorf("requests %+v", r)
	}
	b.service.pages = []entropy.BulkReply{{Items: []entropy.BulkItem{{ID: "a", New: "a2"}, {ID: "d", New: "d2"}}}}
	if code := b.run("retry", "--dependents", "a"); code != 0 || b.stdout.String() != "a2\nd2\n" || !b.service.bulks[2].Dependents {
		t.Errorf("exit %d, %q", code, b.stdout.String())
	}
	for _, c := range []struct{ line, call, out string }{
		{"hold j", "hold j", "j  pending,held\n"}, {"release j", "release j", "j  pending\n"}, {"prioritize --priority -5 j", "prioritize j -5", "j  priority -5\n"},
	} {
		if code := b.run(strings.Fields(c.line)...); code != 0 || b.stdout.String() != c.out || b.service.calls[len(b.service.calls)-1] != c.call {
			t.Errorf("%s: exit %d, %q, %v", c.line, code, b.stdout.String(), b.service.calls)
		}
	}
}

// proves J-14: clone changes what is given and nothing else.
func TestClone(t *testing.T) {
	b := newBench(t)
	b.service.jobs["old"] = &entropy.Job{ID: "old", Spec: entropy.JobSpec{Name: "n", Command: []string{"run"}, Env: map[string]string{"A": "1", "B": "2"}, Priority: 7,
		Resources: entropy.Resources{"cpu": 1000, "mem": 5000}, RetryOf: "older", Array: &entropy.ArrayMember{Of: "x"}, Image: "img"}}
	if code := b.run("clone", "old", "--env", "B=3", "--cpus", "4", "--id", "new"); code != 0 || b.stdout.String() != "new\n" {
		t.Fatal(b.stderr.String())
	}
	want := entropy.JobSpec{Name: "n", Command: []string{"run"}, Env: map[string]string{"A": "1", "B": "3"}, Priority: 7, Resources: entropy.Resources{"cpu": 4000, "mem": 5000}, Image: "img"}
	if got := b.service.subs[0].Spec; !reflect.DeepEqual(got, want) {
		t.Errorf("clone %+v\nwant  %+v", got, want)
	}
	if code := b.run("clone", "old", "--", "other", "-x"); code != 0 || !slices.Equal(b.service.subs[1].Spec.Command, []string{"other", "-x"}) {
		t.Errorf("%+v: %s", b.service.subs[1], b.stderr.String())
	}
	b.service.jobs["arr"] = &entropy.Job{ID: "arr", Spec: entropy.JobSpec{Command: []string{"run"}}, Array: &entropy.ArraySummary{Count: 2}}
	if code := b.run("clone", "arr"); code != 2 || !strings.Contains(b.stderr.String(), "is an array") {
		t.Errorf("exit %d: %s", code, b.stderr.String())
	}
	if code := b.run("clone", "arr", "--array", "0-4"); code != 0 || b.service.subs[2].Array.Last != 4 {
		t.Errorf("exit %d: %s", code, b.stderr.String())
	}
}

// proves that clone knows every flag of submit: each is in the table, or says
// nothing about the specification.
func TestCloneKnowsEveryFlag(t *testing.T) {
	other := []string{"id", "idempotency-key", "array", "each-line", "replace", "hold"}
	s := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(submitFlags).register(s)
	s.VisitAll(func(f *pflag.Flag) {
		if (specOf[f.Name] != nil) == slices.Contains(other, f.Name) {
			t.Errorf("--%s must be in specOf of clone.go, or among those that are no part of a specification", f.Name)
		}
	})
}
