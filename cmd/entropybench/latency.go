package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

// latency measures one submit at a time into an idle fabric: until it is
// acknowledged, and until its worker has started it.
func latency(ctx context.Context, b *bench) error {
	return withProcesses(ctx, filepath.Join(b.dir, "latency"), 4, func(c *entropy.Client) error {
		var submit, start []time.Duration
		for range 300 {
			id := entropy.JobID(entropy.NewID())
			began := time.Now()
			r, err := c.Submit(ctx, []entropy.Submission{{ID: id, Spec: entropy.JobSpec{Handler: "noop"}}})
			if err != nil {
				return err
			}
			if r[0].Error != nil {
				return r[0].Error
			}
			submit = append(submit, time.Since(began))
			jobs, err := c.Wait(ctx, []entropy.JobID{id}, 30*time.Second)
			if err != nil {
				return err
			}
			if len(jobs) != 1 {
				return fmt.Errorf("job %s did not end", id)
			}
			start = append(start, jobs[0].StartedAt.Sub(jobs[0].CreatedAt))
		}
		report("submit over HTTP until acknowledged", submit[20:])
		report("idle submit to start (journal's clock, 1 ms)", start[20:])
		return nil
	})
}

func report(name string, d []time.Duration) {
	slices.Sort(d)
	fmt.Printf("%-52s p50 %s  p99 %s  max %s\n", name, d[len(d)/2].Round(10*time.Microsecond), d[len(d)*99/100].Round(10*time.Microsecond), d[len(d)-1].Round(10*time.Microsecond))
}

// queued measures the memory of a control plane with many queued jobs and how
// long it takes to be ready again after kill -9.
func queued(ctx context.Context, b *bench) error {
	dir := filepath.Join(b.dir, "queued")
	control, url, err := startControl(ctx, dir)
	if err != nil {
		return err
	}
	c, err := client(dir, url)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := submitAll(ctx, c, b.queued, entropy.JobSpec{Command: []string{"/bin/true"}}, func() {}); err != nil {
		return err
	}
	took := time.Since(start)
	fmt.Printf("%-52s %9.0f jobs/s  (%d jobs, %.1fs)\n", "submit over HTTP, nobody working", float64(b.queued)/took.Seconds(), b.queued, took.Seconds())
	fmt.Printf("%-52s %9d MiB\n", "RSS with them queued", rss(control.Process.Pid))
	_ = control.Process.Kill()
	_ = control.Wait()
	start = time.Now()
	control, _, err = startControl(ctx, dir)
	if err != nil {
		return err
	}
	fmt.Printf("%-52s %9.2f s\n", "restart after kill -9 until it serves", time.Since(start).Seconds())
	fmt.Printf("%-52s %9d MiB\n", "RSS after the restart", rss(control.Process.Pid))
	stop(control)
	return nil
}

// rss returns a process's resident memory in MiB, 0 when it cannot be read.
func rss(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(b), "\n") {
		var kib int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib / 1024
		}
	}
	return 0
}
