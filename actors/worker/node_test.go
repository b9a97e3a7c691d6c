package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/container/containertest"
	"github.com/entropy-fabric/entropy/actors/worker/supervisor"
)

func TestMain(m *testing.M) {
	containertest.Main()
	if len(os.Args) > 1 && os.Args[1] == "supervisor" {
		os.Exit(SupervisorMain(os.Args[2:]))
	}
	if len(os.Args) > 2 && os.Args[1] == "doomed-agent" {
		doomedAgent(os.Args[2])
	}
	if len(os.Args) > 2 && os.Args[1] == "image-agent" {
		imageAgent(os.Args[2])
	}
	os.Exit(m.Run())
}

// running is a node under test.
type running struct {
	*Node
	stop func() error // ends it and returns what Run returned
}

func startNode(t *testing.T, conf Config) *running {
	t.Helper()
	if conf.DataDir == "" {
		conf.DataDir = t.TempDir()
	}
	conf.Name = "w"
	conf.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	if conf.Slots == 0 {
		conf.Slots = 4
	}
	n, err := New(conf)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(30 * time.Second):
			return errors.New("the node does not end")
		}
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
		if conf.Exec {
			endSupervisor(t, conf.DataDir)
		}
	})
	return &running{n, stop}
}

// endSupervisor makes sure that no supervisor of a state directory is left.
func endSupervisor(t *testing.T, state string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := supervisor.Dial(ctx, state)
	if err != nil {
		return
	}
	defer c.Close()
	_ = unix.Kill(c.Hello().PID, unix.SIGTERM) // it ends its jobs first
	select {
	case <-c.Gone():
	case <-ctx.Done():
		t.Errorf("supervisor %d does not end", c.Hello().PID)
	}
}

func supervisorPID(t *testing.T, state string) int {
	t.Helper()
	c, err := supervisor.Dial(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.Hello().PID
}

func script(s string) entropy.JobSpec {
	return entropy.JobSpec{Command: []string{"/bin/sh", "-c", s}, Grace: entropy.Duration(200 * time.Millisecond)}
}

// eventually blocks until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick, deadline := time.NewTicker(5*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

func awaitLine(t *testing.T, path string) (line string) {
	t.Helper()
	eventually(t, path, func() bool {
		b, err := os.ReadFile(path)
		line = strings.TrimSpace(string(b))
		return err == nil && bytes.HasSuffix(b, []byte("\n"))
	})
	return line
}

// proves W-1, W-2, W-6, W-7: a command runs after its ACK, its logs and
// artifacts are with the fabric before its completion, and nothing is left.
func TestCommandEndToEnd(t *testing.T) {
	f := newFabric(t)
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 150)) // longer than a socket's name may be
	n := startNode(t, Config{Service: f, Exec: true, DataDir: long})
	spec := script(`echo hello; echo warn >&2; head -c 9000000 /dev/zero > "$ENTROPY_ARTIFACT_DIR/big"; mkdir out; echo x > out/r.txt; : > out/empty`)
	spec.Artifacts = []string{"out/*"}
	j := f.submit("a", spec)
	f.awaitDone(t, j)
	f.do(func() {
		if j.completion.Outcome != entropy.OutcomeSucceeded || len(j.completion.Artifacts) != 3 || !j.acked {
			t.Errorf("completion %+v", j.completion)
		}
		if string(f.logs["a/stdout"]) != "hello\n" || string(f.logs["a/stderr"]) != "warn\n" {
			t.Errorf("logs %q", f.logs)
		}
	})
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	if s := n.Stats(); s.Delivered != 1 || s.Spooled != 0 || s.Running != 0 || s.Replayed != 0 {
		t.Errorf("stats %+v", s)
	}
	if f.calls["leave"] != 1 {
		t.Errorf("%d goodbyes", f.calls["leave"])
	}
	if _, err := supervisor.Dial(t.Context(), n.conf.DataDir); err == nil {
		t.Error("an idle supervisor was left running after a clean stop")
	}
}

