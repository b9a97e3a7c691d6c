package workspace

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// proves W-6 (fresh scratch): whatever an assignment did to its workspace, the
// next one finds an empty one with the right mode; only an untouched one is used
// again.
func TestWorkspaceIsAlwaysFresh(t *testing.T) {
	r, err := OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, touch := range map[string]func(d Dir) error{
		"untouched": func(Dir) error { return nil },
		"file":      func(d Dir) error { return os.WriteFile(d.Scratch()+"/f", nil, 0o600) },
		"hidden":    func(d Dir) error { return os.WriteFile(d.Artifacts()+"/.f", nil, 0o600) },
		"log":       func(d Dir) error { return os.WriteFile(d.Log(Stdout), nil, 0o600) },
		"mode":      func(d Dir) error { return os.Chmod(d.Scratch(), 0o777) },
		"removed":   func(d Dir) error { return os.Remove(d.Artifacts()) },
		"link": func(d Dir) error {
			return os.Remove(d.Scratch()) // and a link in its place
		},
		"closed": func(d Dir) error {
			if err := os.MkdirAll(d.Scratch()+"/a/b", 0o700); err != nil {
				return err
			}
			return os.Chmod(d.Scratch()+"/a", 0)
		},
	} {
		d, err := r.Make("first")
		if err != nil {
			t.Fatal(err)
		}
		if err := touch(d); err != nil {
			t.Fatal(err)
		}
		if name == "link" {
			if err := os.Symlink(t.TempDir(), d.Scratch()); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Remove("first"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := len(r.free); (n == 1) != (name == "untouched") {
			t.Errorf("%s: %d kept for reuse", name, n)
		}
		next, err := r.Make("second")
		if err != nil {
			t.Fatal(err)
		}
		if !next.untouched() {
			t.Errorf("%s: the next workspace is not fresh", name)
		}
		if _, err := os.Lstat(d.Path()); err == nil {
			t.Errorf("%s: the first workspace is still there", name)
		}
		if err := next.Remove(); err != nil {
			t.Fatal(err)
		}
	}
}

// proves W-8: workspaces of assignments nobody holds are removed at start.
func TestSweep(t *testing.T) {
	r, err := OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []entropy.AssignmentID{"keep", "drop"} {
		if _, err := r.Make(id); err != nil {
			t.Fatal(err)
		}
	}
	r.Sweep(func(id entropy.AssignmentID) bool { return id == "keep" }, slog.New(slog.DiscardHandler))
	if _, err := os.Stat(r.Dir("keep").Path()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.Dir("drop").Path()); err == nil {
		t.Error("drop is still there")
	}
}

// proves W-7: names and links by which an artifact could come from elsewhere are
// refused, as is one name for two contents; the same content twice is one.
func TestCollectRefuses(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	write := func(p, s string) error {
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			return err
		}
		return os.WriteFile(p, []byte(s), 0o600)
	}
	for name, c := range map[string]struct {
		make  func(work, art string) error
		globs []string
		want  string // names, or part of the error after "!"
	}{
		"link out":        {func(_, a string) error { return os.Symlink(secret, a+"/x") }, nil, "!cannot be taken"},
		"relative out":    {func(_, a string) error { return os.Symlink("../../../x", a+"/x") }, nil, "!cannot be taken"},
		"glob to link":    {func(w, _ string) error { return os.Symlink(secret, w+"/x") }, []string{"x"}, "!cannot be taken"},
		"newline in name": {func(_, a string) error { return write(a+"/a\nb", "") }, nil, "!not a plain relative path"},
		"two contents":    {func(w, a string) error { return firstError(write(w+"/x", "1"), write(a+"/x", "2")) }, []string{"x"}, "!two different files"},
		"one content":     {func(w, a string) error { return firstError(write(w+"/x", "1"), write(a+"/x", "1")) }, []string{"x"}, "x"},
		"directory":       {func(w, _ string) error { return firstError(write(w+"/d/a", ""), write(w+"/d/e/b", "")) }, []string{"d"}, "d/a d/e/b"},
		"nothing":         {func(string, string) error { return nil }, []string{"*.x"}, "!matched nothing"},
	} {
		work, art := t.TempDir(), t.TempDir()
		if err := c.make(work, art); err != nil {
			t.Fatal(err)
		}
		list, files, err := Collect(work, art, c.globs)
		var names []string
		for i, a := range list {
			names = append(names, a.Name)
			f, err := Open(files[i])
			if err != nil {
				t.Errorf("%s: open %s: %v", name, a.Name, err)
				continue
			}
			f.Close()
		}
		part, bad := strings.CutPrefix(c.want, "!")
		if bad != (err != nil) || bad && !strings.Contains(err.Error(), part) || !bad && strings.Join(names, " ") != c.want {
			t.Errorf("%s: %q, %v", name, names, err)
		}
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// proves W-6: a log that cannot be written is noted as such and the writer is
// not told.
func TestLogOnBrokenDisk(t *testing.T) {
	l := NewLog(filepath.Join(t.TempDir(), "no", "such", "dir"), 100)
	if n, err := l.Write([]byte("data")); n != 4 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if size := l.Finish(); size != 0 {
		t.Fatalf("size %d", size)
	}
	if _, err := os.Stat(l.path); err == nil || !os.IsNotExist(err) {
		t.Fatal(fs.ErrExist)
	}
}
