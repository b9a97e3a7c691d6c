package supervisor

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/entropy-fabric/entropy/actors/worker/container"
)

// keeper is a process that ends the supervisor's containers when it has died.
//
// The processes of a job end with the supervisor by themselves where that is
// due: the kernel kills the child of a dead parent. A container's processes are
// no children of the supervisor, so somebody has to outlive it. The keeper holds
// the reading end of a pipe whose writing end only the supervisor has. It reads
// a farewell from it, or its end.
type keeper struct {
	command []string // program and arguments that lead to keep; empty: there is none
	pid     int      // 0: not started
	pipe    *os.File
}

const farewell = "done\n"

// keeperPatience bounds a keeper's tries with a runtime that does not answer.
// The next supervisor tries again.
const keeperPatience = time.Hour

// ensure starts the keeper unless it runs. The caller holds the boxes' lock.
func (k *keeper) ensure(b *boxes) error {
	if len(k.command) == 0 || k.pid != 0 && !leaderEnded(k.pid) {
		return nil
	}
	if k.pid != 0 {
		b.log.Warn("the keeper of containers has ended; starting another")
		k.end(b, "")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		w.Close()
		return err
	}
	defer null.Close()
	attr := &syscall.ProcAttr{Dir: b.state, Env: os.Environ(), Files: []uintptr{r.Fd(), null.Fd(), os.Stderr.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true}}
	argv := append(append([]string{}, k.command...), "--state", b.state, "--keep", b.self)
	pid, err := b.children.fork(func() (int, error) { return syscall.ForkExec("/proc/self/exe", argv, attr) })
	if err != nil {
		w.Close()
		return fmt.Errorf("start the keeper of containers: %w", err)
	}
	k.pid, k.pipe = pid, w
	return nil
}

// end lets go of the keeper with a last word.
func (k *keeper) end(b *boxes, word string) {
	if k.pid == 0 {
		return
	}
	_, _ = io.WriteString(k.pipe, word) // one that is gone needs no word
	k.pipe.Close()
	_, _, _ = b.children.reap(k.pid)
	k.pid = 0
}

// close ends the keeper. Unless all runs have ended, their containers are its to
// end, and nobody waits for that.
func (b *boxes) close(idle bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keeper.pid == 0 {
		return
	}
	if idle {
		b.keeper.end(b, farewell)
		return
	}
	b.keeper.pipe.Close()
}

// keep is the keeper's process: it waits for the supervisor that began it to
// end, and unless that said farewell, ends its containers.
func keep(state, supervisor string, in io.Reader, log *slog.Logger) error {
	said, err := io.ReadAll(io.LimitReader(in, int64(len(farewell))))
	if err != nil || string(said) == farewell {
		return err
	}
	log.Warn("the supervisor has died; ending its containers")
	ctx, cancel := context.WithTimeout(context.Background(), keeperPatience)
	defer cancel()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 30*time.Second) {
		runtimes, err := readRuntimes(state)
		if err == nil {
			err = removeAll(ctx, runtimes, container.Command, container.LabelSupervisor, supervisor)
		}
		if err == nil {
			return nil
		}
		log.Error("containers of a dead supervisor may still run", slog.Any("error", err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}