// proves W-2: a lost claim reply is asked for again under the same number; a
// lost ACK reply is repeated; each assignment runs once, and only after its ACK
// was answered.
func TestLostRepliesAreRepeated(t *testing.T) {
	f := newFabric(t)
	f.fault = func(op string, n int) fault {
		switch {
		case op == "claim" && n == 1, op == "ack" && n == 1, op == "complete" && n == 1, op == "register" && n == 1:
			return lostReply
		case op == "ack" && n == 2, op == "stage" && n == 1, op == "log" && n == 1:
			return refused
		}
		return fine
	}
	var runs atomic.Int32
	startNode(t, Config{Service: f, Handlers: map[string]Handler{"count": func(_ context.Context, r *Run) (any, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.byID[r.AssignmentID].acked || f.calls["ack"] < 3 {
			f.problem("%s began before its ACK was answered", r.AssignmentID)
		}
		runs.Add(1)
		return nil, nil
	}}})
	a, b := f.submit("a", entropy.JobSpec{Handler: "count"}), f.submit("b", entropy.JobSpec{Handler: "count"})
	f.awaitDone(t, a, b)
	if runs.Load() != 2 || f.incarnation != 1 {
		t.Errorf("%d runs, %d incarnations", runs.Load(), f.incarnation)
	}
}

// proves W-2, issue bad input: what cannot run here is given back before its
// ACK, with a message that says what to do; the worker goes on.
func TestRefusedBeforeAck(t *testing.T) {
	f := newFabric(t)
	startNode(t, Config{Service: f, Exec: true, Handlers: map[string]Handler{"h": func(context.Context, *Run) (any, error) { return nil, nil }}})
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	gone := script("true")
	gone.Cwd = "/does/not/exist"
	blob := script("true")
	blob.Inputs = []entropy.Input{{Path: "x", SHA256: digest([]byte("x")), Size: 1}}
	f.blobs[digest([]byte("x"))] = []byte("y")
	for id, c := range map[string]struct {
		spec      entropy.JobSpec
		msg       string
		transient bool
	}{
		"a": {entropy.JobSpec{Command: []string{"no-such-program"}}, "was not found on this worker in PATH=", false},
		"b": {entropy.JobSpec{Command: []string{plain}}, "chmod +x", false},
		"c": {gone, "/does/not/exist does not exist on this worker", false},
		"d": {entropy.JobSpec{Handler: "unknown"}, `no handler "unknown"`, false},
		"e": {blob, "arrived as", false},
	} {
		j := f.submit(id, c.spec)
		f.awaitDone(t, j)
		f.do(func() {
			if j.refusal == nil || j.acked || !strings.Contains(j.refusal.Message, c.msg) || j.refusal.Transient != c.transient {
				t.Errorf("%s: %+v, acked %t", id, j.refusal, j.acked)
			}
		})
	}
	ok := f.submit("ok", script("true"))
	f.awaitDone(t, ok)
}

// proves J-15: inputs are in place, verified and with their mode, before the
// process starts; a job that changes its copy does not change another's.
func TestInputs(t *testing.T) {
	f := newFabric(t)
	startNode(t, Config{Service: f, Exec: true})
	content := []byte("#!/bin/sh\necho from-input\n")
	f.blobs[digest(content)] = content
	for _, id := range []string{"a", "b"} {
		spec := script(`"$ENTROPY_INPUT_DIR/dir/run.sh" && echo spoiled > "$ENTROPY_INPUT_DIR/dir/run.sh"`)
		spec.Inputs = []entropy.Input{{Path: "dir/run.sh", SHA256: digest(content), Size: int64(len(content)), Mode: 0o755}}
		j := f.submit(id, spec)
		f.awaitDone(t, j)
		f.do(func() {
			if got := string(f.logs[id+"/stdout"]); got != "from-input\n" || j.completion.Outcome != entropy.OutcomeSucceeded {
				t.Errorf("%q, %+v", got, j.completion)
			}
		})
	}
	if f.calls["blob"] != 1 {
		t.Errorf("the input was fetched %d times", f.calls["blob"])
	}
}

