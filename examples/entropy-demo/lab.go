package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/entropy-fabric/entropy"
)

const logName = "entropy.log"

// lab is the fabric of the demonstration: a control plane and a worker.
type lab struct {
	up     *exec.Cmd
	exited chan struct{}
	client *entropy.Client
}

// start starts it on free ports and waits until it serves.
func (l *lab) start(ctx context.Context, binary, dir, rules string) error {
	log, err := os.Create(filepath.Join(dir, logName))
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	l.up = exec.Command(binary, "up", "--data", data, "--listen", "127.0.0.1:0", "--no-gossip", "--no-discovery", "--slots", "1", "--name", "demo", "--rules", rules)
	l.up.Stdout, l.up.Stderr = log, log
	l.up.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demonstration, which stops it in order
	if err := l.up.Start(); err != nil {
		return err
	}
	l.exited = make(chan struct{})
	go func() { l.up.Wait(); log.Close(); close(l.exited) }()
	return until(ctx, 30*time.Second, "the control plane serves", func() (bool, error) {
		select {
		case <-l.exited:
			return false, fmt.Errorf("it ended: %s", l.up.ProcessState)
		default:
		}
		url, err1 := os.ReadFile(filepath.Join(data, "control.url"))
		token, err2 := os.ReadFile(filepath.Join(data, "admin.token"))
		if err1 != nil || err2 != nil {
			return false, nil // not yet
		}
		client, err := entropy.NewClient(entropy.ClientConfig{Server: strings.TrimSpace(string(url)), Token: strings.TrimSpace(string(token))})
		if err != nil {
			return false, err
		}
		l.client = client
		_, err = client.Status(ctx)
		return err == nil, nil
	})
}

// until polls until ok, at most limit.
func until(ctx context.Context, limit time.Duration, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		yes, err := ok()
		switch {
		case err != nil:
			return fmt.Errorf("until %s: %w", what, err)
		case yes:
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it took longer than %s until %s", limit, what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop stops everything: the jobs, the control plane and its worker, and the
// supervisor, which would wait for them to come back. It returns what lives on.
func (l *lab) stop() (left []string) {
	if l.up == nil || l.up.Process == nil {
		return nil
	}
	if l.client != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if page, err := l.client.Jobs(ctx, entropy.JobFilter{States: []entropy.State{entropy.Running}}); err == nil {
			for _, j := range page.Jobs {
				l.client.Cancel(ctx, j.ID, entropy.Operation{ID: "end-" + string(j.ID)}) // else its process is killed below
			}
		}
		l.client.CloseIdle()
	}
	l.up.Process.Signal(syscall.SIGTERM)
	select {
	case <-l.exited:
	case <-time.After(30 * time.Second):
		l.up.Process.Kill()
	}
	for i := range 200 {
		if left = orphans(); len(left) == 0 {
			return nil
		}
		for _, p := range left {
			pid, _ := strconv.Atoi(strings.Fields(p)[0])
			signal := syscall.SIGTERM
			if i > 100 {
				signal = syscall.SIGKILL
			}
			syscall.Kill(pid, signal)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return left
}

// prSetChildSubreaper is PR_SET_CHILD_SUBREAPER of <linux/prctl.h>.
const prSetChildSubreaper = 36

// adoptOrphans makes this process the parent of every descendant whose own parent
// dies, so that nothing can be left running unseen.
func adoptOrphans() error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return fmt.Errorf("become the parent of orphans: %w", errno)
	}
	return nil
}

// orphans returns this process's children that live, as "PID COMMAND".
func orphans() (all []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		stat, err := os.ReadFile(filepath.Join(d, "stat"))
		end := bytes.LastIndexByte(stat, ')') // the name before it may hold anything
		if err != nil || end < 0 {
			continue
		}
		f := strings.Fields(string(stat[end+1:]))
		if len(f) < 2 || f[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(d))
		if f[0] == "Z" || f[0] == "X" {
			syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
			continue
		}
		argv, _ := os.ReadFile(filepath.Join(d, "cmdline"))
		all = append(all, fmt.Sprintf("%d %s", pid, strings.TrimSpace(string(bytes.ReplaceAll(argv, []byte{0}, []byte{' '})))))
	}
	return all
}
