package artifact

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/entropy-fabric/entropy"
)

func partOf(b []byte) entropy.CheckpointPart {
	return entropy.CheckpointPart{SHA256: sumOf(b), Size: int64(len(b))}
}

// manifestOf returns the manifest of a checkpoint with one file for each pack.
func manifestOf(t testing.TB, packs ...[]byte) []byte {
	t.Helper()
	m := entropy.CheckpointManifest{Format: entropy.CheckpointFormat, ChunkSize: 4096}
	for i, p := range packs {
		m.Packs = append(m.Packs, partOf(p))
		m.Files = append(m.Files, entropy.CheckpointFile{Path: string(rune('a' + i)), Mode: 0o600, Size: int64(len(p)),
			Chunks: entropy.ChunkList(nil).Append(entropy.Chunk{SHA256: sha256.Sum256(p), Pack: uint32(i), Size: uint32(len(p))})})
	}
	b, _, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func putParts(t testing.TB, s *Store, job entropy.JobID, parts ...[]byte) {
	t.Helper()
	for _, b := range parts {
		if err := s.PutCheckpoint(t.Context(), job, partOf(b), bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
}

// proves H-10: parts are kept by content, apart for each job; wrong content is
// refused, what is there is not read
func TestCheckpointParts(t *testing.T) {
	s := newStore(t, func(c *Config) { c.Reserve = -1 })
	a, b := noise(1, 100<<10), noise(2, 5)
	missing, err := s.MissingCheckpoint("j", []entropy.CheckpointPart{partOf(a), partOf(b)})
	if err != nil || !slices.Equal(missing, []string{sumOf(a), sumOf(b)}) {
		t.Fatalf("missing %v, %v", missing, err)
	}
	for _, wrong := range [][]byte{b, a[:len(a)-1], append(bytes.Clone(a), 1), noise(3, len(a))} {
		wantCode(t, s.PutCheckpoint(t.Context(), "j", partOf(a), bytes.NewReader(wrong)), entropy.CodeInvalid)
	}
	putParts(t, s, "j", a, b)
	if err := s.PutCheckpoint(t.Context(), "j", partOf(a), unreadable{}); err != nil {
		t.Fatal("it read what it has:", err)
	}
	if missing, err = s.MissingCheckpoint("j", []entropy.CheckpointPart{partOf(a), partOf(b)}); err != nil || len(missing) > 0 {
		t.Fatalf("missing %v, %v", missing, err)
	}
	if missing, _ = s.MissingCheckpoint("other", []entropy.CheckpointPart{partOf(a)}); len(missing) != 1 {
		t.Error("another job's parts count")
	}
	r, size, err := s.OpenCheckpoint("j", sumOf(a))
	if err != nil || size != int64(len(a)) {
		t.Fatal(size, err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, a) {
		t.Error("another content")
	}
	_, _, err = s.OpenCheckpoint("other", sumOf(a))
	wantCode(t, err, entropy.CodeNotFound)
	if left := files(t, s, tempDir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

type unreadable struct{}

func (unreadable) Read([]byte) (int, error) { return 0, errors.New("it was read") }

// proves S-5: no name from outside becomes a path
func TestCheckpointHostileNames(t *testing.T) {
	s := newStore(t, func(c *Config) { c.Reserve = -1 })
	good := partOf([]byte("x"))
	for _, job := range []entropy.JobID{"", ".", "..", "../log", "a/b", "a\x00", "/etc"} {
		wantCode(t, s.PutCheckpoint(t.Context(), job, good, bytes.NewReader([]byte("x"))), entropy.CodeInvalid)
		_, _, err := s.OpenCheckpoint(job, good.SHA256)
		wantCode(t, err, entropy.CodeInvalid)
		wantCode(t, s.PruneCheckpoints(job, nil), entropy.CodeInvalid)
	}
	for _, sum := range []string{"", "..", "../lock", sumOf(nil)[1:], "A" + sumOf(nil)[1:]} {
		wantCode(t, s.PutCheckpoint(t.Context(), "j", entropy.CheckpointPart{SHA256: sum, Size: 1}, bytes.NewReader([]byte("x"))), entropy.CodeInvalid)
		_, _, err := s.OpenCheckpoint("j", sum)
		wantCode(t, err, entropy.CodeInvalid)
	}
	wantCode(t, s.PutCheckpoint(t.Context(), "j", entropy.CheckpointPart{SHA256: good.SHA256, Size: 1 << 40}, nil), entropy.CodeTooLarge)
	wantCode(t, s.PutCheckpoint(t.Context(), "j", entropy.CheckpointPart{SHA256: good.SHA256, Size: -1}, nil), entropy.CodeInvalid)
}

// proves H-10: what the kept manifests do not need goes, nothing else does; a
// damaged manifest keeps nothing alive, and nothing to keep removes the job
func TestPruneCheckpoints(t *testing.T) {
	s := newStore(t, func(c *Config) { c.Reserve = -1 })
	a, b, c, abandoned := noise(1, 9), noise(2, 9), noise(3, 9), noise(4, 9)
	first, second := manifestOf(t, a, b), manifestOf(t, b, c)
	putParts(t, s, "j", a, b, c, abandoned, first, second)
	putParts(t, s, "other", a, abandoned)
	parts := func(job string, want ...[]byte) {
		t.Helper()
		var names []string
		for _, p := range want {
			names = append(names, sumOf(p))
		}
		slices.Sort(names)
		if got := files(t, s, filepath.Join(checkpointDir, job)); !slices.Equal(got, names) {
			t.Fatalf("%s has %v, want %v", job, got, names)
		}
	}
	prune := func(keep ...[]byte) {
		t.Helper()
		var list []entropy.CheckpointPart
		for _, k := range keep {
			list = append(list, partOf(k))
		}
		if err := s.PruneCheckpoints("j", list); err != nil {
			t.Fatal(err)
		}
	}
	prune(first, second)
	parts("j", a, b, c, first, second)
	prune(second)
	parts("j", b, c, second)
	if err := os.WriteFile(s.partPath("j", sumOf(second)), second[1:], 0o600); err != nil {
		t.Fatal(err)
	}
	prune(second)
	parts("j", second)
	prune()
	prune() // again
	if jobs, err := s.CheckpointJobs(); err != nil || !slices.Equal(jobs, []entropy.JobID{"other"}) {
		t.Errorf("jobs %v, %v", jobs, err)
	}
	parts("other", a, abandoned)
}

// proves H-10, P-4: bit rot in a part is found by Verify, and storing it again
// heals a part that lost bytes
func TestCheckpointRot(t *testing.T) {
	s := newStore(t, func(c *Config) { c.Reserve = -1 })
	a, b := noise(1, 1000), noise(2, 1000)
	putParts(t, s, "j", a, b)
	rotten := bytes.Clone(a)
	rotten[500] ^= 1
	if err := os.WriteFile(s.partPath("j", sumOf(a)), rotten, 0o600); err != nil {
		t.Fatal(err)
	}
	if checked, bad, err := s.Verify(t.Context()); err != nil || checked != 2 || !slices.Equal(bad, []string{"j/" + sumOf(a)}) {
		t.Errorf("%d checked, bad %v, %v", checked, bad, err)
	}
	if err := os.Truncate(s.partPath("j", sumOf(b)), 10); err != nil {
		t.Fatal(err)
	}
	if missing, err := s.MissingCheckpoint("j", []entropy.CheckpointPart{partOf(b)}); err != nil || len(missing) != 1 {
		t.Fatalf("missing %v, %v", missing, err)
	}
	putParts(t, s, "j", b)
	if missing, err := s.MissingCheckpoint("j", []entropy.CheckpointPart{partOf(b)}); err != nil || len(missing) != 0 {
		t.Fatalf("missing %v, %v", missing, err)
	}
}

// proves P-1, H-10: the bytes of a part are synced before it has its name, and the
// names before a checkpoint counts as complete
func TestCheckpointOrderOnDisk(t *testing.T) {
	conf := Config{Dir: filepath.Join(t.TempDir(), "store"), Reserve: -1}
	var ops []string
	s := reopen(t, conf, tracing(conf.Dir, func(op string) { ops = append(ops, op) }))
	p := noise(1, 10)
	expect := func(what string, err error, want ...string) {
		t.Helper()
		if err != nil || !slices.Equal(ops, want) {
			t.Fatalf("%s: %v\n got %q\nwant %q", what, err, ops, want)
		}
		ops = nil
	}
	putParts(t, s, "j", noise(2, 10))
	ops = nil
	expect("put", s.PutCheckpoint(t.Context(), "j", partOf(p), bytes.NewReader(p)), "write tmp", "sync tmp", "rename tmp checkpoint")
	expect("put again", s.PutCheckpoint(t.Context(), "j", partOf(p), bytes.NewReader(p)))
	_, err := s.MissingCheckpoint("j", []entropy.CheckpointPart{partOf(p)})
	expect("missing", err, "syncdir checkpoint", "syncdir checkpoint")
}

// proves P-1, H-13: a process that dies at any step leaves no part under a wrong
// name, and the same calls complete what was begun
func TestCheckpointCrashAtEveryStep(t *testing.T) {
	p, q := noise(1, 2*chunk), noise(2, 7)
	parts := []entropy.CheckpointPart{partOf(p), partOf(q)}
	work := func(s *Store) error {
		for _, b := range [][]byte{p, q} {
			if err := s.PutCheckpoint(t.Context(), "j", partOf(b), bytes.NewReader(b)); err != nil {
				return err
			}
		}
		missing, err := s.MissingCheckpoint("j", parts)
		if err == nil && len(missing) > 0 {
			t.Fatalf("missing %v", missing)
		}
		return err
	}
	for n := 0; ; n++ {
		conf := Config{Dir: filepath.Join(t.TempDir(), "store"), Reserve: -1}
		armed := false
		s := reopen(t, conf, crashing(n, &armed))
		armed = true
		finished := work(s) == nil
		s.lock.Close() // as the kernel does for a dead process
		again := reopen(t, conf, realDisk())
		if _, bad, err := again.Verify(t.Context()); err != nil || len(bad) > 0 {
			t.Fatalf("crash at step %d: bad %v, %v", n, bad, err)
		}
		if err := work(again); err != nil {
			t.Fatalf("crash at step %d: the repeat failed: %v", n, err)
		}
		if left := files(t, again, tempDir); len(left) > 0 {
			t.Fatalf("crash at step %d: left over: %v", n, left)
		}
		again.Close()
		if finished {
			if n < 8 {
				t.Fatalf("only %d steps: the faults no longer reach the work", n)
			}
			return
		}
	}
}

// proves H-10, H-3: a disk without room refuses a checkpoint before it is full:
// what everything else needs stays free, and nothing is left of what was refused
func TestCheckpointDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("cannot mount a small file system here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := Open(Config{Dir: filepath.Join(dir, "store"), Reserve: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	wantCode(t, s.CheckpointRoom(4<<20), entropy.CodeDiskFull)
	if err := s.CheckpointRoom(2 << 20); err != nil {
		t.Fatal(err)
	}
	stored := 0
	for i := range 10 {
		p := noise(uint64(i), 512<<10)
		if err = s.PutCheckpoint(t.Context(), "j", partOf(p), bytes.NewReader(p)); err != nil {
			break
		}
		stored++
	}
	wantCode(t, err, entropy.CodeDiskFull)
	if entropy.AsError(err).Hint == "" || stored < 4 || len(files(t, s, checkpointDir)) != stored {
		t.Errorf("%d parts stored, %d files: %v", stored, len(files(t, s, checkpointDir)), err)
	}
	if err := s.Put(t.Context(), sumOf([]byte("x")), 1, bytes.NewReader([]byte("x"))); err != nil {
		t.Error("others have no room either:", err)
	}
}
