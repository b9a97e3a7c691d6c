package fabric_test

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// gated is a job that ends when a file appears: one per attempt.
func (l *lab) gated(name string) entropy.JobSpec {
	gate := l.path(name)
	return entropy.JobSpec{Command: []string{"/bin/sh", "-c",
		`echo attempt $ENTROPY_ATTEMPT; while [ ! -e ` + gate + `.$ENTROPY_ATTEMPT ]; do sleep 0.05; done`}}
}

func (l *lab) open(name string, attempt int) {
	l.t.Helper()
	if err := os.WriteFile(l.path(fmt.Sprintf("%s.%d", name, attempt)), nil, 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) events(c *entropy.Client, id entropy.JobID) map[string]int {
	l.t.Helper()
	page, err := c.Events(context.Background(), entropy.EventFilter{Entity: entropy.Entity(entropy.KindJob, string(id))})
	if err != nil {
		l.t.Fatal(err)
	}
	count := make(map[string]int)
	for _, e := range page.Events {
		count[e.Type]++
	}
	return count
}

const shortTTL = 3 * time.Second

// proves L-3, J-6: a worker is killed with its jobs; another one finishes them.
func TestWorkerKilled(t *testing.T) {
	l := newLab(t, shortTTL)
	c := l.client()
	w1 := l.worker("w1", 2)
	id := l.submit(c, l.gated("gate"))
	l.untilState(c, id, entropy.Running)
	l.worker("w2", 2)
	w1.killAll()
	l.open("gate", 2)
	j := l.untilState(c, id, entropy.Succeeded)
	if j.Attempt != 2 || j.Losses != 1 || j.Failures != 0 || *j.ExitCode != 0 {
		t.Errorf("job: attempt %d, losses %d, failures %d", j.Attempt, j.Losses, j.Failures)
	}
}

// proves J-4: a worker is stopped past its lease and its job ends there; it is
// revived after the job was reassigned and ACKed elsewhere: its completion is
// refused and recorded.
func TestStaleCompletion(t *testing.T) {
	l := newLab(t, shortTTL)
	c := l.client()
	w1 := l.worker("w1", 1)
	id := l.submit(c, l.gated("gate"))
	l.untilState(c, id, entropy.Running)
	_ = w1.agent.cmd.Process.Signal(syscall.SIGSTOP)
	w1.signal(syscall.SIGSTOP, "supervisor")
	l.worker("w2", 1)
	l.until(c, id, "the second attempt", func(j *entropy.Job) bool { return j.State == entropy.Running && j.Attempt == 2 })
	l.open("gate", 1)
	eventually(t, 10*time.Second, func() bool { return len(w1.pids("jobs")) == 0 }, func() string { return "the first attempt did not end" })
	w1.thaw()
	eventually(t, 30*time.Second, func() bool { return l.events(c, id)[entropy.JobEvidence] == 1 }, func() string { return "no evidence was recorded" })
	if j, _ := c.Job(context.Background(), id); j.State != entropy.Running {
		t.Errorf("the stale completion made the job %s", j.State)
	}
	l.open("gate", 2)
	j := l.untilState(c, id, entropy.Succeeded)
	if j.Attempts[0].Answer != entropy.VerdictSuperseded || j.Attempts[1].Answer != entropy.VerdictAccepted {
		t.Errorf("answers: %+v", j.Attempts)
	}
}

// proves H-1, W-5: revived before the job was taken elsewhere, the worker goes on
// and nothing reruns.
func TestReattachedAfterStop(t *testing.T) {
	l := newLab(t, shortTTL)
	c := l.client()
	w := l.worker("w1", 1)
	id := l.submit(c, l.gated("gate"))
	l.untilState(c, id, entropy.Running)
	w.freeze()
	l.until(c, id, "the loss", func(j *entropy.Job) bool { return j.Losses == 1 })
	w.thaw()
	j := l.until(c, id, "reattachment", func(j *entropy.Job) bool { return j.State == entropy.Running && j.Losses == 0 })
	if j.Attempt != 1 || j.Attempts[0].Reattached != 1 {
		t.Errorf("attempts: %+v", j.Attempts)
	}
	l.open("gate", 1)
	if j = l.untilState(c, id, entropy.Succeeded); len(j.Attempts) != 1 {
		t.Errorf("it ran %d times", len(j.Attempts))
	}
}

// proves L-6: a deadlocked executor renews nothing, though its agent is well: its
// job is lost within the TTL and a heartbeat.
func TestDeadlockedExecutor(t *testing.T) {
	l := newLab(t, shortTTL)
	c := l.client()
	w := l.worker("w1", 1)
	id := l.submit(c, l.gated("gate"))
	l.untilState(c, id, entropy.Running)
	w.signal(syscall.SIGSTOP, "supervisor")
	start := time.Now()
	l.until(c, id, "the loss", func(j *entropy.Job) bool { return j.Losses == 1 })
	if took := time.Since(start); took > 2*shortTTL+2*time.Second {
		t.Errorf("lost after %s, TTL %s", took, shortTTL)
	}
	w.signal(syscall.SIGCONT, "supervisor")
	l.until(c, id, "reattachment", func(j *entropy.Job) bool { return j.State == entropy.Running })
	l.open("gate", 1)
	l.untilState(c, id, entropy.Succeeded)
}

// proves W-8: the agent is killed -9 under running jobs; they run on and the next
// agent reports them.
func TestAgentKilled(t *testing.T) {
	l := newLab(t, shortTTL)
	c := l.client()
	w := l.worker("w1", 2)
	during, after := l.submit(c, l.gated("during")), l.submit(c, l.gated("after"))
	l.untilState(c, during, entropy.Running)
	l.untilState(c, after, entropy.Running)
	w.agent.kill()
	l.open("during", 1) // ends while no agent is there
	eventually(t, 10*time.Second, func() bool { return len(w.pids("jobs")) <= 2 }, func() string { return "the job did not end" })
	w.startAgent()
	if j := l.untilState(c, during, entropy.Succeeded); j.Attempt != 1 {
		t.Errorf("the finished job ran %d times", j.Attempt)
	}
	l.open("after", 1)
	if j := l.untilState(c, after, entropy.Succeeded); j.Attempt != 1 {
		t.Errorf("the running job ran %d times", j.Attempt)
	}
}

// proves W-4, L-7: the control plane is down for 20 s while workers finish jobs:
// spooled, replayed, accepted; nothing reruns.
func TestControlDown(t *testing.T) {
	l := newLab(t, 5*time.Second)
	c := l.client()
	for _, name := range []string{"w1", "w2"} {
		l.worker(name, 4)
	}
	var ids []entropy.JobID
	for i := range 8 {
		ids = append(ids, l.submit(c, l.gated(fmt.Sprint("gate", i))))
	}
	for _, id := range ids {
		l.untilState(c, id, entropy.Running)
	}
	l.ctl.kill()
	for i := range ids[:6] {
		l.open(fmt.Sprint("gate", i), 1)
	}
	<-time.After(20 * time.Second)
	l.startControl()
	for _, id := range ids[:6] {
		if j := l.untilState(c, id, entropy.Succeeded); j.Attempt != 1 || j.Losses != 0 {
			t.Errorf("job %s: attempt %d, losses %d", id, j.Attempt, j.Losses)
		}
	}
	for i, id := range ids[6:] {
		if j := l.untilState(c, id, entropy.Running); j.Attempt != 1 {
			t.Errorf("job %s is at attempt %d", id, j.Attempt)
		}
		l.open(fmt.Sprint("gate", 6+i), 1)
		l.untilState(c, id, entropy.Succeeded)
	}
}

// proves H-13: everything is killed at once in mid-batch: everything acknowledged
// is there, nothing finished reruns, no failure is counted.
func TestEverythingKilled(t *testing.T) {
	l := newLab(t, shortTTL)
	c := l.client()
	workers := []*labWorker{l.worker("w1", 2), l.worker("w2", 2)}
	var ids []entropy.JobID
	for range 60 {
		ids = append(ids, l.submit(c, entropy.JobSpec{Command: []string{"/bin/sh", "-c", "sleep 0.1"}}))
	}
	done := make(map[entropy.JobID]uint64)
	eventually(t, 60*time.Second, func() bool {
		page, err := c.Jobs(context.Background(), entropy.JobFilter{States: []entropy.State{entropy.Succeeded}})
		if err != nil {
			return false
		}
		for _, j := range page.Jobs {
			done[j.ID] = j.Version
		}
		return len(done) >= 15
	}, func() string { return "nothing gets done" })
	l.ctl.kill()
	for _, w := range workers {
		w.killAll()
	}
	l.startControl()
	for _, w := range workers {
		w.startAgent()
	}
	l.allSucceeded(ids)
	for _, id := range ids {
		j, err := c.Job(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := done[id]; ok && j.Version != v {
			t.Errorf("finished job %s changed", id)
		}
		if j.Failures != 0 {
			t.Errorf("job %s: %d failures", id, j.Failures)
		}
	}
	l.ctl.kill()
	l.verify(ids)
}
