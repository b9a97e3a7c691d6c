package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

// children keeps apart the supervisor's own children: the leaders of runs, and
// orphans that came to it as subreaper.
type children struct {
	mu      sync.RWMutex // held for reading from a fork to its entry in leaders
	entries sync.Mutex
	leaders map[int]bool
}

func newChildren() (*children, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become subreaper: %w", err)
	}
	return &children{leaders: map[int]bool{}}, nil
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
		if c.leaders[pid] {
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

// envAssignment is the variable by which a process is known to belong to a run.
const envAssignment = "ENTROPY_ASSIGNMENT_ID"

// assignmentOf returns the assignment in a process's environment, or "".
func assignmentOf(pid int) entropy.AssignmentID {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return ""
	}
	for v := range bytes.SplitSeq(b, []byte{0}) {
		if id, ok := bytes.CutPrefix(v, []byte(envAssignment+"=")); ok {
			return entropy.AssignmentID(id)
		}
	}
	return ""
}

// killIf sends KILL to a process if it still is the one that check knows: the
// descriptor pins the process, so a reused pid cannot be hit.
func killIf(pid int, check func() bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if check() {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}
