package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// program is the binary, built at most once for all tests that need a process.
var program struct {
	once sync.Once
	file string
	err  error
}

// TestMain removes the binary.
func TestMain(m *testing.M) {
	code := m.Run()
	if program.file != "" {
		os.RemoveAll(filepath.Dir(program.file))
	}
	os.Exit(code)
}

// binary returns the path of the program, built.
func binary(t *testing.T) string {
	t.Helper()
	program.once.Do(func() {
		dir, err := os.MkdirTemp("", "entropy-test-")
		if err != nil {
			program.err = err
			return
		}
		program.file = filepath.Join(dir, "entropy")
		if out, err := exec.Command("go", "build", "-o", program.file, ".").CombinedOutput(); err != nil {
			program.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if program.err != nil {
		t.Fatal(program.err)
	}
	return program.file
}

// role is a running entropy process.
type role struct {
	cmd    *exec.Cmd
	url    string
	stderr strings.Builder
	ended  chan struct{}
	code   int
}

var urlPattern = regexp.MustCompile(`https?://\S*\d`)

// startRole starts the binary and returns once it has said where it listens, or
// has ended.
func startRole(t *testing.T, args ...string) *role {
	t.Helper()
	r := &role{cmd: exec.Command(binary(t), args...), ended: make(chan struct{})}
	r.cmd.Stderr = &r.stderr
	r.cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir())
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	r.url = urlPattern.FindString(line)
	go func() {
		io.Copy(io.Discard, stdout)
		r.cmd.Wait()
		r.code = r.cmd.ProcessState.ExitCode()
		close(r.ended)
	}()
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		<-r.ended
	})
	return r
}

// signal sends a signal and returns the exit code.
func (r *role) signal(t *testing.T, s syscall.Signal) int {
	t.Helper()
	r.cmd.Process.Signal(s)
	select {
	case <-r.ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("it does not end after %s: %s", s, r.stderr.String())
	}
	return r.code
}

// client returns the program pointed at a running role, with its admin token.
func (r *role) client(t *testing.T, data string) *bench {
	t.Helper()
	b := newBench(t)
	delete(b.env, "ENTROPY_TOKEN")
	b.env["ENTROPY_SERVER"], b.env["ENTROPY_TOKEN_FILE"] = r.url, filepath.Join(data, "admin.token")
	b.app.now = time.Now
	b.app.dial = func(c entropy.ClientConfig) (entropy.Service, error) { return entropy.NewClient(c) }
	return b
}

// supervisors returns the pids of the supervisors that hold a data directory.
func supervisors(t *testing.T, data string) (pids []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), data) && strings.Contains(string(b), "supervisor") {
			pids = append(pids, filepath.Base(filepath.Dir(f)))
		}
	}
	return pids
}

// proves I-1, W-8, P-1, P-6 by hand, as a person would: up runs a job; kill -9 in
// the middle loses nothing, and the job runs once; a second one on the directory
// is refused; Ctrl-C ends in order and leaves no process behind.
func TestUpAsAProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes")
	}
	data := t.TempDir()
	r := startRole(t, "up", "--data", data, "--listen", "127.0.0.1:0", "--name", "here", "--slots", "2")
	if r.url == "" {
		<-r.ended
		t.Fatalf("up: exit %d: %s", r.code, r.stderr.String())
	}
	gate := filepath.Join(t.TempDir(), "go")
	b := r.client(t, data)
	id := strings.TrimSpace(b.ok(t, "submit", "--", "sh", "-c", `echo began; until [ -e "$0" ]; do sleep 0.02; done; echo done`, gate))
	poll(t, "the job does not begin", func() bool { return b.run("logs", id) == 0 && b.stdout.String() == "began\n" })

	second := startRole(t, "control", "--data", data, "--listen", "127.0.0.1:0")
	<-second.ended
	if second.code != 5 || !strings.Contains(second.stderr.String(), "next: ") {
		t.Errorf("a second control plane: exit %d, stderr %q", second.code, second.stderr.String())
	}

	r.signal(t, syscall.SIGKILL)
	if pids := supervisors(t, data); len(pids) != 1 {
		t.Errorf("after kill -9 of the agent the supervisors are %v, want one", pids)
	}
	r = startRole(t, "up", "--data", data, "--listen", "127.0.0.1:0", "--name", "here", "--slots", "2")
	b = r.client(t, data)
	write(t, gate, "")
	if code := b.run("wait", "--timeout", "30s", id); code != 0 {
		t.Fatalf("wait: exit %d: %s%s", code, b.stdout.String(), b.stderr.String())
	}
	if out := b.ok(t, "logs", id); out != "began\ndone\n" {
		t.Errorf("it wrote %q, so it did not run once", out)
	}
	if out := b.ok(t, "job", id); !strings.Contains(out, "1 (failures 0, losses 0)") {
		t.Errorf("it had more than one attempt: %s", out)
	}
	if code := r.signal(t, syscall.SIGINT); code != 0 {
		t.Errorf("Ctrl-C: exit %d: %s", code, r.stderr.String())
	}
	if pids := supervisors(t, data); len(pids) != 0 {
		t.Errorf("supervisors %v are left although nothing runs", pids)
	}
}

