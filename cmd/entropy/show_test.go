package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

func ago(d time.Duration) *time.Time {
	t := noon.Add(-d)
	return &t
}

func sampleJobs() []*entropy.Job {
	one := 1
	crunch := &entropy.Job{
		ID: "0198c0de-0000-7000-8000-000000000002", State: entropy.Failed, Reason: entropy.ReasonExit, Attempt: 2, Failures: 2, Losses: 1,
		Spec: entropy.JobSpec{Name: "crunch \x1b[31m\u202egnp.exe", Command: []string{"sh", "-c", "exit 1; echo 'never'"}, Priority: 5,
			Labels: map[string]string{"team": "vision"}, Require: map[string]string{"gpu": "h100"}},
		ExitCode: &one, CreatedAt: *ago(3 * time.Hour), StartedAt: ago(2 * time.Hour), FinishedAt: ago(time.Hour),
		Attempts: []entropy.Attempt{
			{Number: 1, WorkerID: "lab-1", AssignedAt: *ago(2 * time.Hour), StartedAt: ago(2 * time.Hour), EndedAt: ago(90 * time.Minute), End: entropy.EndLost, Counted: "loss", Reattached: 1, Late: true},
			{Number: 2, WorkerID: "lab-2", AssignedAt: *ago(80 * time.Minute), StartedAt: ago(80 * time.Minute), EndedAt: ago(time.Hour), End: entropy.EndFailed, Counted: "failure", Reason: entropy.ReasonExit, ExitCode: &one},
		},
		Artifacts: []entropy.Artifact{{Name: "out/x.csv", SHA256: strings.Repeat("ab", 32), Size: 1536}},
	}
	waiting := &entropy.Job{ID: "plain", State: entropy.Pending, CreatedAt: *ago(time.Second), Spec: entropy.JobSpec{Handler: "resize", Payload: json.RawMessage(`{"n":3}`)}}
	ending := &entropy.Job{ID: "ending", State: entropy.Running, CancelRequested: true, Attempt: 1, CreatedAt: *ago(time.Minute), StartedAt: ago(30 * time.Second),
		Spec: entropy.JobSpec{Command: []string{"sleep", "1000"}}, Lease: &entropy.Lease{WorkerID: "lab-1"}}
	return []*entropy.Job{waiting, ending, crunch}
}

// proves O-3 and S-5 attack 23: listings are aligned, names from outside cannot
// break a row, and JSON has the fields of the contract.
func TestJobsInEveryFormat(t *testing.T) {
	b := newBench(t)
	b.service.order, b.service.next = sampleJobs(), "c42"
	if code := b.run("jobs", "--state", "running,lost", "--state", "failed", "--label", "a=b", "--limit", "3"); code != 0 {
		t.Fatalf("exit %d: %s", code, b.stderr.String())
	}
	golden(t, "jobs.golden", b.stdout.String()+b.stderr.String())
	f := b.service.filter
	if len(f.States) != 3 || f.Labels["a"] != "b" || f.Limit != 3 {
		t.Errorf("asked with %+v", f)
	}
	b.run("jobs", "-o", "json")
	var array []map[string]any
	if err := json.Unmarshal(b.stdout.Bytes(), &array); err != nil || len(array) != 3 {
		t.Fatalf("-o json is no array of 3: %v", err)
	}
	for _, field := range strings.Split("id name state reason queue tenant priority labels command attempt failures losses held cancel_requested assignment_id worker_id exit_code signal retry_of created_at eligible_at started_at finished_at", " ") {
		if _, ok := array[0][field]; !ok {
			t.Errorf("the field %s is missing", field)
		}
	}
	b.run("jobs", "-o", "jsonl")
	if lines := strings.Split(strings.TrimSpace(b.stdout.String()), "\n"); len(lines) != 3 || !json.Valid([]byte(lines[2])) {
		t.Errorf("-o jsonl has %d lines, want 3 objects", len(lines))
	}
	b.service.order = nil
	if b.run("jobs", "-o", "json"); b.stdout.String() != "[]\n" {
		t.Errorf("no jobs are %q, want []", b.stdout.String())
	}
}

