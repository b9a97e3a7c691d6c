package artifact

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/entropy-fabric/entropy"
)

var errCrash = errors.New("the process is gone")

// crashing returns a disk on which the operation number n, counted from 0, and
// all after it fail: a process that died there. A write may be torn.
// The count begins when armed is set.
func crashing(n int, armed *bool) *disk {
	real := realDisk()
	dead := func() bool {
		if *armed {
			n--
		}
		return n < 0
	}
	return &disk{
		write: func(f *os.File, p []byte, at int64) (int, error) {
			if dead() {
				f.WriteAt(p[:len(p)/2], at)
				return 0, errCrash
			}
			return real.write(f, p, at)
		},
		sync: func(f *os.File) error {
			if dead() {
				return errCrash
			}
			return real.sync(f)
		},
		rename: func(from, to string) error {
			if dead() {
				return errCrash
			}
			return real.rename(from, to)
		},
	}
}

// proves P-1, H-13: a process that dies at any step leaves a store in which
// everything acknowledged is there, nothing visible is torn, and the same calls
// complete what was begun.
func TestCrashAtEveryStep(t *testing.T) {
	put, p, q := noise(1, 2*chunk+5), noise(2, chunk+9), noise(3, 77)
	arts := []entropy.Artifact{artifactOf("p", p), artifactOf("q", q)}
	work := func(s *Store, acked map[string]bool) (err error) {
		note := func(sums ...string) {
			for _, sum := range sums {
				acked[sum] = acked[sum] || err == nil
			}
		}
		_, e := s.AppendLog("a", "stdout", 0, []byte("hello"))
		err = e
		note("log")
		err = s.Put(t.Context(), sumOf(put), int64(len(put)), bytes.NewReader(put))
		note(sumOf(put))
		for _, c := range [][]byte{p, q} {
			// In two pieces, as a flaky link sends it.
			n, e := s.Stage(t.Context(), "a", sumOf(c), int64(len(c)), 0, bytes.NewReader(c[:len(c)/2]))
			if e == nil {
				_, e = s.Stage(t.Context(), "a", sumOf(c), int64(len(c)), n, bytes.NewReader(c[n:]))
			}
			err = errors.Join(err, e)
		}
		missing, e := s.Publish(t.Context(), "a", arts)
		err = errors.Join(err, e)
		for _, art := range arts {
			acked[art.SHA256] = acked[art.SHA256] || e == nil && !slices.Contains(missing, art.SHA256)
		}
		return err
	}
	for n := 0; ; n++ {
		conf := Config{Dir: filepath.Join(t.TempDir(), "store")}
		acked := map[string]bool{}
		armed := false
		s := reopen(t, conf, crashing(n, &armed))
		armed = true
		finished := work(s, acked) == nil
		s.lock.Close() // as the kernel does for a dead process
		again := reopen(t, conf, realDisk())
		checkAcknowledged(t, again, n, acked)
		if err := work(again, acked); err != nil {
			t.Fatalf("crash at step %d: the repeat failed: %v", n, err)
		}
		for _, c := range [][]byte{put, p, q} {
			if !bytes.Equal(contentOf(t, again, sumOf(c)), c) {
				t.Fatalf("crash at step %d: content differs after the repeat", n)
			}
		}
		if left := append(files(t, again, stageDir), files(t, again, tempDir)...); len(left) > 0 {
			t.Fatalf("crash at step %d: left over: %v", n, left)
		}
		again.Close()
		if finished {
			if n < 18 {
				t.Fatalf("only %d steps: the faults no longer reach the work", n)
			}
			return
		}
	}
}

func checkAcknowledged(t *testing.T, s *Store, n int, acked map[string]bool) {
	t.Helper()
	if _, bad, err := s.Verify(t.Context()); len(bad) > 0 || err != nil {
		t.Fatalf("crash at step %d: visible and damaged: %v, %v", n, bad, err)
	}
	for what, ok := range acked {
		if ok && what == "log" && s.LogSize("a", "stdout") != 5 {
			t.Fatalf("crash at step %d: the log is gone", n)
		}
		if ok && what != "log" && !s.Has(what) {
			t.Fatalf("crash at step %d: acknowledged %s is gone", n, what)
		}
	}
}

