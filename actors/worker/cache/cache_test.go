package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/entropy-fabric/entropy"
)

func hash(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// source serves one content and counts how often it is asked for.
type source struct {
	content string
	asked   atomic.Int32
}

func (s *source) open(context.Context, string) (io.ReadCloser, error) {
	s.asked.Add(1)
	return io.NopCloser(strings.NewReader(s.content)), nil
}

// proves J-15: content is fetched once for all who need it, verified, and found
// again by the next process.
func TestFetchedOnceAndKept(t *testing.T) {
	dir := t.TempDir()
	c, err := Open(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	s := &source{content: "data"}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			p, release, err := c.Get(t.Context(), hash("data"), 4, s.open)
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			if b, err := os.ReadFile(p); err != nil || string(b) != "data" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
	wg.Wait()
	if c, err = Open(dir, 1<<20); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Get(t.Context(), hash("data"), 4, s.open); err != nil || s.asked.Load() != 1 {
		t.Fatalf("asked %d times, %v", s.asked.Load(), err)
	}
}

// proves J-15: content that differs from its hash, or from its size, is refused
// and not kept; a later right one is taken.
func TestWrongContentIsRefused(t *testing.T) {
	dir := t.TempDir()
	c, err := Open(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{"dat", "datb", "data and more"} {
		if _, _, err := c.Get(t.Context(), hash("data"), 4, (&source{content: wrong}).open); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Fatalf("%q: %v", wrong, err)
		}
	}
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Fatalf("left behind: %v", list)
	}
	if _, _, err := c.Get(t.Context(), hash("data"), 4, (&source{content: "data"}).open); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Get(t.Context(), "../../etc/passwd", 4, (&source{}).open); entropy.ErrorCode(err) != entropy.CodeInvalid {
		t.Fatalf("a path as hash: %v", err)
	}
}

// proves J-15 (bounded): the least recently used goes first, and never one in use.
func TestEviction(t *testing.T) {
	c, err := Open(t.TempDir(), 10)
	if err != nil {
		t.Fatal(err)
	}
	get := func(s string) (string, func()) {
		p, release, err := c.Get(t.Context(), hash(s), int64(len(s)), (&source{content: s}).open)
		if err != nil {
			t.Fatal(err)
		}
		return p, release
	}
	pa, ra := get("aaaa")
	pb, rb := get("bbbb")
	rb()
	pc, rc := get("cccc")
	rc()
	for p, want := range map[string]bool{pa: true, pb: false, pc: true} {
		if _, err := os.Stat(p); (err == nil) != want {
			t.Errorf("%s is there: %t, want %t", p, err == nil, want)
		}
	}
	ra()
	if c.size != 8 {
		t.Errorf("size %d, want 8", c.size)
	}
}
