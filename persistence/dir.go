package persistence

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/entropy-fabric/entropy"
)

// LockFile is the name of the file in a data directory whose lock is the right
// to use the directory. It holds the pid of the process that has it.
const LockFile = "lock"

// Dir is a data directory that this process alone may use, until Close. Its
// methods are safe for concurrent use.
type Dir struct {
	path string
	mu   sync.Mutex
	lock *os.File // nil once closed
}

// OpenDir creates the data directory at path with mode 0700, if there is none,
// and locks it. The lock belongs to the process: it goes when the process ends,
// however it ends, so a stale lock does not exist.
//
// It returns an [entropy.Error]: CodeConflict when another process has the
// directory, CodeInvalid when path cannot be one, CodeDiskFull when there is no
// room to make it.
func OpenDir(path string) (*Dir, error) {
	if path == "" {
		return nil, entropy.Errorf(entropy.CodeInvalid, "no data directory is given").WithHint("name one with --data DIR")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	if err := makeDir(abs); err != nil {
		return nil, dirError(abs, err)
	}
	lock, err := lockFile(filepath.Join(abs, LockFile))
	if err != nil {
		return nil, dirError(abs, err)
	}
	return &Dir{path: abs, lock: lock}, nil
}

// Path returns the absolute path of the directory.
func (d *Dir) Path() string { return d.path }

// Join returns the absolute path of a file in the directory.
func (d *Dir) Join(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// Close gives the directory up. It is idempotent. The lock file stays: removing
// it would let a third process lock a file that a second one has open.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock == nil {
		return nil
	}
	err := errors.Join(d.lock.Truncate(0), d.lock.Close())
	d.lock = nil
	return err
}

// makeDir creates the directory and makes its name durable: a journal is of no
// use in a directory that a power cut takes away.
func makeDir(path string) error {
	fi, err := os.Stat(path)
	switch {
	case err == nil && !fi.IsDir():
		return syscall.ENOTDIR
	case err == nil:
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a directory durable: files created, renamed or
// removed before the call are still so after a power cut.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // it was only read
	return d.Sync()
}

// heldError says that another process holds the lock.
type heldError struct{ holder string }

func (e *heldError) Error() string { return "held by " + e.holder }

func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		holder := readHolder(f)
		_ = f.Close() // nothing was written
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &heldError{holder}
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	pid := strconv.Itoa(os.Getpid()) + "\n"
	if err := errors.Join(f.Truncate(0), writeAt(f, pid)); err != nil {
		_ = f.Close() // the lock goes with it
		return nil, err
	}
	return f, nil
}

// flock takes the lock without waiting. It is flock(2), which belongs to the open
// file, and not fcntl(2), which any close of the file in this process would drop.
func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func writeAt(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

func readHolder(f *os.File) string {
	b := make([]byte, 32)
	n, err := f.ReadAt(b, 0)
	pid, perr := strconv.Atoi(string(bytes.TrimSpace(b[:n])))
	if err != nil && !errors.Is(err, io.EOF) || perr != nil {
		return "another process"
	}
	return fmt.Sprintf("process %d", pid)
}

// dirError says what is wrong with a data directory and what to do about it.
func dirError(path string, err error) error {
	if held, ok := errors.AsType[*heldError](err); ok {
		return entropy.Errorf(entropy.CodeConflict, "the data directory %s is in use by %s", path, held.holder).
			WithHint("one control plane uses one data directory: stop that process, or choose another --data")
	}
	switch {
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, os.ErrExist):
		return entropy.Errorf(entropy.CodeInvalid, "the data directory %s is not a directory", path).
			WithHint("remove the file, or choose another --data")
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return entropy.Errorf(entropy.CodeInvalid, "the data directory %s cannot be written: %v", path, err).
			WithHint("run as its owner, or choose another --data")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return entropy.Errorf(entropy.CodeDiskFull, "there is no room for the data directory %s", path).
			WithHint("free space on its file system, or choose another --data")
	}
	return fmt.Errorf("data directory %s: %w", path, err)
}
