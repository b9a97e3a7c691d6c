package worker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// The worker's own share of a job, with a control plane that costs nothing.
func BenchmarkNoop(b *testing.B) {
	noop := func(context.Context, *Run) (any, error) { return nil, nil }
	benchmark(b, Config{Slots: 4000, Handlers: map[string]Handler{"noop": noop}}, entropy.JobSpec{Handler: "noop"})
}

// As BenchmarkNoop, for a command through agent and supervisor.
func BenchmarkTrue(b *testing.B) {
	benchmark(b, Config{Slots: 32, Exec: true}, entropy.JobSpec{Command: []string{"/bin/true"}})
}

func benchmark(b *testing.B, conf Config, spec entropy.JobSpec) {
	f := newMemoryFabric()
	f.interval = time.Second
	conf.DataDir, conf.Name, conf.Service = b.TempDir(), "w", f
	n, err := New(conf)
	if err != nil {
		b.Fatal(err)
	}
	js := make([]*fakeJob, b.N)
	for i := range js {
		js[i] = f.submit(fmt.Sprint("a", i), spec)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	b.ResetTimer()
	go func() { done <- n.Run(ctx) }()
	f.await(b, "all jobs", func() bool { return n.counters.delivered.Load() >= int64(b.N)-int64(conf.Slots) })
	f.awaitDone(b, js...)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
	b.StopTimer()
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
