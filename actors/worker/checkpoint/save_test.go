package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves H-10: a directory comes back as it was: files, modes, empty ones
func TestSaveAndRestore(t *testing.T) {
	r, a := newRemote(), newAttempt(t, 0)
	a.save(r, Nothing)
	files := map[string]string{"model/weights": string(noise(1, 300<<10)), "model/copy": string(noise(1, 300<<10)), "step": "41", "empty": "", "ü #1": "x"}
	dir := filepath.Join(a.dir.Job(), "next")
	for p, content := range files {
		write(t, filepath.Join(dir, p), content)
	}
	if err := os.MkdirAll(filepath.Join(dir, "nothing/in/here"), 0o755); err != nil {
		t.Fatal(err)
	}
	for p, mode := range map[string]os.FileMode{"step": 0o400, "model/copy": 0o755, "model": 0o500, "nothing": 0o700} {
		if err := os.Chmod(filepath.Join(dir, p), mode); err != nil {
			t.Fatal(err)
		}
	}
	a.rename(dir, "step-41")
	a.save(r, Saved)
	if r.sent > 330<<10 {
		t.Errorf("%d bytes were sent for two equal files of 300 KiB", r.sent)
	}
	next, note := restored(t, r)
	for p, want := range files {
		if next.read(p) != want {
			t.Errorf("%s has another content", p)
		}
	}
	for p, want := range map[string]os.FileMode{"step": 0o400, "model/copy": 0o755, "model": 0o500 | os.ModeDir, "nothing/in/here": 0o755 | os.ModeDir} {
		if fi, err := os.Stat(filepath.Join(next.dir.restored(), p)); err != nil || fi.Mode() != want {
			t.Errorf("%s: mode %v, %v; want %v", p, fi.Mode(), err, want)
		}
	}
	if !strings.Contains(note, "restored checkpoint 1 of attempt 1") {
		t.Errorf("note %q", note)
	}
	if b, _ := os.ReadFile(a.dir.status()); string(b) != "saved step-41 as 1\n" {
		t.Errorf("status %q", b)
	}
	if a.dir.taken() != "" {
		t.Error("what was saved is still there")
	}
}

// proves H-10: the next attempt builds on what it restored
func TestBuildsOnWhatWasRestored(t *testing.T) {
	r, a := newRemote(), newAttempt(t, 0)
	content := noise(1, 1<<20)
	a.markFile("state", content)
	a.save(r, Saved)
	next, _ := restored(t, r)
	r.committed, r.sent = nil, 0
	copy(content[500<<10:], "changed")
	next.markFile("state", content)
	next.save(r, Saved)
	if r.sent > 100<<10 {
		t.Errorf("%d of %d bytes were sent", r.sent, len(content))
	}
}

