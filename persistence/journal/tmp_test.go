package journal

import (
	"testing"
	"time"
	"path/filepath"
	"fmt"
	"github.com/entropy-fabric/entropy"
)

func BenchmarkWriterOnly(b *testing.B) {
	for _, size := range []int{1, 30, 400, 2000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var cs time.Time
			var commit time.Duration
			j := open(b, Config{Path: filepath.Join(b.TempDir(), "j.db"), CommitMark: func(in bool) {
				if in { cs = time.Now() } else { commit += time.Since(cs) }
			}})
			n := 100000
			ks := make([]*tracker, size)
			var reqs [][]*request
			for made := 0; made < n; {
				for i := range ks { ks[i] = newTracker(entropy.NewID()) }
				for step := 0; step < 4; step++ {
					batch := make([]*request, size)
					for i, k := range ks {
						var c entropy.Change
						switch step {
						case 0: c = k.submit(b, spec())
						case 1: c = k.assign(b, fmt.Sprint("w", i%100), uint64(made+1))
						case 2: c = k.ack(b)
						case 3: c = k.succeed(b)
						}
						r, err := prepare([]entropy.Change{c})
						if err != nil { b.Fatal(err) }
						batch[i] = r
					}
					reqs = append(reqs, batch)
					made += size
				}
				if size == 1 && made > 20000 { break }
			}
			b.ResetTimer()
			start := time.Now()
			ev := 0
			for _, batch := range reqs {
				if err := j.w.write(batch); err != nil { b.Fatal(err) }
				for _, r := range batch { if r.err != nil { b.Fatal(r.err) } }
				ev += len(batch)
			}
			el := time.Since(start)
			b.ReportMetric(float64(ev)/el.Seconds(), "events/s")
			b.ReportMetric(float64(el.Microseconds())/float64(ev), "us/event")
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(commit.Microseconds())/float64(ev), "commit-us/event")
		})
	}
}
