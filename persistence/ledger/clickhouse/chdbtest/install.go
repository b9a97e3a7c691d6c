package chdbtest

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// The package of the engine: its version, and what npm calls its integrity. It has 167 MB,
// and the library in it 560 MB.
const (
	packageName = "@chdb/lib-linux-x64-gnu"
	version     = "26.5.3"
	integrity   = "fPrLmRt5Moor9yGz4mazbrNje4t7X9KB2mTGkXFWRxRBs2iKy8yh6jx11xsa0Qr3iDFMU/yHqd+bVdYJXu3QaQ=="
)

// ErrUnsupported says that the engine cannot be had on a machine like this one.
var ErrUnsupported = errors.New("the engine is not to be had here")

// Library returns the path of libchdb.so. At the first time it gets it with npm, from
// the registry that npm is set to, and checks it; it is kept in the user's cache folder.
func Library(ctx context.Context) (string, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("%w: there is one for linux/amd64 only", ErrUnsupported)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "entropy", "chdb-"+version)
	lib := filepath.Join(dir, "libchdb.so")
	if _, err := os.Stat(lib); err == nil {
		return lib, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(dir, "lock")) // other packages' tests want it too
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(lib); err == nil {
		return lib, nil
	}
	return lib, install(ctx, dir, lib)
}

func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // which unlocks it
}

func install(ctx context.Context, dir, lib string) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return fmt.Errorf("%w: there is no npm; as root, scripts/setup installs it", ErrUnsupported)
	}
	tmp, err := os.MkdirTemp(dir, "get-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // a leftover is in a cache
	cmd := exec.CommandContext(ctx, npm, "pack", packageName+"@"+version, "--silent", "--ignore-scripts")
	cmd.Dir = tmp
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("npm pack %s@%s: %w\n%.500s", packageName, version, err, out)
	}
	lines := strings.Fields(string(out))
	if len(lines) == 0 {
		return fmt.Errorf("npm pack %s said nothing", packageName)
	}
	return unpack(filepath.Join(tmp, filepath.Base(lines[len(lines)-1])), filepath.Join(tmp, "libchdb.so"), lib)
}

// unpack checks a package and takes the library out of it; it becomes lib when it is
// whole.
func unpack(pack, tmp, lib string) error {
	f, err := os.Open(pack)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is read only
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := base64.StdEncoding.EncodeToString(h.Sum(nil)); got != integrity {
		return fmt.Errorf("%s is not what it was when these tests were written: sha512-%s", filepath.Base(pack), got)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for tr := tar.NewReader(z); ; {
		e, err := tr.Next()
		if err != nil {
			return fmt.Errorf("look for libchdb.so: %w", err)
		}
		if e.Name != "package/libchdb.so" {
			continue
		}
		out, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, tr) //nolint:gosec // its sum is known
		if err = errors.Join(err, out.Close()); err != nil {
			return err
		}
		return os.Rename(tmp, lib)
	}
}
