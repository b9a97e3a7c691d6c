package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/container"
	"github.com/entropy-fabric/entropy/actors/worker/container/containertest"
)

// The test's executable is the supervisor and the fake container runtime as well.
func TestMain(m *testing.M) {
	containertest.Main()
	if len(os.Args) > 1 && os.Args[1] == "supervisor" {
		os.Exit(Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// faked returns an assignment of a shell script in an image.
func faked(rt *containertest.FakeRuntime, id, script string) StartItem {
	it := sh(id, script)
	it.Runtime, it.Assignment.Spec.Image = rt.Runtime, "image"
	return it
}

func ended(t *testing.T, e *Engine) int {
	t.Helper()
	_, n := e.spool.Counts()
	return n
}

// proves J-12, W-6: an end is not reported before the runtime has confirmed that
// the container is gone, however long it hangs or refuses.
func TestContainedUnconfirmed(t *testing.T) {
	for _, failure := range []string{containertest.Hang, containertest.Stuck} {
		t.Run(failure, func(t *testing.T) {
			rt := containertest.Fake(t)
			e := testEngine(t, t.TempDir())
			rt.Set(t, failure, "")
			begin(t, e, faked(rt, "a", "echo out; exit 3"))
			rt.Asked(t, "rm")
			if failure == containertest.Stuck {
				rt.Asked(t, "ps") // it was refused, and asked what is left
			}
			if n := ended(t, e); n != 0 {
				t.Fatalf("%d ends are reported", n)
			}
			rt.Clear(t, failure)
			c := nextExit(t, e, 0).Completion
			if c.ExitCode == nil || *c.ExitCode != 3 || logOf(t, e, "a", "stdout") != "out\n" {
				t.Errorf("completion %+v", c)
			}
		})
	}
}

// proves W-6: a container whose processes the supervisor cannot see is ended by
// the runtime, after the grace, though it ignores TERM.
func TestContainedKillThroughRuntime(t *testing.T) {
	rt := containertest.Fake(t)
	e := testEngine(t, t.TempDir())
	e.slots.cgroups = nil // they would end this stand-in of a container, and no real one
	ready := t.TempDir() + "/pid"
	begin(t, e, faked(rt, "a", "trap '' TERM; echo $$ > "+ready+"; while :; do sleep 0.1; done"))
	pid := awaitFile(t, ready)
	e.Stop([]entropy.StopDirective{{AssignmentID: "a", Reason: entropy.ReasonCancel}})
	if c := nextExit(t, e, 0).Completion; c.Outcome != entropy.OutcomeStopped || c.Reason != entropy.ReasonCancel {
		t.Errorf("completion %+v", c)
	}
	awaitDead(t, pid)
}

// proves W-6, J-6: what the runtime's failure means: a broken worker, or an image
// that no worker will find.
func TestContainedRuntimeFails(t *testing.T) {
	cases := map[string]struct {
		failure, message string
		reason           entropy.Reason
		permanent        bool
	}{
		"down":    {containertest.Down, "no container began: docker does not work: Cannot connect to the Docker daemon", entropy.ReasonWorkerError, false},
		"unknown": {containertest.NoImage, "docker: Error response from daemon: manifest for image:latest not found", entropy.ReasonExit, true},
		"denied":  {containertest.NoImage, "docker: Error response from daemon: pull access denied for image", entropy.ReasonExit, true},
		"network": {containertest.NoImage, "docker: dial tcp: lookup registry on 10.0.0.1:53: no such host", entropy.ReasonWorkerError, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			rt := containertest.Fake(t)
			e := testEngine(t, t.TempDir())
			rt.Set(t, c.failure, c.message) // the failure's value is what docker says
			begin(t, e, faked(rt, "a", "echo never"))
			got := nextExit(t, e, 0).Completion
			if got.Outcome != entropy.OutcomeFailed || got.Reason != c.reason || got.Permanent != c.permanent || !strings.Contains(got.Message, c.message) {
				t.Errorf("completion %+v", got)
			}
		})
	}
}

// proves W-6, J-14: a container that hangs before it begins is canceled, though
// the runtime answers nothing any more.
func TestContainedHangsBeforeItBegins(t *testing.T) {
	rt := containertest.Fake(t)
	e := testEngine(t, t.TempDir())
	rt.Set(t, containertest.HangRun, "")
	rt.Set(t, containertest.Hang, "")
	began := t.TempDir() + "/began"
	begin(t, e, faked(rt, "a", "echo > "+began))
	rt.Asked(t, "run")
	e.Stop([]entropy.StopDirective{{AssignmentID: "a", Reason: entropy.ReasonCancel}})
	if c := nextExit(t, e, 0).Completion; c.Outcome != entropy.OutcomeStopped || c.Reason != entropy.ReasonCancel {
		t.Errorf("completion %+v", c)
	}
	if _, err := os.Stat(began); err == nil {
		t.Error("it ran")
	}
}

// orphaned is a supervisor process that runs one container.
type orphaned struct {
	state  string
	client *Client
	pid    int
}

func startSupervisor(t *testing.T, it StartItem) orphaned {
	t.Helper()
	s := orphaned{state: t.TempDir()}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := Spawn(ctx, []string{os.Args[0], "supervisor"}, s.state, "v", time.Minute); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.client, err = Dial(ctx, s.state); err != nil {
		t.Fatal(err)
	}
	s.pid = s.client.Hello().PID
	t.Cleanup(func() { _ = unix.Kill(s.pid, unix.SIGKILL) })
	if errs, err := s.client.Start(ctx, []StartItem{it}); err != nil || errs[0] != nil {
		t.Fatal(err, errs)
	}
	return s
}

// kill ends the supervisor as a crash would.
func (s orphaned) kill(t *testing.T) {
	t.Helper()
	if err := unix.Kill(s.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-s.client.Gone()
}

// keeperOf returns the keeper of a supervisor.
func (s orphaned) keeper(t *testing.T) int {
	t.Helper()
	for _, pid := range pidsIn("/proc") {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		if err == nil && strings.Contains(string(b), "\x00--keep\x00") && strings.Contains(string(b), s.state) {
			return pid
		}
	}
	t.Fatal("there is no keeper")
	return 0
}

func awaitDead(t *testing.T, pid string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-tick.C {
		if !alive(t, pid) {
			return
		}
	}
	t.Fatalf("process %s runs on", pid)
}

func lost(t *testing.T, state string) {
	t.Helper()
	e := testEngine(t, state)
	if c := nextExit(t, e, 0).Completion; c.AssignmentID != "a" || c.Outcome != entropy.OutcomeFailed || c.Reason != entropy.ReasonWorkerError {
		t.Errorf("completion %+v", c)
	}
}

// proves L-2, W-8: when the supervisor is killed, its containers end without
// another supervisor, so that no job with the contract "stop" outlives its lease.
func TestKeeperEndsContainers(t *testing.T) {
	rt := containertest.Fake(t)
	ready := t.TempDir() + "/pid"
	s := startSupervisor(t, faked(rt, "a", "trap '' TERM; echo $$ > "+ready+"; while :; do sleep 0.1; done"))
	pid := awaitFile(t, ready)
	s.kill(t)
	awaitDead(t, pid)
	lost(t, s.state)
}

// proves W-8: a supervisor that follows one that was killed with its keeper ends
// the containers that were left, and reports their runs only then.
func TestContainersOfDeadSupervisor(t *testing.T) {
	rt := containertest.Fake(t)
	ready := t.TempDir() + "/pid"
	s := startSupervisor(t, faked(rt, "a", "echo $$ > "+ready+"; exec sleep 1000"))
	pid := awaitFile(t, ready)
	if err := unix.Kill(s.keeper(t), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.kill(t)
	if !alive(t, pid) {
		t.Fatal("the container ended by itself: the test proves nothing")
	}
	rt.Set(t, containertest.Stuck, "")
	e := testEngine(t, s.state)
	held, err := e.Held(t.Context())
	if err != nil || len(held) != 1 || held[0].Spooled || ended(t, e) != 0 {
		t.Fatalf("held %+v, %v: the container is there and cannot be ended yet", held, err)
	}
	rt.Clear(t, containertest.Stuck)
	if c := nextExit(t, e, 0).Completion; c.AssignmentID != "a" || c.Reason != entropy.ReasonWorkerError {
		t.Errorf("completion %+v", c)
	}
	awaitDead(t, pid)
}

// proves W-8: the same with the machine's own runtimes.
func TestRealContainersOfDeadSupervisor(t *testing.T) {
	containertest.Each(t, func(t *testing.T, rt *container.Runtime) {
		for _, keeper := range []bool{true, false} {
			s := startSupervisor(t, boxed(rt, "a", "deaf", "write", "$ENTROPY_ARTIFACT_DIR/ready", "yes", "wait"))
			awaitFile(t, filepath.Join(s.state, "work", "a", "artifacts", "ready"))
			if !keeper {
				if err := unix.Kill(s.keeper(t), unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			s.kill(t)
			lost(t, s.state)
			if left := containertest.List(t, rt); len(left) > 0 {
				t.Errorf("keeper=%t: containers are left: %s", keeper, left)
			}
		}
	})
}

// proves W-6: a supervisor that ends in order leaves no keeper.
func TestKeeperEnds(t *testing.T) {
	rt := containertest.Fake(t)
	s := startSupervisor(t, faked(rt, "a", "exit 0"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	list, err := s.client.Exits(ctx, 0, 1)
	if err != nil || list[0].Completion.Outcome != entropy.OutcomeSucceeded {
		t.Fatal(err, list)
	}
	keeper := strconv.Itoa(s.keeper(t))
	if err := s.client.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	awaitDead(t, keeper)
}

// proves W-6: a runtime that does not answer is not taken for one that works.
func TestFindNeedsAnAnswer(t *testing.T) {
	rt := containertest.Fake(t)
	found, err := container.Find(t.Context(), container.Docker, nil, container.Command)
	if err != nil || found.Program != rt.Program {
		t.Fatalf("%+v, %v", found, err)
	}
	rt.Set(t, containertest.Hang, "")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if found, err := container.Find(ctx, container.Docker, nil, container.Command); err == nil {
		t.Errorf("found %+v", found)
	}
	rt.Clear(t, containertest.Hang)
	rt.Set(t, containertest.Down, "")
	if found, err := container.Find(t.Context(), container.Docker, nil, container.Command); err == nil || !strings.Contains(err.Error(), "Cannot connect") {
		t.Errorf("found %+v, %v", found, err)
	}
	if _, err := container.Find(t.Context(), container.None, nil, container.Command); err == nil {
		t.Error("none was asked for, and one was found")
	}
}