// tracing returns a disk that notes its operations, each with the first
// directory of the store and the kind of file.
func tracing(root string, note func(string)) *disk {
	real := realDisk()
	kind := func(path string) string {
		rel, _ := filepath.Rel(root, path)
		first, _, _ := strings.Cut(rel, "/")
		return first
	}
	return &disk{
		write: func(f *os.File, p []byte, at int64) (int, error) {
			note("write " + kind(f.Name()))
			return real.write(f, p, at)
		},
		sync: func(f *os.File) error {
			what := "sync "
			if info, err := f.Stat(); err == nil && info.IsDir() {
				what = "syncdir "
			}
			note(what + kind(f.Name()))
			return real.sync(f)
		},
		rename: func(from, to string) error {
			note("rename " + kind(from) + " " + kind(to))
			return real.rename(from, to)
		},
	}
}

// proves P-1: before an answer, bytes are synced, then renamed, then the
// directory is synced, in that order: the only one that survives a power loss.
func TestOrderOnDisk(t *testing.T) {
	conf := Config{Dir: filepath.Join(t.TempDir(), "store")}
	var ops []string
	s := reopen(t, conf, tracing(conf.Dir, func(op string) { ops = append(ops, op) }))
	p, q := noise(1, 10), noise(2, 10)
	expect := func(what string, err error, want ...string) {
		t.Helper()
		if err != nil || !slices.Equal(ops, want) {
			t.Fatalf("%s: %v\n got %q\nwant %q", what, err, ops, want)
		}
		ops = nil
	}
	ops = nil
	expect("put", s.Put(t.Context(), sumOf(p), 10, bytes.NewReader(p)), "write tmp", "sync tmp", "rename tmp blob", "syncdir blob")
	expect("put again", s.Put(t.Context(), sumOf(p), 10, bytes.NewReader(p)))
	expect("log", second(s.AppendLog("a", "stdout", 0, p)), "write log")
	expect("stage", second(s.Stage(t.Context(), "a", sumOf(q), 10, 0, bytes.NewReader(q))), "write stage", "sync stage", "rename stage stage")
	arts := []entropy.Artifact{artifactOf("q", q)}
	expect("publish", second(s.Publish(t.Context(), "a", arts)), "sync log", "rename stage blob", "syncdir blob", "syncdir log")
}

// proves H-3: a full disk is said to be one, keeps nothing half done, and the
// call succeeds when there is room again.
func TestDiskFull(t *testing.T) {
	for _, op := range []string{"write", "sync", "rename"} {
		d, real := realDisk(), realDisk()
		full := false
		fault := func(this string) error {
			if full && op == this {
				return &os.PathError{Op: op, Path: "x", Err: syscall.ENOSPC}
			}
			return nil
		}
		d.write = func(f *os.File, p []byte, at int64) (int, error) {
			if err := fault("write"); err != nil {
				f.WriteAt(p[:len(p)/3], at)
				return len(p) / 3, err
			}
			return real.write(f, p, at)
		}
		d.sync = func(f *os.File) error { return errors.Join(fault("sync"), real.sync(f)) }
		d.rename = func(from, to string) error {
			if err := fault("rename"); err != nil {
				return err
			}
			return real.rename(from, to)
		}
		s := reopen(t, Config{Dir: filepath.Join(t.TempDir(), "store")}, d)
		p, q := noise(1, 3000), noise(2, 3000)
		work := func() []error {
			_, staging := s.Stage(t.Context(), "a", sumOf(q), 3000, 0, bytes.NewReader(q))
			_, logging := s.AppendLog("a", "stdout", 0, p)
			_, publishing := s.Publish(t.Context(), "a", []entropy.Artifact{artifactOf("q", q)})
			return []error{s.Put(t.Context(), sumOf(p), 3000, bytes.NewReader(p)), staging, logging, publishing}
		}
		full = true
		failed := 0
		for _, err := range work() {
			if err != nil {
				wantCode(t, err, entropy.CodeDiskFull)
				failed++
			}
		}
		if _, bad, _ := s.Verify(t.Context()); failed < 2 || len(bad) > 0 || s.Has(sumOf(p)) || s.Has(sumOf(q)) || len(files(t, s, tempDir)) > 0 {
			t.Fatalf("%s fails: %d errors, visible and damaged %v", op, failed, bad)
		}
		if op == "write" && s.LogSize("a", "stdout") != 0 {
			t.Fatal("half a piece of log was kept")
		}
		full = false
		if err := errors.Join(work()...); err != nil {
			t.Fatalf("%s works again: %v", op, err)
		}
		if !bytes.Equal(contentOf(t, s, sumOf(q)), q) || !bytes.Equal(contentOf(t, s, sumOf(p)), p) {
			t.Fatalf("%s works again: content differs", op)
		}
	}
}

