package worker

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
	"github.com/entropy-fabric/entropy/actors/worker/workspace"
)

// fetchInputs brings a job's inputs into its workspace. An error of the fabric
// or of the network is repeatable; one with CodeInvalid is not.
func (n *Node) fetchInputs(ctx context.Context, a *entropy.Assignment) error {
	d, err := n.makeDir(a)
	if err != nil {
		return err
	}
	if err := os.Mkdir(d.Inputs(), 0o700); err != nil && !os.IsExist(err) {
		return fmt.Errorf("make input directory: %w", err)
	}
	root, err := os.OpenRoot(d.Inputs())
	if err != nil {
		return fmt.Errorf("open input directory: %w", err)
	}
	defer root.Close()
	for _, in := range a.Spec.Inputs {
		if err := n.fetchInput(ctx, root, &in); err != nil {
			return fmt.Errorf("input %s: %w", in.Path, err)
		}
	}
	return nil
}

// dirOf returns the workspace of an assignment, which its executor owns.
func (n *Node) dirOf(a *entropy.Assignment) workspace.Dir {
	if a.Spec.Handler != "" {
		return n.hands.root.Dir(a.AssignmentID)
	}
	return n.exec.root.Dir(a.AssignmentID)
}

// makeDir makes the workspace of an assignment that has not started.
func (n *Node) makeDir(a *entropy.Assignment) (workspace.Dir, error) {
	if a.Spec.Handler != "" {
		return n.hands.workspace(a.AssignmentID)
	}
	d := n.dirOf(a)
	return d, d.Make()
}

// dropDir removes the workspace of an assignment that will not start here.
func (n *Node) dropDir(a *entropy.Assignment) {
	if a.Spec.Handler != "" {
		n.hands.remove([]spool.Decision{{AssignmentID: a.AssignmentID}})
		return
	}
	if err := n.dirOf(a).Remove(); err != nil {
		n.log.Warn("cannot remove a workspace", slog.Any("error", err))
	}
}

// fetchInput copies one input from the cache. It is a copy and not a link, since
// the job may change what it gets.
func (n *Node) fetchInput(ctx context.Context, root *os.Root, in *entropy.Input) error {
	if !entropy.LocalPath(in.Path) {
		return entropy.Errorf(entropy.CodeInvalid, "%q is not a relative path", in.Path)
	}
	if in.Dir {
		return root.MkdirAll(filepath.FromSlash(in.Path), 0o755)
	}
	cached, release, err := n.cache.Get(ctx, in.SHA256, in.Size, n.conf.Service.OpenBlob)
	if err != nil {
		return err
	}
	defer release()
	src, err := os.Open(cached)
	if err != nil {
		return err
	}
	defer src.Close()
	if dir := path.Dir(in.Path); dir != "." {
		if err := root.MkdirAll(filepath.FromSlash(dir), 0o755); err != nil {
			return err
		}
	}
	mode := fs.FileMode(in.Mode) & 0o777
	if mode == 0 {
		mode = 0o644
	}
	dst, err := root.OpenFile(filepath.FromSlash(in.Path), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode|0o200)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src) // copy_file_range: no bytes pass through here
	if cerr := dst.Chmod(mode); err == nil {
		err = cerr // past the umask
	}
	if cerr := dst.Close(); err == nil {
		err = cerr
	}
	return err
}
