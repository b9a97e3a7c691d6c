package chdbtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// proves the choice of the engine: a package that is not the one these tests were
// written with is refused, and nothing of it is kept.
func TestOtherPackage(t *testing.T) {
	dir := t.TempDir()
	npm := filepath.Join(dir, "npm")
	if err := os.WriteFile(npm, []byte("#!/bin/sh\necho rubbish > chdb.tgz\necho chdb.tgz\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("XDG_CACHE_HOME", dir)
	if _, err := Library(context.Background()); err == nil || !strings.Contains(err.Error(), "not what it was") {
		t.Errorf("another package: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "entropy", "chdb-"+version, "*")); err != nil || len(left) != 1 || filepath.Base(left[0]) != "lock" {
		t.Errorf("%v is left, %v", left, err)
	}
	if err := os.WriteFile(npm, []byte("#!/bin/sh\necho no network >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Library(context.Background()); err == nil || !strings.Contains(err.Error(), "no network") || errors.Is(err, ErrUnsupported) {
		t.Errorf("no network: %v", err)
	}
	t.Setenv("PATH", "")
	if _, err := Library(context.Background()); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "scripts/setup") {
		t.Errorf("no npm: %v", err)
	}
}
