package fabric_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker"
	"github.com/entropy-fabric/entropy/cluster/bus/bustest"
	"github.com/entropy-fabric/entropy/fabric"
)

// The test binary plays every process of a lab: see TestMain.
const roleEnv = "ENTROPY_TEST_ROLE"

func TestMain(m *testing.M) {
	bustest.Main()
	if len(os.Args) > 1 && os.Args[1] == "supervisor" {
		os.Exit(fabric.SupervisorMain(os.Args[2:]))
	}
	switch os.Getenv(roleEnv) {
	case "control":
		os.Exit(playControl())
	case "worker":
		os.Exit(playWorker())
	case "burn":
		playBurn()
	}
	os.Exit(m.Run())
}

func playControl() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ttl, _ := time.ParseDuration(os.Getenv("TTL"))
	beat, _ := time.ParseDuration(os.Getenv("HEARTBEAT")) // "" means the default
	c, err := fabric.OpenControl(ctx, fabric.ControlConfig{DataDir: os.Getenv("DIR"), Listen: os.Getenv("LISTEN"), LeaseTTL: ttl, Heartbeat: beat, Gossip: fabric.GossipConfig{Profile: os.Getenv("PROFILE")},
		NoDiscovery: os.Getenv("NO_DISCOVERY") != "", Rules: fabric.RulesConfig{File: os.Getenv("RULES")}, Version: "test", Logger: testLogger(), CommitMark: commitMark(os.Getenv("MARK"))})
	if err == nil {
		fmt.Println(c.URL())
		err = c.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "control:", err)
		return 1
	}
	return 0
}

func playWorker() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	slots, _ := strconv.Atoi(os.Getenv("SLOTS"))
	w, err := fabric.OpenWorker(ctx, fabric.WorkerConfig{DataDir: os.Getenv("DIR"), Server: os.Getenv("SERVER"), TokenFile: os.Getenv("TOKEN_FILE"),
		Name: entropy.WorkerID(os.Getenv("NAME")), Slots: slots, Labels: map[string]string{"host": os.Getenv("NAME")}, Logger: testLogger(),
		Handlers: map[string]worker.Handler{"noop": func(context.Context, *worker.Run) (any, error) { return nil, nil }}})
	if err == nil {
		err = w.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 1
	}
	return 0
}

// playBurn keeps every processor busy twice over, until it is killed.
func playBurn() {
	n := 2 * runtime.NumCPU()
	runtime.GOMAXPROCS(n)
	for range n - 1 {
		go spin()
	}
	spin()
}

func spin() {
	for i := uint64(1); ; i = i*6364136223846793005 + 1442695040888963407 {
		if i == 0 {
			return // never: it keeps the loop from being left out
		}
	}
}

func testLogger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// commitMark returns a hook that notes in a shared page whether a commit is in
// flight, where it can be read after the process was killed.
func commitMark(path string) func(bool) {
	if path == "" {
		return nil
	}
	page, err := mapPage(path)
	if err != nil {
		panic(err)
	}
	return func(inFlight bool) {
		page[0] = 0
		if inFlight {
			page[0] = 1
		}
	}
}

func mapPage(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(4096); err != nil {
		return nil, err
	}
	return syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
}

// lab is a control plane and workers as processes on loopback.
type lab struct {
	t      *testing.T
	dir    string
	listen string
	ttl    time.Duration
	mark   []byte
	ctl    *process
	url    string

	mu sync.Mutex
	cl *entropy.Client // of url
}

// process is one of a lab's processes.
type process struct {
	cmd  *exec.Cmd
	once sync.Once
	logs *bytes.Buffer
}

func (p *process) kill() {
	p.once.Do(func() {
		_ = p.cmd.Process.Kill() // it may have ended by itself
		_ = p.cmd.Wait()
	})
}

func newLab(t *testing.T, ttl time.Duration) *lab {
	t.Helper()
	l := &lab{t: t, dir: t.TempDir(), listen: freeAddress(t), ttl: ttl}
	var err error
	if l.mark, err = mapPage(l.path("mark")); err != nil {
		t.Fatal(err)
	}
	l.startControl()
	return l
}

// freeAddress returns an address that is free now and stays so while its owner is
// down: it is below the ports that the kernel gives to those who name none.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no port from 20000 to 31999 is free")
	return ""
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

func (l *lab) start(role string, env ...string) (*process, *bufio.Reader) {
	l.t.Helper()
	p := &process{cmd: exec.Command(os.Args[0]), logs: new(bytes.Buffer)}
	p.cmd.Env = append(os.Environ(), append(env, roleEnv+"="+role)...)
	p.cmd.Stderr = p.logs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		p.kill()
		if l.t.Failed() && p.logs.Len() > 0 {
			text := p.logs.String()
			l.t.Logf("%s %v wrote:\n%s", role, env, text[max(0, len(text)-4000):])
		}
	})
	return p, bufio.NewReader(out)
}

