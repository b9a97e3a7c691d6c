package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// process is one line of the process table.
type process struct {
	pid, parent int
	state       byte
	command     string // argv, joined by spaces
	dir         string // its working directory
	environ     string
}

// prSetChildSubreaper is PR_SET_CHILD_SUBREAPER of <linux/prctl.h>.
const prSetChildSubreaper = 36

// adoptOrphans makes this process the parent of every descendant whose own
// parent dies, daemons included. So whatever the demonstration starts stays below it
// in the process table, and nothing can be left running unseen.
func adoptOrphans() error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return fmt.Errorf("become the parent of orphans: %w", errno)
	}
	return nil
}

// descendants returns every living process below this one, parents first.
// Orphans that have died are buried on the way; known are the pids of children
// that somebody else waits for.
func descendants(known []int) ([]process, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	children := map[int][]process{}
	for _, d := range dirs {
		if p, ok := readProcess(d); ok {
			children[p.parent] = append(children[p.parent], p)
		}
	}
	self := os.Getpid()
	var out []process
	for queue := []int{self}; len(queue) > 0; queue = queue[1:] {
		for _, p := range children[queue[0]] {
			if p.state == 'Z' || p.state == 'X' {
				if p.parent == self && !slices.Contains(known, p.pid) {
					syscall.Wait4(p.pid, nil, syscall.WNOHANG, nil)
				}
				continue
			}
			p.readDetails() // of the few that are ours: this has to be quick
			out = append(out, p)
			queue = append(queue, p.pid)
		}
	}
	return out, nil
}

// readProcess reads one process; false when it is gone by now.
func readProcess(dir string) (process, bool) {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	end := bytes.LastIndexByte(stat, ')') // the name before it may hold anything
	if err != nil || end < 0 {
		return process{}, false
	}
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) < 2 {
		return process{}, false
	}
	p := process{state: fields[0][0]}
	p.pid, _ = strconv.Atoi(filepath.Base(dir))
	p.parent, _ = strconv.Atoi(fields[1])
	return p, true
}

// readDetails reads what tells to which machine a process belongs. What cannot
// be read stays empty: the process is gone by now.
func (p *process) readDetails() {
	dir := filepath.Join("/proc", strconv.Itoa(p.pid))
	argv, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
	p.command = strings.TrimSpace(string(bytes.ReplaceAll(argv, []byte{0}, []byte{' '})))
	p.dir, _ = os.Readlink(filepath.Join(dir, "cwd"))
	environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
	p.environ = string(environ)
}

// below returns those of all that belong to the machine whose data is in dir:
// processes that name the directory (jobs do so in their environment) or work in
// it, and everything they started. Parents come first.
func below(all []process, dir string) []process {
	ours := map[int]bool{}
	var out []process
	for _, p := range all {
		if ours[p.parent] || names(p.command, dir) || names(p.environ, dir) || names(p.dir, dir) {
			ours[p.pid] = true
			out = append(out, p)
		}
	}
	return out
}

// names reports whether text has the path dir in it, or a path below it.
func names(text, dir string) bool {
	for {
		_, rest, ok := strings.Cut(text, dir)
		if !ok {
			return false
		}
		if rest == "" || strings.IndexByte("/ \x00", rest[0]) >= 0 {
			return true
		}
		text = rest
	}
}
