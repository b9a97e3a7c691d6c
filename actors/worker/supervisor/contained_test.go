package supervisor

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/boottime"
	"github.com/entropy-fabric/entropy/actors/worker/container"
	"github.com/entropy-fabric/entropy/actors/worker/container/containertest"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
)

// boxed returns an assignment of the test image.
func boxed(rt *container.Runtime, id string, args ...string) StartItem {
	it := sh(id, "")
	it.Runtime = rt
	it.Assignment.Spec.Image = containertest.Image
	it.Assignment.Spec.Command = args
	if len(args) > 0 {
		it.Assignment.Spec.Command = append([]string{"/box"}, args...)
	}
	return it
}

// onEach runs a test with an engine and every real runtime of this machine.
func onEach(t *testing.T, f func(t *testing.T, e *Engine, rt *container.Runtime)) {
	containertest.Each(t, func(t *testing.T, rt *container.Runtime) {
		e := testEngine(t, t.TempDir())
		f(t, e, rt)
		if left := containertest.List(t, rt); len(left) > 0 {
			t.Errorf("containers are left: %s", left)
		}
	})
}

func logOf(t *testing.T, e *Engine, id entropy.AssignmentID, stream string) string {
	t.Helper()
	b, err := os.ReadFile(e.root.Dir(id).Log(stream))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

// proves W-6: a job in an image has its inputs, artifacts, logs, environment and
// exit code, as one without; the worker's environment is not in it.
func TestContainedRun(t *testing.T) { onEach(t, containedRun) }

func containedRun(t *testing.T, e *Engine, rt *container.Runtime) {
	t.Setenv("SECRET_OF_THE_WORKER", "x")
	dir, err := e.root.Make("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir.Inputs(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir.Inputs()+"/in", []byte("input\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	it := boxed(rt, "a", "cat", "/entropy/input/in", "pwd", "env", "warn", "to-stderr", "write", "$ENTROPY_ARTIFACT_DIR/out", "made", "write", "here.csv", "too")
	it.Assignment.Spec.Inputs = []entropy.Input{{Path: "in"}}
	it.Assignment.Spec.Artifacts = []string{"*.csv"}
	it.Assignment.Spec.Env = map[string]string{"MINE": "two\nlines", "PATH": "/mine", "HOME": "/own", "ENTROPY_ASSIGNMENT_ID": "forged"}
	x := run1(t, e, it)
	out := logOf(t, e, "a", "stdout")
	if c := x.Completion; c.Outcome != entropy.OutcomeSucceeded || c.ExitCode == nil || *c.ExitCode != 0 || c.Usage == nil || c.Usage.Wall == 0 || len(c.Artifacts) != 2 {
		t.Fatalf("completion %+v\n%s\n%s", c, out, logOf(t, e, "a", "stderr"))
	}
	for _, want := range []string{"input\n/entropy/work\n", "\nMINE=two\nlines\n", "\nPATH=/mine\n", "\nHOME=/own\n", "\nENTROPY_ASSIGNMENT_ID=a\n",
		"\nENTROPY_INPUT_DIR=/entropy/input\n", "\nENTROPY_ARTIFACT_DIR=/entropy/artifact\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "SECRET") || strings.Contains(out, "forged") {
		t.Errorf("the environment is not clean:\n%s", out)
	}
	if got := logOf(t, e, "a", "stderr"); got != "to-stderr\n" {
		t.Errorf("stderr %q", got)
	}
}

// proves W-6: the codes 125, 126 and 127 of a program in a container are told
// apart from the runtime's own; what is the job's fault is permanent, what is
// the worker's is a worker error.
func TestContainedEnds(t *testing.T) { onEach(t, containedEnds) }

func containedEnds(t *testing.T, e *Engine, rt *container.Runtime) {
	type want struct {
		outcome   entropy.Outcome
		reason    entropy.Reason
		code      int // −1: none
		permanent bool
		message   string
	}
	failed := func(code int, message string) want {
		return want{entropy.OutcomeFailed, entropy.ReasonExit, code, false, message}
	}
	file := e.root.Dir("none").Path() + "-file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		spec func(*StartItem)
		want
	}{
		"three":    {func(it *StartItem) { it.Assignment.Spec.Command = []string{"/box", "exit", "3"} }, failed(3, "exited with code 3")},
		"own-125":  {func(it *StartItem) { it.Assignment.Spec.Command = []string{"/box", "exit", "125"} }, failed(125, "exited with code 125")},
		"own-127":  {func(it *StartItem) { it.Assignment.Spec.Command = []string{"/box", "exit", "127"} }, failed(127, "exited with code 127")},
		"segv":     {func(it *StartItem) { it.Assignment.Spec.Command = []string{"/box", "exit", "139"} }, failed(139, "SIGSEGV")},
		"missing":  {func(it *StartItem) { it.Assignment.Spec.Command = []string{"/nosuch"} }, failed(127, "nosuch")},
		"not-exec": {func(it *StartItem) { it.Assignment.Spec.Command = []string{"/etc"} }, failed(126, "/etc")},
		"own-cmd":  {func(it *StartItem) { it.Assignment.Spec.Command = nil }, want{entropy.OutcomeSucceeded, "", 0, false, ""}},
		"no-image": {func(it *StartItem) {
			it.Assignment.Spec.Image = emptyRegistry(t) + "/nosuch:1"
			if other := *rt; rt.Kind == container.Podman {
				other.Args = []string{"--tls-verify=false"}
				it.Runtime = &other
			}
		}, want{entropy.OutcomeFailed, entropy.ReasonExit, -1, true, "unknown"}},
		"no-registry": {func(it *StartItem) { it.Assignment.Spec.Image = "localhost:1/x" },
			want{entropy.OutcomeFailed, entropy.ReasonWorkerError, -1, false, "pulled"}},
		"bad-option": {func(it *StartItem) {
			other := *rt
			other.Args = []string{"--mount=type=bind,source=/nonexistent,target=/x"}
			it.Runtime = &other
		}, want{entropy.OutcomeFailed, entropy.ReasonWorkerError, -1, false, "nonexistent"}},
		"no-runtime": {func(it *StartItem) { it.Runtime = nil }, want{entropy.OutcomeFailed, entropy.ReasonWorkerError, -1, false, "no container runtime"}},
	}
	for id, c := range cases {
		it := boxed(rt, id, "print", "x")
		c.spec(&it)
		begin(t, e, it)
	}
	for _, x := range exits(t, e, len(cases)) {
		got, c := x.Completion, cases[string(x.ID())].want
		code := -1
		if got.ExitCode != nil {
			code = *got.ExitCode
		}
		if got.Outcome != c.outcome || got.Reason != c.reason || code != c.code || got.Permanent != c.permanent || !strings.Contains(got.Message, c.message) {
			t.Errorf("%s: %+v (code %d)", x.ID(), got, code)
		}
	}
	if got := logOf(t, e, "own-cmd", "stdout"); got != "own\n" {
		t.Errorf("the image's own command printed %q", got)
	}
}

// emptyRegistry returns the address of a registry that has no image.
func emptyRegistry(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`)) // a client that is gone needs no answer
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// exits returns the next n exits.
func exits(t *testing.T, e *Engine, n int) []spool.Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var all []spool.Exit
	after := uint64(0)
	for len(all) < n {
		list, err := e.spool.Exits(ctx, after, n)
		if err != nil {
			t.Fatalf("%d of %d exits: %v", len(all), n, err)
		}
		all = append(all, list...)
		after = all[len(all)-1].Completion.CompletionSeq
	}
	return all
}

// proves J-12, W-6: a container is asked to end, and killed when it does not; its
// processes are gone before its end is reported.
func TestContainedStop(t *testing.T) { onEach(t, containedStop) }

func containedStop(t *testing.T, e *Engine, rt *container.Runtime) {
	for id, args := range map[string][]string{"deaf": {"deaf"}, "polite": {"polite"}, "late": {"deaf"}} {
		it := boxed(rt, id, append(args, "write", "$ENTROPY_ARTIFACT_DIR/ready", "yes", "wait")...)
		it.Assignment.Spec.Grace = entropy.Duration(500 * time.Millisecond)
		switch id {
		case "polite": // it ends at once, but not on a busy machine
			it.Assignment.Spec.Grace = entropy.Duration(20 * time.Second)
		case "late":
			it.Assignment.Spec.RunTimeout = entropy.Duration(1500 * time.Millisecond)
		}
		begin(t, e, it)
	}
	for _, id := range []entropy.AssignmentID{"deaf", "polite", "late"} {
		awaitFile(t, e.root.Dir(id).Artifacts()+"/ready")
	}
	began := time.Now()
	e.Stop([]entropy.StopDirective{{AssignmentID: "deaf", Reason: entropy.ReasonCancel}, {AssignmentID: "polite", Reason: entropy.ReasonCancel}})
	for _, x := range exits(t, e, 3) {
		c := x.Completion
		want := entropy.OutcomeStopped
		if x.ID() == "late" {
			want = entropy.OutcomeFailed
		}
		if c.Outcome != want || (c.Reason == entropy.ReasonTimeout) != (x.ID() == "late") {
			t.Errorf("%s: %+v", x.ID(), c)
		}
		if left := processesOf(e, x.ID()); len(left) > 0 {
			t.Errorf("%s is reported, and processes %v are left", x.ID(), left)
		}
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
	if got := logOf(t, e, "polite", "stdout"); got != "polite\n" {
		t.Errorf("TERM did not arrive: %q", got)
	}
}

// processesOf returns the processes of an assignment anywhere on the machine.
func processesOf(e *Engine, id entropy.AssignmentID) []int {
	return slices.DeleteFunc(pidsIn("/proc"), func(pid int) bool { return assignmentOf(pid, e.spool.ID()) != id })
}

// proves L-2: a job with the contract "stop" is dead before trust in its lease
// ends, in a container as well.
func TestContainedContract(t *testing.T) { onEach(t, containedContract) }

func containedContract(t *testing.T, e *Engine, rt *container.Runtime) {
	it := boxed(rt, "a", "deaf", "write", "$ENTROPY_ARTIFACT_DIR/ready", "yes", "wait")
	it.Assignment.Spec.Disconnect.Worker = entropy.DisconnectStop
	it.Trust = boottime.Now() + 3*time.Second
	begin(t, e, it)
	awaitFile(t, e.root.Dir("a").Artifacts()+"/ready")
	for end := it.Trust; boottime.Now() < end; {
		if len(processesOf(e, "a")) == 0 {
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	if left := processesOf(e, "a"); len(left) > 0 {
		t.Errorf("trust has ended, and processes %v run on", left)
	}
	if c := nextExit(t, e, 0).Completion; c.Outcome != entropy.OutcomeStopped || c.Reason != entropy.ReasonContract {
		t.Errorf("completion %+v", c)
	}
}

// proves W-6: the client of the runtime is not the container; when somebody kills
// it, the container ends before the run is reported, as a worker error.
func TestContainedClientKilled(t *testing.T) { onEach(t, containedClientKilled) }

func containedClientKilled(t *testing.T, e *Engine, rt *container.Runtime) {
	begin(t, e, boxed(rt, "a", "deaf", "write", "$ENTROPY_ARTIFACT_DIR/ready", "yes", "wait"))
	awaitFile(t, e.root.Dir("a").Artifacts()+"/ready")
	e.children.entries.Lock()
	for pid := range e.children.leaders {
		killIf(pid, func() bool { return true })
	}
	e.children.entries.Unlock()
	if c := nextExit(t, e, 0).Completion; c.Outcome != entropy.OutcomeFailed || c.Reason != entropy.ReasonWorkerError {
		t.Errorf("completion %+v", c)
	}
	if left := processesOf(e, "a"); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

// proves W-6: --cwd is a directory of the machine, with an image too.
func TestContainedCwd(t *testing.T) { onEach(t, containedCwd) }

func containedCwd(t *testing.T, e *Engine, rt *container.Runtime) {
	dir := filepath.Join(t.TempDir(), `odd, "name"`)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	it := boxed(rt, "a", "pwd", "write", "result.txt", "x")
	it.Assignment.Spec.Cwd, it.Assignment.Spec.Artifacts = dir, []string{"*.txt"}
	x := run1(t, e, it)
	if out := logOf(t, e, "a", "stdout"); x.Completion.Outcome != entropy.OutcomeSucceeded || out != dir+"\n" || len(x.Completion.Artifacts) != 1 {
		t.Errorf("%+v, printed %q, %s", x.Completion, out, logOf(t, e, "a", "stderr"))
	}
}
