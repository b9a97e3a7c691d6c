// Package workspace is the directory of one assignment at a worker: scratch,
// inputs, artifacts and logs, and what may leave it.
//
//	<state>/work/<assignment>/scratch     the working directory, and TMPDIR
//	<state>/work/<assignment>/artifacts   ENTROPY_ARTIFACT_DIR
//	<state>/work/<assignment>/inputs      ENTROPY_INPUT_DIR, when there are inputs
//	<state>/work/<assignment>/stdout, stderr   when something was written
//
// It is made before an assignment starts and removed once the fabric has
// decided on its result.
package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

// The streams of an assignment.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// Root is a worker's directory of workspaces. Its methods may be called from any
// goroutine.
type Root struct {
	path string

	mu   sync.Mutex
	free []Dir // untouched workspaces of decided assignments, to be renamed
}

// maxFree bounds Root.free.
const maxFree = 256

// OpenRoot returns the directory of workspaces below a worker's state
// directory, and makes it.
func OpenRoot(state string) (*Root, error) {
	abs, err := filepath.Abs(state)
	if err != nil {
		return nil, err
	}
	r := &Root{path: filepath.Join(abs, "work")}
	if err := os.MkdirAll(r.path, 0o700); err != nil {
		return nil, fmt.Errorf("make work directory: %w", err)
	}
	empty := r.emptyInputs()
	if err := os.MkdirAll(empty, 0o555); err != nil {
		return nil, fmt.Errorf("make work directory: %w", err)
	}
	return r, nil
}

// emptyInputs is the input directory of every assignment without inputs.
func (r *Root) emptyInputs() string { return filepath.Join(filepath.Dir(r.path), "no-inputs") }

// Make makes the workspace of an assignment. An untouched one of an assignment
// before is renamed if there is one: that takes one system call and not six.
func (r *Root) Make(id entropy.AssignmentID) (Dir, error) {
	d := r.Dir(id)
	r.mu.Lock()
	var old Dir
	if n := len(r.free); n > 0 {
		old, r.free = r.free[n-1], r.free[:n-1]
	}
	r.mu.Unlock()
	if old.path != "" {
		if unix.Rename(old.path, d.path) == nil {
			return d, nil
		}
		_ = old.Remove() // d holds inputs already; the sweep finds what stays
	}
	return d, d.Make()
}

// Remove removes the workspace of an assignment, or keeps it for the next one if
// nothing was ever put into it.
func (r *Root) Remove(id entropy.AssignmentID) error {
	d := r.Dir(id)
	if d.untouched() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.free) < maxFree {
			r.free = append(r.free, d)
			return nil
		}
	}
	return d.Remove()
}

// Close removes what was kept for reuse.
func (r *Root) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.free {
		_ = d.Remove() // what stays is swept by the next agent
	}
	r.free = nil
}

// untouched reports whether the workspace is as Make made it.
func (d Dir) untouched() bool {
	return holds(d.Scratch(), 0) && holds(d.Artifacts(), 0) && holds(d.path, 2)
}

// holds reports whether a directory is this user's, closed to others, and has
// exactly n entries.
func holds(dir string, n int) bool {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&0o7777 != 0o700 || int(st.Uid) != os.Geteuid() {
		return false
	}
	var b [1024]byte
	size, err := unix.ReadDirent(fd, b[:])
	if err != nil {
		return false
	}
	_, count, _ := unix.ParseDirent(b[:size], n+1, nil)
	return count == n
}

// Dir returns the workspace of an assignment. The id must be valid, see
// [entropy.ValidateID]: it becomes a file name.
func (r *Root) Dir(id entropy.AssignmentID) Dir {
	return Dir{path: filepath.Join(r.path, string(id)), empty: r.emptyInputs()}
}

// Sweep removes the workspaces of assignments that keep does not want.
func (r *Root) Sweep(keep func(entropy.AssignmentID) bool, log *slog.Logger) {
	list, err := os.ReadDir(r.path)
	if err != nil {
		log.Warn("cannot look for left workspaces", slog.Any("error", err))
		return
	}
	for _, e := range list {
		id := entropy.AssignmentID(e.Name())
		if keep(id) {
			continue
		}
		if err := r.Dir(id).Remove(); err != nil {
			log.Warn("cannot remove a left workspace", slog.Any("error", err))
		}
	}
}

// Dir is the workspace of one assignment.
type Dir struct{ path, empty string }

// Path returns the directory itself.
func (d Dir) Path() string { return d.path }

// Scratch returns the assignment's own working directory.
func (d Dir) Scratch() string { return d.path + "/scratch" }

// Artifacts returns the directory whose every file is an artifact.
func (d Dir) Artifacts() string { return d.path + "/artifacts" }

// Inputs returns the directory of the inputs.
func (d Dir) Inputs() string { return d.path + "/inputs" }

// InputsOrEmpty returns the directory of the inputs, or an empty one that all
// assignments without inputs share.
func (d Dir) InputsOrEmpty(n int) string {
	if n == 0 {
		return d.empty
	}
	return d.Inputs()
}

// Log returns the file of a stream, which may not exist.
func (d Dir) Log(stream string) string { return d.path + "/" + stream }

// Make makes the workspace. What exists already is kept.
func (d Dir) Make() error {
	for _, p := range []string{d.path, d.Scratch(), d.Artifacts()} {
		if err := os.Mkdir(p, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make workspace: %w", err)
		}
	}
	return nil
}

// Remove removes the workspace and all that is in it. It is not an error if it
// does not exist.
func (d Dir) Remove() error {
	// Most jobs leave nothing behind: three system calls and no walk.
	_ = unix.Rmdir(d.Scratch())
	_ = unix.Rmdir(d.Artifacts())
	if err := unix.Rmdir(d.path); err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	err := os.RemoveAll(d.path)
	if errors.Is(err, fs.ErrPermission) {
		openUp(d.path)
		err = os.RemoveAll(d.path)
	}
	return err
}

// openUp gives the owner back the directories that a job closed to itself.
func openUp(path string) {
	_ = filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = os.Chmod(p, 0o700)
		}
		return nil // whatever stays closed is reported by the removal
	})
}
