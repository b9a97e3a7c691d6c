package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

func openAt(t *testing.T, path string) *Spool {
	t.Helper()
	s, err := Open(Config{Path: path, CompactAt: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tempSpool(t *testing.T) (*Spool, string) {
	path := filepath.Join(t.TempDir(), "spool.log")
	s := openAt(t, path)
	t.Cleanup(func() { s.Close() })
	return s, path
}

func start(id string) Start {
	return Start{JobID: entropy.JobID("j-" + id), AssignmentID: entropy.AssignmentID(id), BootID: "b"}
}

func exit(id string) Exit {
	return Exit{Completion: entropy.Completion{JobID: entropy.JobID("j-" + id), AssignmentID: entropy.AssignmentID(id), Outcome: entropy.OutcomeSucceeded}}
}

func mustRun(t *testing.T, s *Spool, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if fresh, err := s.Start([]Start{start(id)}); err != nil || !fresh[0] {
			t.Fatalf("start %s: %v %v", id, fresh, err)
		}
		if err := s.Exit(exit(id)); err != nil {
			t.Fatal(err)
		}
	}
}

func exits(t *testing.T, s *Spool, after uint64, n int) []Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var out []Exit
	for len(out) < n {
		got, err := s.Exits(ctx, after, n)
		if err != nil {
			t.Fatalf("%d of %d exits: %v", len(out), n, err)
		}
		out = append(out, got...)
		after = got[len(got)-1].Completion.CompletionSeq
	}
	return out
}

// proves W-4: a repeated start is not begun again, an exit is kept until it is
// decided, numbers rise across processes, and a reopened spool is the same one.
func TestSpoolKeepsUndecidedAcrossReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool.log")
	s := openAt(t, path)
	mustRun(t, s, "a", "b")
	if _, err := s.Start([]Start{start("c")}); err != nil {
		t.Fatal(err)
	}
	if fresh, err := s.Start([]Start{start("a"), start("c"), start("d"), start("d")}); err != nil || fresh[0] || fresh[1] || !fresh[2] || fresh[3] {
		t.Fatalf("fresh %v, %v; want only the first d", fresh, err)
	}
	if err := s.Decide([]Decision{{"a", entropy.VerdictAccepted}, {"unknown", entropy.VerdictAccepted}}); err != nil {
		t.Fatal(err)
	}
	id := s.ID()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, path)
	defer s.Close()
	if s.ID() != id {
		t.Fatalf("id changed from %s to %s", id, s.ID())
	}
	got := exits(t, s, 0, 1)
	if got[0].ID() != "b" || got[0].Completion.CompletionSeq != 2 || got[0].Completion.SpoolID != id {
		t.Fatalf("after reopen: %+v", got[0].Completion)
	}
	if starts, _ := s.Unfinished(); len(starts) != 2 {
		t.Fatalf("unfinished %v; want c and d", starts)
	}
	if err := s.Exit(exit("c")); err != nil {
		t.Fatal(err)
	}
	if got := exits(t, s, 2, 1); got[0].Completion.CompletionSeq != 3 {
		t.Fatalf("number %d after 2", got[0].Completion.CompletionSeq)
	}
	if s.Exit(exit("c")) == nil {
		t.Fatal("a second exit was taken")
	}
}

