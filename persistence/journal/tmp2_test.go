package journal

import (
	"testing"
	"github.com/entropy-fabric/entropy"
)

func BenchmarkPrepare(b *testing.B) {
	mk := func() []entropy.Change {
		k := newTracker(entropy.NewID())
		return []entropy.Change{k.submit(b, spec()), k.assign(b, "w1", 1), k.ack(b), k.succeed(b)}
	}
	b.Run("kit", func(b *testing.B) { b.ReportAllocs(); for b.Loop() { mk() } })
	cs := mk()
	for i, n := range []string{"submit", "assign", "ack", "succeed"} {
		b.Run(n, func(b *testing.B) { b.ReportAllocs(); for b.Loop() { prepare(cs[i:i+1]) } })
		r, _ := prepare(cs[i:i+1])
		b.Log(len(r.entries[0].rows[0].body), len(r.entries[0].job.record), len(r.entries[0].job.spec))
		b.Log(r.entries[0].rows[0].body)
		b.Log(r.entries[0].job.record)
	}
}
