package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy/actors/worker/container"
)

// output runs a program of the worker's own, in its own process group, which is
// killed when ctx ends. It is a [container.Exec] for the supervisor, where a
// child that leads no run would be reaped as an orphan.
func (c *children) output(ctx context.Context, argv []string) (container.Output, error) {
	var none container.Output
	stdout, stderr, err := twoFiles()
	if err != nil {
		return none, err
	}
	defer stdout.Close()
	defer stderr.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return none, err
	}
	defer null.Close()
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{null.Fd(), stdout.Fd(), stderr.Fd()}, Sys: &syscall.SysProcAttr{Setpgid: true}}
	pid, err := c.fork(func() (int, error) { return syscall.ForkExec(argv[0], argv, attr) })
	if err != nil {
		return none, fmt.Errorf("execute %s: %w", argv[0], err)
	}
	var mu sync.Mutex
	ended := false
	stop := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if !ended {
			_ = unix.Kill(-pid, unix.SIGKILL)
		}
	})
	defer stop()
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	mu.Lock()
	ended = true // from here on the pid may name another
	mu.Unlock()
	status, _, err := c.reap(pid)
	if err != nil {
		return none, err
	}
	if ctx.Err() != nil {
		return none, fmt.Errorf("%s did not answer: %w", argv[0], ctx.Err())
	}
	code := -1
	if status.Exited() {
		code = status.ExitStatus()
	}
	return container.Output{Stdout: content(stdout), Stderr: content(stderr), Code: code}, nil
}

// twoFiles returns two files in memory. Unlike a pipe's, their readers need not
// wait for whatever else has inherited them.
func twoFiles() (a, b *os.File, err error) {
	for _, f := range []**os.File{&a, &b} {
		fd, ferr := unix.MemfdCreate("output", unix.MFD_CLOEXEC)
		if ferr != nil {
			err = errors.Join(err, fmt.Errorf("make a file in memory: %w", ferr))
			continue
		}
		*f = os.NewFile(uintptr(fd), "output")
	}
	if err != nil && a != nil {
		a.Close()
	}
	return a, b, err
}

func content(f *os.File) string {
	b := make([]byte, container.MaxOutput)
	n, _ := f.ReadAt(b, 0) // the end of the file is no error here
	return string(b[:n])
}
