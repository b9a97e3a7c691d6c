package worker

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/supervisor"
)

// The jobs of the agent that is killed: two that run until a file appears, one
// that has ended with a result nobody took, one Go handler.
func doomedJobs(dir string) map[string]entropy.JobSpec {
	wait := func(id string) entropy.JobSpec {
		return script(fmt.Sprintf(`echo run >> %[1]s/%[2]s; echo before; while [ ! -e %[1]s/go ]; do sleep 0.01; done; echo after; echo %[2]s > "$ENTROPY_ARTIFACT_DIR/f"`, dir, id))
	}
	done := script(fmt.Sprintf(`echo run >> %s/c; echo c > "$ENTROPY_ARTIFACT_DIR/f"`, dir))
	return map[string]entropy.JobSpec{"a": wait("a"), "b": wait("b"), "c": done, "h": {Handler: "wait"}}
}

// doomedAgent is a worker process that says "ready" once its jobs are as
// doomedJobs says, and then waits to be killed. Its fabric takes no completion.
func doomedAgent(dir string) {
	f := newMemoryFabric()
	f.fault = func(op string, _ int) fault {
		if op == "complete" {
			return refused
		}
		return fine
	}
	for id, spec := range doomedJobs(dir) {
		f.submit(id, spec)
	}
	n, err := New(Config{DataDir: dir + "/state", Name: "w", Service: f, Slots: 4, Exec: true,
		Handlers: map[string]Handler{"wait": func(ctx context.Context, _ *Run) (any, error) { <-ctx.Done(); return nil, nil }}})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() {
		for {
			f.mu.Lock()
			spooled := 0
			for _, h := range f.lastHeld {
				if h.Spooled {
					spooled++
				}
			}
			ready, changed := len(f.lastHeld) == 4 && spooled == 1, f.changed
			f.mu.Unlock()
			if ready {
				fmt.Println("ready")
				return
			}
			<-changed
		}
	}()
	fmt.Println(n.Run(context.Background()))
	os.Exit(1)
}

// proves W-8, W-4, W-5: an agent killed with kill -9 leaves its jobs running;
// the next one takes them over, reports each exactly once, replays the result
// that waited, and says of a handler that it broke off.
func TestAgentKilled(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "doomed-agent", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("agent: %q, %v", line, err)
	}
	first := supervisorPID(t, dir+"/state")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()

	f := newFabric(t) // the control plane remembers what it had granted
	for id, spec := range doomedJobs(dir) {
		f.byID[entropy.AssignmentID(id)] = &fakeJob{spec: spec, job: entropy.JobID("job-" + id), id: entropy.AssignmentID(id), acked: true, expires: time.Now().Add(f.ttl)}
	}
	n := startNode(t, Config{DataDir: dir + "/state", Service: f, Exec: true,
		Handlers: map[string]Handler{"wait": func(context.Context, *Run) (any, error) { return nil, nil }}})
	f.awaitDone(t, f.byID["c"], f.byID["h"])
	if pid := supervisorPID(t, dir+"/state"); pid != first {
		t.Errorf("supervisor %d was followed by %d", first, pid)
	}
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.awaitDone(t, f.byID["a"], f.byID["b"])
	for _, id := range []string{"a", "b", "c"} {
		f.do(func() {
			if j := f.byID[entropy.AssignmentID(id)]; j.completes != 1 || j.completion.Outcome != entropy.OutcomeSucceeded || len(j.completion.Artifacts) != 1 {
				t.Errorf("%s: %d completions, %+v", id, j.completes, j.completion)
			}
			if got := string(f.logs[id+"/stdout"]); id != "c" && got != "before\nafter\n" {
				t.Errorf("log of %s: %q", id, got)
			}
		})
		if got := awaitLine(t, dir+"/"+id); got != "run" {
			t.Errorf("%s ran as %q", id, got)
		}
	}
	if c := f.byID["h"].completion; c.Outcome != entropy.OutcomeFailed || c.Reason != entropy.ReasonWorkerError {
		t.Errorf("handler: %+v", c)
	}
	if s := n.Stats(); s.Replayed < 1 || s.Replayed > 2 { // c, and the handler's
		t.Errorf("stats %+v", s)
	}
}

