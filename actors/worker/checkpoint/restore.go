package checkpoint

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

// errDamaged says that a checkpoint cannot be restored, whoever tries and whenever.
var errDamaged = errors.New("damaged")

// Restore brings the first of the checkpoints that is whole into restored/, before
// the job starts. If none is, the attempt begins without. The note says in words
// for people what was done; "" if there was nothing to restore. An error means
// that it could not be done here and now: CodeDiskFull, or what the fabric said.
func Restore(ctx context.Context, conf Config, remote entropy.CheckpointService, from []entropy.Checkpoint) (note string, err error) {
	d := conf.Dir
	defer func() { _ = d.remove(halfDir) }() // what is left of it the next restore removes first
	if err := d.remove(restoredDir); err != nil {
		return "", err
	}
	var notes []string
	for i := range from {
		c := &from[i]
		m, err := restore(ctx, conf, remote, c)
		if err == nil {
			if err := writeJSON(d.base(), base{Manifest: m}); err != nil {
				return "", localFault(err)
			}
			if err := os.Rename(d.half(), d.restored()); err != nil {
				return "", localFault(err)
			}
			notes = append(notes, fmt.Sprintf("restored checkpoint %d of attempt %d (%d bytes)", c.Seq, c.Attempt, c.Size))
			return strings.Join(notes, "; "), nil
		}
		if !errors.Is(err, errDamaged) {
			return "", err
		}
		notes = append(notes, fmt.Sprintf("checkpoint %d of attempt %d cannot be restored: %v", c.Seq, c.Attempt, err))
	}
	if len(notes) > 0 {
		notes = append(notes, "nothing was restored")
	}
	return strings.Join(notes, "; "), nil
}

// localFault explains an error of this machine's file system.
func localFault(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return entropy.Errorf(entropy.CodeDiskFull, "the worker's disk has no room for the checkpoint").WithHint("free space on the worker, or wait for another one")
	}
	return fmt.Errorf("restore checkpoint: %w", err)
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, args...))
}

