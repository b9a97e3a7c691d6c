package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// cgroups makes control groups below one directory. They are reused: a job
// costs neither mkdir nor rmdir.
type cgroups struct {
	dir string

	mu    sync.Mutex
	count int
}

// cgroup is the control group of one run at a time. Its open files make the
// check after each run one pread.
type cgroup struct {
	path   string
	dir    *os.File
	events *os.File
	killed atomic.Bool // see kill
}

// openCgroups makes the directory entropy/<name> below the process's own place
// in the cgroup v2 hierarchy. An error says why there can be none.
func openCgroups(name string) (*cgroups, error) {
	base, err := cgroupBase()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(base, "entropy", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, "cgroup.kill")); err != nil {
		return nil, fmt.Errorf("the kernel has no cgroup.kill (Linux 5.14): %w", err)
	}
	return &cgroups{dir: dir}, nil
}

// cgroupBase returns the directory of the process's own cgroup v2.
func cgroupBase() (string, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(own)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			mount, err := cgroupMount(string(mounts))
			return filepath.Join(mount, path), err
		}
	}
	return "", errors.New("this process is in no cgroup v2")
}

// cgroupMount finds where cgroup v2 is mounted; see proc_pid_mountinfo(5).
func cgroupMount(mounts string) (string, error) {
	for line := range strings.Lines(mounts) {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if ok && strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 && fields[3] == "/" {
			return fields[4], nil
		}
	}
	return "", errors.New("cgroup v2 is not mounted")
}

// maxLeft bounds how many groups that a dead supervisor left may be passed over.
const maxLeft = 10_000

// open makes a control group. Of those that a dead supervisor left, it takes the
// place; one that still has processes, which are ended, is passed over.
func (c *cgroups) open() (*cgroup, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range maxLeft {
		c.count++
		path := filepath.Join(c.dir, strconv.Itoa(c.count))
		_ = unix.Rmdir(path)
		err := os.Mkdir(path, 0o755)
		if err == nil {
			return openCgroup(path)
		}
		if !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		_ = killCgroup(path)
	}
	return nil, fmt.Errorf("%d control groups in %s still have processes", maxLeft, c.dir)
}

func openCgroup(path string) (*cgroup, error) {
	g := &cgroup{path: path}
	var err error
	if g.dir, err = os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		return nil, err
	}
	if g.events, err = os.Open(filepath.Join(path, "cgroup.events")); err != nil {
		g.dir.Close()
		return nil, err
	}
	return g, nil
}

// populated reports whether any process is in the group.
func (g *cgroup) populated() bool {
	var b [256]byte
	n, err := g.events.ReadAt(b[:], 0)
	if n == 0 && err != nil {
		return true // unknown is not empty
	}
	return !bytes.Contains(b[:n], []byte("populated 0"))
}

// pids returns the processes in the group.
func (g *cgroup) pids() []int {
	b, err := os.ReadFile(filepath.Join(g.path, "cgroup.procs"))
	if err != nil {
		return nil
	}
	return parsePIDs(b)
}

func parsePIDs(b []byte) []int {
	var pids []int
	for f := range strings.FieldsSeq(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// kill ends every process in the group and below it. The group is of no use after
// that: newer kernels (seen on 6.18) at once kill what is cloned into a group that
// was ever killed.
func (g *cgroup) kill() {
	g.killed.Store(true)
	_ = killCgroup(g.path)
}

func killCgroup(path string) error {
	return os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0)
}

// close removes the group. One that is still populated stays, for the next
// supervisor to find.
func (g *cgroup) close() {
	g.dir.Close()
	g.events.Close()
	_ = unix.Rmdir(g.path)
}

// close removes the directory with its groups. One that is populated stays.
func (c *cgroups) close() {
	list, _ := filepath.Glob(filepath.Join(c.dir, "*", "cgroup.events"))
	for _, events := range list {
		_ = unix.Rmdir(filepath.Dir(events))
	}
	_ = unix.Rmdir(c.dir)
}