// proves W-4 (H-13, worker's side): agent and supervisor killed at once, the
// spool torn on top: what had ended is reported, what ran is a worker error, and
// nothing of it runs on.
func TestEverythingKilledAtOnce(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "doomed-agent", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("agent: %q, %v", line, err)
	}
	first := supervisorPID(t, dir+"/state")
	_ = cmd.Process.Kill()
	_ = unix.Kill(first, unix.SIGKILL)
	_ = cmd.Wait()
	spool, err := os.OpenFile(dir+"/state/spool.log", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spool.WriteString(strings.Repeat("torn", 10)); err != nil {
		t.Fatal(err)
	}
	spool.Close()

	f := newFabric(t)
	for id, spec := range doomedJobs(dir) {
		f.byID[entropy.AssignmentID(id)] = &fakeJob{spec: spec, job: entropy.JobID("job-" + id), id: entropy.AssignmentID(id), acked: true, expires: time.Now().Add(f.ttl)}
	}
	startNode(t, Config{DataDir: dir + "/state", Service: f, Exec: true,
		Handlers: map[string]Handler{"wait": func(context.Context, *Run) (any, error) { return nil, nil }}})
	f.awaitDone(t, f.byID["a"], f.byID["b"], f.byID["c"], f.byID["h"])
	for id, want := range map[entropy.AssignmentID]entropy.Outcome{"a": entropy.OutcomeFailed, "b": entropy.OutcomeFailed, "c": entropy.OutcomeSucceeded, "h": entropy.OutcomeFailed} {
		c := f.byID[id].completion
		if c == nil || c.Outcome != want || want == entropy.OutcomeFailed && c.Reason != entropy.ReasonWorkerError {
			t.Errorf("%s: %+v", id, c)
		}
	}
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// proves L-5: after a reboot what ran is not held any more, and what had ended
// is still reported.
func TestReboot(t *testing.T) {
	f := newFabric(t)
	dir := t.TempDir()
	started := make(chan struct{}, 2)
	block := map[string]Handler{
		"wait": func(ctx context.Context, _ *Run) (any, error) { started <- struct{}{}; <-ctx.Done(); return nil, nil },
		"done": func(context.Context, *Run) (any, error) { return nil, nil },
	}
	h, err := openHandlers(mustDefaults(t, Config{DataDir: dir, Name: "w", Service: f, Handlers: block, bootID: "boot-1"}))
	if err != nil {
		t.Fatal(err)
	}
	f.byID["a"] = &fakeJob{spec: entropy.JobSpec{Handler: "wait"}, job: "j-a", id: "a", acked: true}
	f.byID["b"] = &fakeJob{spec: entropy.JobSpec{Handler: "done"}, job: "j-b", id: "b", acked: true}
	for id, j := range f.byID {
		if _, err := h.start(t.Context(), []supervisor.StartItem{{Assignment: entropy.Assignment{JobID: j.job, AssignmentID: id, Spec: j.spec}}}); err != nil {
			t.Fatal(err)
		}
	}
	<-started
	if _, err := h.exits(t.Context(), 0, 1); err != nil {
		t.Fatal(err)
	}
	after := t.TempDir() // what the disk holds when the power goes
	if err := os.CopyFS(after, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	startNode(t, Config{DataDir: after, Service: f, Handlers: block, bootID: "boot-2"})
	f.awaitDone(t, f.byID["a"], f.byID["b"])
	if f.byID["a"].verdict != "forgotten" || f.byID["b"].verdict != entropy.VerdictAccepted {
		t.Errorf("a %s, b %s", f.byID["a"].verdict, f.byID["b"].verdict)
	}
	h.stop(t.Context(), []entropy.StopDirective{{AssignmentID: "a", Reason: entropy.ReasonCancel}})
}

func mustDefaults(t *testing.T, c Config) Config {
	t.Helper()
	c, err := c.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return c
}
