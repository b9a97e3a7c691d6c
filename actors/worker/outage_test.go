package worker

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

// proves W-4, W-5: results that end while the control plane is away wait in the
// spool and are accepted when it is back, once each, without a second run.
func TestResultsSurviveControlOutage(t *testing.T) {
	f := newFabric(t)
	dir := t.TempDir()
	n := startNode(t, Config{Service: f, Exec: true})
	var js []*fakeJob
	for i := range 4 {
		js = append(js, f.submit(fmt.Sprint("a", i), script(fmt.Sprintf("echo run >> %[1]s/%[2]d; while [ ! -e %[1]s/go ]; do sleep 0.01; done; echo out", dir, i))))
	}
	f.await(t, "four running jobs", func() bool { return len(f.lastHeld) == 4 })
	f.do(func() { f.fault = func(string, int) fault { return refused } })
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.await(t, "tries during the outage", func() bool { return n.Stats().Spooled == 4 && f.calls["log"] > 0 })
	f.do(func() { f.fault = nil })
	f.awaitDone(t, js...)
	for i, j := range js {
		f.do(func() {
			if j.completion.Outcome != entropy.OutcomeSucceeded || string(f.logs[fmt.Sprint("a", i, "/stdout")]) != "out\n" {
				t.Errorf("%s: %+v", j.id, j.completion)
			}
		})
		if got := awaitLine(t, fmt.Sprint(dir, "/", i)); got != "run" {
			t.Errorf("it ran as %q", got)
		}
	}
}

// proves L-5, W-5: a stale session is followed by a new registration that names
// what runs; the jobs never notice.
func TestStaleSessionRegistersAgain(t *testing.T) {
	f := newFabric(t)
	startNode(t, Config{Service: f, Exec: true})
	dir := t.TempDir()
	j := f.submit("a", script(fmt.Sprintf("while [ ! -e %s/go ]; do sleep 0.01; done", dir)))
	f.await(t, "the job in a heartbeat", func() bool { return len(f.lastHeld) == 1 })
	f.do(func() { f.incarnation = 100 })
	f.await(t, "a new registration", func() bool { return f.incarnation == 101 })
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.awaitDone(t, j)
	if j.completion == nil || j.completion.Outcome != entropy.OutcomeSucceeded {
		t.Errorf("completion %+v, %s", j.completion, j.verdict)
	}
}

// proves W-5: a worker that comes back delivers what it has done before it asks for
// work, for it might be given the same again.
func TestResultsGoBeforeClaims(t *testing.T) {
	f := newFabric(t)
	startNode(t, Config{Service: f, Exec: true})
	dir := t.TempDir()
	j := f.submit("a", script(fmt.Sprintf("while [ ! -e %s/go ]; do sleep 0.01; done", dir)))
	f.await(t, "the job in a heartbeat", func() bool { return len(f.lastHeld) == 1 })
	tooEarly := 0
	f.do(func() {
		f.fault = func(op string, _ int) fault {
			switch {
			case op == "complete" && f.incarnation < 101:
				return refused
			case op == "claim" && f.incarnation == 101 && j.completes == 0:
				tooEarly++
			}
			return fine
		}
	})
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.await(t, "a result that did not arrive", func() bool { return f.calls["complete"] > 0 })
	f.await(t, "a heartbeat with the result", func() bool { return len(f.lastHeld) == 1 && f.lastHeld[0].Spooled })
	f.do(func() { f.incarnation = 100 })
	f.awaitDone(t, j)
	next := f.submit("b", script("true"))
	f.awaitDone(t, next)
	f.do(func() {
		if j.completion.Outcome != entropy.OutcomeSucceeded || tooEarly > 0 {
			t.Errorf("%+v; %d claims came before it", j.completion, tooEarly)
		}
	})
}

func TestContractDuringOutage(t *testing.T) {
	f := newFabric(t)
	f.ttl = 2500 * time.Millisecond
	startNode(t, Config{Service: f, Exec: true})
	dir := t.TempDir()
	stop := script(fmt.Sprintf(`trap "" TERM; echo $$ > %s/stop; while :; do sleep 0.05; done`, dir))
	stop.Disconnect.Worker = entropy.DisconnectStop
	on := script(fmt.Sprintf(`echo > %[1]s/on; while [ ! -e %[1]s/go ]; do sleep 0.01; done`, dir))
	a, b := f.submit("a", stop), f.submit("b", on)
	f.await(t, "running jobs", func() bool { return len(f.lastHeld) == 2 })
	pid := awaitLine(t, dir+"/stop")
	awaitLine(t, dir+"/on")
	f.do(func() { f.fault = func(string, int) fault { return refused } })
	var expires time.Time
	f.do(func() { expires = a.expires })
	eventually(t, "the end of the job", func() bool { return unix.Access("/proc/"+pid, unix.F_OK) != nil })
	if time.Now().After(expires) {
		t.Fatal("the job outlived its lease")
	}
	f.do(func() { f.fault = nil })
	f.awaitDone(t, a)
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.awaitDone(t, b)
	f.do(func() {
		if a.completion.Outcome != entropy.OutcomeStopped || a.completion.Reason != entropy.ReasonContract {
			t.Errorf("stop: %+v", a.completion)
		}
		if b.completion.Outcome != entropy.OutcomeSucceeded {
			t.Errorf("continue: %+v", b.completion)
		}
	})
}

