package artifact

import (
	"errors"
	"io/fs"
	"os"
	"sync"

	"github.com/entropy-fabric/entropy"
)

// staging is what one assignment has staged. There is one per assignment at a
// time. Locks are taken in the order publishing, Store.mu, mu, staged.mu.
type staging struct {
	refs      int  // calls that hold it; guarded by Store.mu
	published bool // it may be forgotten when no call holds it; guarded by Store.mu

	publishing sync.Mutex // one Publish or Discard at a time

	mu    sync.Mutex
	gone  bool               // discarded: whoever still holds it stops
	files map[string]*staged // arriving, by hash
	count int                // files on disk

	quota sync.Mutex
	bytes int64 // on disk
}

// acquire returns the staging of an assignment, from disk if need be. The caller
// releases it.
func (s *Store) acquire(a entropy.AssignmentID) (*staging, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.staging[a]; st != nil {
		st.refs++
		return st, nil
	}
	left, err := os.ReadDir(s.path(stageDir, string(a)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	st := &staging{refs: 1, files: make(map[string]*staged), count: len(left)}
	for _, e := range left {
		if info, err := e.Info(); err == nil {
			st.bytes += info.Size()
		}
	}
	s.staging[a] = st
	return st, nil
}

// release forgets what only the disk need know. What is arriving is kept in
// memory, with its hash so far, until it is whole or discarded.
func (s *Store) release(a entropy.AssignmentID, st *staging) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.refs--; st.refs == 0 && st.published && st.idle() && s.staging[a] == st {
		delete(s.staging, a)
	}
}

// emptied accounts for files that Publish has moved.
func (s *Store) emptied(a entropy.AssignmentID, st *staging, moves []move) {
	for _, m := range moves {
		st.free(m.size)
	}
	st.mu.Lock()
	st.count = max(0, st.count-len(moves))
	st.mu.Unlock()
	s.mu.Lock()
	st.published = true
	s.mu.Unlock()
	os.Remove(s.path(stageDir, string(a))) // refused while anything is left in it, which is right
}

// join returns the file that an artifact arrives in. The caller parts from it.
func (st *staging) join(a entropy.AssignmentID, sum, path string) (*staged, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.gone {
		return nil, discarded(a)
	}
	f := st.files[sum]
	if f == nil {
		f = &staged{sum: sum, path: path}
		if !f.exists() {
			if st.count >= entropy.MaxJobArtifacts {
				return nil, entropy.Errorf(entropy.CodeTooLarge, "the assignment has %d files staged already", st.count).
					WithHint("leave fewer artifacts, or an archive of them")
			}
			st.count++
		}
		st.files[sum] = f
	}
	f.users++
	return f, nil
}

// part ends the use of a file, and closes it when nobody else uses it.
func (st *staging) part(f *staged) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if f.users--; f.users > 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.close()
	if f.whole {
		delete(st.files, f.sum)
	}
}

// closeFiles ends every upload under way; st receives nothing more.
func (st *staging) closeFiles() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.gone = true
	for _, f := range st.files {
		f.mu.Lock()
		f.gone = true
		f.close()
		f.mu.Unlock()
	}
}

func (st *staging) idle() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.files) == 0
}

// reserve makes room for n more bytes unless that would exceed the limit.
func (st *staging) reserve(n, limit int64) bool {
	st.quota.Lock()
	defer st.quota.Unlock()
	if st.bytes+n > limit {
		return false
	}
	st.bytes += n
	return true
}

func (st *staging) free(n int64) {
	st.quota.Lock()
	defer st.quota.Unlock()
	st.bytes = max(0, st.bytes-n)
}