// proves H-3 on a real file system of one megabyte, where the machine lets us
// mount one.
func TestDiskFullForReal(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount a small file system here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := Open(Config{Dir: filepath.Join(dir, "store")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	small, big := noise(1, 10_000), noise(2, 2<<20)
	if err := s.Put(t.Context(), sumOf(small), 10_000, bytes.NewReader(small)); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.Put(t.Context(), sumOf(big), int64(len(big)), bytes.NewReader(big)), entropy.CodeDiskFull)
	n, err := s.Stage(t.Context(), "a", sumOf(big), int64(len(big)), 0, bytes.NewReader(big))
	wantCode(t, err, entropy.CodeDiskFull)
	if n == 0 || n >= int64(len(big)) {
		t.Fatalf("staged %d bytes", n)
	}
	s.Discard("a")
	if _, err := s.Sweep(s.evidence.items[0].at.Add(1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), sumOf(small[1:]), 9999, bytes.NewReader(small[1:])); err != nil {
		t.Fatal("after making room:", err)
	}
	if checked, bad, err := s.Verify(t.Context()); checked != 2 || len(bad) > 0 || err != nil {
		t.Fatalf("verify: %d checked, bad %v, %v", checked, bad, err)
	}
}

// proves P-1: after an fsync that failed nothing is acknowledged, also not what
// is asked again, until the store was opened anew.
func TestFailedSyncIsFinal(t *testing.T) {
	d, failing := realDisk(), false
	d.sync = func(f *os.File) error {
		if info, err := f.Stat(); failing && err == nil && info.IsDir() {
			failing = false // the kernel reports it once
			return syscall.EIO
		}
		return f.Sync()
	}
	s := reopen(t, Config{Dir: filepath.Join(t.TempDir(), "store")}, d)
	failing = true
	p, q := noise(1, 10), noise(2, 10)
	for i, c := range [][]byte{p, p, q} {
		if err := s.Put(t.Context(), sumOf(c), 10, bytes.NewReader(c)); !errors.Is(err, syscall.EIO) {
			t.Fatalf("put %d: %v", i, err)
		}
	}
	if s.Has(sumOf(p)) || len(s.Missing([]string{sumOf(p), sumOf(q)})) != 2 {
		t.Fatal("content counts as stored although its name may be lost")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s.conf, realDisk())
	if err := s.Put(t.Context(), sumOf(p), 10, bytes.NewReader(p)); err != nil || !s.Has(sumOf(p)) {
		t.Fatalf("after reopening: %v", err)
	}
}

// Calls that wait at the same time share one sync of the directory.
func TestDirSyncIsShared(t *testing.T) {
	dir := t.TempDir()
	syncs := 0
	d := realDisk()
	d.sync = func(*os.File) error { syncs++; return nil } // guarded by dirSync.work
	ds := &dirSync{disk: d}
	var batches []*syncBatch
	for range 20 {
		batches = append(batches, ds.join([]string{dir}))
	}
	var wg sync.WaitGroup
	for _, b := range batches {
		wg.Go(func() {
			if err := ds.wait(b); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if syncs != 1 {
		t.Errorf("20 calls at once cost %d syncs", syncs)
	}
	if err := ds.Sync(dir); err != nil || syncs != 2 {
		t.Errorf("a later call was not synced anew: %d syncs, %v", syncs, err)
	}
}
