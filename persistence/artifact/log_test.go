package artifact

import (
	"bytes"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// proves W-7: logs take random, repeated, overlapping and out-of-order pieces
// and end as what was written; both streams and restarts are independent.
func TestLogRandomPieces(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 4))
		s := newStore(t)
		want := map[string][]byte{"stdout": noise(seed, 20_000), "stderr": noise(seed+100, 5000)}
		have := map[string]int64{}
		for step := range 200 {
			stream := streams[rng.IntN(2)]
			p := want[stream]
			from := rng.Int64N(int64(len(p)) + 1)
			if step%2 == 0 {
				from = have[stream]
			}
			to := from + rng.Int64N(min(2000, int64(len(p))-from)+1)
			got, err := s.AppendLog("a", stream, from, p[from:to])
			if from <= have[stream] {
				have[stream] = max(have[stream], to)
			}
			if err != nil || got != have[stream] || s.LogSize("a", stream) != got {
				t.Fatalf("seed %d: stored %d, want %d, %v", seed, got, have[stream], err)
			}
			if rng.IntN(40) == 0 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = reopen(t, s.conf, quickDisk())
			}
		}
		for stream, p := range want {
			if got := readAll(t, s, stream, 1+rng.IntN(3000)); !bytes.Equal(got, p[:have[stream]]) {
				t.Fatalf("seed %d: %s reads back differently", seed, stream)
			}
		}
	}
}

func readAll(t *testing.T, s *Store, stream string, limit int) (all []byte) {
	t.Helper()
	for offset := int64(0); ; {
		p, next, err := s.ReadLog("a", stream, offset, limit)
		if err != nil || next != offset+int64(len(p)) || len(p) > limit {
			t.Fatalf("read %d bytes from %d, next %d: %v", len(p), offset, next, err)
		}
		if len(p) == 0 {
			return all
		}
		all, offset = append(all, p...), next
	}
}

// proves W-6: logs are capped; what fits is kept.
func TestLogCap(t *testing.T) {
	s := newStore(t, func(c *Config) { c.MaxLog = 10 })
	if n, err := s.AppendLog("a", "stdout", 0, []byte("12345")); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	n, err := s.AppendLog("a", "stdout", 5, []byte("67890abc"))
	wantCode(t, err, entropy.CodeTooLarge)
	if n != 10 {
		t.Fatalf("stored %d", n)
	}
	if n, err := s.AppendLog("a", "stdout", 5, []byte("67890")); n != 10 || err != nil {
		t.Fatal("a repeat of what is stored:", n, err)
	}
	for _, c := range []struct {
		offset int64
		limit  int
		want   string
		next   int64
	}{{-3, 0, "890", 10}, {-100, 2, "12", 2}, {4, 3, "567", 7}, {10, 5, "", 10}, {99, 5, "", 99}} {
		p, next, err := s.ReadLog("a", "stdout", c.offset, c.limit)
		if string(p) != c.want || next != c.next || err != nil {
			t.Errorf("read from %d: %q, next %d, %v", c.offset, p, next, err)
		}
	}
	if p, next, err := s.ReadLog("a", "stderr", 7, 1); len(p) != 0 || next != 7 || err != nil {
		t.Errorf("a log that does not exist: %q, %d, %v", p, next, err)
	}
}

// proves W-7: pieces of one log sent at the same time never tear it.
func TestLogConcurrently(t *testing.T) {
	s, p := newStore(t), noise(1, 100_000)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for at := int64(0); at < int64(len(p)); {
				n, err := s.AppendLog("a", "stdout", at, p[at:min(at+777, int64(len(p)))])
				if err != nil {
					t.Error(err)
					return
				}
				at = n
			}
		})
	}
	wg.Wait()
	if got := readAll(t, s, "stdout", 1<<20); !bytes.Equal(got, p) {
		t.Fatal("the log differs from what was sent")
	}
}

// proves S-5: no name from outside leads out of the store or into another entry.
func FuzzNames(f *testing.F) {
	for _, name := range []string{"", ".", "..", "../x", "a/../../x", "/etc/passwd", "a\x00b", "ok", "a.b", "A-1", "é",
		strings.Repeat("a", 65), strings.Repeat("0", 64), strings.Repeat("F", 64), "x.stdout", ".hidden", "a\n"} {
		f.Add(name, name)
	}
	root := f.TempDir()
	s, err := open(Config{Dir: root + "/store", MaxLog: 1 << 20}, quickDisk())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	f.Fuzz(func(t *testing.T, name, other string) {
		a, p := entropy.AssignmentID(name), []byte("p")
		valid := entropy.ValidateID("assignment id", name) == nil
		for _, err := range []error{
			second(s.Stage(t.Context(), a, sumOf(p), 1, 0, bytes.NewReader(p))),
			second(s.AppendLog(a, "stdout", 0, p)),
			second(s.Publish(t.Context(), a, nil)),
		} {
			if valid != (err == nil) {
				t.Fatalf("assignment %q: %v", name, err)
			}
		}
		s.Discard(a)
		if other != "stdout" && other != "stderr" {
			_, err := s.AppendLog("ok", other, 0, p)
			wantCode(t, err, entropy.CodeInvalid)
		}
		if _, err := s.Stage(t.Context(), "ok", other, 3, 0, bytes.NewReader(p)); (err == nil) != entropy.ValidSHA256(other) {
			t.Fatalf("hash %q: %v", other, err)
		}
		if s.Put(t.Context(), other, 1, bytes.NewReader(p)) == nil && other != sumOf(p) {
			t.Fatalf("stored %q under %q", p, other)
		}
		if s.Has(other) != (other == sumOf(p) && s.Has(sumOf(p))) {
			t.Fatalf("has %q", other)
		}
		if entries, err := os.ReadDir(root); len(entries) != 1 || err != nil {
			t.Fatalf("outside the store: %v, %v", entries, err)
		}
	})
}

func second[T any](_ T, err error) error { return err }