// proves P-2 and W-7 as a person checks them: verify finds nothing wrong with
// what an orderly stop leaves, is refused beside a running control plane, and
// names a content that has rotted and an artifact that is gone.
func TestVerifyAsAPersonDoes(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes")
	}
	data := t.TempDir()
	r := startRole(t, "up", "--data", data, "--listen", "127.0.0.1:0", "--name", "here", "--slots", "2")
	b := r.client(t, data)
	id := strings.TrimSpace(b.ok(t, "submit", "--wait", "--wait-timeout", "30s", "--artifact", "*", "--", "sh", "-c", "echo one > one; echo two > two"))
	if code := b.run("verify", "--data", data); code != 5 {
		t.Errorf("beside a running control plane: exit %d, want 5 (%s)", code, b.stderr.String())
	}
	b.ok(t, "verify", "--data", data, "--journal-only")
	if code := r.signal(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("SIGTERM: exit %d: %s", code, r.stderr.String())
	}
	if out := b.ok(t, "verify", "--data", data, "--jobs"); !strings.Contains(out, "no problem found") || !strings.Contains(out, id) {
		t.Errorf("verify printed %s", out)
	}
	sums := map[string]string{"one": "2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806", "two": "27dd8ed44a83ff94d557f9fd0412ed5a8cbca69ea04922d88c01184a07300a5a"}
	write(t, filepath.Join(data, "store", "blob", sums["one"][:1], sums["one"]), "on3\n")
	if err := os.Remove(filepath.Join(data, "store", "blob", sums["two"][:1], sums["two"])); err != nil {
		t.Fatal(err)
	}
	code := b.run("verify", "--data", data)
	if out := b.stdout.String(); code != 1 || !strings.Contains(out, "content "+sums["one"]+" is damaged") || !strings.Contains(out, "artifact "+id+"/two is not stored") {
		t.Errorf("damaged: exit %d, %s", code, out)
	}
	if code := b.run("verify", "--data", t.TempDir()); code != 3 {
		t.Errorf("no journal: exit %d, want 3", code)
	}
}

// proves "a second signal ends at once", and that a client that waits ends with
// 128 plus the signal's number.
func TestSignalsOfAClient(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes")
	}
	n := newNetwork(t)
	id := strings.TrimSpace(n.ok(t, "submit", "--", "true"))
	file := binary(t)
	for s, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		wait := exec.Command(file, "events", "--follow", "--after", "0:0", "--entity", "job:"+id)
		wait.Env = append(os.Environ(), "ENTROPY_SERVER="+n.env["ENTROPY_SERVER"], "ENTROPY_TOKEN="+n.env["ENTROPY_TOKEN"])
		stdout, err := wait.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := wait.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || !strings.Contains(line, "job.submitted") {
			t.Errorf("it printed %q, %v", line, err)
		}
		wait.Process.Signal(s)
		wait.Wait()
		if code := wait.ProcessState.ExitCode(); code != want {
			t.Errorf("%s: exit %d, want %d", s, code, want)
		}
	}
	if out := n.ok(t, "jobs", "--state", "pending"); !strings.Contains(out, id) {
		t.Error("the job did not stay as it was")
	}
}

// poll repeats check until it holds.
func poll(t *testing.T, what string, check func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(what)
		}
	}
}
