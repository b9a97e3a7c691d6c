package containertest

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy/actors/worker/container"
)

// FakeRuntime plays docker, and its failures. Its containers are processes of the
// machine, in sessions of their own. It is the test's own executable under the
// name of docker, so the test's TestMain must call [Main].
type FakeRuntime struct {
	*container.Runtime
	dir string
}

// The failures that [FakeRuntime.Set] switches on.
const (
	Down    = "down"     // the daemon does not answer: every command fails at once
	Hang    = "hang"     // no command ends, but those that run a container
	HangRun = "hang-run" // no container begins
	NoImage = "no-image" // no image is there, and none can be pulled; the value is the message
	Stuck   = "stuck"    // containers cannot be removed
)

const fakeDir = "ENTROPY_TEST_RUNTIME"

// Fake makes a fake runtime for a test and for the processes it starts.
func Fake(t testing.TB) *FakeRuntime {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, container.Docker)); err != nil {
		t.Fatal(err)
	}
	t.Setenv(fakeDir, dir)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return &FakeRuntime{&container.Runtime{Kind: container.Docker, Program: filepath.Join(dir, container.Docker), User: "0:0"}, dir}
}

// Set switches a failure on.
func (f *FakeRuntime) Set(t testing.TB, failure, value string) {
	t.Helper()
	mustWrite(t, filepath.Join(f.dir, failure), value)
}

// Clear switches a failure off.
func (f *FakeRuntime) Clear(t testing.TB, failure string) {
	t.Helper()
	if err := os.Remove(filepath.Join(f.dir, failure)); err != nil {
		t.Fatal(err)
	}
}

// Asked blocks until the runtime was asked something, as "rm", and returns the
// arguments.
func (f *FakeRuntime) Asked(t testing.TB, what string) string {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-tick.C {
		if b, err := os.ReadFile(filepath.Join(f.dir, "asked-"+what)); err == nil && len(b) > 0 {
			return string(b)
		}
	}
	t.Fatalf("the runtime was not asked to %s", what)
	return ""
}

// Main is the runtime, if this process was started as one, and does not return
// then.
func Main() {
	if dir := os.Getenv(fakeDir); dir != "" && filepath.Base(os.Args[0]) == container.Docker {
		os.Exit(fake{dir}.command(os.Args[1:]))
	}
}

type fake struct{ dir string }

func (f fake) on(failure string) (string, bool) {
	b, err := os.ReadFile(filepath.Join(f.dir, failure))
	return string(b), err == nil
}

func complain(code int, format string, args ...any) int {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	return code
}

func (f fake) command(args []string) int {
	must(os.WriteFile(filepath.Join(f.dir, "asked-"+args[0]), []byte(strings.Join(args, "\n")), 0o600))
	if _, down := f.on(Down); down {
		return complain(map[bool]int{true: 125, false: 1}[args[0] == "run"], "Cannot connect to the Docker daemon")
	}
	if args[0] == "run" {
		return f.run(args[1:])
	}
	for {
		if _, hangs := f.on(Hang); !hangs {
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	switch args[0] {
	case "info":
		fmt.Println("[]")
	case "ps":
		return f.list(args[len(args)-1])
	case "rm":
		return f.remove(args[3:])
	case "container": // inspect: nothing is known
		return complain(1, "No such container")
	case "image":
		if why, missing := f.on(NoImage); missing {
			return complain(1, "%s", why)
		}
	}
	return 0
}

// run runs a command of the machine as a container: labels, a pid, and the exit
// code are all there is to it.
func (f fake) run(args []string) int {
	if why, missing := f.on(NoImage); missing {
		return complain(125, "%s", why)
	}
	for _, hangs := f.on(HangRun); hangs; _, hangs = f.on(HangRun) {
		<-time.After(5 * time.Millisecond)
	}
	name, labels, note := "", "", ""
	for ; strings.HasPrefix(args[0], "--"); args = args[1:] {
		if args[0] == "--name" {
			name, args = args[1], args[1:]
		}
		if label, ok := strings.CutPrefix(args[0], "--label="); ok {
			labels += "label=" + label + "\n"
		}
		if file, ok := strings.CutPrefix(args[0], "--cidfile="); ok {
			note = file
		}
	}
	must(os.WriteFile(note, []byte(name), 0o600))
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = append(os.Environ(), "ENTROPY_SPOOL_ID=") // its environment betrays nothing: only the runtime can end it
	must(cmd.Start())
	must(os.WriteFile(filepath.Join(f.dir, name), []byte(fmt.Sprintf("%s%d", labels, cmd.Process.Pid)), 0o600))
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		for range term {
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
	}()
	_ = cmd.Wait()
	if s := cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signaled() {
		return 128 + int(s.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

func (f fake) list(filter string) int {
	names, err := filepath.Glob(filepath.Join(f.dir, "entropy-*"))
	must(err)
	for _, n := range names {
		if b, err := os.ReadFile(n); err == nil && strings.Contains(string(b), filter+"\n") {
			fmt.Println(filepath.Base(n))
		}
	}
	return 0
}

func (f fake) remove(names []string) int {
	if _, stuck := f.on(Stuck); stuck {
		return complain(1, "device or resource busy")
	}
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(f.dir, n))
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(string(b[strings.LastIndexByte(string(b), '\n')+1:]))
		must(err)
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		must(os.Remove(filepath.Join(f.dir, n)))
	}
	return 0
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