// proves H-10: what is not in ready/, or is being written there, is not taken
func TestNeverHalfWritten(t *testing.T) {
	r, a := newRemote(), newAttempt(t, 0)
	look := func(want Result, why string) {
		t.Helper()
		if got, err := a.Save(t.Context(), r, false); err != nil || got != want {
			t.Fatalf("%s: result %d, %v; want %d", why, got, err, want)
		}
	}
	long := time.Now().Add(-time.Hour)
	age := func(path string) {
		t.Helper()
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(a.dir.Job(), "state")
	write(t, outside, "half")
	age(outside)
	look(Nothing, "a file outside of ready/")

	inside := filepath.Join(a.dir.ready(), "state")
	f, err := os.Create(inside) // against the rule
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("half"); err != nil {
		t.Fatal(err)
	}
	if leases(t, inside) {
		look(Nothing, "a file open for writing")
	}
	if _, err := f.WriteString(" and half"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	age(inside)
	look(Saved, "a file that was closed")

	dir := filepath.Join(a.dir.ready(), "d")
	write(t, filepath.Join(dir, "one"), "1")
	age(filepath.Join(dir, "one"))
	look(Nothing, "a directory that just grew")
	age(dir)
	look(Saved, "a directory at rest")
	if next, _ := restored(t, &remote{parts: r.parts, committed: r.committed[1:]}); next.read("state") != "half and half" {
		t.Error("a part of the file was saved")
	}
	a.waiting, a.waitingSince = "e", time.Now().Add(-time.Hour)
	write(t, filepath.Join(a.dir.ready(), "e/x"), "x")
	look(Nothing, "a directory that never settles")
	if len(r.refusals) != 1 || !strings.Contains(r.refusals[0], "still being written") {
		t.Errorf("refusals %q", r.refusals)
	}
}

// leases reports whether the file system can tell that a file is open for writing.
func leases(t *testing.T, path string) bool {
	t.Helper()
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	fi, err := root.Lstat(filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	return atRest(root, filepath.Base(path), fi) != nil
}

// proves S-5: a job that puts links in the place of the directories it was given
// gets nothing moved, removed or overwritten that it could not reach itself
func TestHostileDirectories(t *testing.T) {
	outside := t.TempDir()
	intact := func(what string) {
		t.Helper()
		for name, want := range map[string]string{"one": "1", "two": "2"} {
			if b, err := os.ReadFile(filepath.Join(outside, name)); err != nil || string(b) != want {
				t.Fatalf("%s: %s is now %q, %v", what, name, b, err)
			}
		}
	}
	write(t, filepath.Join(outside, "one"), "1")
	write(t, filepath.Join(outside, "two"), "2")
	swap := func(path, target string) {
		t.Helper()
		if err := errors.Join(os.RemoveAll(path), os.Symlink(target, path)); err != nil {
			t.Fatal(err)
		}
	}
	r, a := newRemote(), newAttempt(t, 0)
	swap(a.dir.ready(), outside)
	if err := a.dir.Thin(); err == nil {
		t.Error("it followed the link")
	}
	if got, err := a.Save(t.Context(), r, true); err == nil {
		t.Errorf("result %d", got)
	}
	intact("ready/")

	b := newAttempt(t, 0)
	swap(b.dir.status()+".next", filepath.Join(outside, "one"))
	swap(b.dir.status(), filepath.Join(outside, "two"))
	b.markFile("state", []byte("x"))
	b.save(r, Saved)
	intact("status")

	c := newAttempt(t, 0)
	c.mark("d", map[string]string{"x": "1"})
	swap(filepath.Join(c.dir.ready(), "d", "inner"), outside)
	swap(filepath.Join(c.dir.ready(), "e"), outside)
	if err := c.dir.drop([]string{"d", "e"}); err != nil {
		t.Fatal(err)
	}
	intact("what is dropped")

	d := newAttempt(t, 0)
	d.mark("d", map[string]string{"x": "1"})
	swap(d.dir.Job(), outside)
	if _, err := d.Save(t.Context(), r, true); err == nil {
		t.Error("it followed the link")
	}
	intact("the whole directory")
}

// proves H-10: what changes while it is read is not committed
func TestChangesMeanwhile(t *testing.T) {
	r, a := newRemote(), newAttempt(t, 0)
	a.markFile("state", noise(1, 8<<20))
	f, err := os.OpenFile(filepath.Join(a.dir.ready(), "state"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r.fault = func(op string) error { // after it was read once, before it is sent
		if op == "offer" {
			_, err := f.WriteAt([]byte("changed"), 7<<20)
			return err
		}
		return nil
	}
	a.save(r, Refused)
	if len(r.committed) > 0 || len(r.refusals) != 1 || !strings.Contains(r.refusals[0], "changed while it was saved") {
		t.Errorf("committed %+v, refusals %q", r.committed, r.refusals)
	}
}

// proves H-10, S-5: links, pipes, sockets and names that are not plain are refused
// clearly, and nothing that they lead to is read
func TestHostileEntries(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "do not read me")
	for name, make := range map[string]func(dir string) error{
		"link":     func(dir string) error { return os.Symlink(secret, dir+"/state") },
		"dirlink":  func(dir string) error { return os.Symlink(filepath.Dir(secret), dir+"/state") },
		"dangling": func(dir string) error { return os.Symlink("nowhere", dir+"/state") },
		"fifo":     func(dir string) error { return syscall.Mkfifo(dir+"/state", 0o600) },
		"latin1":   func(dir string) error { return os.WriteFile(dir+"/\xe4", nil, 0o600) },
		"newline":  func(dir string) error { return os.WriteFile(dir+"/a\nb", nil, 0o600) },
		"socket": func(dir string) error {
			t.Chdir(dir) // a socket's name is short
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: "state", Net: "unix"})
			if err == nil {
				l.SetUnlinkOnClose(false)
				err = l.Close()
			}
			return err
		},
	} {
		for _, inside := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", name, inside), func(t *testing.T) {
				r, a := newRemote(), newAttempt(t, 0)
				a.mark("good", map[string]string{"x": "1"})
				a.save(r, Saved)
				dir := a.dir.ready()
				if inside {
					dir = filepath.Join(a.dir.Job(), "next")
					write(t, dir+"/plain", "x")
				}
				if err := make(dir); err != nil {
					t.Fatal(err)
				}
				if inside {
					a.rename(dir, "bad")
				} else if name == "latin1" || name == "newline" {
					t.Skip("the name of the entry itself is not stored")
				}
				a.save(r, Refused)
				if len(r.committed) != 1 || len(r.refusals) != 1 || r.refusals[0] == "" {
					t.Fatalf("committed %+v, refusals %q", r.committed, r.refusals)
				}
				if status, _ := os.ReadFile(a.dir.status()); !strings.HasPrefix(string(status), "refused ") {
					t.Errorf("status %q", status)
				}
				for _, b := range r.parts {
					if bytes.Contains(b, []byte("do not read me")) {
						t.Error("it read what it was led to")
					}
				}
				if b, err := os.ReadFile(secret); err != nil || string(b) != "do not read me" {
					t.Errorf("the file it was led to is now %q, %v", b, err)
				}
				a.save(r, Nothing) // it is not tried again
			})
		}
	}
}

