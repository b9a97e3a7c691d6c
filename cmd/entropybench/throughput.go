package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/fabric"
)

// inProcess measures durable no-op jobs per second with a Go handler in the
// control plane's own process: no HTTP.
func inProcess(ctx context.Context, b *bench) error {
	dir := filepath.Join(b.dir, "inprocess")
	c, err := fabric.OpenControl(ctx, fabric.ControlConfig{DataDir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { _ = c.Run(ctx) })
	defer done.Wait()
	defer cancel()
	w, err := fabric.OpenWorker(ctx, fabric.WorkerConfig{DataDir: filepath.Join(dir, "worker"), Control: c, Name: "bench", Slots: benchSlots, Handlers: handlers})
	if err != nil {
		return err
	}
	done.Go(func() { _ = w.Run(ctx) })
	return throughput(ctx, "no-op jobs, Go handler in process", c.Service(), b.jobs, entropy.JobSpec{Handler: "noop"})
}

// overHTTP measures the same with a worker in another process, over HTTP.
func overHTTP(ctx context.Context, b *bench) error {
	return withProcesses(ctx, filepath.Join(b.dir, "http"), benchSlots, func(c *entropy.Client) error {
		return throughput(ctx, "no-op jobs, Go handler in another process over HTTP", c, b.jobs, entropy.JobSpec{Handler: "noop"})
	})
}

// throughput submits n jobs and times until all have succeeded.
func throughput(ctx context.Context, name string, s entropy.Service, n int, spec entropy.JobSpec) error {
	before, err := s.Status(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	may, stop := pace(ctx, s)
	defer stop()
	if err := submitAll(ctx, s, n, spec, may); err != nil {
		return err
	}
	submitted := time.Since(start)
	if err := await(ctx, s, int(before.Jobs[entropy.Succeeded])+n); err != nil {
		return err
	}
	took := time.Since(start)
	after, err := s.Status(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%-52s %9.0f jobs/s  (%d jobs, %.1fs; submitted after %.1fs; %.2f events per job)\n", name,
		float64(n)/took.Seconds(), n, took.Seconds(), submitted.Seconds(), float64(after.Seq-before.Seq)/float64(n))
	return nil
}

// withProcesses starts a control plane and a worker as processes and stops them.
func withProcesses(ctx context.Context, dir string, slots int, f func(*entropy.Client) error) error {
	control, url, err := startControl(ctx, dir)
	if err != nil {
		return err
	}
	defer stop(control)
	w := exec.CommandContext(ctx, os.Args[0], "worker", dir, url, fmt.Sprint(slots))
	w.Stderr = os.Stderr
	if err := w.Start(); err != nil {
		return err
	}
	defer stop(w)
	c, err := client(dir, url)
	if err != nil {
		return err
	}
	return f(c)
}

func startControl(ctx context.Context, dir string) (*exec.Cmd, string, error) {
	cmd := exec.CommandContext(ctx, os.Args[0], "control", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop(cmd)
		return nil, "", fmt.Errorf("the control plane did not start: %w", err)
	}
	return cmd, strings.TrimSpace(line), nil
}

func stop(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	_ = cmd.Wait()
}

func client(dir, url string) (*entropy.Client, error) {
	token, err := os.ReadFile(filepath.Join(dir, fabric.AdminTokenFile))
	if err != nil {
		return nil, err
	}
	return entropy.NewClient(entropy.ClientConfig{Server: url, Token: string(token)})
}

// execs measures /bin/true per second beside raw fork and exec.
func execs(ctx context.Context, b *bench) error {
	const n = 5000
	start := time.Now()
	var wg sync.WaitGroup
	for range runtime.NumCPU() {
		wg.Go(func() {
			for range n / runtime.NumCPU() {
				_ = exec.Command("/bin/true").Run()
			}
		})
	}
	wg.Wait()
	raw := n / time.Since(start).Seconds()
	fmt.Printf("%-52s %9.0f jobs/s\n", "raw fork and exec of /bin/true", raw)
	return withProcesses(ctx, filepath.Join(b.dir, "exec"), execSlots, func(c *entropy.Client) error {
		job := entropy.JobSpec{Command: []string{"/bin/true"}}
		if err := submitSome(ctx, c, execSlots, job, func() {}); err != nil { // until the worker is there and warm
			return err
		}
		if err := await(ctx, c, execSlots); err != nil {
			return err
		}
		start := time.Now()
		if err := throughput(ctx, "/bin/true through the fabric", c, n, job); err != nil {
			return err
		}
		fmt.Printf("%-52s %9.0f %%\n", "of raw", 100*n/time.Since(start).Seconds()/raw)
		return nil
	})
}

// execSlots is how many processes the worker of the fork and exec benchmark holds
// at a time: far more than there are processors, so that what is done per batch
// (a claim, an ACK, a commit) is shared by many.
const execSlots = 256

// benchSlots is how many no-op jobs the worker holds at a time. A job passes four
// commits, each shared with a thousand others, so that it is the number under way
// and not the speed of one that fills the pipe.
const benchSlots = 6000
