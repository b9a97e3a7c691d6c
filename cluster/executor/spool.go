package executor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

// record is what the spool knows of an attempt that was begun.
type record struct {
	Order  entropy.ActionOrder `json:"order"`
	Event  entropy.Event       `json:"event"`            // the order's envelope, without its attrs
	Result *entropy.Event      `json:"result,omitempty"` // the report that ends it; nil: it had not ended
}

// spool remembers the attempts that were begun until their results are answered, in
// a file that is appended to (spool_file.go). What is put is durable when the call
// returns: whoever comes first flushes for all that wait. Without a directory it is
// memory only.
//
// Its methods may be called from any goroutine.
type spool struct {
	dir       string
	lock      *os.File
	compactAt int64 // size from which the file is rewritten when less than half of it is needed
	ahead     int   // zeros that are written behind the lines when there are none left

	mu      sync.Mutex
	records map[entropy.AttemptID]*kept
	live    int64  // bytes of the lines of records
	next    *group // what the next flush takes

	// The file is the one's who holds writing.
	writing sync.Mutex
	file    *os.File
	size    int64 // of the lines; zeros follow, up to room
	room    int64
	broken  bool // a write or a flush failed: what is in the file is not known
	closed  bool

	sync func(*os.File) error // fdatasync, but for tests
}

// kept is a record, and what its lines take in the file.
type kept struct {
	*record
	bytes int64
}

// group is what one flush makes durable.
type group struct {
	lines   []byte
	durable bool     // somebody waits for the disk
	apply   []func() // changes of the memory, in the order of the lines; they hold mu
	done    bool
	err     error
}

// compactAt is large enough that rewriting is rare, and small enough that the file
// is read in no time.
const compactAt = 1 << 20

// roomAhead is large enough that it seldom runs out: a flush that does not change the
// file's size costs a third of one that does.
const roomAhead = 256 << 10

// openSpool opens the directory, or makes it, and reads what is there.
func openSpool(dir string) (*spool, error) { return openSpoolWith(dir, roomAhead, fdatasync) }

func openSpoolWith(dir string, ahead int, sync func(*os.File) error) (*spool, error) {
	s := &spool{dir: dir, compactAt: compactAt, ahead: ahead, records: map[entropy.AttemptID]*kept{}, next: new(group),
		sync: sync}
	if dir == "" {
		return s, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	var err error
	if s.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		s.lock.Close()
		return nil, entropy.Errorf(entropy.CodeConflict, "the spool %s is another process's: %v", dir, err).
			WithHint("give each executor a spool directory of its own")
	}
	if err := s.load(); err != nil {
		s.lock.Close()
		return nil, fmt.Errorf("open spool %s: %w", dir, err)
	}
	return s, nil
}

func (s *spool) close() {
	if s.lock == nil {
		return
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.file != nil {
		s.file.Close()
	}
	s.closed = true
	s.lock.Close()
}

// all returns what is known now.
func (s *spool) all() []*record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rs []*record
	for _, k := range s.records {
		rs = append(rs, k.record)
	}
	return rs
}

func (s *spool) has(id entropy.AttemptID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records[id] != nil
}

// put remembers r, in place of what was known of its attempt. On an error nothing is
// remembered, and some of it may be on disk.
func (s *spool) put(r *record) error {
	id := r.Order.AttemptID
	l := line{Put: r}
	if r.Result != nil && s.has(id) { // the order is there already, and may be large
		l = line{End: &ending{id, r.Result}}
	}
	return s.commit(&l, true, func(n int64) { s.remember(r, n, l.End != nil) })
}

// remember notes that r takes n more bytes, besides what it took when it is added to.
// The caller holds mu.
func (s *spool) remember(r *record, n int64, added bool) {
	old := s.records[r.Order.AttemptID]
	if old != nil && added {
		n += old.bytes
	}
	s.drop(r.Order.AttemptID)
	s.records[r.Order.AttemptID] = &kept{r, n}
	s.live += n
}

// drop forgets an attempt. The caller holds mu.
func (s *spool) drop(id entropy.AttemptID) {
	if k := s.records[id]; k != nil {
		s.live -= k.bytes
		delete(s.records, id)
	}
}

// forget removes an attempt whose result was answered. A crash may bring it
// back: then it is reported once more, and answered as superseded.
func (s *spool) forget(id entropy.AttemptID) error {
	if !s.has(id) {
		return nil
	}
	s.mu.Lock()
	s.drop(id) // whether it can be written down or not
	s.mu.Unlock()
	return s.commit(&line{Forget: id}, false, func(int64) {})
}

// commit writes a line together with those of others that wait, and then applies it
// to the memory. It returns when that is on disk, if it is to be durable.
func (s *spool) commit(l *line, durable bool, apply func(n int64)) error {
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		apply(0)
		return nil
	}
	b, err := l.encode()
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s.mu.Lock()
	g := s.next
	g.lines = append(g.lines, b...)
	g.durable = g.durable || durable
	g.apply = append(g.apply, func() { apply(int64(len(b))) })
	s.mu.Unlock()

	s.writing.Lock()
	defer s.writing.Unlock()
	if !g.done { // then nobody has taken it, so it is still the next
		s.mu.Lock()
		s.next = new(group)
		s.mu.Unlock()
		if g.err = s.flush(g); g.err != nil {
			g.err = fmt.Errorf("spool: %w", g.err)
		}
		g.done, g.lines, g.apply = true, nil, nil
	}
	return g.err
}

// flush writes a group. After a failure the file is written anew first: what a disk
// that failed once has of it cannot be known. The caller holds writing.
func (s *spool) flush(g *group) error {
	if s.closed {
		return errors.New("it is closed")
	}
	if s.broken {
		if err := s.rewrite(); err != nil {
			return err
		}
	}
	b := g.lines
	if s.size+int64(len(b)) > s.room {
		b = append(b, make([]byte, s.ahead)...)
	}
	_, err := s.file.WriteAt(b, s.size)
	if err == nil && g.durable {
		err = s.sync(s.file)
	}
	if err != nil {
		s.broken = true
		return diskError(err, s.dir)
	}
	s.room = max(s.room, s.size+int64(len(b)))
	s.size += int64(len(g.lines))
	s.mu.Lock()
	for _, apply := range g.apply {
		apply()
	}
	live := s.live
	s.mu.Unlock()
	if s.size >= s.compactAt && live < s.size/2 {
		if err := s.rewrite(); err != nil {
			s.broken = true // the group itself is durable; the next one tries again
		}
	}
	return nil
}

// fdatasync is cheaper than fsync: the times of the file do not matter.
func fdatasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func diskError(err error, dir string) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return entropy.Errorf(entropy.CodeDiskFull, "the executor's disk is full: %v", err).WithHint("make room on the file system of %s", dir)
	}
	return err
}
