package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

// children keeps apart the supervisor's own children: the leaders of runs, and
// orphans that came to it as subreaper.
type children struct {
	spawner chan func()  // runs what it is given on one thread that never ends
	mu      sync.RWMutex // held for reading from a fork to its entry in leaders
	entries sync.Mutex
	leaders map[int]bool
}

func newChildren() (*children, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become subreaper: %w", err)
	}
	c := &children{spawner: make(chan func()), leaders: map[int]bool{}}
	go func() {
		runtime.LockOSThread() // PR_SET_PDEATHSIG is about the thread that forked
		for f := range c.spawner {
			f()
		}
	}()
	return c, nil
}

// onSpawner runs f on the thread whose end is the end of the supervisor.
func (c *children) onSpawner(f func()) {
	done := make(chan struct{})
	c.spawner <- func() { defer close(done); f() }
	<-done
}

// fork runs f, which starts a leader.
func (c *children) fork(f func() (int, error)) (int, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	pid, err := f()
	if err == nil {
		c.entries.Lock()
		c.leaders[pid] = true
		c.entries.Unlock()
	}
	return pid, err
}

// reap collects a leader that has ended.
func (c *children) reap(pid int) (unix.WaitStatus, unix.Rusage, error) {
	var status unix.WaitStatus
	var usage unix.Rusage
	var err error
	for {
		if _, err = unix.Wait4(pid, &status, 0, &usage); err != unix.EINTR {
			break
		}
	}
	c.entries.Lock()
	delete(c.leaders, pid)
	c.entries.Unlock()
	return status, usage, err
}

// orphans returns the children that lead no run and are alive; those that have
// ended are reaped.
func (c *children) orphans() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	var alive []int
	for _, pid := range childPIDs() {
		c.entries.Lock()
		leads := c.leaders[pid]
		c.entries.Unlock()
		if leads {
			continue
		}
		if n, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err == nil && n == 0 {
			alive = append(alive, pid)
		}
	}
	return alive
}

// childPIDs returns the processes whose parent is this one.
func childPIDs() []int {
	const tasks = "/proc/self/task/"
	var pids []int
	lists := 0
	for _, tid := range pidsIn(tasks) {
		if b, err := os.ReadFile(tasks + strconv.Itoa(tid) + "/children"); err == nil {
			lists++
			pids = append(pids, parsePIDs(b)...)
		}
	}
	if lists > 0 {
		return pids
	}
	for _, pid := range pidsIn("/proc") { // a kernel without CONFIG_PROC_CHILDREN
		if s, ok := procStat(pid); ok && s.parent == os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// pidsIn returns the numbers among the names in a directory of /proc.
func pidsIn(dir string) []int {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	return parsePIDs([]byte(strings.Join(names, " ")))
}

// stat is what is needed of proc_pid_stat(5).
type stat struct {
	state      string
	parent     int
	startTicks uint64
}

func procStat(pid int) (stat, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, false
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // the name may hold anything
	if len(f) < 20 {
		return stat{}, false
	}
	parent, err1 := strconv.Atoi(f[1])
	ticks, err2 := strconv.ParseUint(f[19], 10, 64)
	return stat{f[0], parent, ticks}, err1 == nil && err2 == nil
}

// zombie reports whether a process has ended, and only its entry is left.
func zombie(pid int) bool {
	s, ok := procStat(pid)
	return !ok || s.state == "Z" || s.state == "X"
}

// The variables by which a process is known to belong to a run: the assignment,
// and the spool it is recorded in, so that no other worker's is taken for it.
const (
	envAssignment = "ENTROPY_ASSIGNMENT_ID"
	envSpool      = "ENTROPY_SPOOL_ID"
)

// assignmentOf returns the assignment in a process's environment, or "" if it
// has none or one of another spool.
func assignmentOf(pid int, spool string) entropy.AssignmentID {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return ""
	}
	var id, of string
	for v := range bytes.SplitSeq(b, []byte{0}) {
		switch name, value, _ := strings.Cut(string(v), "="); name {
		case envAssignment:
			id = value
		case envSpool:
			of = value
		}
	}
	if of != spool {
		return ""
	}
	return entropy.AssignmentID(id)
}

// firstInside reports whether a process is the first of a PID namespace below this
// one's, as that of a container is.
func firstInside(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			f := strings.Fields(ids)
			return len(f) > 1 && f[len(f)-1] == "1"
		}
	}
	return false
}

// killIf sends KILL by signalIf.
func killIf(pid int, check func() bool) { signalIf(pid, unix.SIGKILL, check) }

// signalIf sends a signal to a process if it still is the one that check knows: the
// descriptor pins the process, so a reused pid cannot be hit.
func signalIf(pid int, signal unix.Signal, check func() bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if check() {
		_ = unix.PidfdSendSignal(fd, signal, nil, 0)
	}
}
