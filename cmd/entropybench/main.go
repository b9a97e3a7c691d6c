// Command entropybench measures the fabric on this machine and prints what was
// reached beside a baseline of the same run. It starts real control planes and
// real worker processes on loopback, in a temporary directory.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker"
	"github.com/entropy-fabric/entropy/fabric"
)

// benches in the order in which they run.
var benches = []struct {
	name string
	run  func(ctx context.Context, b *bench) error
}{
	{"inprocess", inProcess}, {"http", overHTTP}, {"exec", execs}, {"latency", latency}, {"queued", queued}, {"actions", actions},
}

// bench is one run of the program.
type bench struct {
	dir    string // temporary
	jobs   int
	queued int
}

func main() {
	// As the entropy command does for a control plane: see relaxCollector there.
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(400 << 20)
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "supervisor":
			os.Exit(fabric.SupervisorMain(os.Args[2:]))
		case "worker":
			os.Exit(workerMain(os.Args[2], os.Args[3], os.Args[4]))
		case "control":
			os.Exit(controlMain(os.Args[2]))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "entropybench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var b bench
	only := flag.String("only", "", "run these, comma separated: inprocess, http, exec, latency, queued, actions")
	flag.IntVar(&b.jobs, "jobs", 100_000, "no-op jobs per throughput run")
	flag.IntVar(&b.queued, "queued", 1_000_000, "jobs to queue")
	cpu := flag.String("cpuprofile", "", "write a CPU profile of this process here")
	allocs := flag.String("memprofile", "", "write a profile of what this process allocated here")
	flag.Parse()
	stopProfiles, err := startProfiles(*cpu, *allocs)
	if err != nil {
		return err
	}
	defer stopProfiles()
	dir, err := os.MkdirTemp("", "entropybench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b.dir = dir
	fmt.Printf("%s, %d CPUs, %s\n", runtime.Version(), runtime.NumCPU(), filepath.Base(dir))
	for _, x := range benches {
		if *only != "" && !strings.Contains(","+*only+",", ","+x.name+",") {
			continue
		}
		before := cpuTime()
		if err := x.run(ctx, &b); err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
		if x.name == "inprocess" || x.name == "http" {
			fmt.Printf("%-52s %9.1f µs per job, all processes\n", "processor time", (cpuTime()-before).Seconds()*1e6/float64(b.jobs))
		}
	}
	return nil
}

// noop is the handler of the jobs that measure the fabric and nothing else.
func noop(context.Context, *worker.Run) (any, error) { return nil, nil }

var handlers = map[string]worker.Handler{"noop": noop}

// controlMain runs a control plane in this process and prints its URL.
func controlMain(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c, err := fabric.OpenControl(ctx, fabric.ControlConfig{DataDir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(c.URL())
	if err := c.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// workerMain runs a worker in this process.
func workerMain(dir, server, slots string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var n int
	fmt.Sscan(slots, &n)
	w, err := fabric.OpenWorker(ctx, fabric.WorkerConfig{DataDir: filepath.Join(dir, "worker"), Server: server,
		TokenFile: filepath.Join(dir, fabric.WorkerTokenFile), Name: "bench", Slots: n, Handlers: handlers})
	if err == nil {
		err = w.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// submitAll submits n jobs in full batches from a few submitters at once, each of
// which first asks may.
func submitAll(ctx context.Context, s entropy.Service, n int, spec entropy.JobSpec, may func()) error {
	const submitters = 4
	errs := make(chan error, submitters)
	for i := range submitters {
		share := n / submitters
		if i == 0 {
			share += n % submitters
		}
		go func() { errs <- submitSome(ctx, s, share, spec, may) }()
	}
	for range submitters {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func submitSome(ctx context.Context, s entropy.Service, n int, spec entropy.JobSpec, may func()) error {
	for n > 0 {
		may()
		batch := make([]entropy.Submission, min(n, entropy.MaxBatch))
		for i := range batch {
			batch[i] = entropy.Submission{ID: entropy.JobID(entropy.NewID()), Spec: spec}
		}
		results, err := s.Submit(ctx, batch)
		if err != nil {
			return err
		}
		for _, r := range results {
			if r.Error != nil {
				return r.Error
			}
		}
		n -= len(batch)
	}
	return nil
}

// maxAhead is how far submission may run ahead of completion in a throughput run:
// a steady flow is measured, not a backlog.
const maxAhead = 15_000

// pace returns a function that waits until fewer than maxAhead jobs are under
// way, and one that stops looking.
func pace(ctx context.Context, s entropy.Service) (may, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var mu sync.Mutex
	room := sync.NewCond(&mu)
	open := 0
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			st, err := s.Status(ctx)
			if err == nil {
				ahead := 0
				for state, n := range st.Jobs {
					if !state.Terminal() {
						ahead += int(n)
					}
				}
				mu.Lock()
				open = max(0, (maxAhead-ahead)/entropy.MaxBatch)
				mu.Unlock()
				room.Broadcast()
			}
			<-tick.C
		}
	}()
	return func() {
		mu.Lock()
		defer mu.Unlock()
		for open <= 0 && ctx.Err() == nil {
			room.Wait()
		}
		open--
	}, cancel
}

// await waits until n jobs have succeeded.
func await(ctx context.Context, s entropy.Service, n int) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := s.Status(ctx)
		if err != nil {
			return err
		}
		if st.Jobs[entropy.Failed] > 0 {
			return fmt.Errorf("%d jobs failed", st.Jobs[entropy.Failed])
		}
		if st.Jobs[entropy.Succeeded] >= int64(n) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
