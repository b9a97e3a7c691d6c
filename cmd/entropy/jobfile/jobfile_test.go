package jobfile_test

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cmd/entropy/jobfile"
)

func read(t *testing.T, text string) []jobfile.Job {
	t.Helper()
	jobs, err := jobfile.Read("jobs.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

// proves J-10 and issue 3: a job file says all that a specification can.
func TestOneJob(t *testing.T) {
	got := read(t, `
# One job.
name: train
command: [python3, train.py, 5, true, 1.50, ~]
env: {EPOCHS: 10, DEBUG: no, EMPTY: ""}
resources: {cpu: 2, mem: 64Gi, gpu: 0.5}
any_of: [{require: {gpu: h100}}, {require: {gpu: a100}, resources: {gpu: 2}}]
retry: {max_attempts: 5, backoff: 10s, no_retry: false, non_retryable: [3, 4]}
run_timeout: 1h30m
queue_timeout: 90
not_before: 2030-01-02T03:04:05Z
payload: {a: [1, "2", null, true], b: {c: 0.1}}
priority: -3
preemptible: true
hold: true
id: train-1
array: 2-9
replace: "%"
inputs: [data, "x.txt"]
after: [prep, "old:end", {job: "a b", on: success}]
`)
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	want := jobfile.Job{ID: "train-1", Hold: true, Array: jobfile.Range{Spec: &entropy.ArraySpec{First: 2, Last: 9}}, Replace: "%", Inputs: []string{"data", "x.txt"}, Line: 3,
		After: []jobfile.After{{Dependency: entropy.Dependency{Job: "prep"}}, {Dependency: entropy.Dependency{Job: "old", On: "end"}}, {Dependency: entropy.Dependency{Job: "a b"}}},
		JobSpec: entropy.JobSpec{Name: "train", Command: []string{"python3", "train.py", "5", "true", "1.50", ""}, Env: map[string]string{"EPOCHS": "10", "DEBUG": "no", "EMPTY": ""},
			Resources: entropy.Resources{"cpu": 2000, "mem": 64 << 30 * 1000, "gpu": 500},
			AnyOf:     []entropy.Need{{Require: map[string]string{"gpu": "h100"}}, {Require: map[string]string{"gpu": "a100"}, Resources: entropy.Resources{"gpu": 2000}}},
			Retry:     entropy.RetryPolicy{MaxAttempts: 5, Backoff: entropy.Duration(10 * time.Second), NonRetryable: []int{3, 4}}, RunTimeout: entropy.Duration(90 * time.Minute),
			QueueTimeout: entropy.Duration(90 * time.Second), NotBefore: &at, Payload: []byte(`{"a":[1,"2",null,true],"b":{"c":0.1}}`), Priority: -3, Preemptible: true}}
	if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("read %+v\nwant %+v", got[0], want)
	}
}

// proves issue 3: defaults fill in, maps merge, lists replace; JSON is YAML; names
// become IDs.
func TestSeveralJobs(t *testing.T) {
	jobs := read(t, `{"defaults": {"queue": "night", "env": {"A": "1", "B": "1"}, "artifacts": ["*.log"]},
 "jobs": [{"name": "one", "command": ["x"], "env": {"B": "2"}, "artifacts": []},
  {"name": "two", "command": ["y"], "queue": "day", "after": ["one", "elsewhere:end"]}]}`)
	if !reflect.DeepEqual(jobs[0].Env, map[string]string{"A": "1", "B": "2"}) || len(jobs[0].Artifacts) != 0 || jobs[0].Queue != "night" {
		t.Errorf("one: %+v", jobs[0])
	}
	if !reflect.DeepEqual(jobs[1].Env, map[string]string{"A": "1", "B": "1"}) || jobs[1].Artifacts[0] != "*.log" || jobs[1].Queue != "day" {
		t.Errorf("two: %+v", jobs[1])
	}
	n := 0
	subs := jobfile.Submissions(jobs, func() string { n++; return fmt.Sprint("id", n) })
	if subs[0].ID != "id1" || !subs[1].Atomic || !slices.Equal(subs[1].Spec.After, []entropy.Dependency{{Job: "id1"}, {Job: "elsewhere", On: "end"}}) {
		t.Errorf("submissions %+v", subs)
	}
	anchors := read(t, "jobs:\n- &a {command: [x], env: &e {K: v}}\n- {command: [y], env: *e}\n")
	if anchors[1].Env["K"] != "v" {
		t.Errorf("an alias: %+v", anchors[1])
	}
}

// laughs is a file of nine lines that says a billion things.
func laughs() string {
	text := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 9; i++ {
		text += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
	}
	return "command: [x]\npayload:\n  " + strings.ReplaceAll(text, "\n", "\n  ")
}

// proves "bad input, everywhere": each fault is refused with its line, and takes
// little memory.
func TestBadFiles(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"empty":            {"", "is empty"},
		"only comments":    {"# nothing\n", "is empty"},
		"a list":           {"- command: [x]\n", "is a map"},
		"a word":           {"hello\n", "is a map"},
		"unknown key":      {"command: [x]\n\ncomand: [y]\n", `jobs.yaml:3: job has no key "comand"; did you mean command?`},
		"unknown inside":   {"command: [x]\nretry:\n  max_attempt: 3\n", `jobs.yaml:3: job.retry has no key "max_attempt"; did you mean max_attempts?`},
		"unknown anywhere": {"jobs:\n- command: [x]\n  zzz: 1\n", `jobs.yaml:3: job has no key "zzz"`},
		"top and jobs":     {"queue: q\njobs: [{command: [x]}]\n", "jobs.yaml:1: beside jobs and defaults"},
		"key twice":        {"command: [x]\nqueue: a\nqueue: b\n", "jobs.yaml:3: queue is given twice"},
		"map key twice":    {"command: [x]\nenv: {A: 1, A: 2}\n", "A is given twice"},
		"payload twice":    {"handler: h\npayload: {a: 1, a: 2}\n", "a is given twice"},
		"name twice":       {"jobs:\n- {name: a, command: [x]}\n- {name: a, command: [y]}\n", `jobs.yaml:3: the name "a" is taken by the job at line 2`},
		"merge key":        {"jobs:\n- &a {command: [x]}\n- {<<: *a}\n", "plain word"},
		"no jobs":          {"jobs: []\n", "jobs is missing"},
		"jobs a map":       {"jobs: {a: {command: [x]}}\n", "not a list"},
		"named defaults":   {"defaults: {name: x}\njobs: [{command: [x]}]\n", "defaults cannot hold"},
		"command text":     {"command: echo hi\n", "not a list; write it as [a, b]"},
		"env a list":       {"command: [x]\nenv: [A=1]\n", "not a map"},
		"nested text":      {"command: [[x]]\n", "not a single value"},
		"bad number":       {"command: [x]\npriority: high\n", `jobs.yaml:2: job.priority is "high", which is not a whole number`},
		"bad truth":        {"command: [x]\nhold: maybe\n", "not true or false"},
		"fraction":         {"command: [x]\npriority: 1.5\n", "not a whole number"},
		"bad duration":     {"command: [x]\nrun_timeout: soon\n", "jobs.yaml:2: job.run_timeout"},
		"bad amount":       {"command: [x]\nresources: {mem: lots}\n", "job.resources.mem"},
		"bad time":         {"command: [x]\nnot_before: tomorrow\n", "job.not_before"},
		"bad array":        {"command: [x]\narray: 9-1\n", "ends before it begins"},
		"negative array":   {"command: [x]\narray: -1\n", "not the range of an array"},
		"huge array":       {"command: [x]\narray: 0-999999999\n", "1000000000 members"},
		"bad after":        {"command: [x]\nafter: [\"a:later\"]\n", "success or end"},
		"after key":        {"command: [x]\nafter: [{jobb: a}]\n", "write it as"},
		"after nothing":    {"command: [x]\nafter: [\":end\"]\n", "names no job"},
		"retry_of":         {"command: [x]\nretry_of: a\n", "set by the fabric"},
		"two documents":    {"command: [x]\n---\ncommand: [y]\n", "second document"},
		"not YAML":         {"command: [x\nqueue: {\n", "line"},
		"tab":              {"command:\n\t- x\n", "line"},
		"control":          {"command: [\"\x00\"]\n", "control"},
		"laughs":           {laughs(), "too many"},
		"laughs in env":    {strings.Replace(laughs(), "payload", "any_of", 1), "not a list"},
		"itself":           {"handler: h\npayload: &a [*a]\n", "too many"},
		"deep":             {"handler: h\npayload: " + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "\n", "too many"},
		"very deep":        {"handler: h\npayload: " + strings.Repeat("[", 200_000), ""},
		"too large":        {"command: [" + strings.Repeat("x,", jobfile.MaxSize/2) + "]", "larger than"},
		"many jobs":        {"jobs:\n" + strings.Repeat("- {command: [x]}\n", 1001), "at most 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			jobs, err := jobfile.Read("jobs.yaml", strings.NewReader(c.text))
			runtime.ReadMemStats(&after)
			code := entropy.ErrorCode(err)
			if code != entropy.CodeInvalid && code != entropy.CodeTooLarge || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "jobs.yaml") {
				t.Errorf("read %d jobs, %v (%s); want %q", len(jobs), err, code, c.says)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 256<<20 {
				t.Errorf("it took %d MiB to refuse it", grown>>20)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add("command: [x]\nafter: [a]\n")
	f.Add("defaults: {env: &e {A: 1}}\njobs: [{name: a, command: [x], env: *e}, {handler: h, payload: {x: [1]}}]")
	f.Add(laughs())
	f.Fuzz(func(t *testing.T, text string) {
		jobs, err := jobfile.Read("f", strings.NewReader(text))
		if err != nil {
			if c := entropy.ErrorCode(err); c != entropy.CodeInvalid && c != entropy.CodeTooLarge {
				t.Fatalf("%v: %s", err, c)
			}
			return
		}
		if len(jobs) == 0 || len(jobs) > entropy.MaxBatch {
			t.Fatalf("%d jobs", len(jobs))
		}
		jobfile.Submissions(jobs, func() string { return "id" })
	})
}

// proves that docs/JOBFILE.md names every key.
func TestTheKeysAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/JOBFILE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[jobfile.Job](), reflect.TypeFor[entropy.JobSpec]()} {
		for f := range typ.Fields() {
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if key == "" || key == "-" || key == "retry_of" {
				continue
			}
			if !regexp.MustCompile("[`,\\s]" + key + "[`,\\s.]").Match(text) {
				t.Errorf("docs/JOBFILE.md does not name %s", key)
			}
		}
	}
}
