package persistence_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/persistence"
)

// TestMain lets the test binary play the second process.
func TestMain(m *testing.M) {
	if path := os.Getenv("PERSISTENCE_TEST_OPEN"); path != "" {
		d, err := persistence.OpenDir(path)
		if err == nil {
			err = d.Close()
		}
		fmt.Print(entropy.ErrorCode(err), "|", err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func openElsewhere(t *testing.T, path string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PERSISTENCE_TEST_OPEN="+path)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("second process: %v: %s", err, out)
	}
	return string(out)
}

// proves P-6
func TestSecondOpenerIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	d, err := persistence.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	got := openElsewhere(t, path)
	if want := fmt.Sprintf("in use by process %d", os.Getpid()); !strings.HasPrefix(got, "conflict|") || !strings.Contains(got, want) {
		t.Errorf("another process got %q, want a conflict naming %q", got, want)
	}
	if _, err := persistence.OpenDir(path); entropy.ErrorCode(err) != entropy.CodeConflict {
		t.Errorf("this process got %v, want a conflict", err)
	}
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	if got := openElsewhere(t, path); !strings.HasPrefix(got, "|") {
		t.Errorf("after Close another process got %q", got)
	}
}

func TestDirIsPrivateAndPathsLieInIt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b")
	d, err := persistence.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close() //nolint:errcheck // nothing was written
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v; want 0700", fi.Mode(), err)
	}
	if got := d.Join("journal.db"); got != filepath.Join(d.Path(), "journal.db") || !filepath.IsAbs(got) {
		t.Errorf("Join = %q", got)
	}
}

func TestBadDirsAreRefusedClearly(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"empty": "", "a file": file, "below a file": filepath.Join(file, "x"), "not writable": "/sys/entropy"} {
		_, err := persistence.OpenDir(path)
		e := entropy.AsError(err)
		if e == nil || e.Code != entropy.CodeInvalid || e.Hint == "" {
			t.Errorf("%s: got %v, want an invalid-error with a hint", name, err)
		}
	}
}
