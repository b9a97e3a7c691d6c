package executortest

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Conformance tests an executor in a process of its own, written in any language,
// against the checklist of docs/PROTOCOL.md. The program is told what it needs by
// NATS_URL, EXECUTOR_NAME, EXECUTOR_PASSWORD, EXECUTOR_SPOOL (a directory) and
// EXECUTOR_RESEND (seconds), and ends with 0 on SIGTERM. Its commands are
//
//   - greet: {"name": "Ada"} gives {"greeting": "Hello, Ada!", "idempotency_key": the action's ID};
//     other arguments are invalid for good; it has no dry run
//   - count: {"to": 100, "every": 0.1} counts with progress, and can be ended
//   - flaky: fails at the first attempt with the kind unavailable, succeeds later
//
// command makes the process, which is not started.
func Conformance(t *testing.T, command func() *exec.Cmd) {
	for name, test := range map[string]func(*testing.T, *suite){
		"commands": testCommands, "ends": testEnds, "lost verdicts": testLostVerdicts, "kill before the verdict": testKillBeforeVerdict,
		"kill in the handler": testKillInHandler, "server restart": testServerRestart, "forbidden": testForbidden,
	} {
		t.Run(name, func(t *testing.T) { test(t, &suite{t: t, command: command}) })
	}
}

const conforming = "conforming-1"

var conformingCommands = []string{"greet", "count", "flaky"}

// suite is one test of an executor.
type suite struct {
	t       *testing.T
	command func() *exec.Cmd
	*Control
	cmd   *exec.Cmd
	spool string
	log   *output
}

// output is what a process has said, for a failed test to show.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// begin starts a control plane and the executor.
func (s *suite) begin(conf Config) {
	s.t.Helper()
	if conf.Executors == nil {
		conf.Executors = map[string][]string{conforming: conformingCommands}
	}
	s.Control = Start(s.t, conf)
	s.spool = filepath.Join(s.t.TempDir(), "spool")
	s.log = &output{}
	s.t.Cleanup(func() {
		s.kill()
		if s.t.Failed() {
			s.t.Logf("the executor said: %.4000s", s.log.String())
		}
	})
	s.start()
}

func (s *suite) start() {
	s.t.Helper()
	s.cmd = s.command()
	s.cmd.Env = append(s.cmd.Environ(), "NATS_URL="+s.URL(), "EXECUTOR_NAME="+conforming, "EXECUTOR_PASSWORD="+Password(conforming),
		"EXECUTOR_SPOOL="+s.spool, "EXECUTOR_RESEND=0.05")
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *suite) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// end stops the executor and checks that it goes in peace.
func (s *suite) end() {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("after SIGTERM: %v", err)
	}
}

func (s *suite) order(command, args string) entropy.ActionOrder {
	return entropy.ActionOrder{Command: command, Args: []byte(args), HeartbeatMS: 300}
}

func testCommands(t *testing.T, s *suite) {
	s.begin(Config{})
	id := s.Issue(s.order("greet", `{"name":"Ada"}`), 1)
	a := s.Done(id)
	if want := fmt.Sprintf(`{"greeting":"Hello, Ada!","idempotency_key":"%s"}`, id); compact(a.Last.Result) != want {
		t.Errorf("greet gave %s, want %s", a.Last.Result, want)
	}
	if want := []string{"action.accepted", "action.started", "action.succeeded"}; !slices.Equal(a.Attempts[0].Story, want) {
		t.Errorf("the story is %v", a.Attempts[0].Story)
	}
	if a := s.Done(s.Issue(s.order("greet", `{"nam":"Ada"}`), 5)); a.Last.Kind != "invalid" || !a.Last.Final {
		t.Errorf("a misspelled argument: %s, %+v", a.State, a.Last)
	}
	dry := s.order("greet", `{"name":"Ada"}`)
	dry.DryRun = true
	if a := s.Done(s.Issue(dry, 5)); a.Last.Kind != "unsupported" || !a.Last.Final {
		t.Errorf("a dry run: %s, %+v", a.State, a.Last)
	}
	if a := s.Done(s.Issue(s.order("flaky", `{}`), 3)); a.State != entropy.ActionSucceeded || len(a.Attempts) != 2 {
		t.Errorf("flaky is %s after %d attempts", a.State, len(a.Attempts))
	}
	for _, command := range conformingCommands {
		s.UntilSettled(command)
	}
	s.end()
}

func compact(b []byte) string {
	return strings.NewReplacer(": ", ":", ", \"", ",\"").Replace(string(b))
}

// alive waits until an attempt has told of its progress twice.
func (s *suite) alive(id entropy.ActionID) {
	s.t.Helper()
	s.Until(id, "alive", func(a Action) bool { return len(a.Attempts[0].Progress) > 1 })
}