// proves J-15: empty directories are inputs, too.
func TestEmptyInputDirectories(t *testing.T) {
	f := newFabric(t)
	startNode(t, Config{Service: f, Exec: true})
	spec := script(`cd "$ENTROPY_INPUT_DIR" && find . -type d | sort && touch in/out/new`)
	spec.Inputs = []entropy.Input{{Path: "in/out", Dir: true}, {Path: "in/deep/est", Dir: true}}
	j := f.submit("a", spec)
	f.awaitDone(t, j)
	f.do(func() {
		if got := string(f.logs["a/stdout"]); got != ".\n./in\n./in/deep\n./in/deep/est\n./in/out\n" || j.completion.Outcome != entropy.OutcomeSucceeded {
			t.Errorf("%q, %+v", got, j.completion)
		}
	})
}

// proves W-4, W-7, H-11: each verdict does what it says. Retry and reupload are
// followed by another try, the third wrong upload fails the attempt, what the
// fabric does not know is parked visibly and offered again.
func TestVerdicts(t *testing.T) {
	f := newFabric(t)
	var mu sync.Mutex
	var forget []entropy.AssignmentID
	n := startNode(t, Config{Service: f, Slots: 10, Handlers: map[string]Handler{
		"plain": func(context.Context, *Run) (any, error) { return "ok", nil },
		"file": func(_ context.Context, r *Run) (any, error) {
			d, err := r.ArtifactDir()
			if err != nil {
				return nil, err
			}
			return nil, os.WriteFile(d+"/f", []byte(r.AssignmentID), 0o600)
		},
		"forgotten": func(_ context.Context, r *Run) (any, error) {
			f.do(func() { delete(f.byID, r.AssignmentID) })
			mu.Lock()
			defer mu.Unlock()
			forget = append(forget, r.AssignmentID)
			return nil, nil
		},
	}})
	retry := f.submit("retry", entropy.JobSpec{Handler: "plain"})
	again := f.submit("again", entropy.JobSpec{Handler: "file"})
	never := f.submit("never", entropy.JobSpec{Handler: "file"})
	f.do(func() {
		retry.answers = []entropy.Verdict{entropy.VerdictRetry, entropy.VerdictRetry}
		again.answers = []entropy.Verdict{entropy.VerdictReupload}
		for range 4 {
			never.answers = append(never.answers, entropy.VerdictReupload)
		}
	})
	f.awaitDone(t, retry, again, never)
	f.do(func() {
		if retry.completes != 3 || string(retry.completion.Result) != `"ok"` {
			t.Errorf("retry: %d completions, %+v", retry.completes, retry.completion)
		}
		if again.completes != 2 || again.completion.Outcome != entropy.OutcomeSucceeded {
			t.Errorf("reupload: %d completions, %+v", again.completes, again.completion)
		}
		if never.completion.Outcome != entropy.OutcomeFailed || never.completion.Reason != entropy.ReasonArtifact || never.completes != 5 {
			t.Errorf("wrong uploads: %d completions, %+v", never.completes, never.completion)
		}
	})
	lost := f.submit("lost", entropy.JobSpec{Handler: "forgotten"})
	f.await(t, "a parked result", func() bool { return n.Stats().Parked == 1 })
	if s := n.Stats(); s.Spooled != 1 {
		t.Errorf("stats %+v", s)
	}
	f.do(func() { f.byID[lost.id] = lost; f.incarnation = 50 }) // restored from a backup that knows it
	f.awaitDone(t, lost)
}

// proves W-3, J-12, J-14: a directive ends a running job and its result says
// why; a directive for another changes nothing.
func TestStopDirective(t *testing.T) {
	f := newFabric(t)
	startNode(t, Config{Service: f, Exec: true, Handlers: map[string]Handler{"wait": func(ctx context.Context, _ *Run) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}})
	a, b := f.submit("a", script("sleep 600")), f.submit("b", entropy.JobSpec{Handler: "wait"})
	c := f.submit("c", entropy.JobSpec{Handler: "wait", RunTimeout: entropy.Duration(30 * time.Millisecond)})
	f.await(t, "running jobs", func() bool { return len(f.lastHeld) >= 2 })
	f.stop("a", entropy.ReasonCancel)
	f.stop("b", entropy.ReasonDeadline)
	f.awaitDone(t, a, b, c)
	f.do(func() {
		if a.completion.Outcome != entropy.OutcomeStopped || a.completion.Reason != entropy.ReasonCancel {
			t.Errorf("a: %+v", a.completion)
		}
		if b.completion.Outcome != entropy.OutcomeStopped || b.completion.Reason != entropy.ReasonDeadline {
			t.Errorf("b: %+v", b.completion)
		}
		if c.completion.Outcome != entropy.OutcomeFailed || c.completion.Reason != entropy.ReasonTimeout {
			t.Errorf("c: %+v", c.completion)
		}
	})
}

