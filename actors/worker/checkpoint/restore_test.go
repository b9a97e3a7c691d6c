package checkpoint

import (
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// two saves two checkpoints that share most of their chunks.
func two(t *testing.T) (*remote, []byte, []byte) {
	t.Helper()
	r, a := newRemote(), newAttempt(t, 0)
	first := noise(1, 3<<20)
	a.markFile("state", first)
	a.save(r, Saved)
	second := append([]byte{}, first...)
	copy(second[1<<20:], noise(2, 1<<20))
	a.markFile("state", second)
	a.save(r, Saved)
	return r, first, second
}

// newestPack returns a pack that only the newest checkpoint needs.
func newestPack(t *testing.T, r *remote) string {
	t.Helper()
	old := make(map[string]bool)
	for i := range slices.Backward(r.committed) {
		m, err := entropy.DecodeCheckpointManifest(r.parts[r.committed[i].Manifest.SHA256])
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range m.Packs {
			if i == 0 && !old[p.SHA256] {
				return p.SHA256
			}
			old[p.SHA256] = true
		}
	}
	t.Fatal("the newest checkpoint has no pack of its own")
	return ""
}

// proves H-10: bit rot, a missing or a short part, in a pack or a manifest: the
// checkpoint before is restored, and that is said
func TestFallsBack(t *testing.T) {
	for name, harm := range map[string]func(r *remote){
		"bit":             func(r *remote) { r.parts[newestPack(t, r)][12345] ^= 1 },
		"missing":         func(r *remote) { delete(r.parts, newestPack(t, r)) },
		"short":           func(r *remote) { p := newestPack(t, r); r.parts[p] = r.parts[p][1:] },
		"manifest":        func(r *remote) { r.parts[r.committed[0].Manifest.SHA256][20] ^= 1 },
		"manifestMissing": func(r *remote) { delete(r.parts, r.committed[0].Manifest.SHA256) },
	} {
		t.Run(name, func(t *testing.T) {
			r, first, second := two(t)
			if next, _ := restored(t, r); next.read("state") != string(second) {
				t.Fatal("another content was restored")
			}
			harm(r)
			next, note := restored(t, r)
			if next.read("state") != string(first) {
				t.Error("the checkpoint before was not restored")
			}
			if !strings.Contains(note, "checkpoint 2 of attempt 1 cannot be restored") || !strings.Contains(note, "restored checkpoint 1") {
				t.Errorf("note %q", note)
			}
			clear(r.parts)
			next, note = restored(t, r)
			if _, err := os.Stat(next.dir.restored()); !os.IsNotExist(err) || !strings.HasSuffix(note, "nothing was restored") {
				t.Errorf("note %q, restored: %v", note, err)
			}
			left, err := os.ReadDir(next.dir.own())
			if err != nil || len(left) != 1 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// A damaged chunk that the newest checkpoint does not need does no harm.
func TestRotElsewhere(t *testing.T) {
	r, _, second := two(t)
	old, err := entropy.DecodeCheckpointManifest(r.parts[r.committed[1].Manifest.SHA256])
	if err != nil {
		t.Fatal(err)
	}
	c := old.Files[0].Chunks.At(old.Files[0].Chunks.Len() / 2) // within the second MiB, which changed
	r.parts[old.Packs[c.Pack].SHA256][c.Offset] ^= 1
	if next, note := restored(t, r); next.read("state") != string(second) || strings.Contains(note, "cannot") {
		t.Errorf("note %q", note)
	}
}

// proves S-5, H-10: whatever a manifest says, nothing is written outside of restored/
func TestHostileManifests(t *testing.T) {
	content := []byte("content")
	pack := partOf(content)
	chunks := func(pack, offset, size uint32) entropy.ChunkList {
		return entropy.ChunkList(nil).Append(entropy.Chunk{SHA256: sha256.Sum256(content), Pack: pack, Offset: offset, Size: size})
	}
	good := entropy.CheckpointFile{Path: "good", Mode: 0o644, Size: 7, Chunks: chunks(0, 0, 7)}
	file := func(path string) entropy.CheckpointFile {
		f := good
		f.Path = path
		return f
	}
	with := func(change func(*entropy.CheckpointFile)) []entropy.CheckpointFile {
		f := good
		change(&f)
		return []entropy.CheckpointFile{f}
	}
	manifest := func(files ...entropy.CheckpointFile) entropy.CheckpointManifest {
		return entropy.CheckpointManifest{Format: 1, ChunkSize: 8192, Packs: []entropy.CheckpointPart{pack}, Files: files}
	}
	restoreOne := func(m entropy.CheckpointManifest) (*attempt, string) {
		t.Helper()
		r := newRemote()
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		r.parts[partOf(b).SHA256], r.parts[pack.SHA256] = b, content
		r.committed = []entropy.Checkpoint{{Seq: 1, Attempt: 1, Manifest: partOf(b)}}
		return restored(t, r)
	}
	if next, note := restoreOne(manifest(good, file("d/e"))); next.read("d/e") != "content" {
		t.Fatalf("the good one: %s", note)
	}
	for name, m := range map[string]entropy.CheckpointManifest{
		"dots":        manifest(file("../evil")),
		"inner dots":  manifest(file("a/../../evil")),
		"absolute":    manifest(file(filepath.Join(t.TempDir(), "evil"))),
		"empty":       manifest(file("")),
		"dot":         manifest(file(".")),
		"nul":         manifest(file("a\x00b")),
		"twice":       manifest(good, good),
		"file as dir": manifest(file("a"), file("a/b")),
		"setuid":      manifest(with(func(f *entropy.CheckpointFile) { f.Mode = 0o4755 })...),
		"no pack":     manifest(with(func(f *entropy.CheckpointFile) { f.Chunks = chunks(1, 0, 7) })...),
		"beyond":      manifest(with(func(f *entropy.CheckpointFile) { f.Chunks = chunks(0, 1, 7) })...),
		"overflow":    manifest(with(func(f *entropy.CheckpointFile) { f.Chunks = chunks(0, 1<<32-1, 7) })...),
		"size":        manifest(with(func(f *entropy.CheckpointFile) { f.Size = 8 })...),
		"negative":    manifest(with(func(f *entropy.CheckpointFile) { f.Size = -7 })...),
		"cut list":    manifest(with(func(f *entropy.CheckpointFile) { f.Chunks = f.Chunks[1:] })...),
		"zero chunk":  manifest(with(func(f *entropy.CheckpointFile) { f.Chunks = append(chunks(0, 0, 7), chunks(0, 0, 0)...) })...),
		"pack name":   {Format: 1, Packs: []entropy.CheckpointPart{{SHA256: "../../x", Size: 7}}, Files: []entropy.CheckpointFile{good}},
		"pack size":   {Format: 1, Packs: []entropy.CheckpointPart{{SHA256: pack.SHA256, Size: 1 << 40}}, Files: []entropy.CheckpointFile{good}},
		"format":      {Format: 2, Packs: []entropy.CheckpointPart{pack}, Files: []entropy.CheckpointFile{good}},
		"dir dots":    {Format: 1, Dirs: []entropy.CheckpointDir{{Path: "../evil"}}},
		"dir is file": {Format: 1, Packs: []entropy.CheckpointPart{pack}, Dirs: []entropy.CheckpointDir{{Path: "good"}}, Files: []entropy.CheckpointFile{good}},
	} {
		next, note := restoreOne(m)
		if !strings.HasSuffix(note, "nothing was restored") {
			t.Errorf("%s: %s", name, note)
		}
		var names []string
		_ = filepath.WalkDir(next.dir.work, func(p string, _ os.DirEntry, _ error) error { names = append(names, p); return nil })
		if len(names) != 5 { // the workspace, checkpoint, ready, saving, settings
			t.Errorf("%s: left behind %v", name, names)
		}
	}
}

// proves H-10: a network that fails is not taken for damage
func TestRestoreTransient(t *testing.T) {
	r, _, second := two(t)
	n := 0
	r.fault = func(string) error {
		if n++; n == 2 {
			return entropy.Errorf(entropy.CodeUnavailable, "away")
		}
		return nil
	}
	a := newAttempt(t, 0)
	if note, err := Restore(t.Context(), a.conf, r, r.committed); entropy.ErrorCode(err) != entropy.CodeUnavailable {
		t.Fatalf("%q, %v", note, err)
	}
	if _, err := Restore(t.Context(), a.conf, r, r.committed); err != nil || a.read("state") != string(second) {
		t.Fatal(err)
	}
}

// proves H-10, H-3: a worker without room says so, in good time or in the middle,
// and keeps nothing of it
func TestRestoreDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	r, large := newRemote(), newAttempt(t, 0)
	large.markFile("state", noise(1, 5<<20))
	large.save(r, Saved)
	a := newAttemptIn(t, dir, 0)
	if note, err := Restore(t.Context(), a.conf, r, r.committed); entropy.ErrorCode(err) != entropy.CodeDiskFull {
		t.Fatalf("%q, %v", note, err)
	}
	// It seemed to fit, and something else took the room.
	small, b := newRemote(), newAttempt(t, 0)
	b.markFile("state", noise(1, 3<<20))
	b.save(small, Saved)
	n := 0
	small.fault = func(string) error {
		if n++; n == 2 {
			return os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 3<<20), 0o600)
		}
		return nil
	}
	if note, err := Restore(t.Context(), a.conf, small, small.committed); entropy.ErrorCode(err) != entropy.CodeDiskFull {
		t.Fatalf("%q, %v", note, err)
	}
	if _, err := os.Stat(a.dir.half()); !os.IsNotExist(err) {
		t.Errorf("half a checkpoint stays: %v", err)
	}
}