// proves H-10: too large is refused before anything is sent, and the one before stays
func TestTooLarge(t *testing.T) {
	r, a := newRemote(), newAttempt(t, 1000)
	a.markFile("state", noise(1, 1000))
	a.save(r, Saved)
	sent := r.sent
	a.markFile("state", noise(2, 1001))
	a.save(r, Refused)
	if len(r.committed) != 1 || r.sent != sent || len(r.refusals) != 1 || !strings.Contains(r.refusals[0], "max_size") {
		t.Errorf("committed %+v, %d bytes sent, refusals %q", r.committed, r.sent-sent, r.refusals)
	}
	r.fault = func(op string) error { // the fabric's own word
		if op == "put" {
			return entropy.Errorf(entropy.CodeDiskFull, "no room").WithHint("free some")
		}
		return nil
	}
	a.markFile("state", noise(3, 1000))
	a.save(r, Refused)
	if len(r.refusals) != 2 || !strings.Contains(r.refusals[1], "no room") {
		t.Errorf("refusals %q", r.refusals)
	}
	r.fault = nil
	a.markFile("state", noise(4, 1000))
	a.save(r, Saved)
}

// proves H-10: of several that wait only the newest is saved; an older one that
// could not be sent gives way to it
func TestNewestWins(t *testing.T) {
	r, a := newRemote(), newAttempt(t, 0)
	r.fault = func(string) error { return entropy.Errorf(entropy.CodeUnavailable, "away") }
	for _, name := range []string{"c", "b", "a"} {
		a.markFile(name, []byte(name))
		if err := a.dir.Thin(); err != nil {
			t.Fatal(err)
		}
		if name == "b" {
			if _, err := a.Save(t.Context(), r, true); entropy.ErrorCode(err) != entropy.CodeUnavailable || a.dir.taken() != "b" {
				t.Fatalf("%v, taken %q", err, a.dir.taken())
			}
		}
	}
	a.markFile("e", []byte("e"))
	a.markFile("d", []byte("d"))
	r.fault = nil
	a.save(r, Saved)
	a.save(r, Nothing)
	if next, _ := restored(t, r); len(r.committed) != 1 || next.read("d") != "d" {
		t.Errorf("committed %+v", r.committed)
	}
}