// restore writes one checkpoint to where it is half done.
func restore(ctx context.Context, conf Config, remote entropy.CheckpointService, c *entropy.Checkpoint) (*entropy.CheckpointManifest, error) {
	r := &restoring{conf: conf, remote: remote}
	b, err := r.fetch(ctx, c.Manifest.SHA256, c.Manifest.Size, entropy.MaxCheckpointManifest)
	if err != nil {
		return nil, err
	}
	if partOf(b) != c.Manifest {
		return nil, damaged("its manifest has another hash")
	}
	m, err := entropy.DecodeCheckpointManifest(b)
	if err != nil {
		return nil, damaged("%v", err)
	}
	if err := hasRoom(conf.Dir.work, m.Size()); err != nil {
		return nil, err
	}
	if err := conf.Dir.remove(halfDir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(conf.Dir.half(), 0o700); err != nil {
		return nil, localFault(err)
	}
	if r.root, err = os.OpenRoot(conf.Dir.half()); err != nil {
		return nil, localFault(err)
	}
	defer r.root.Close()
	r.m = m
	return m, r.write(ctx)
}

// hasRoom says in good time that a checkpoint does not fit.
func hasRoom(dir string, n int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err == nil && int64(st.Bavail)*st.Bsize < n {
		return localFault(unix.ENOSPC)
	}
	return nil
}

// restoring is one restore under way.
type restoring struct {
	conf   Config
	remote entropy.CheckpointService
	m      *entropy.CheckpointManifest
	root   *os.Root
}

// fetch reads one part as a whole. Whether its bytes are right is for the caller
// to find out.
func (r *restoring) fetch(ctx context.Context, sum string, size, limit int64) ([]byte, error) {
	if size < 0 || size > limit {
		return nil, damaged("a part of %d bytes", size)
	}
	in, err := r.remote.OpenCheckpointPart(ctx, r.conf.JobID, r.conf.AssignmentID, sum)
	if entropy.ErrorCode(err) == entropy.CodeNotFound {
		return nil, damaged("part %s is missing", sum)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch checkpoint: %w", err)
	}
	defer in.Close()
	b := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	if _, err := b.ReadFrom(io.LimitReader(in, size+1)); err != nil {
		return nil, fmt.Errorf("fetch checkpoint: %w", err)
	}
	if int64(b.Len()) != size {
		return nil, damaged("part %s has not its %d bytes", sum, size)
	}
	return b.Bytes(), nil
}

// place is where a chunk of a pack belongs.
type place struct {
	file   int
	offset int64
	entropy.Chunk
}

// write makes the directories and files, and fills them pack by pack: each is
// fetched once, however many files share it.
func (r *restoring) write(ctx context.Context) error {
	places := make([][]place, len(r.m.Packs))
	for i := range r.m.Files {
		l, at := r.m.Files[i].Chunks, int64(0)
		for k := range l.Len() {
			c := l.At(k)
			places[c.Pack] = append(places[c.Pack], place{i, at, c})
			at += int64(c.Size)
		}
	}
	if err := r.makeNames(); err != nil {
		return err
	}
	for i, p := range r.m.Packs {
		if len(places[i]) == 0 {
			continue
		}
		b, err := r.fetch(ctx, p.SHA256, p.Size, entropy.MaxCheckpointPack)
		if err != nil {
			return err
		}
		if err := r.fill(b, places[i]); err != nil {
			return err
		}
	}
	return r.setModes()
}

// makeNames makes every directory, and every file empty. The root is empty and
// holds no links, so that nothing can lead out of it.
func (r *restoring) makeNames() error {
	for _, d := range r.m.Dirs {
		if err := r.root.MkdirAll(filepath.FromSlash(d.Path), 0o700); err != nil {
			return localFault(err)
		}
	}
	for i := range r.m.Files {
		name := r.m.Files[i].Path
		if dir := path.Dir(name); dir != "." {
			if err := r.root.MkdirAll(filepath.FromSlash(dir), 0o700); err != nil {
				return localFault(err)
			}
		}
		f, err := r.root.OpenFile(filepath.FromSlash(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return localFault(err)
		}
		if err := f.Close(); err != nil {
			return localFault(err)
		}
	}
	return nil
}

// fill writes the chunks of one pack to where they belong, each checked by its hash.
func (r *restoring) fill(pack []byte, places []place) (err error) {
	var f *os.File
	open := -1
	shut := func() {
		if f != nil {
			err, f = errors.Join(err, f.Close()), nil
		}
	}
	defer shut()
	for _, p := range places {
		chunk := pack[p.Offset : p.Offset+p.Size]
		if sha256.Sum256(chunk) != p.SHA256 {
			return damaged("a chunk of %s has another hash", r.m.Files[p.file].Path)
		}
		if open != p.file {
			if shut(); err != nil {
				return localFault(err)
			}
			if f, err = r.root.OpenFile(filepath.FromSlash(r.m.Files[p.file].Path), os.O_WRONLY, 0); err != nil {
				return localFault(err)
			}
			open = p.file
		}
		if _, err := f.WriteAt(chunk, p.offset); err != nil {
			return localFault(err)
		}
	}
	return nil
}

// setModes gives files and directories the modes that they had, the deepest
// directories first: one that is closed hides what is in it.
func (r *restoring) setModes() error {
	for i := range r.m.Files {
		if err := r.root.Chmod(filepath.FromSlash(r.m.Files[i].Path), fs.FileMode(r.m.Files[i].Mode)); err != nil {
			return localFault(err)
		}
	}
	for i := range slices.Backward(r.m.Dirs) { // in lexical order, each follows its parent
		if err := r.root.Chmod(filepath.FromSlash(r.m.Dirs[i].Path), fs.FileMode(r.m.Dirs[i].Mode)); err != nil {
			return localFault(err)
		}
	}
	return nil
}
