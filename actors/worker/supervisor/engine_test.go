package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/boottime"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
)

// bothWays runs a test with control groups, where this machine has them, and
// without.
func bothWays(t *testing.T, f func(t *testing.T, e *Engine)) {
	for _, cgroups := range []bool{true, false} {
		t.Run(fmt.Sprintf("cgroups=%t", cgroups), func(t *testing.T) {
			e := testEngine(t, t.TempDir())
			if cgroups && e.slots.cgroups == nil {
				t.Skip("this machine has no writable cgroup v2")
			}
			if !cgroups {
				e.slots.cgroups = nil
			}
			f(t, e)
		})
	}
}

func testEngine(t *testing.T, state string) *Engine {
	t.Helper()
	e, err := OpenEngine(state, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		for _, s := range first(e.spool.Unfinished()) {
			e.watch.Stop(s.AssignmentID, entropy.ReasonCancel)
		}
		if err := e.StopAll(ctx); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func first[A, B any](a A, _ B) A { return a }

// sh returns an assignment of a shell script.
func sh(id, script string) StartItem {
	return StartItem{Trust: boottime.Now() + time.Hour, Assignment: entropy.Assignment{JobID: entropy.JobID("job-" + id), AssignmentID: entropy.AssignmentID(id), Attempt: 1,
		Spec: entropy.JobSpec{Command: []string{"/bin/sh", "-c", script}, Grace: entropy.Duration(100 * time.Millisecond)}}}
}

func begin(t *testing.T, e *Engine, items ...StartItem) {
	t.Helper()
	errs, err := e.Start(items)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func nextExit(t *testing.T, e *Engine, after uint64) spool.Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	list, err := e.spool.Exits(ctx, after, 1)
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}

func run1(t *testing.T, e *Engine, it StartItem) spool.Exit {
	t.Helper()
	begin(t, e, it)
	return nextExit(t, e, 0)
}

// awaitFile waits for a file that a job writes when it is ready.
func awaitFile(t *testing.T, path string) string {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-tick.C {
		if b, err := os.ReadFile(path); err == nil && len(b) > 0 && b[len(b)-1] == '\n' {
			return strings.TrimSpace(string(b))
		}
	}
	t.Fatalf("%s did not appear", path)
	return ""
}

func alive(t *testing.T, pid string) bool {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(pid, &n); err != nil {
		t.Fatal(err)
	}
	return !zombie(n)
}

// proves W-6: exit code, signal, rusage, output and environment are those of
// the process; stdin is empty; the scratch directory is its own.
func TestRunDescribesTheProcess(t *testing.T) {
	bothWays(t, func(t *testing.T, e *Engine) {
		t.Setenv("SECRET_OF_THE_WORKER", "x")
		it := sh("a", `cat; pwd; env | sort; echo to-stderr >&2; exit 3`)
		it.Assignment.Spec.Env = map[string]string{"MINE": "1", "ENTROPY_ASSIGNMENT_ID": "forged"}
		x := run1(t, e, it)
		c := x.Completion
		if c.Outcome != entropy.OutcomeFailed || c.Reason != entropy.ReasonExit || c.ExitCode == nil || *c.ExitCode != 3 || c.Usage == nil || c.Usage.MaxRSS == 0 {
			t.Fatalf("completion %+v", c)
		}
		out, err := os.ReadFile(e.root.Dir("a").Log("stdout"))
		if err != nil || int64(len(out)) != x.Stdout {
			t.Fatalf("stdout of %d bytes, recorded %d: %v", len(out), x.Stdout, err)
		}
		for _, want := range []string{e.root.Dir("a").Scratch() + "\n", "\nMINE=1\n", "ENTROPY_ASSIGNMENT_ID=a\n", "ENTROPY_JOB_ID=job-a\n", "ENTROPY_ATTEMPT=1\n", "ENTROPY_INPUT_DIR=", "ENTROPY_ARTIFACT_DIR=", "PATH="} {
			if !strings.Contains(string(out), want) {
				t.Errorf("output lacks %q:\n%s", want, out)
			}
		}
		if strings.Contains(string(out), "SECRET") || strings.Contains(string(out), "forged") {
			t.Errorf("the environment is not clean:\n%s", out)
		}
		if b, _ := os.ReadFile(e.root.Dir("a").Log("stderr")); string(b) != "to-stderr\n" {
			t.Errorf("stderr %q", b)
		}
		begin(t, e, sh("b", `kill -SEGV $$`))
		if c := nextExit(t, e, x.Completion.CompletionSeq).Completion; c.Signal != "SIGSEGV" || c.ExitCode != nil {
			t.Errorf("signaled run: %+v", c)
		}
	})
}

// proves J-12: a run timeout ends the whole tree, a setsid grandchild that
// ignores TERM included, before the exit is reported.
func TestTimeoutKillsWholeTree(t *testing.T) {
	bothWays(t, func(t *testing.T, e *Engine) {
		dir := t.TempDir()
		it := sh("a", fmt.Sprintf(`trap "" TERM; setsid sh -c 'trap "" TERM; echo $$ > %s/pid; while :; do sleep 1; done' & wait; while :; do sleep 1; done`, dir))
		it.Assignment.Spec.RunTimeout = entropy.Duration(time.Second)
		begin(t, e, it)
		pid := awaitFile(t, dir+"/pid")
		c := nextExit(t, e, 0).Completion
		if c.Outcome != entropy.OutcomeFailed || c.Reason != entropy.ReasonTimeout {
			t.Fatalf("completion %+v", c)
		}
		if alive(t, pid) {
			t.Fatalf("process %s outlived its reported exit", pid)
		}
	})
}

// proves W-6: what a job leaves in the background is ended before its exit is
// reported, and its own outcome stands.
func TestBackgroundProcessesAreEnded(t *testing.T) {
	bothWays(t, func(t *testing.T, e *Engine) {
		dir := t.TempDir()
		x := run1(t, e, sh("a", fmt.Sprintf(`setsid sh -c 'echo $$ > %[1]s/pid; exec sleep 600' & while [ ! -s %[1]s/pid ]; do sleep 0.01; done; echo done`, dir)))
		if x.Completion.Outcome != entropy.OutcomeSucceeded {
			t.Fatalf("completion %+v", x.Completion)
		}
		if pid := awaitFile(t, dir+"/pid"); alive(t, pid) {
			t.Fatalf("process %s outlived its reported exit", pid)
		}
	})
}

// proves J-14, W-6: a stop sends TERM, gives the grace, and the result is
// "stopped" with its reason even if the process then exits 0; an end before the
// stop keeps its own outcome.
func TestStop(t *testing.T) {
	bothWays(t, func(t *testing.T, e *Engine) {
		dir := t.TempDir()
		it := sh("a", fmt.Sprintf(`trap 'echo saved > %[1]s/saved; exit 0' TERM; echo > %[1]s/up; while :; do sleep 0.02; done`, dir))
		it.Assignment.Spec.Grace = entropy.Duration(20 * time.Second)
		begin(t, e, it, sh("b", "exit 0"))
		b := nextExit(t, e, 0).Completion
		e.Stop([]entropy.StopDirective{{AssignmentID: "b", Reason: entropy.ReasonCancel}})
		if b.AssignmentID != "b" || b.Outcome != entropy.OutcomeSucceeded {
			t.Fatalf("completion %+v", b)
		}
		awaitFile(t, dir+"/up")
		e.Stop([]entropy.StopDirective{{AssignmentID: "a", Reason: entropy.ReasonCancel}})
		a := nextExit(t, e, b.CompletionSeq).Completion
		if a.Outcome != entropy.OutcomeStopped || a.Reason != entropy.ReasonCancel {
			t.Fatalf("completion %+v", a)
		}
		if awaitFile(t, dir+"/saved") != "saved" {
			t.Fatal("it had no grace to save")
		}
	})
}

// proves J-11, L-2: without renewals a job under the contract "stop" is gone
// before trust in its lease ends; a renewal moves that.
func TestContractEndsBeforeTrust(t *testing.T) {
	bothWays(t, func(t *testing.T, e *Engine) {
		dir := t.TempDir()
		it := sh("a", fmt.Sprintf(`trap "" TERM; echo $$ > %s/pid; while :; do sleep 0.05; done`, dir))
		it.Assignment.Spec.Disconnect.Worker = entropy.DisconnectStop
		it.Trust = boottime.Now() + 700*time.Millisecond
		begin(t, e, it)
		trust := boottime.Now() + 1200*time.Millisecond
		e.Renew([]entropy.AssignmentID{"a"}, trust)
		c := nextExit(t, e, 0).Completion
		now := boottime.Now()
		if c.Outcome != entropy.OutcomeStopped || c.Reason != entropy.ReasonContract {
			t.Fatalf("completion %+v", c)
		}
		if now >= trust || now < trust-700*time.Millisecond {
			t.Fatalf("ended %s before the end of trust", trust-now)
		}
		if alive(t, awaitFile(t, dir+"/pid")) {
			t.Fatal("it is alive")
		}
	})
}

// proves W-6: output is capped without stopping the process, the head is kept
// and the loss is noted.
func TestLogIsCapped(t *testing.T) {
	e := testEngine(t, t.TempDir())
	it := sh("a", `echo head; head -c 5000000 /dev/zero; echo >&2 err; exit 0`)
	it.MaxLog = 1000
	x := run1(t, e, it)
	b, err := os.ReadFile(e.root.Dir("a").Log("stdout"))
	if err != nil || x.Completion.Outcome != entropy.OutcomeSucceeded {
		t.Fatalf("%v, %+v", err, x.Completion)
	}
	if s := string(b); !strings.HasPrefix(s, "head\n") || !strings.Contains(s, "4999005 bytes of output were dropped") || len(s) > 1200 || int64(len(s)) != x.Stdout {
		t.Fatalf("log of %d bytes ends %q", len(s), s[max(0, len(s)-120):])
	}
}

// proves W-2: an assignment is begun once, however often it is asked for.
func TestRepeatedStartIsNoOp(t *testing.T) {
	e := testEngine(t, t.TempDir())
	file := filepath.Join(t.TempDir(), "ran")
	it := sh("a", "echo ran >> "+file)
	begin(t, e, it, it)
	begin(t, e, it)
	nextExit(t, e, 0)
	begin(t, e, it)
	if n := e.Running(); n != 0 {
		t.Fatalf("%d runs after a repeated start", n)
	}
	if b, _ := os.ReadFile(file); string(b) != "ran\n" {
		t.Fatalf("it ran as often as %q says", b)
	}
}

// proves W-7: artifacts of a success are digested; a glob without a match and a
// link that leaves the directory fail the attempt in words.
func TestArtifacts(t *testing.T) {
	e := testEngine(t, t.TempDir())
	for i, c := range []struct {
		script string
		globs  []string
		names  string
		msg    string
	}{
		{`echo x > "$ENTROPY_ARTIFACT_DIR/a"; mkdir out; echo y > out/b.txt`, []string{"out/*.txt"}, "a out/b.txt", ""},
		{`true`, []string{"out/*.csv"}, "", `"out/*.csv" matched nothing`},
		{`ln -s /etc/passwd "$ENTROPY_ARTIFACT_DIR/p"`, nil, "", "cannot be taken"},
		{`ln -s ../../../.. up`, []string{"up/spool.log"}, "", "cannot be taken"},
		{`ln -s /etc up`, []string{"up/passw*"}, "", "matched nothing"},
		{`mkfifo "$ENTROPY_ARTIFACT_DIR/f"`, nil, "", "not a regular file"},
		{`ln -s real link; echo z > real`, []string{"link"}, "link", ""},
	} {
		it := sh(fmt.Sprintf("a%d", i), c.script)
		it.Assignment.Spec.Artifacts = c.globs
		begin(t, e, it)
		x := nextExit(t, e, uint64(i))
		var names []string
		for _, a := range x.Completion.Artifacts {
			names = append(names, a.Name)
		}
		if got := strings.Join(names, " "); got != c.names || !strings.Contains(x.Completion.Message, c.msg) ||
			(c.msg != "") != (x.Completion.Reason == entropy.ReasonArtifact) {
			t.Errorf("%s: artifacts %q, %s %q", c.script, got, x.Completion.Reason, x.Completion.Message)
		}
	}
}

// proves L-6 and W-8: a supervisor that follows a dead one ends what runs and
// reports it as a worker error; a decided assignment leaves no files.
func TestRecoverEndsWhatWasLeft(t *testing.T) {
	for _, cgroups := range []bool{true, false} {
		state, dir := t.TempDir(), t.TempDir()
		e := testEngine(t, state)
		if !cgroups {
			e.slots.cgroups = nil
		}
		begin(t, e, sh("a", fmt.Sprintf(`setsid sh -c 'echo $$ > %s/pid; exec sleep 600' & sleep 600`, dir)))
		pid := awaitFile(t, dir+"/pid")

		copied := t.TempDir() // what a kill -9 would leave, while this engine goes on
		b, err := os.ReadFile(state + "/spool.log")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied+"/spool.log", b, 0o600); err != nil {
			t.Fatal(err)
		}
		e2 := testEngine(t, copied)
		x := nextExit(t, e2, 0)
		if c := x.Completion; c.AssignmentID != "a" || c.Outcome != entropy.OutcomeFailed || c.Reason != entropy.ReasonWorkerError {
			t.Fatalf("completion %+v", c)
		}
		if alive(t, pid) {
			t.Fatal("the left process is alive")
		}
		nextExit(t, e, 0)
		if err := e2.Decide([]spool.Decision{{AssignmentID: "a", Verdict: entropy.VerdictAccepted}}); err != nil {
			t.Fatal(err)
		}
		if held, err := e2.Held(t.Context()); err != nil || len(held) != 0 {
			t.Fatalf("held %v, %v", held, err)
		}
	}
}

// proves W-6 (bad input): what cannot be executed is said in words, with the
// exit codes of a shell.
func TestCannotExecute(t *testing.T) {
	e := testEngine(t, t.TempDir())
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("\x00not a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		argv0, cwd string
		code       int
		msg        string
	}{
		{text, "", 126, "exec format error"},
		{"/does/not/exist", "", 127, "does not exist on this worker"},
		{"no-such-command", "", 127, "was not found on this worker in PATH="},
		{"/etc/passwd", "", 127, "no execute permission"},
		{"/bin/true", "/does/not/exist", 127, "working directory /does/not/exist does not exist"},
		{"./x", "", 127, "fresh, empty one"},
	} {
		it := StartItem{Assignment: entropy.Assignment{JobID: "j", AssignmentID: entropy.AssignmentID(fmt.Sprint("a", i)), Spec: entropy.JobSpec{Command: []string{c.argv0}, Cwd: c.cwd}}}
		begin(t, e, it)
		got := nextExit(t, e, uint64(i)).Completion
		if got.ExitCode == nil || *got.ExitCode != c.code || !strings.Contains(got.Message, c.msg) {
			t.Errorf("%s: code %v, %q", c.argv0, got.ExitCode, got.Message)
		}
		if err := Check(&it.Assignment.Spec); i > 0 && (err == nil || !strings.Contains(err.Error(), c.msg)) {
			t.Errorf("Check %s: %v", c.argv0, err)
		}
	}
}

func BenchmarkTrue(b *testing.B) {
	e, err := OpenEngine(b.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	b.Run("run", func(b *testing.B) {
		room := make(chan struct{}, 32)
		go func() {
			after := uint64(0)
			for {
				list, err := e.spool.Exits(b.Context(), after, 100)
				if err != nil {
					return
				}
				for _, x := range list {
					after = x.Completion.CompletionSeq
					e.Decide([]spool.Decision{{AssignmentID: x.ID()}})
					<-room
				}
			}
		}()
		for b.Loop() {
			room <- struct{}{}
			e.Start([]StartItem{{Assignment: entropy.Assignment{JobID: "j", AssignmentID: entropy.AssignmentID(entropy.NewID()), Spec: entropy.JobSpec{Command: []string{"/bin/true"}}}}})
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
	})
	b.Run("raw", func(b *testing.B) {
		room := make(chan struct{}, 32)
		for b.Loop() {
			room <- struct{}{}
			go func() {
				p, _ := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
				p.Wait()
				<-room
			}()
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
	})
}
