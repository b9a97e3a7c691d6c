package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// marked returns the entries of ready/, the one that was renamed into it last
// first. A rename changes the ctime of what is renamed.
func (d Dir) marked() (names []string, err error) {
	err = d.within(func(work *os.Root) error {
		list, err := fs.ReadDir(work.FS(), readyDir)
		if err != nil {
			return err
		}
		at := make(map[string]time.Time, len(list))
		for _, e := range list {
			fi, err := work.Lstat(readyDir + "/" + e.Name())
			if err != nil {
				continue // replaced by the job meanwhile
			}
			names = append(names, e.Name())
			at[e.Name()] = time.Unix(fi.Sys().(*syscall.Stat_t).Ctim.Unix())
		}
		slices.Reverse(names) // of two at once, the one whose name comes later
		slices.SortStableFunc(names, func(a, b string) int { return at[b].Compare(at[a]) })
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // it has not started, or is gone
	}
	return names, err
}

// Thin removes what waits in ready/ behind something newer, so that a job which
// saves faster than its checkpoints can be sent does not fill the disk.
func (d Dir) Thin() error {
	names, err := d.marked()
	if len(names) < 2 {
		return err
	}
	return d.drop(names[1:])
}

// drop removes entries of ready/.
func (d Dir) drop(names []string) error {
	return d.within(func(work *os.Root) (err error) {
		for _, name := range names {
			err = errors.Join(err, removeAll(work, readyDir+"/"+name))
		}
		return err
	})
}

// take moves an entry of ready/ to where the job does not look for it, in place
// of the one before.
func (d Dir) take(name string) error {
	return d.within(func(work *os.Root) error {
		if err := removeAll(work, entryDir); err != nil {
			return err
		}
		if err := work.Mkdir(entryDir, 0o700); err != nil {
			return err
		}
		from, to := readyDir+"/"+name, entryDir+"/"+name
		err := work.Rename(from, to)
		if errors.Is(err, fs.ErrPermission) { // a directory that its owner closed cannot change its parent
			err = errors.Join(work.Chmod(from, 0o700), work.Rename(from, to))
		}
		return err
	})
}

// taken returns the name of the entry that was taken and is not saved yet, or "".
func (d Dir) taken() string {
	list, err := os.ReadDir(d.entry())
	if err != nil || len(list) == 0 {
		return ""
	}
	return list[0].Name()
}

// quiet is how long nothing in a directory may have changed before it is taken:
// one that is not renamed but copied into ready/ is left alone for as long as it
// grows. Of a file, the kernel tells whether it is being written.
const quiet = 500 * time.Millisecond

// settled reports whether nobody seems to be writing the entry any more.
func (d Dir) settled(name string, now time.Time) bool {
	err := d.within(func(work *os.Root) error {
		entry := readyDir + "/" + name
		fi, err := work.Lstat(entry)
		if err != nil {
			return err
		}
		if !fi.IsDir() {
			return atRest(work, entry, fi)
		}
		return fs.WalkDir(work.FS(), entry, func(p string, e fs.DirEntry, err error) error {
			if err != nil {
				return nil // it is looked at again, and refused, when it was taken
			}
			fi, err := e.Info()
			if err != nil {
				return err
			}
			if age := now.Sub(fi.ModTime()); age > -quiet && age < quiet {
				return fmt.Errorf("%s changed %s ago", p, age)
			}
			return atRest(work, p, fi)
		})
	})
	return err == nil
}

// errWriter says that a file is open for writing.
var errWriter = errors.New("it is open for writing")

// atRest returns an error if a process has the file open for writing: the kernel
// then grants no read lease on it. See fcntl(2), F_SETLEASE. Where a file system
// knows no leases, it cannot be told.
func atRest(work *os.Root, name string, fi fs.FileInfo) error {
	if !fi.Mode().IsRegular() {
		return nil
	}
	f, err := work.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil // it is refused when it was taken
	}
	defer f.Close()
	if _, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK); errors.Is(err, unix.EAGAIN) {
		return errWriter
	}
	_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK) // or with the descriptor
	return nil
}