// startControl starts the control plane and waits until it serves.
func (l *lab) startControl() {
	l.t.Helper()
	p, out := l.start("control", "DIR="+l.path("control"), "LISTEN="+l.listen, "TTL="+l.ttl.String(), "MARK="+l.path("mark"))
	line, err := out.ReadString('\n')
	if err != nil {
		p.kill()
		l.t.Fatalf("the control plane did not start: %v\n%s", err, p.logs)
	}
	l.ctl, l.url = p, strings.TrimSpace(line)
}

// node is a worker of the lab: agent, supervisor and jobs.
type labWorker struct {
	l     *lab
	name  string
	agent *process
	slots int
}

func (l *lab) worker(name string, slots int) *labWorker {
	l.t.Helper()
	w := &labWorker{l: l, name: name, slots: slots}
	w.startAgent()
	l.t.Cleanup(w.killAll)
	return w
}

func (w *labWorker) startAgent() {
	w.agent, _ = w.l.start("worker", "DIR="+w.dir(), "SERVER="+w.l.url, "NAME="+w.name, "SLOTS="+strconv.Itoa(w.slots),
		"TOKEN_FILE="+filepath.Join(w.l.path("control"), fabric.WorkerTokenFile))
}

func (w *labWorker) dir() string { return w.l.path("worker-" + w.name) }

// pids returns the processes of the worker's machine other than its agent: those
// whose command line or environment names its directory.
func (w *labWorker) pids(what string) []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || pid == w.agent.cmd.Process.Pid {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		environ, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		isSupervisor := bytes.Contains(cmdline, []byte("supervisor")) && bytes.Contains(cmdline, []byte(w.dir()))
		isJob := bytes.Contains(environ, []byte("ENTROPY_ARTIFACT_DIR="+w.dir()))
		if what != "jobs" && isSupervisor || what != "supervisor" && isJob && !isSupervisor {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (w *labWorker) signal(s syscall.Signal, what string) {
	for _, pid := range w.pids(what) {
		_ = syscall.Kill(pid, s) // it may be gone already
	}
}

// killAll is the power cut of one machine.
func (w *labWorker) killAll() {
	w.agent.kill()
	for range 5 { // a supervisor may have been starting something
		w.signal(syscall.SIGKILL, "all")
	}
}

// freeze and thaw stop and continue the whole machine.
func (w *labWorker) freeze() {
	_ = w.agent.cmd.Process.Signal(syscall.SIGSTOP)
	w.signal(syscall.SIGSTOP, "all")
}

func (w *labWorker) thaw() {
	w.signal(syscall.SIGCONT, "all")
	_ = w.agent.cmd.Process.Signal(syscall.SIGCONT)
}

// client returns one client for as long as the control plane is where it is: what
// polls would otherwise leave a connection open at each look.
func (l *lab) client() *entropy.Client {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cl != nil && l.cl.Server() == l.url {
		return l.cl
	}
	token, err := os.ReadFile(filepath.Join(l.path("control"), fabric.AdminTokenFile))
	if err != nil {
		l.t.Fatal(err)
	}
	if l.cl, err = entropy.NewClient(entropy.ClientConfig{Server: l.url, Token: string(token)}); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(l.cl.CloseIdle)
	return l.cl
}

func (l *lab) submit(c *entropy.Client, spec entropy.JobSpec) entropy.JobID {
	l.t.Helper()
	r, err := c.Submit(context.Background(), []entropy.Submission{{ID: entropy.JobID(entropy.NewID()), Spec: spec}})
	if err != nil {
		l.t.Fatal(err)
	}
	if r[0].Error != nil {
		l.t.Fatal(r[0].Error)
	}
	return r[0].ID
}

// until waits for a job to satisfy ok, at most 60 s.
func (l *lab) until(c *entropy.Client, id entropy.JobID, what string, ok func(*entropy.Job) bool) *entropy.Job {
	l.t.Helper()
	var last *entropy.Job
	eventually(l.t, 60*time.Second, func() bool {
		j, err := c.Job(context.Background(), id)
		if err != nil {
			return false
		}
		last = j
		return ok(j)
	}, func() string { return fmt.Sprintf("job %s: waiting for %s, it is %+v", id, what, last) })
	return last
}

func (l *lab) untilState(c *entropy.Client, id entropy.JobID, s entropy.State) *entropy.Job {
	l.t.Helper()
	return l.until(c, id, string(s), func(j *entropy.Job) bool { return j.State == s })
}

// eventually polls ok until it holds.
func eventually(t *testing.T, limit time.Duration, ok func() bool, what func() string) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatal(what())
		case <-tick.C:
		}
	}
}