func testEnds(t *testing.T, s *suite) {
	s.begin(Config{})
	id := s.Issue(s.order("count", `{"to":10000}`), 3)
	s.alive(id)
	s.Cancel(id)
	if a := s.Done(id); a.State != entropy.ActionCanceled {
		t.Errorf("canceled: %s", a.State)
	}
	id = s.Issue(s.order("count", `{"to":10000}`), 3)
	s.alive(id)
	s.CancelQuietly(id) // the verdict on the next heartbeat says it
	if a := s.Done(id); a.State != entropy.ActionCanceled {
		t.Errorf("canceled by a heartbeat: %s", a.State)
	}
	id = s.Issue(s.order("count", `{"to":10000}`), 3)
	s.alive(id)
	s.Supersede(id)
	s.Until(id, "ended when it was superseded", func(a Action) bool { return len(a.Attempts[0].Story) > 2 })
	s.CancelQuietly(id)
	s.Done(id)
	o := s.order("count", `{"to":10000}`)
	o.TimeoutMS = 300
	if a := s.Done(s.Issue(o, 1)); a.Last.Kind != "timeout" {
		t.Errorf("over its time: %s, %+v", a.State, a.Last)
	}
	s.end()
}

func testLostVerdicts(t *testing.T, s *suite) {
	var mu sync.Mutex
	told := map[string]int{}
	s.begin(Config{Verdict: func(ev *entropy.Event, _ entropy.ActionVerdict) []time.Duration {
		mu.Lock()
		defer mu.Unlock()
		told[ev.ID]++
		if told[ev.ID] < 3 && ev.Type != entropy.ActionProgressType {
			return nil
		}
		return []time.Duration{0, 0, 10 * time.Millisecond}
	}})
	for i := range 5 {
		if a := s.Done(s.Issue(s.order("greet", fmt.Sprintf(`{"name":"%d"}`, i)), 1)); a.State != entropy.ActionSucceeded || a.Ends != 1 {
			t.Errorf("%s, ended %d times", a.State, a.Ends)
		}
	}
	s.UntilSettled("greet")
	s.end()
}

func testKillBeforeVerdict(t *testing.T, s *suite) {
	reported := make(chan string, 1000)
	var deaf atomic.Bool
	deaf.Store(true)
	// The server may give the order to the process that is gone already.
	s.begin(Config{AckWait: time.Second, Verdict: func(ev *entropy.Event, _ entropy.ActionVerdict) []time.Duration {
		if ev.Type == entropy.ActionSucceededType {
			select {
			case reported <- ev.ID:
			default:
			}
			if deaf.Load() {
				return nil
			}
		}
		return Once()
	}})
	id := s.Issue(s.order("greet", `{"name":"Ada"}`), 5)
	first := s.receive(reported)
	s.kill()
	for len(reported) > 0 {
		<-reported
	}
	deaf.Store(false)
	s.Redeliver(id)
	s.start()
	if again := s.receive(reported); again != first {
		t.Errorf("it reported %s after %s", again, first)
	}
	s.UntilSettled("greet")
	if a := s.Action(id); len(a.Attempts) != 1 || a.Ends != 1 {
		t.Errorf("%d attempts, ended %d times", len(a.Attempts), a.Ends)
	}
	s.end()
}

func (s *suite) receive(c chan string) string {
	s.t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(readyIn):
		s.t.Fatal("nothing was reported in time")
		return ""
	}
}

func testKillInHandler(t *testing.T, s *suite) {
	s.begin(Config{})
	id := s.Issue(s.order("count", `{"to":10000}`), 1)
	s.alive(id)
	s.kill()
	s.start()
	if a := s.Done(id); a.Last.Kind != "executor_lost" {
		t.Errorf("%s, %+v", a.State, a.Last)
	}
	s.end()
}

func testServerRestart(t *testing.T, s *suite) {
	s.begin(Config{})
	s.Done(s.Issue(s.order("greet", `{"name":"before"}`), 1))
	id := s.Issue(s.order("count", `{"to":20,"every":0.05}`), 1)
	s.alive(id)
	s.Server.Stop()
	s.Server.Start()
	if a := s.Done(id); a.State != entropy.ActionSucceeded {
		t.Errorf("what ran meanwhile is %s, %+v", a.State, a.Last)
	}
	if a := s.Done(s.Issue(s.order("greet", `{"name":"after"}`), 1)); a.State != entropy.ActionSucceeded {
		t.Errorf("after the restart: %s", a.State)
	}
	s.end()
}

// testForbidden gives the executor a credential without its commands.
func testForbidden(t *testing.T, s *suite) {
	s.begin(Config{Executors: map[string][]string{conforming: {"other"}, "rest": conformingCommands}})
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it ended as if all was well")
		}
	case <-time.After(readyIn):
		t.Error("it goes on without permission")
		return
	}
	if said := strings.ToLower(s.log.String()); !strings.Contains(said, "permission") && !strings.Contains(said, "does not allow") {
		t.Error("it does not say that a permission is missing")
	}
}
