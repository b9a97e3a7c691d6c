package checkpoint

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

// refused is why a checkpoint will not be saved, in words for people.
type refused struct{ why string }

// Error returns why.
func (r *refused) Error() string { return r.why }

func refuse(format string, args ...any) error { return &refused{fmt.Sprintf(format, args...)} }

// piece is a chunk before it is known where it is stored.
type piece struct {
	sum  [sha256.Size]byte
	size uint32
}

// scanned is an entry as it was read: its manifest without packs and chunks, and
// the chunks of each of its files.
type scanned struct {
	entropy.CheckpointManifest
	pieces [][]piece // by file
	root   *os.Root
}

// scan reads an entry: the file or the directory of that name in dir. The caller
// closes the root.
func scan(ctx context.Context, dir, name string, limit int64, before int) (*scanned, error) {
	s := &scanned{CheckpointManifest: entropy.CheckpointManifest{Format: entropy.CheckpointFormat}}
	if err := s.open(dir, name); err != nil {
		return nil, err
	}
	err := s.list(name, limit)
	if err == nil {
		s.ChunkSize = average(s.Size(), before)
		s.pieces = make([][]piece, len(s.Files))
		c := newChunker(s.ChunkSize)
		for i := range s.Files {
			if err = s.read(ctx, c, i); err != nil {
				break
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.root.Close())
	}
	return s, nil
}

// open opens what paths are relative to: the entry, or for a single file its
// directory. A link is not followed.
func (s *scanned) open(dir, name string) error {
	parent, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	fi, err := parent.Lstat(name)
	switch {
	case err != nil:
	case fi.Mode().IsRegular():
		s.root = parent
		return nil
	case fi.IsDir():
		s.root, err = parent.OpenRoot(name)
	default:
		err = refuse("ready/%s is %s, neither a file nor a directory", name, kindOf(fi.Mode()))
	}
	return errors.Join(err, parent.Close())
}

func kindOf(m fs.FileMode) string {
	switch m.Type() {
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeNamedPipe:
		return "a named pipe"
	case fs.ModeSocket:
		return "a socket"
	}
	return "a special file"
}

// list names what there is, without reading it.
func (s *scanned) list(name string, limit int64) error {
	total := int64(0)
	return fs.WalkDir(s.root.FS(), ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return refuse("%s in the checkpoint cannot be read: %v", p, err)
		}
		if p == "." {
			return nil
		}
		fi, err := e.Info()
		switch {
		case err != nil:
			return refuse("%s in the checkpoint cannot be read: %v", p, err)
		case !entropy.LocalPath(p):
			return refuse("the checkpoint holds the name %.200q, which is not plain UTF-8 text", p)
		case len(s.Files)+len(s.Dirs) >= entropy.MaxCheckpointFiles:
			return refuse("the checkpoint holds more than %d files and directories; save an archive of them", entropy.MaxCheckpointFiles)
		case fi.IsDir():
			s.Dirs = append(s.Dirs, entropy.CheckpointDir{Path: p, Mode: uint32(fi.Mode().Perm())})
			return nil
		case !fi.Mode().IsRegular():
			return refuse("the checkpoint holds %s, %s; it may hold files and directories only", p, kindOf(fi.Mode()))
		}
		if total += fi.Size(); total > limit {
			return refuse("the checkpoint %s is larger than the %d bytes that the job allows; save less, or submit the job with a larger checkpoint.max_size", name, limit)
		}
		s.Files = append(s.Files, entropy.CheckpointFile{Path: p, Mode: uint32(fi.Mode().Perm()), Size: fi.Size()})
		return nil
	})
}

// openFile opens one of the files. A FIFO that took its place would block, a
// device might do anything.
func (s *scanned) openFile(i int) (*os.File, os.FileInfo, error) {
	f, err := s.root.OpenFile(s.Files[i].Path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, refuse("%s in the checkpoint cannot be read: %v", s.Files[i].Path, err)
	}
	fi, err := f.Stat()
	if err == nil && (!fi.Mode().IsRegular() || fi.Size() != s.Files[i].Size) {
		err = s.changed(i)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

func (s *scanned) changed(i int) error {
	return refuse("%s in the checkpoint changed while it was saved: write it elsewhere and rename it into ready/ when it is done", s.Files[i].Path)
}

// read cuts a file into chunks and makes sure that it did not change meanwhile.
func (s *scanned) read(ctx context.Context, c *chunker, i int) error {
	f, was, err := s.openFile(i)
	if err != nil {
		return err
	}
	defer f.Close()
	left := s.Files[i].Size
	err = c.split(io.LimitReader(f, left+1), func(chunk []byte) error {
		s.pieces[i] = append(s.pieces[i], piece{sha256.Sum256(chunk), uint32(len(chunk))})
		left -= int64(len(chunk))
		return ctx.Err()
	})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return refuse("%s in the checkpoint cannot be read: %v", s.Files[i].Path, err)
	}
	is, err := f.Stat()
	if err != nil || left != 0 || !sameState(was, is) {
		return s.changed(i)
	}
	return nil
}

// sameState reports whether nothing was written between two looks at a file.
func sameState(a, b os.FileInfo) bool {
	x, y := a.Sys().(*syscall.Stat_t), b.Sys().(*syscall.Stat_t)
	return x.Size == y.Size && x.Mtim == y.Mtim && x.Ctim == y.Ctim
}