// proves H-11: compaction and reopening never give a number out twice, even when
// every exit has been decided and forgotten; another spool has another id.
func TestCompactionKeepsNumbersRising(t *testing.T) {
	s, path := tempSpool(t)
	for i := range 200 {
		id := fmt.Sprint(i)
		mustRun(t, s, id)
		if err := s.Decide([]Decision{{entropy.AssignmentID(id), entropy.VerdictAccepted}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if fi, err := os.Stat(path); err != nil || fi.Size() > 16<<10 {
		t.Fatalf("the file has %d bytes after 200 decided runs (%v)", fi.Size(), err)
	}
	s2 := openAt(t, path)
	defer s2.Close()
	mustRun(t, s2, "next")
	if got := exits(t, s2, 0, 1); got[0].Completion.CompletionSeq != 201 {
		t.Fatalf("number %d, want 201", got[0].Completion.CompletionSeq)
	}
	if other, _ := tempSpool(t); other.ID() == s2.ID() {
		t.Fatal("two spools have one id")
	}
}

// proves W-4 (torn tail): whatever length a crash cuts the file to, and whatever
// lies behind, the records before that point are read and the spool goes on.
func TestTornTail(t *testing.T) {
	s, path := tempSpool(t)
	s.conf.CompactAt = 1 << 30
	mustRun(t, s, "a", "b", "c")
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var ends []int // of the exit records
	at := len(headerLine)
	first := 0
	for at < len(whole) {
		r, n, err := readRecord(whole[at:])
		if err != nil {
			t.Fatal(err)
		}
		at += n
		if r.Header != nil {
			first = at
		}
		if r.Exit != nil {
			ends = append(ends, at)
		}
	}
	tails := [][]byte{nil, make([]byte, 100), []byte("garbage that is no record at all")}
	for cut := first; cut <= len(whole); cut++ {
		want := 0
		for _, e := range ends {
			if e <= cut {
				want++
			}
		}
		p := filepath.Join(t.TempDir(), "spool.log")
		if err := os.WriteFile(p, append(bytes.Clone(whole[:cut]), tails[cut%3]...), 0o600); err != nil {
			t.Fatal(err)
		}
		s := openAt(t, p)
		if _, got := s.Counts(); got != want {
			t.Fatalf("cut at %d: %d exits, want %d", cut, got, want)
		}
		mustRun(t, s, "new")
		if got := exits(t, s, 0, want+1); got[want].ID() != "new" {
			t.Fatalf("cut at %d: %v", cut, got)
		}
		s.Close()
	}
}

// proves W-4: a flipped bit anywhere is noticed, and what follows is kept for
// inspection and not taken for something else.
func TestFlippedBitIsNoticed(t *testing.T) {
	s, path := tempSpool(t)
	mustRun(t, s, "a", "b")
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		i, bit := rng.IntN(len(whole)), byte(1)<<rng.IntN(8)
		b := bytes.Clone(whole)
		b[i] ^= bit
		dir := t.TempDir()
		p := filepath.Join(dir, "spool.log")
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(Config{Path: p})
		if err != nil {
			continue // the header: refused
		}
		if _, n := s.Counts(); n == 2 {
			t.Fatalf("bit %x of byte %d was not noticed", bit, i)
		}
		if kept, _ := filepath.Glob(p + ".damaged-*"); len(kept) != 1 {
			t.Fatalf("the damaged end was not kept: %v", kept)
		}
		s.Close()
	}
}

// disk is what would be left of the spool's file after a power cut: the bytes at
// the last fsync, and perhaps some of those written since.
type disk struct {
	mu   sync.Mutex
	safe []byte
	fail bool
}

func (d *disk) flush(f *os.File) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail {
		return errors.New("I/O error")
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	d.safe = b
	return err
}

// proves W-4 (power loss): what Exits or Held returned is found again after a
// power cut at that instant.
func TestPowerLoss(t *testing.T) {
	d := &disk{}
	path := filepath.Join(t.TempDir(), "spool.log")
	s, err := open(Config{Path: path}, d.flush)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 25 {
				id := fmt.Sprintf("%d-%d", w, i)
				s.Start([]Start{start(id)})
				s.Exit(exit(id))
			}
		})
	}
	after := uint64(0)
	for n := 0; n < 100; {
		got, err := s.Exits(t.Context(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		n += len(got)
		after = got[len(got)-1].Completion.CompletionSeq
		d.mu.Lock()
		left := bytes.Clone(d.safe)
		d.mu.Unlock()
		p := filepath.Join(t.TempDir(), "spool.log")
		if err := os.WriteFile(p, append(left, make([]byte, 64)...), 0o600); err != nil {
			t.Fatal(err)
		}
		s2 := openAt(t, p)
		for _, x := range got {
			if !s2.Knows(x.ID()) {
				t.Fatalf("exit %s was reported and is not on disk", x.ID())
			}
		}
		s2.Close()
	}
	wg.Wait()
}

// proves H-3 (worker's side): after a failed fsync nothing more is reported.
func TestFailedFsyncStopsReporting(t *testing.T) {
	d := &disk{fail: true}
	s, err := open(Config{Path: filepath.Join(t.TempDir(), "spool.log")}, d.flush)
	if err != nil {
		t.Fatal(err)
	}
	mustStart := func() error { _, err := s.Start([]Start{start("a")}); return err }
	if err := mustStart(); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(t.Context()); err == nil {
		t.Fatal("Sync succeeded without an fsync")
	}
	if _, err := s.Held(t.Context()); err == nil {
		t.Fatal("Held answered without an fsync")
	}
	if err := s.Exit(exit("a")); err == nil {
		t.Fatal("an exit was taken after the disk failed")
	}
	if s.Close() == nil {
		t.Fatal("Close succeeded")
	}
}

// proves W-7: an exit amended after a failed upload is reported anew, once.
func TestAmendReplacesExit(t *testing.T) {
	s, _ := tempSpool(t)
	mustRun(t, s, "a", "b")
	x := exit("a")
	x.Completion.Outcome, x.Completion.Reason = entropy.OutcomeFailed, entropy.ReasonArtifact
	if err := s.Amend(x); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := exits(t, s, 0, 2)
	if got[0].ID() != "b" || got[1].ID() != "a" || got[1].Completion.Reason != entropy.ReasonArtifact || got[1].Completion.CompletionSeq != 3 {
		t.Fatalf("after amend: %+v", got)
	}
}

func BenchmarkStartExitDecide(b *testing.B) {
	s, err := Open(Config{Path: filepath.Join(b.TempDir(), "spool.log")})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for i := range b.N {
		id := fmt.Sprint(i)
		s.Start([]Start{start(id)})
		s.Exit(exit(id))
		s.Decide([]Decision{{entropy.AssignmentID(id), entropy.VerdictAccepted}})
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
}

// proves H-3 (worker's side): a full disk is said as such, leaves nothing half
// written, and once there is room the spool goes on as if nothing had been.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	s, err := Open(Config{Path: dir + "/spool.log"})
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, s, "a")
	filler, err := os.Create(dir + "/filler")
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = filler.Write(make([]byte, 4096))
	}
	n := 0
	for err = nil; err == nil; n++ {
		_, err = s.Start([]Start{start(fmt.Sprint("b", n))})
	}
	if entropy.ErrorCode(err) != entropy.CodeDiskFull {
		t.Fatalf("start %d on a full disk: %v", n, err)
	}
	if err := filler.Truncate(0); err != nil {
		t.Fatal(err)
	}
	mustRun(t, s, "c")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, dir+"/spool.log")
	defer s.Close()
	if running, ended := s.Counts(); running != n-1 || ended != 2 {
		t.Fatalf("%d running and %d ended after reopen, want %d and 2", running, ended, n-1)
	}
}
