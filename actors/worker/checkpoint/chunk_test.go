package checkpoint

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func split(t testing.TB, avg int, r io.Reader) (chunks [][]byte) {
	t.Helper()
	if err := newChunker(avg).split(r, func(b []byte) error { chunks = append(chunks, bytes.Clone(b)); return nil }); err != nil {
		t.Fatal(err)
	}
	return chunks
}

// proves H-10 (chunks): nothing is lost or added, sizes keep their bounds, and how
// the content arrives does not matter
func TestChunks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		avg := minAverage << rapid.IntRange(0, 3).Draw(rt, "avg")
		b := noise(rapid.Uint64().Draw(rt, "seed"), rapid.IntRange(0, 1<<18).Draw(rt, "size"))
		if rapid.Bool().Draw(rt, "zeros") {
			clear(b)
		}
		whole := split(t, avg, bytes.NewReader(b))
		pieces := split(t, avg, iotest.HalfReader(bytes.NewReader(b)))
		if !bytes.Equal(bytes.Join(whole, nil), b) {
			rt.Fatal("the chunks are not the content")
		}
		if len(whole) != len(pieces) {
			rt.Fatalf("%d chunks, and %d when read in halves", len(whole), len(pieces))
		}
		for i, c := range whole {
			if !bytes.Equal(c, pieces[i]) || len(c) > 4*avg || len(c) == 0 || len(c) < avg/4 && i < len(whole)-1 {
				rt.Fatalf("chunk %d of %d has %d bytes, the average is %d", i, len(whole), len(c), avg)
			}
		}
	})
}

// proves H-10 (chunks): the average is what was asked for
func TestChunkAverage(t *testing.T) {
	n := 16 << 20
	for _, avg := range []int{minAverage, 64 << 10, 256 << 10} {
		got := n / len(split(t, avg, bytes.NewReader(noise(1, n))))
		if got < avg*3/4 || got > avg*3/2 {
			t.Errorf("an average of %d, wanted %d", got, avg)
		}
	}
	for _, c := range []struct {
		total        int64
		before, want int
	}{{0, 0, 4 << 10}, {2 << 30, 0, 4 << 10}, {3 << 30, 0, 8 << 10}, {512 << 30, 0, 1 << 20}, {1 << 20, 16 << 10, 16 << 10}, {1 << 20, 32 << 10, 4 << 10},
		{2 << 30, 4095, 4 << 10}, {2 << 30, 1 << 30, 4 << 10}, {6 << 30, 4 << 10, 4 << 10}} {
		if got := average(c.total, c.before); got != c.want {
			t.Errorf("average(%d, %d) = %d, want %d", c.total, c.before, got, c.want)
		}
	}
}

// change is a way to change one percent of a file.
type change struct {
	name string
	do   func(b []byte, r *rand.Rand) []byte
}

var changes = []change{
	{"one run in place", func(b []byte, _ *rand.Rand) []byte {
		n := len(b) / 100
		copy(b[len(b)/3:], noise(9, n))
		return b
	}},
	{"4 KiB pages in place", func(b []byte, r *rand.Rand) []byte {
		for range len(b) / 100 / 4096 {
			at := r.IntN(len(b)/4096) * 4096
			copy(b[at:], noise(r.Uint64(), 4096))
		}
		return b
	}},
	{"a byte inserted at the front", func(b []byte, _ *rand.Rand) []byte { return append([]byte{1}, b...) }},
	{"one run inserted", func(b []byte, _ *rand.Rand) []byte {
		at := len(b) / 3
		return append(append(append([]byte{}, b[:at]...), noise(8, len(b)/100)...), b[at:]...)
	}},
	{"64 KiB inserted here and there", func(b []byte, r *rand.Rand) []byte {
		var out []byte
		n, step := len(b)/100/(64<<10), 0
		if step = len(b) / max(n, 1); step == 0 {
			return b
		}
		for at := 0; at < len(b); at += step {
			out = append(append(out, b[at:min(at+step, len(b))]...), noise(r.Uint64(), 64<<10)...)
		}
		return out
	}},
	{"one run appended", func(b []byte, _ *rand.Rand) []byte { return append(b, noise(7, len(b)/100)...) }},
	{"one run removed", func(b []byte, _ *rand.Rand) []byte {
		return append(append([]byte{}, b[:len(b)/2]...), b[len(b)/2+len(b)/100:]...)
	}},
}

// fixedPercent is what chunks of a fixed size would send.
func fixedPercent(before, after []byte, size int) float64 {
	seen := make(map[string]bool)
	for at := 0; at < len(before); at += size {
		seen[string(before[at:min(at+size, len(before))])] = true
	}
	sent := 0
	for at := 0; at < len(after); at += size {
		if b := after[at:min(at+size, len(after))]; !seen[string(b)] {
			sent += len(b)
		}
	}
	return 100 * float64(sent) / float64(len(after))
}

// onePercent measures what a second save sends after each change, manifest included.
func onePercent(t testing.TB, changes []change, large, small int) {
	t.Helper()
	for i, c := range changes {
		size := small
		if i < 3 {
			size = large
		}
		r, a := newRemote(), newAttempt(t, 0)
		before := noise(3, size)
		a.markFile("state", before)
		a.save(r, Saved)
		first := r.sent
		after := c.do(bytes.Clone(before), rand.New(rand.NewPCG(1, 2)))
		a.markFile("state", after)
		a.save(r, Saved)
		percent := 100 * float64(r.sent-first) / float64(len(after))
		t.Logf("%-32s sends %5.2f %%; fixed chunks of the same size: %6.2f %%", c.name, percent, fixedPercent(before, after, minAverage))
		if percent >= 5 {
			t.Errorf("%s: %.2f %% of it were sent, want less than 5 %%", c.name, percent)
		}
		next, _ := restored(t, r)
		if next.read("state") != string(after) {
			t.Errorf("%s: another content was restored", c.name)
		}
	}
}

// proves H-10: a second save with 1 % changed uploads less than 5 %
func TestOnePercentChanged(t *testing.T) {
	if raceEnabled { // it is slow, and there is nothing at once to race
		onePercent(t, changes[:3], 8<<20, 0)
		return
	}
	onePercent(t, changes, 64<<20, 8<<20)
}

// BenchmarkSave measures whole saves into memory.
func BenchmarkSave(b *testing.B) {
	const size = 64 << 20
	content := noise(3, size)
	b.Run("first", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			r, a := newRemote(), newAttempt(b, 0)
			a.markFile("state", content)
			a.save(r, Saved)
		}
	})
	b.Run("again", func(b *testing.B) {
		b.SetBytes(size)
		r, a := newRemote(), newAttempt(b, 0)
		for b.Loop() {
			a.markFile("state", content)
			a.save(r, Saved)
		}
	})
}
