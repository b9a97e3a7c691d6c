package supervisor

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

// tree is every process of one run: its group, its control group if it has one,
// and otherwise the orphans that carry its assignment.
type tree struct {
	id       entropy.AssignmentID
	spool    string
	leader   int // pid and process group
	cgroup   *cgroup
	children *children
	client   bool // the leader passes signals on to a container
	killed   bool // something outlived the leader, and may have to be reaped here
}

// term sends TERM to every process once, of a container to its first.
func (t *tree) term() {
	if t.client && t.termContained() {
		return
	}
	_ = unix.Kill(-t.leader, unix.SIGTERM)
	if t.cgroup == nil || t.client {
		return
	}
	for _, pid := range t.cgroup.pids() {
		if pg, err := unix.Getpgid(pid); err == nil && pg != t.leader {
			_ = unix.Kill(pid, unix.SIGTERM)
		}
	}
}

// termContained sends TERM to the first process of the container, as its client would,
// and reports whether it was seen. A client that was begun a moment ago does not pass
// signals on yet: it ends itself, and its job would get no grace.
func (t *tree) termContained() (sent bool) {
	for _, pid := range pidsIn("/proc") {
		first := func() bool { return assignmentOf(pid, t.spool) == t.id && firstInside(pid) }
		if first() {
			signalIf(pid, unix.SIGTERM, first)
			sent = true
		}
	}
	return sent
}

// kill sends KILL to every process.
func (t *tree) kill() {
	if t.cgroup != nil {
		t.cgroup.kill()
		return
	}
	_ = unix.Kill(-t.leader, unix.SIGKILL)
	for _, pid := range t.strays() {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// sweep ends what the leader left behind, cheaply where that is nothing. The
// leader has ended and is not reaped.
func (t *tree) sweep() {
	switch {
	case t.cgroup == nil:
		_ = unix.Kill(-t.leader, unix.SIGKILL) // strays are found by awaitEnd
	case t.cgroup.populated():
		t.killed = true
		t.cgroup.kill()
	}
}

// empty reports whether no process is left. The leader must have been reaped.
func (t *tree) empty() bool {
	if t.cgroup != nil {
		return !t.cgroup.populated() || len(t.cgroup.pids()) == 0
	}
	for { // members of the group that came here as orphans and have ended
		if n, err := unix.Wait4(-t.leader, nil, unix.WNOHANG, nil); err != nil || n <= 0 {
			break
		}
	}
	return unix.Kill(-t.leader, 0) == unix.ESRCH && len(t.strays()) == 0
}

// strays returns the orphans that left the group but carry the assignment.
func (t *tree) strays() []int {
	var mine []int
	for _, pid := range t.children.orphans() {
		if assignmentOf(pid, t.spool) == t.id {
			mine = append(mine, pid)
		}
	}
	return mine
}

// awaitEnd blocks until no process is left. While it waits, again is called, and
// kills when that is due; a process that cannot be killed (it hangs in the
// kernel) is waited for without end: as long as it is there it may write.
func (t *tree) awaitEnd(again func()) {
	pause := time.Millisecond
	for !t.empty() {
		t.killed = true
		again()
		time.Sleep(pause) // the kernel tells nobody when a foreign process has gone
		pause = min(2*pause, 50*time.Millisecond)
	}
	if t.killed && t.cgroup != nil {
		t.children.orphans()
	}
}
