package journal

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// smallDisk mounts a file system of its own for a test.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	if errors.Is(err, syscall.EPERM) {
		t.Skip("mounting a small file system needs root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// waitFor polls until what is true, which another goroutine makes so.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("gave up waiting until %s", what)
		}
	}
}

// proves H-3, P-3
func TestAFullDiskMakesTheJournalReadOnlyUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "8m")
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	j := open(t, Config{Path: filepath.Join(dir, "journal.db"), probeEvery: 5 * time.Millisecond})
	acked := map[string]int{}
	fill := func() (id string) {
		t.Helper()
		for i := 0; ; i++ {
			k := newTracker(name("j%d-%d", len(acked), i))
			s := spec()
			s.Payload = []byte(`"` + string(make64k()) + `"`)
			_, err := j.Append(bg, k.submit(t, s))
			if err != nil {
				wantCode(t, err, entropy.CodeDiskFull)
				return string(k.job.ID)
			}
			acked[string(k.job.ID)] = 1
		}
	}
	refused := fill()
	if !j.ReadOnly() || j.Err() != nil || len(acked) == 0 {
		t.Fatalf("after %d appends: read-only %v, %v", len(acked), j.ReadOnly(), j.Err())
	}
	// Reads work; nothing of the refused append is there; small things are refused as well.
	if seq := j.Seq(); seq != uint64(len(acked)) {
		t.Errorf("seq %d after %d acknowledged", seq, len(acked))
	}
	_, err := j.Job(bg, entropy.JobID(refused))
	wantCode(t, err, entropy.CodeNotFound)
	for id := range acked {
		if _, err := j.Job(bg, entropy.JobID(id)); err != nil {
			t.Fatal(err)
		}
	}
	before := j.Stats().Full
	if before == 0 {
		t.Error("no batch is counted as refused")
	}
	// Room again: it finds out by itself, without an append.
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the journal has room again", func() bool { return !j.ReadOnly() })
	must(t, j, newTracker("again").submit(t, spec()))
	acked["again"] = 1
	// And full a second time; then it is closed and opened elsewhere, with room.
	fill()
	if err := j.Close(); err != nil {
		t.Logf("close on a full disk: %v", err)
	}
	roomy := filepath.Join(t.TempDir(), "journal.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, "journal.db"+suffix))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := errors.Join(err, os.WriteFile(roomy+suffix, b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	checkAcked(t, roomy, acked)
	verifiedFile(t, roomy)
}

func make64k() []byte {
	b := make([]byte, 64<<10)
	for i := range b {
		b[i] = byte('a' + i%26)
	}
	return b
}

// proves H-3: no room to begin with.
func TestOpeningOnAFullDiskSaysSo(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "64k")
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 56<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(bg, Config{Path: filepath.Join(dir, "journal.db")})
	wantCode(t, err, entropy.CodeDiskFull)
}