func TestJobDetails(t *testing.T) {
	b := newBench(t)
	var out strings.Builder
	for _, j := range sampleJobs() {
		b.service.jobs[j.ID] = j
		if code := b.run("job", string(j.ID)); code != 0 {
			t.Fatalf("exit %d: %s", code, b.stderr.String())
		}
		out.WriteString("== " + string(j.ID) + "\n" + b.stdout.String())
	}
	golden(t, "job.golden", out.String())
	if code := b.run("job", "gone"); code != 3 {
		t.Errorf("an unknown job: exit %d, want 3", code)
	}
}

func TestWorkersAndStatus(t *testing.T) {
	b := newBench(t)
	b.service.workers = []entropy.WorkerInfo{
		{Worker: entropy.Worker{ID: "lab-1", State: entropy.WorkerAlive, Slots: 4, Hostname: "host\x1b[2J", AgentVersion: "v1", Labels: map[string]string{"gpu": "h100"}}, LastHeartbeat: ago(2 * time.Second), Running: 3, Spooled: 1},
		{Worker: entropy.Worker{ID: "lab-2", State: entropy.WorkerLost, Draining: true, Quarantined: true, Reason: "fan\nbroken", Slots: 2}},
	}
	b.service.status = entropy.Status{
		Version: "v1", ClusterID: "c", Epoch: 2, Seq: 77, StartedAt: *ago(time.Hour), ReadOnly: true, Alarms: []string{"the disk is\x07 full"},
		Jobs: map[entropy.State]int64{entropy.Pending: 3, entropy.Succeeded: 40}, Workers: map[string]int{"alive": 1, "lost": 1}, Counters: map[string]float64{"retried": 2, "lost": 0},
		DeadLetters: 3, DeadItems: 1, Relays: []entropy.RelayStatus{{Sink: "bus", Lag: 120, LagSeconds: 61.4, Problem: "no\x1banswer"}, {Sink: "ledger"}},
		Bus: &entropy.BusStatus{Address: "nats://n1:4222", Since: *ago(time.Minute), Bytes: 2048, MaxBytes: 1 << 30,
			Streams: []entropy.StreamStatus{{Name: "EVENTS", Rebuilding: true}}},
	}
	b.run("workers")
	out := b.stdout.String()
	b.run("status")
	golden(t, "workers_status.golden", out+"==\n"+b.stdout.String())
	if code := b.run("worker", "drain", "lab-1", "--reason", "fan"); code != 0 || b.stdout.String() != "lab-1  alive,draining, 0 running\n" {
		t.Errorf("drain: exit %d, stdout %q", code, b.stdout.String())
	}
	if op := b.service.ops[0]; op.Reason != "fan" || op.ID == "" {
		t.Errorf("drained with %+v", op)
	}
}

// proves J-5 for cancel and retry: each job has an operation ID of its own, which
// repetitions of a send carry; all are tried, the first error is the exit code.
func TestCancelAndRetryMany(t *testing.T) {
	b := newBench(t)
	b.service.jobs["a"] = &entropy.Job{ID: "a", State: entropy.Running}
	b.service.jobs["c"] = &entropy.Job{ID: "c", State: entropy.Canceled}
	b.service.errs = []error{nil, entropy.Errorf(entropy.CodeConflict, "job b has succeeded"), nil}
	code := b.run("cancel", "a", "b", "c", "--reason", "why not")
	if want := "a  cancel requested, running until its processes are gone\nc  canceled\n"; code != 5 || b.stdout.String() != want {
		t.Errorf("cancel: exit %d, stdout %q", code, b.stdout.String())
	}
	ids := map[string]bool{}
	for _, op := range b.service.ops {
		ids[op.ID] = true
	}
	if len(ids) != 3 || ids[""] {
		t.Errorf("operation IDs %v, want 3 of them", ids)
	}
	if code := b.run("retry", "a"); code != 0 || b.stdout.String() != "a-again\n" {
		t.Errorf("retry: exit %d, stdout %q", code, b.stdout.String())
	}
}