// proves H-10: a job that marks one after the other without a pause gets the
// newest of those that are at rest saved
func TestWithoutPause(t *testing.T) {
	r, a := newRemote(), newAttempt(t, 0)
	for i := range 5 {
		name := fmt.Sprintf("step-%d", i)
		a.mark(name, map[string]string{"n": name})
		if i < 3 {
			long := time.Now().Add(-time.Hour)
			for _, p := range []string{name, name + "/n"} {
				if err := os.Chtimes(filepath.Join(a.dir.ready(), p), long, long); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if got, err := a.Save(t.Context(), r, false); err != nil || got != Saved {
		t.Fatalf("result %d, %v", got, err)
	}
	if next, _ := restored(t, r); next.read("n") != "step-2" {
		t.Error("another one was saved")
	}
	if left, err := a.dir.marked(); err != nil || !slices.Equal(left, []string{"step-4", "step-3"}) {
		t.Errorf("left: %v, %v", left, err)
	}
	for i := range 3 { // a file that is replaced all the time
		a.markFile("state", fmt.Append(nil, i))
		if got, err := a.Save(t.Context(), r, false); err != nil || got != Saved {
			t.Fatalf("result %d, %v", got, err)
		}
	}
}

// proves H-10: an upload that breaks off goes on with a new agent; what arrived is
// not sent again
func TestResumed(t *testing.T) {
	r, a := newRemote(), newAttempt(t, 0)
	a.markFile("state", noise(1, 24<<20))
	n := 0
	r.fault = func(op string) error {
		if n++; n > 5 {
			return entropy.Errorf(entropy.CodeUnavailable, "cut off")
		}
		return nil
	}
	if _, err := a.Save(t.Context(), r, true); entropy.ErrorCode(err) != entropy.CodeUnavailable {
		t.Fatal(err)
	}
	arrived := r.puts
	r.fault, r.sent = nil, 0
	later := New(a.conf)
	if got, err := later.Save(t.Context(), r, false); err != nil || got != Saved {
		t.Fatalf("result %d, %v", got, err)
	}
	if arrived < 3 || r.sent > int64(24<<20+1<<20-arrived*(4<<20-64<<10)) {
		t.Errorf("%d packs had arrived, and %d bytes were sent after that", arrived, r.sent)
	}
	// One more agent, which knows what was committed.
	third := New(a.conf)
	a.markFile("state", noise(1, 24<<20))
	r.sent = 0
	if got, err := third.Save(t.Context(), r, true); err != nil || got != Saved || r.sent > 1<<20 || r.committed[0].Seq != 2 {
		t.Errorf("result %d, %v, %d bytes sent, %+v", got, err, r.sent, r.committed[0])
	}
}

// proves H-10: the fence. An assignment that is over stops; one whose lease may
// come back tries again.
func TestFence(t *testing.T) {
	r, a := newRemote(), newAttempt(t, 0)
	a.markFile("state", []byte("1"))
	r.fault = func(op string) error {
		if op == "commit" {
			return entropy.Errorf(entropy.CodeUnavailable, "no lease just now")
		}
		return nil
	}
	if _, err := a.Save(t.Context(), r, true); entropy.ErrorCode(err) != entropy.CodeUnavailable {
		t.Fatal(err)
	}
	r.fault = func(op string) error {
		if op == "commit" {
			return entropy.Errorf(entropy.CodeSuperseded, "late")
		}
		return nil
	}
	a.save(r, Over)
	if len(r.committed) != 0 || len(r.refusals) != 0 {
		t.Errorf("committed %+v, refusals %q", r.committed, r.refusals)
	}
}

// proves H-10: a commit whose answer was lost is repeated; if the job has marked
// another meanwhile, the seq that was used is passed over
func TestLostAnswer(t *testing.T) {
	r, a := newRemote(), newAttempt(t, 0)
	a.markFile("state", []byte("1"))
	r.lose = true
	if _, err := a.Save(t.Context(), r, true); entropy.ErrorCode(err) != entropy.CodeUnknown {
		t.Fatal(err)
	}
	a.save(r, Saved)
	if len(r.committed) != 1 {
		t.Fatalf("committed %+v", r.committed)
	}
	a.markFile("state", []byte("2"))
	r.lose = true
	if _, err := a.Save(t.Context(), r, true); entropy.ErrorCode(err) != entropy.CodeUnknown {
		t.Fatal(err)
	}
	a.markFile("state", []byte("3"))
	a.save(r, Saved)
	if next, _ := restored(t, r); r.committed[0].Seq != 3 || next.read("state") != "3" {
		t.Errorf("committed %+v", r.committed)
	}
}

// proves H-10: when the fabric has lost what a checkpoint would build on,
// everything is sent again
func TestPartsGone(t *testing.T) {
	r, a := newRemote(), newAttempt(t, 0)
	content := noise(1, 10<<20)
	a.markFile("state", content)
	a.save(r, Saved)
	clear(r.parts)
	copy(content, "changed")
	a.markFile("state", content)
	a.save(r, Saved)
	if next, _ := restored(t, r); next.read("state") != string(content) {
		t.Error("another content was restored")
	}
}

// proves H-10: however often a little of it changes, what is stored for a
// checkpoint stays about twice its size
func TestPacksAreRenewed(t *testing.T) {
	r, a := newRemote(), newAttempt(t, 0)
	const size = 5 << 20
	content := noise(1, size)
	for i := range 24 {
		copy(content[i*7%20<<18:], noise(uint64(i), 256<<10))
		a.markFile("state", content)
		a.save(r, Saved)
	}
	total := int64(0)
	for _, p := range a.base.Manifest.Packs {
		total += p.Size
	}
	if total > 2*size+4<<20 {
		t.Errorf("%d bytes of packs for a checkpoint of %d", total, len(content))
	}
	if next, _ := restored(t, r); next.read("state") != string(content) {
		t.Error("another content was restored")
	}
}

// A save ends with its context, and goes on later.
func TestSaveCanceled(t *testing.T) {
	r, a := newRemote(), newAttempt(t, 0)
	a.markFile("state", noise(1, 1<<20))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Save(ctx, r, true); err == nil || len(r.refusals) > 0 {
		t.Fatalf("%v, refusals %q", err, r.refusals)
	}
	a.save(r, Saved)
}
