package entropy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves J-9: what a job's own state says of why it does not run, in words, with
// the command that would change it
func TestExplainState(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *time.Time { x := start.Add(d); return &x }
	lease := entropy.Assign{AssignmentID: "a1", WorkerID: "w1", TTL: 15 * time.Second}
	ack := entropy.Ack{AssignmentID: "a1", WorkerID: "w1"}
	lose := entropy.EndLease{AssignmentID: "a1", Cause: entropy.CauseLeaseExpired, Eligible: 1, Message: "no heartbeat from w1 for 15s"}
	exit := 3
	fail := entropy.Complete{WorkerID: "w1", Completion: entropy.Completion{AssignmentID: "a1", Outcome: entropy.OutcomeFailed, Reason: entropy.ReasonExit, ExitCode: &exit, Message: "exit code 3"}}
	var b strings.Builder
	for _, c := range []struct {
		name string
		spec entropy.JobSpec
		cmds []entropy.JobCommand
		wait time.Duration
	}{
		{"held", entropy.JobSpec{}, []entropy.JobCommand{entropy.Hold{Message: "until Monday"}}, 0},
		{"waits for its time", entropy.JobSpec{NotBefore: at(90 * time.Minute)}, nil, 0},
		{"waits for jobs", entropy.JobSpec{After: []entropy.Dependency{{Job: "up1"}, {Job: "up2", On: entropy.OnEnd}, {Job: "up3"}, {Job: "up4"}}}, nil, 0},
		{"held and waits", entropy.JobSpec{After: []entropy.Dependency{{Job: "up"}}, NotBefore: at(time.Hour)}, []entropy.JobCommand{entropy.Hold{}}, 0},
		{"not ACKed", entropy.JobSpec{}, []entropy.JobCommand{lease}, 4 * time.Second},
		{"runs", entropy.JobSpec{}, []entropy.JobCommand{lease, ack}, time.Minute},
		{"is to end", entropy.JobSpec{}, []entropy.JobCommand{lease, ack, entropy.Cancel{}}, 0},
		{"makes room", entropy.JobSpec{Preemptible: true}, []entropy.JobCommand{lease, ack, entropy.Preempt{AssignmentID: "a1"}}, 0},
		{"backs off", entropy.JobSpec{}, []entropy.JobCommand{lease, ack, fail}, 0},
		{"waits for a retry slot", entropy.JobSpec{Queue: "gpu"}, []entropy.JobCommand{lease, ack, lose}, time.Hour},
		{"lost without retry", entropy.JobSpec{Retry: entropy.RetryPolicy{NoRetry: true}}, []entropy.JobCommand{lease, ack, lose}, 0},
		{"failed", entropy.JobSpec{Retry: entropy.RetryPolicy{MaxAttempts: 1}}, []entropy.JobCommand{lease, ack, fail}, 0},
		{"its dependency failed", entropy.JobSpec{After: []entropy.Dependency{{Job: "up"}}}, []entropy.JobCommand{entropy.Settle{Broken: "job up failed, and this one was to follow its success"}}, 0},
		{"canceled", entropy.JobSpec{}, []entropy.JobCommand{entropy.Cancel{Message: "not needed"}}, 0},
		{"succeeded", entropy.JobSpec{}, []entropy.JobCommand{lease, ack, entropy.Complete{WorkerID: "w1", Completion: entropy.Completion{AssignmentID: "a1", Outcome: entropy.OutcomeSucceeded}}}, 0},
		{"pending", entropy.JobSpec{}, nil, 0},
	} {
		c.spec.Command = []string{"work"}
		j := &entropy.Job{ID: "j"}
		for _, cmd := range append([]entropy.JobCommand{entropy.Submit{Spec: c.spec, Blocked: len(c.spec.After) > 0}}, c.cmds...) {
			d, err := j.Decide(cmd, start)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if j, err = j.Next(d.Events); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		x := j.Explain(start.Add(c.wait))
		fmt.Fprintf(&b, "%s: %s\n  = %s\n", c.name, x.State, x.Summary)
		for _, h := range x.Causes {
			fmt.Fprintf(&b, "  [%s] %s\n", h.Code, h.Text)
			if h.Fix != "" {
				fmt.Fprintf(&b, "    try: %s\n", h.Fix)
			}
		}
	}
	golden(t, "testdata/explain.golden", []byte(b.String()))
}