// proves L-2, H-3: what an answer takes off is taken off the trust, also where
// heartbeats go on.
func TestContractByAShortAnswer(t *testing.T) {
	f := newFabric(t)
	f.ttl = 2500 * time.Millisecond
	f.deduct = f.ttl // it renews nothing
	startNode(t, Config{Service: f, Exec: true})
	spec := script("sleep 60")
	spec.Disconnect.Worker = entropy.DisconnectStop
	j := f.submit("a", spec)
	f.awaitDone(t, j)
	f.do(func() {
		if j.completion.Outcome != entropy.OutcomeStopped || j.completion.Reason != entropy.ReasonContract {
			t.Errorf("%+v", j.completion)
		}
	})
}

// proves L-6: a wedged executor means no heartbeat; when it moves again they
// come again.
func TestWedgedSupervisorMeansNoHeartbeat(t *testing.T) {
	f := newFabric(t)
	n := startNode(t, Config{Service: f, Exec: true})
	f.await(t, "a heartbeat", func() bool { return f.beats > 2 })
	pid := supervisorPID(t, n.conf.DataDir)
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer unix.Kill(pid, unix.SIGCONT)
	var before int
	withheld := n.Stats().Withheld
	eventually(t, "a heartbeat withheld", func() bool { return n.Stats().Withheld > withheld })
	f.do(func() { before = f.beats }) // one may have been on its way at the stop
	eventually(t, "another heartbeat withheld", func() bool { return n.Stats().Withheld > withheld+1 })
	f.do(func() {
		if f.beats != before {
			t.Errorf("%d heartbeats from a stopped executor", f.beats-before)
		}
	})
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	f.await(t, "heartbeats again", func() bool { return f.beats > before })
}

// proves W-8: if the supervisor is killed, another one takes its place, ends
// what ran and reports it as a worker error; the node goes on working.
func TestSupervisorKilled(t *testing.T) {
	f := newFabric(t)
	n := startNode(t, Config{Service: f, Exec: true})
	dir := t.TempDir()
	a := f.submit("a", script(fmt.Sprintf(`setsid sh -c 'echo $$ > %s/pid; exec sleep 600' & sleep 600`, dir)))
	pid := awaitLine(t, dir+"/pid")
	f.await(t, "the running job", func() bool { return len(f.lastHeld) == 1 })
	if err := unix.Kill(supervisorPID(t, n.conf.DataDir), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.awaitDone(t, a)
	f.do(func() {
		if a.completion == nil || a.completion.Outcome != entropy.OutcomeFailed || a.completion.Reason != entropy.ReasonWorkerError {
			t.Errorf("%s %+v", a.verdict, a.completion)
		}
	})
	if b, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && !strings.Contains(string(b), ") Z ") {
		t.Error("its process is alive")
	}
	f.awaitDone(t, f.submit("b", script("true")))
}

// proves W-8: two workers on one data directory are refused in words.
func TestSecondAgentIsRefused(t *testing.T) {
	f := newFabric(t)
	n := startNode(t, Config{Service: f, Exec: true})
	f.await(t, "a heartbeat", func() bool { return f.beats > 0 })
	second, err := New(n.conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); entropy.ErrorCode(err) != entropy.CodeConflict || !strings.Contains(err.Error(), "choose another --data") {
		t.Fatalf("second agent: %v", err)
	}
}

// proves H-3 (worker's side): a worker whose disk is full takes no work, and
// what it was given meanwhile it gives back without blame.
func TestFullDiskTakesNoWork(t *testing.T) {
	f := newFabric(t)
	n := startNode(t, Config{Service: f, MinFree: 1 << 60, Handlers: map[string]Handler{"h": func(context.Context, *Run) (any, error) { return nil, nil }}})
	j := f.submit("a", entropy.JobSpec{Handler: "h"})
	f.await(t, "heartbeats", func() bool { return f.beats > 3 })
	f.do(func() {
		if f.calls["claim"] != 0 || f.byID["a"] != nil {
			t.Errorf("%d claims with a full disk", f.calls["claim"])
		}
	})
	a := entropy.Assignment{JobID: j.job, AssignmentID: j.id, Spec: j.spec}
	if err := n.preflight(&a, n.hasSpace()); entropy.ErrorCode(err) != entropy.CodeDiskFull || !strings.Contains(err.Error(), "free space there") {
		t.Errorf("preflight: %v", err)
	}
}

// proves J-11: when supervisor and agent are both killed, a job under the
// contract "stop" ends at once, since nobody would keep its deadline.
func TestContractDiesWithSupervisor(t *testing.T) {
	f := newFabric(t)
	n := startNode(t, Config{Service: f, Exec: true})
	dir := t.TempDir()
	spec := entropy.JobSpec{Command: []string{"/bin/sh", "-c", fmt.Sprintf("echo $$ > %s/pid; exec sleep 600", dir)}, Disconnect: entropy.Disconnect{Worker: entropy.DisconnectStop}}
	f.submit("a", spec)
	pid := awaitLine(t, dir+"/pid")
	fd, err := pidfd(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	supervisor := supervisorPID(t, n.conf.DataDir)
	if err := n.stop(); err != nil { // so that nobody starts another supervisor
		t.Fatal(err)
	}
	if err := unix.Kill(supervisor, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the job", func() bool {
		k, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return k == 1
	})
}

func pidfd(pid string) (int, error) {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return 0, err
	}
	return unix.PidfdOpen(n, 0)
}