// proves J-11, L-2: while the control plane is away, a job under the contract
// "stop" ends before its lease can; one that may continue goes on.
// proves W-6 (Go handlers): a panic, an error, a permanent error and a result
// that is too large each fail the attempt in words; the process goes on.
func TestHandlerFailures(t *testing.T) {
	f := newFabric(t)
	startNode(t, Config{Service: f, Handlers: map[string]Handler{
		"panic":     func(context.Context, *Run) (any, error) { panic("boom") },
		"error":     func(context.Context, *Run) (any, error) { return nil, errors.New("no luck") },
		"permanent": func(context.Context, *Run) (any, error) { return nil, Permanent(errors.New("never")) },
		"large":     func(context.Context, *Run) (any, error) { return strings.Repeat("x", entropy.MaxResult), nil },
		"nojson":    func(context.Context, *Run) (any, error) { return func() {}, nil },
		"echo": func(_ context.Context, r *Run) (any, error) {
			fmt.Fprintln(r.Stdout(), "out")
			r.Logger().Info("logged")
			return r.Payload, nil
		},
	}})
	for h, want := range map[string]struct {
		code int
		msg  string
	}{"panic": {1, "panicked: boom"}, "error": {1, "no luck"}, "permanent": {1, "never"}, "large": {1, "at most"}, "nojson": {1, "JSON"}} {
		j := f.submit(h, entropy.JobSpec{Handler: h})
		f.awaitDone(t, j)
		f.do(func() {
			c := j.completion
			if c.Outcome != entropy.OutcomeFailed || c.ExitCode == nil || *c.ExitCode != want.code || !strings.Contains(c.Message, want.msg) || c.Permanent != (h == "permanent") {
				t.Errorf("%s: %+v", h, c)
			}
		})
	}
	j := f.submit("echo", entropy.JobSpec{Handler: "echo", Payload: []byte(`{"a":1}`)})
	f.awaitDone(t, j)
	f.do(func() {
		if string(j.completion.Result) != `{"a":1}` || string(f.logs["echo/stdout"]) != "out\n" || !strings.Contains(string(f.logs["echo/stderr"]), "logged") {
			t.Errorf("%+v, logs %q", j.completion, f.logs)
		}
	})
}

// proves W-8 (planned stop): handlers are told to end, and their results reach
// the fabric before the goodbye.
func TestStopDeliversHandlers(t *testing.T) {
	f := newFabric(t)
	n := startNode(t, Config{Service: f, Handlers: map[string]Handler{"wait": func(ctx context.Context, _ *Run) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}})
	j := f.submit("a", entropy.JobSpec{Handler: "wait"})
	f.await(t, "the running handler", func() bool { return len(f.lastHeld) == 1 })
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	if j.verdict != entropy.VerdictAccepted || j.completion.Outcome != entropy.OutcomeStopped || j.completion.Reason != entropy.ReasonContract {
		t.Fatalf("%s %+v", j.verdict, j.completion)
	}
}

// proves W-6: a job's signals are not ignored because the supervisor's are.
func TestJobsInheritNoIgnoredSignals(t *testing.T) {
	f := newFabric(t)
	startNode(t, Config{Service: f, Exec: true})
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	f.awaitDone(t, f.submit("a", entropy.JobSpec{Command: []string{"cat", "/proc/self/status"}}))
	line := func(s string) string {
		_, after, _ := strings.Cut(s, "SigIgn:")
		v, _, _ := strings.Cut(after, "\n")
		return strings.TrimSpace(v)
	}
	f.do(func() {
		if job := line(string(f.logs["a/stdout"])); job == "" || job != line(string(own)) {
			t.Errorf("signals ignored in the job: %q, in this process: %q", job, line(string(own)))
		}
	})
}
