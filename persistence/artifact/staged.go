package artifact

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/entropy-fabric/entropy"
)

// upload is one call of Stage.
type upload struct {
	assignment entropy.AssignmentID
	place      *staging
	file       *staged
	size       int64 // announced
}

// staged is one artifact of an assignment while it arrives.
type staged struct {
	sum   string
	path  string // of the whole file
	users int    // uploads under way; guarded by staging.mu

	mu    sync.Mutex
	file  *os.File  // the part; nil when closed
	hash  hash.Hash // of the size bytes there; nil when the disk must be read
	size  int64
	whole bool // the file has its final name
	gone  bool // discarded
}

// rehash reads what is staged, to go on from there after a restart.
func (f *staged) rehash() error {
	h := sha256.New()
	n, err := io.Copy(h, f.file)
	if err != nil {
		return err
	}
	f.hash, f.size = h, n
	return nil
}

// open opens the part. Its directory may be gone since Publish emptied it.
func (f *staged) open() (err error) {
	for range 3 {
		f.file, err = os.OpenFile(f.path+partSuffix, os.O_CREATE|os.O_RDWR, 0o600)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
			return err
		}
	}
	return err
}

// exists reports whether any of the artifact is on disk.
func (f *staged) exists() bool {
	for _, p := range []string{f.path, f.path + partSuffix} {
		if _, err := os.Stat(p); err == nil {
			return true
		}
	}
	return false
}

func (f *staged) close() {
	if f.file != nil {
		f.file.Close() // durable or to be checked again: its error tells nothing more
		f.file = nil
	}
}

// forget closes the file so that the next step reads it anew.
func (f *staged) forget() {
	f.close()
	f.hash = nil
}
