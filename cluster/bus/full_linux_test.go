package bus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

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

// proves H-3 for the bus: a full disk is reported, loses nothing that was
// acknowledged, and is over when there is room.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "24m")
	b := start(t, Config{Dir: filepath.Join(dir, "nats"), MaxStore: 1 << 30})
	must(t, b.Health(t.Context()))
	ballast := filepath.Join(dir, "ballast")
	must(t, os.WriteFile(ballast, make([]byte, 8<<20), 0o600))
	var acked []string
	data := make([]byte, 200<<10)
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		id := fmt.Sprint(i)
		if err = b.Publish(t.Context(), SubjectRequested, id, append([]byte(id+" "), data...)); err == nil {
			acked = append(acked, id)
		}
	}
	t.Logf("%d were acknowledged, then: %v; %v", len(acked), err, b.Health(t.Context()))
	wantCode(t, err, entropy.CodeDiskFull)
	wantCode(t, b.Health(t.Context()), entropy.CodeDiskFull)
	must(t, os.Remove(ballast))
	eventually(t, "it takes messages again", func() bool { return b.Publish(t.Context(), SubjectRequested, "after", []byte("after ")) == nil })
	eventually(t, "it is well", func() bool { return b.Health(t.Context()) == nil })
	have := map[string]bool{}
	for _, m := range stored(t, b, StreamRequested) {
		id, _, _ := strings.Cut(string(m.Data), " ")
		have[id] = true
	}
	for _, id := range acked {
		if !have[id] {
			t.Errorf("%s was acknowledged and is gone", id)
		}
	}
}
