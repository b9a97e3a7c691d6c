package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/entropy-fabric/entropy"
)

func newStore(t testing.TB, change ...func(*Config)) *Store {
	t.Helper()
	conf := Config{Dir: filepath.Join(t.TempDir(), "store")}
	for _, f := range change {
		f(&conf)
	}
	return reopen(t, conf, quickDisk())
}

// quickDisk spares the tests of logic the wait for the disk; crash_test.go has
// those of durability.
func quickDisk() *disk {
	d := realDisk()
	d.sync = func(*os.File) error { return nil }
	return d
}

func reopen(t testing.TB, conf Config, d *disk) *Store {
	t.Helper()
	s, err := open(conf, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func sumOf(p []byte) string {
	h := sha256.Sum256(p)
	return hex.EncodeToString(h[:])
}

// noise returns n bytes that depend on the seed.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	p := make([]byte, n)
	rand.NewChaCha8(key).Read(p)
	return p
}

func wantCode(t testing.TB, err error, code entropy.Code) {
	t.Helper()
	if got := entropy.ErrorCode(err); got != code {
		t.Fatalf("code %q, want %q (error: %v)", got, code, err)
	}
}

func contentOf(t testing.TB, s *Store, sum string) []byte {
	t.Helper()
	r, size, err := s.Open(sum)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := io.ReadAll(r)
	if err != nil || int64(len(p)) != size {
		t.Fatalf("read %d of %d bytes: %v", len(p), size, err)
	}
	return p
}

// files lists the regular files below a directory of the store.
func files(t testing.TB, s *Store, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(s.path(dir), func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, strings.TrimPrefix(path, s.path(dir)+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// proves J-15: content is addressed by its hash, stored once, and read back whole.
func TestPutAndOpen(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	for i, n := range []int{0, 1, chunk - 1, chunk, chunk + 1, 3*chunk + 7} {
		p := noise(uint64(i), n)
		sum := sumOf(p)
		if got := s.Missing([]string{sum, "nonsense"}); !slices.Equal(got, []string{sum, "nonsense"}) {
			t.Fatalf("missing before: %v", got)
		}
		size := int64(n)
		if i%2 == 1 {
			size = -1
		}
		for range 2 {
			if err := s.Put(ctx, sum, size, bytes.NewReader(p)); err != nil {
				t.Fatal(err)
			}
		}
		if !s.Has(sum) || len(s.Missing([]string{sum})) != 0 || !bytes.Equal(contentOf(t, s, sum), p) {
			t.Fatalf("%d bytes are not stored as they were sent", n)
		}
	}
	if left := files(t, s, tempDir); len(left) > 0 {
		t.Fatalf("temporary files remain: %v", left)
	}
	_, _, err := s.Open(sumOf([]byte("never stored")))
	wantCode(t, err, entropy.CodeNotFound)
}

// proves J-15: what is not what it claims to be is refused, and nothing of it is kept.
func TestPutRefuses(t *testing.T) {
	s, p := newStore(t, func(c *Config) { c.MaxBlob = 1000 }), noise(1, 500)
	broken := io.MultiReader(bytes.NewReader(p[:100]), failing{errors.New("link down")})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		sum  string
		size int64
		r    io.Reader
		code entropy.Code
	}{
		{"other hash", t.Context(), sumOf(p[1:]), 500, bytes.NewReader(p), entropy.CodeInvalid},
		{"too short", t.Context(), sumOf(p), 501, bytes.NewReader(p), entropy.CodeInvalid},
		{"too long", t.Context(), sumOf(p), 499, bytes.NewReader(p), entropy.CodeInvalid},
		{"too large", t.Context(), sumOf(p), 1001, bytes.NewReader(p), entropy.CodeTooLarge},
		{"too large, unannounced", t.Context(), sumOf(p), -1, bytes.NewReader(make([]byte, 1002)), entropy.CodeTooLarge},
		{"upper case", t.Context(), strings.ToUpper(sumOf(p)), 500, bytes.NewReader(p), entropy.CodeInvalid},
		{"broken link", t.Context(), sumOf(p), 500, broken, entropy.CodeInternal},
		{"canceled", canceled, sumOf(p), 500, bytes.NewReader(p), entropy.CodeInternal},
	} {
		err := s.Put(c.ctx, c.sum, c.size, c.r)
		if got := entropy.ErrorCode(err); got != c.code {
			t.Errorf("%s: code %q, want %q (%v)", c.name, got, c.code, err)
		}
		if left := append(files(t, s, tempDir), files(t, s, blobDir)...); len(left) > 0 {
			t.Errorf("%s: something was kept: %v", c.name, left)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// proves J-15: many may store the same content at once.
func TestConcurrentPuts(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	errs := make(chan error, 64)
	for i := range 64 {
		wg.Go(func() {
			p := noise(uint64(i%8), 10_000)
			if err := s.Put(t.Context(), sumOf(p), int64(len(p)), bytes.NewReader(p)); err != nil {
				errs <- err
				return
			}
			if !s.Has(sumOf(p)) {
				errs <- errors.New("not there after Put returned")
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if n, bad, err := s.Verify(t.Context()); n != 8 || len(bad) > 0 || err != nil {
		t.Fatalf("verify: %d checked, bad %v, %v", n, bad, err)
	}
}

// proves P-6: one process at a time; and what a dead one was receiving is cleared away.
func TestOpenIsExclusive(t *testing.T) {
	s := newStore(t)
	p := noise(1, 100)
	if err := s.Put(t.Context(), sumOf(p), 100, bytes.NewReader(p)); err != nil {
		t.Fatal(err)
	}
	_, err := Open(s.conf)
	wantCode(t, err, entropy.CodeConflict)
	if err := os.WriteFile(s.path(tempDir, "put-123"), p, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.Put(t.Context(), sumOf(p[1:]), 99, bytes.NewReader(p[1:])), entropy.CodeUnavailable)
	_, err = s.Stage(t.Context(), "a", sumOf(p[1:]), 99, 0, bytes.NewReader(p[1:]))
	wantCode(t, err, entropy.CodeUnavailable)
	again := reopen(t, s.conf, quickDisk())
	if left := files(t, again, tempDir); len(left) > 0 || !again.Has(sumOf(p)) {
		t.Fatalf("after reopening: temporary %v, stored %v", left, again.Has(sumOf(p)))
	}
}

func TestConfigListsEveryProblem(t *testing.T) {
	_, err := Open(Config{MaxBlob: -1, MaxLog: -1})
	wantCode(t, err, entropy.CodeInvalid)
	for _, want := range []string{"directory", "MaxBlob", "MaxLog"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not mention %s", err, want)
		}
	}
}

// proves P-4: verify finds every blob whose bits changed, whatever the change,
// and a damaged one can be stored again.
func TestVerifyFindsBitRot(t *testing.T) {
	s := newStore(t)
	damage := map[string]func(p []byte) []byte{
		"flipped bit": func(p []byte) []byte { p[17] ^= 4; return p },
		"cut short":   func(p []byte) []byte { return p[:len(p)-1] },
		"longer":      func(p []byte) []byte { return append(p, 0) },
		"zeroed":      func(p []byte) []byte { return make([]byte, len(p)) },
		"whole":       nil,
	}
	var want []string
	seed := uint64(0)
	for name, f := range damage {
		seed++
		p := noise(seed, chunk+int(seed))
		if err := s.Put(t.Context(), sumOf(p), int64(len(p)), bytes.NewReader(p)); err != nil {
			t.Fatal(name, err)
		}
		if f != nil {
			want = append(want, sumOf(p))
			if err := os.WriteFile(s.blobPath(sumOf(p)), f(bytes.Clone(p)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	slices.Sort(want)
	n, bad, err := s.Verify(t.Context())
	if n != len(damage) || !slices.Equal(bad, want) || err != nil {
		t.Fatalf("verify: %d checked, bad %v, want %v, %v", n, bad, want, err)
	}
	for i := range seed {
		p := noise(i+1, chunk+int(i+1))
		if slices.Contains(bad, sumOf(p)) {
			if err := s.Remove(sumOf(p)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Put(t.Context(), sumOf(p), int64(len(p)), bytes.NewReader(p)); err != nil {
			t.Fatal(err)
		}
	}
	if n, bad, err := s.Verify(t.Context()); n != len(damage) || len(bad) > 0 || err != nil {
		t.Fatalf("after repair: %d checked, bad %v, %v", n, bad, err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Verify(canceled); !errors.Is(err, context.Canceled) {
		t.Fatalf("verify under a canceled context: %v", err)
	}
}

// A blob of another size than announced is damaged: storing it replaces it.
func TestPutReplacesTruncatedBlob(t *testing.T) {
	s, p := newStore(t), noise(1, 1000)
	for _, size := range []int64{1000, 400} {
		if err := os.WriteFile(s.blobPath(sumOf(p)), p[:400], 0o600); err != nil {
			t.Fatal(err)
		}
		err := s.Put(t.Context(), sumOf(p), size, bytes.NewReader(p))
		if size == 1000 && err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(t.Context(), sumOf(p), 1000, bytes.NewReader(p)); err != nil || !bytes.Equal(contentOf(t, s, sumOf(p)), p) {
		t.Fatalf("not replaced: %v", err)
	}
}

func BenchmarkPutSmall(b *testing.B) {
	for _, par := range []int{1, 16} {
		b.Run(fmt.Sprintf("callers=%d", par), func(b *testing.B) {
			s := reopen(b, Config{Dir: b.TempDir()}, realDisk())
			var wg sync.WaitGroup
			next := make(chan int)
			for range par {
				wg.Go(func() {
					for i := range next {
						p := fmt.Appendf(nil, "content %d", i)
						if err := s.Put(context.Background(), sumOf(p), int64(len(p)), bytes.NewReader(p)); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for i := range b.N {
				next <- i
			}
			close(next)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
		})
	}
}
