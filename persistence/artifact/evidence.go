package artifact

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
)

// minEvidence is what a file of evidence counts at least, in bytes, so that the
// bound also bounds the number of files.
const minEvidence = 4 << 10

// Discard sets aside as evidence what an assignment has staged and not
// published, and ends the uploads under way. Beyond Config.MaxEvidence the
// oldest evidence is removed. Discarding nothing is harmless. A failure is
// logged: the bytes then stay staged until [Store.Sweep].
func (s *Store) Discard(a entropy.AssignmentID) {
	if entropy.ValidateID("assignment id", string(a)) != nil || s.enter() != nil {
		return // it has nothing here; or it will be swept after the next start
	}
	defer s.leave()
	st, err := s.acquire(a)
	if err == nil {
		st.publishing.Lock()
		st.closeFiles()
		err = s.setAside(a)
		s.mu.Lock()
		if s.staging[a] == st {
			delete(s.staging, a)
		}
		s.mu.Unlock()
		st.publishing.Unlock()
		s.release(a, st)
	}
	if err != nil {
		s.conf.Logger.Warn("staged files stay where they are", "assignment_id", string(a), "error", err)
	}
}

// setAside moves an assignment's staged files to the evidence.
func (s *Store) setAside(a entropy.AssignmentID) error {
	from, to := s.path(stageDir, string(a)), s.path(evidenceDir, string(a))
	if err := os.Remove(from); err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was left
	}
	if err := s.disk.rename(from, to); err != nil {
		if err := s.mergeInto(from, to); err != nil {
			return err
		}
	}
	now := time.Now()
	if err := os.Chtimes(to, now, now); err != nil {
		return err
	}
	item, err := weigh(to, string(a))
	if err != nil {
		return err
	}
	return s.removeEvidence(s.evidence.add(item, s.conf.MaxEvidence))
}

// mergeInto adds to the evidence that an assignment has left already.
func (s *Store) mergeInto(from, to string) error {
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := s.disk.rename(from+"/"+f.Name(), to+"/"+f.Name()); err != nil {
			return err
		}
	}
	return os.Remove(from)
}

// Sweep removes evidence older than the given time, and what was staged and not
// touched since then by assignments that were never published or discarded. It
// returns how many assignments it cleared. A live assignment whose staged files
// it removes is told so by Publish and sends them again.
func (s *Store) Sweep(olderThan time.Time) (removed int, err error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	old := s.evidence.takeOlder(olderThan)
	if err := s.removeEvidence(old); err != nil {
		return 0, s.fault("sweep evidence", err)
	}
	staged, err := os.ReadDir(s.path(stageDir))
	if err != nil {
		return len(old), s.fault("sweep staged files", err)
	}
	removed = len(old)
	for _, e := range staged {
		ok, err := s.sweepStaged(entropy.AssignmentID(e.Name()), olderThan)
		if err != nil {
			return removed, s.fault("sweep staged files", err)
		}
		if ok {
			removed++
		}
	}
	return removed, nil
}

// sweepStaged removes what an assignment has staged if nobody uses it and all of
// it is old. The directory leaves its place at once, so that an upload that
// begins meanwhile begins anew.
func (s *Store) sweepStaged(a entropy.AssignmentID, olderThan time.Time) (bool, error) {
	from := s.path(stageDir, string(a))
	item, err := weigh(from, string(a))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !item.at.Before(olderThan) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	to, err := os.MkdirTemp(s.path(tempDir), "sweep-*")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(to)
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.staging[a]; st != nil {
		if st.refs > 0 {
			return false, nil
		}
		st.closeFiles()
		delete(s.staging, a)
	}
	return true, s.disk.rename(from, to+"/"+string(a))
}

func (s *Store) removeEvidence(items []evidenceItem) error {
	var errs []error
	for _, it := range items {
		errs = append(errs, os.RemoveAll(s.path(evidenceDir, it.name)))
	}
	return errors.Join(errs...)
}

// evidence is the account of what is in the evidence directory.
type evidence struct {
	mu    sync.Mutex
	bytes int64
	items []evidenceItem // oldest first, one per assignment
}

type evidenceItem struct {
	name  string
	bytes int64
	at    time.Time
}

// weigh returns the size and the newest change of a directory of files.
func weigh(dir, name string) (evidenceItem, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return evidenceItem{}, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return evidenceItem{}, err
	}
	it := evidenceItem{name: name, at: info.ModTime()}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			continue // removed meanwhile
		}
		it.bytes += max(info.Size(), minEvidence)
		if info.ModTime().After(it.at) {
			it.at = info.ModTime()
		}
	}
	return it, nil
}

func (e *evidence) load(dir string) error {
	dirs, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		it, err := weigh(dir+"/"+d.Name(), d.Name())
		if err != nil {
			return err
		}
		e.items = append(e.items, it)
		e.bytes += it.bytes
	}
	slices.SortFunc(e.items, func(a, b evidenceItem) int { return a.at.Compare(b.at) })
	return nil
}

// add records new evidence and returns what has to go, so that the rest is
// within the limit.
func (e *evidence) add(it evidenceItem, limit int64) (evicted []evidenceItem) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.items = slices.DeleteFunc(e.items, func(o evidenceItem) bool {
		if o.name == it.name {
			e.bytes -= o.bytes
		}
		return o.name == it.name
	})
	e.items, e.bytes = append(e.items, it), e.bytes+it.bytes
	n := 0
	for ; n < len(e.items) && e.bytes > limit; n++ {
		e.bytes -= e.items[n].bytes
	}
	evicted, e.items = slices.Clone(e.items[:n]), e.items[n:]
	return evicted
}

func (e *evidence) takeOlder(t time.Time) (old []evidenceItem) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.items = slices.DeleteFunc(e.items, func(it evidenceItem) bool {
		if it.at.Before(t) {
			old, e.bytes = append(old, it), e.bytes-it.bytes
			return true
		}
		return false
	})
	return old
}
