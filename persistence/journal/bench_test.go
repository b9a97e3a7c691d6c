package journal

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// BenchmarkAppend measures whole job lives through Append: one operation is one
// event, four events a job (submitted, assigned, started, succeeded), each an
// append of its own by an actor that waits for it. What to append is made
// beforehand, and at most benchEvents of it: run it with -benchtime=100000x.
func BenchmarkAppend(b *testing.B) {
	for _, producers := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("producers=%d", producers), func(b *testing.B) { benchAppend(b, producers) })
	}
}

const benchEvents = 200_000

func benchAppend(b *testing.B, producers int) {
	j := open(b, Config{Path: filepath.Join(b.TempDir(), "journal.db")})
	lives := make([][4]entropy.Change, min(b.N, benchEvents)/4+1)
	for i := range lives {
		k, worker := newTracker(entropy.NewID()), fmt.Sprintf("worker-%d", i%100)
		lives[i] = [4]entropy.Change{k.submit(b, spec()), k.assign(b, worker, uint64(i+1)), k.ack(b), k.succeed(b)}
	}
	runtime.GC()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range producers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(lives) {
					return
				}
				for n := range lives[i] {
					must(b, j, lives[i][n])
				}
				lives[i] = [4]entropy.Change{}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	s := j.Stats()
	b.ReportMetric(float64(s.Events)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(s.Events)/float64(s.Batches), "events/batch")
	b.ReportMetric(s.Commit.Sum/float64(s.Commit.Count)*1e3, "ms/commit")
	b.ReportMetric(s.Commit.Sum/b.Elapsed().Seconds(), "writer-busy")
}

// BenchmarkRestart measures what a start with many queued jobs costs: opening the
// journal and reading the scheduler's index. One operation is the whole.
func BenchmarkRestart(b *testing.B) {
	const queued = 1_000_000
	path := filepath.Join(b.TempDir(), "journal.db")
	fill(b, path, queued)
	var took time.Duration
	for b.Loop() {
		start := time.Now()
		j := open(b, Config{Path: path})
		opened := time.Since(start)
		n := 0
		keep := make([]QueuedJob, 0, queued)
		if err := j.EachQueued(context.Background(), func(q QueuedJob) error { keep = append(keep, q); n++; return nil }); err != nil {
			b.Fatal(err)
		}
		took = time.Since(start)
		if n != queued {
			b.Fatalf("read %d queued jobs", n)
		}
		b.ReportMetric(opened.Seconds(), "s/open")
		b.ReportMetric(took.Seconds(), "s/restart")
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapInuse>>20), "heap-MiB")
		runtime.KeepAlive(keep)
	}
}

// fill queues n jobs.
func fill(b *testing.B, path string, n int) {
	j := open(b, Config{Path: path})
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for next.Add(250) <= int64(n) {
				changes := make([]entropy.Change, 250)
				for i := range changes {
					k := newTracker(entropy.NewID())
					s := spec()
					s.Require = map[string]string{"os": "linux", "arch": "amd64"}
					changes[i] = k.submit(b, s)
				}
				must(b, j, changes...)
			}
		})
	}
	wg.Wait()
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
}
