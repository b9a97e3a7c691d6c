package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// machine stands for a computer of the lab: a directory, and the processes of
// one node of the fabric. Killing it takes all of them at once.
type machine struct {
	name, dir, binary string
	args              []string

	log  *os.File
	cmd  *exec.Cmd
	done chan struct{} // closed when the node's process has ended
	err  error         // of the node's process; read it after done
}

// start turns the machine on. It may have been killed before.
func (m *machine) start() error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	var err error
	if m.log == nil {
		if m.log, err = os.OpenFile(m.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return err
		}
	}
	m.cmd = exec.Command(m.binary, m.args...)
	m.cmd.Stdout, m.cmd.Stderr, m.cmd.Dir = m.log, m.log, m.dir
	// A group of its own: Ctrl-C is for the demonstration, which stops its
	// machines in order.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := m.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", m.name, err)
	}
	m.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		m.err = cmd.Wait()
		close(done)
	}(m.cmd, m.done)
	return nil
}

func (m *machine) running() bool {
	if m.done == nil {
		return false
	}
	select {
	case <-m.done:
		return false
	default:
		return true
	}
}

// pid returns the node's pid, 0 if it was never started.
func (m *machine) pid() int {
	if m.cmd == nil || m.cmd.Process == nil {
		return 0
	}
	return m.cmd.Process.Pid
}

// tail returns the last lines of the node's log, for when something is wrong.
func (m *machine) tail() string {
	b, _ := os.ReadFile(m.dir + ".log")
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// lab is all machines of the demonstration.
type lab struct {
	dir      string
	machines []*machine
}

func (l *lab) add(binary, name string, args func(dir string) []string) *machine {
	m := &machine{name: name, binary: binary, dir: filepath.Join(l.dir, name)}
	m.args = args(m.dir)
	l.machines = append(l.machines, m)
	return m
}

// processes returns every process of the lab, parents first.
func (l *lab) processes() ([]process, error) {
	var known []int
	for _, m := range l.machines {
		known = append(known, m.pid())
	}
	return descendants(known)
}

// goneTimeout is how long the kernel may take to end what was killed.
const goneTimeout = 10 * time.Second

// kill pulls the plug of some machines: SIGKILL for every process, the parents
// first, so that none lives to record the death of its child. Those seen just
// before need not be looked for, which takes time.
func (l *lab) kill(seen []process, machines ...*machine) error {
	for _, p := range seen {
		syscall.Kill(p.pid, syscall.SIGKILL)
	}
	for deadline := time.Now().Add(goneTimeout); ; {
		all, err := l.processes()
		if err != nil {
			return err
		}
		left := 0
		for _, m := range machines {
			for _, p := range below(all, m.dir) {
				syscall.Kill(p.pid, syscall.SIGKILL)
				left++
			}
		}
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes outlive SIGKILL", left)
		}
		time.Sleep(2 * time.Millisecond)
	}
	for _, m := range machines {
		if m.done != nil {
			<-m.done
		}
	}
	return nil
}

// stopTimeout is how long a node may take to stop in order.
const stopTimeout = 20 * time.Second

// stop asks a node, and then the supervisor that a worker leaves to its jobs, to
// stop in order, and reports when they did not.
func (l *lab) stop(ctx context.Context, m *machine) error {
	if m.running() {
		m.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-m.done:
		case <-time.After(stopTimeout):
			return fmt.Errorf("%s does not stop\n%s", m.name, m.tail())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if m.err != nil {
		return fmt.Errorf("%s did not stop in order: %w\n%s", m.name, m.err, m.tail())
	}
	for deadline := time.Now().Add(stopTimeout); ; {
		all, err := l.processes()
		if err != nil {
			return err
		}
		left := below(all, m.dir)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: process %d (%s) does not stop", m.name, left[0].pid, left[0].command)
		}
		syscall.Kill(left[0].pid, syscall.SIGTERM)
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// clear ends whatever is left and returns what that was.
func (l *lab) clear() ([]process, error) {
	left, err := l.processes()
	if err != nil {
		return nil, err
	}
	err = l.kill(nil, l.machines...)
	for _, m := range l.machines {
		if m.log != nil {
			m.log.Close()
		}
	}
	rest, restErr := l.processes()
	for _, p := range rest { // of no machine: it should not exist, but it must not stay either
		syscall.Kill(p.pid, syscall.SIGKILL)
		err = errors.Join(err, fmt.Errorf("process %d (%s) belonged to no machine", p.pid, p.command))
	}
	return left, errors.Join(err, restErr)
}
