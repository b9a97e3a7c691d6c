package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

// ErrClosed is returned by the calls of a spool that was closed.
var ErrClosed = errors.New("the spool is closed")

// Config says where the spool is.
type Config struct {
	Path string // of the file; its directory must exist. Required
	// CompactAt is the size in bytes from which the file is rewritten when less
	// than half of it is still needed; 0 means 8 MiB.
	CompactAt int64
	Logger    *slog.Logger // nil discards
}

// Spool is an open spool. Its methods may be called from any goroutine. One
// process at a time may have a spool open; its owner holds the lock for that.
type Spool struct {
	conf  Config
	id    string
	flush func(*os.File) error // fdatasync, but for tests

	mu      sync.Mutex
	f       *os.File
	size    int64 // of the file, up to the last whole record
	written uint64
	durable uint64 // Invariant: durable <= written; both count records
	nextSeq uint64
	entries map[entropy.AssignmentID]*entry
	ended   []*entry      // those with an exit, by rising number
	live    int64         // bytes of the records of entries
	buf     []byte        // for the next append
	changed chan struct{} // closed and replaced when durable rises or the spool fails
	failed  error         // set once: nothing can be made durable any more

	dirty chan struct{}
	done  chan struct{}
}

// entry is what is known of one undecided assignment.
type entry struct {
	start   *Start
	process *Process
	exit    *Exit
	mark    uint64 // written, after its newest record
	bytes   int64
}

// maxBuffer is the largest buffer that is kept from one append for the next, in bytes.
const maxBuffer = 1 << 20

// ID returns the random id that the spool was made with.
func (s *Spool) ID() string { return s.id }

// Start appends the starts of assignments. It reports for each whether it is
// new: one that the spool knows already is not recorded again and must not be
// begun again. The records are written, and made durable soon after; see Sync.
func (s *Spool) Start(starts []Start) (fresh []bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh = make([]bool, len(starts))
	var todo []record
	seen := map[entropy.AssignmentID]bool{}
	for i := range starts {
		id := starts[i].AssignmentID
		if fresh[i] = s.entries[id] == nil && !seen[id]; fresh[i] {
			seen[id] = true
			todo = append(todo, record{Start: &starts[i]})
		}
	}
	return fresh, s.append(todo)
}

// Process appends who leads a running assignment's processes.
func (s *Spool) Process(p Process) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[p.AssignmentID]; e == nil || e.exit != nil {
		return fmt.Errorf("assignment %s does not run", p.AssignmentID)
	}
	return s.append([]record{{Process: &p}})
}

// Exit appends how an assignment that was started ended, under the next
// completion number. [Spool.Exits] returns it once it is durable. A second exit
// of the same assignment is an error.
func (s *Spool) Exit(x Exit) error { return s.exit(x, false) }

// ExitAll appends the exits of several assignments at once: all or, on an error,
// none.
func (s *Spool) ExitAll(xs []Exit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	rs := make([]record, len(xs))
	for i := range xs {
		x := &xs[i]
		if e := s.entries[x.ID()]; e == nil || e.exit != nil {
			return fmt.Errorf("assignment %s is not in the spool as one that could end so", x.ID())
		}
		x.Completion.SpoolID, x.Completion.CompletionSeq = s.id, s.nextSeq+uint64(i)
		rs[i] = record{Exit: x}
	}
	return s.append(rs)
}

// Amend replaces the exit of an assignment that is not decided, under a new number.
func (s *Spool) Amend(x Exit) error { return s.exit(x, true) }

func (s *Spool) exit(x Exit, amend bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[x.ID()]
	if e == nil || amend != (e.exit != nil) {
		return fmt.Errorf("assignment %s is not in the spool as one that could end so", x.ID())
	}
	x.Completion.SpoolID, x.Completion.CompletionSeq = s.id, s.nextSeq
	return s.append([]record{{Exit: &x}})
}

// Decide forgets assignments that the fabric has decided. Unknown ones are ignored.
func (s *Spool) Decide(ds []Decision) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	todo := make([]record, 0, len(ds))
	for i := range ds {
		if s.entries[ds[i].AssignmentID] != nil {
			todo = append(todo, record{Decided: &ds[i]})
		}
	}
	return s.append(todo)
}

// append writes records and applies them. The caller holds mu. On an error
// nothing was recorded.
func (s *Spool) append(rs []record) error {
	if s.failed != nil {
		return s.failed
	}
	if len(rs) == 0 {
		return nil
	}
	var err error
	b, sizes := s.buf[:0], make([]int, len(rs))
	for i := range rs {
		n := len(b)
		if b, err = appendRecord(b, &rs[i]); err != nil {
			return err
		}
		sizes[i] = len(b) - n
	}
	if cap(b) <= maxBuffer {
		s.buf = b
	}
	if _, err := s.f.WriteAt(b, s.size); err != nil {
		return s.undo(err)
	}
	s.size += int64(len(b))
	for i := range rs {
		s.written++
		s.apply(&rs[i], int64(sizes[i]))
	}
	select {
	case s.dirty <- struct{}{}:
	default:
	}
	return nil
}

// undo cuts off what a failed write left, so that later records can be found.
func (s *Spool) undo(cause error) error {
	if err := s.f.Truncate(s.size); err != nil {
		s.fail(fmt.Errorf("cut spool after a failed write: %w", err))
	}
	if errors.Is(cause, unix.ENOSPC) || errors.Is(cause, unix.EDQUOT) {
		return entropy.Errorf(entropy.CodeDiskFull, "the worker's disk is full: %v", cause).
			WithHint("free space on the file system of %s", s.conf.Path)
	}
	return fmt.Errorf("write spool: %w", cause)
}

// fail makes every later call return err. The caller holds mu.
func (s *Spool) fail(err error) {
	if s.failed == nil {
		s.failed = err
		s.broadcast()
	}
}

func (s *Spool) broadcast() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// apply brings the memory up to one record that was written.
func (s *Spool) apply(r *record, size int64) {
	switch {
	case r.Start != nil:
		e := &entry{start: r.Start}
		s.entries[r.Start.AssignmentID] = e
		s.grow(e, size)
	case r.Process != nil:
		if e := s.entries[r.Process.AssignmentID]; e != nil {
			e.process = r.Process
			s.grow(e, size)
		}
	case r.Exit != nil:
		s.applyExit(r.Exit, size)
	case r.Decided != nil:
		if e := s.entries[r.Decided.AssignmentID]; e != nil {
			delete(s.entries, r.Decided.AssignmentID)
			s.live -= e.bytes
			s.dropEnded(e)
		}
	}
}

func (s *Spool) grow(e *entry, size int64) {
	e.mark = s.written
	e.bytes += size
	s.live += size
}

func (s *Spool) applyExit(x *Exit, size int64) {
	e := s.entries[x.ID()]
	if e == nil { // only a spool whose start was cut away: the exit stands for itself
		e = &entry{start: &Start{JobID: x.Completion.JobID, AssignmentID: x.ID(), At: x.Completion.StartedAt}}
		s.entries[x.ID()] = e
	}
	if e.exit != nil {
		s.dropEnded(e)
	}
	e.exit = x
	s.grow(e, size)
	s.ended = append(s.ended, e)
	s.nextSeq = max(s.nextSeq, x.Completion.CompletionSeq+1)
}

// dropEnded removes e from ended. Decisions come mostly in the order of exits,
// so it is found near the front.
func (s *Spool) dropEnded(e *entry) {
	if e.exit == nil {
		return
	}
	i, ok := slices.BinarySearchFunc(s.ended, e.exit.Completion.CompletionSeq, compareSeq)
	switch {
	case !ok:
	case i == 0:
		s.ended[0] = nil
		s.ended = s.ended[1:]
	default:
		s.ended = slices.Delete(s.ended, i, i+1)
	}
}

func compareSeq(e *entry, seq uint64) int {
	switch n := e.exit.Completion.CompletionSeq; {
	case n < seq:
		return -1
	case n > seq:
		return 1
	}
	return 0
}

// Exits returns up to limit durable exits whose number is greater than after,
// in order. It blocks until there is one, or ctx ends, or the spool fails.
func (s *Spool) Exits(ctx context.Context, after uint64, limit int) ([]Exit, error) {
	for {
		s.mu.Lock()
		out, failed, changed := s.exitsAfter(after, limit), s.failed, s.changed
		s.mu.Unlock()
		if len(out) > 0 {
			return out, nil
		}
		if failed != nil {
			return nil, failed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Spool) exitsAfter(after uint64, limit int) []Exit {
	i, _ := slices.BinarySearchFunc(s.ended, after+1, compareSeq)
	var out []Exit
	for ; i < len(s.ended) && len(out) < limit && s.ended[i].mark <= s.durable; i++ {
		out = append(out, *s.ended[i].exit)
	}
	return out
}

// Held returns every assignment that was started and is not decided, once all
// of it is durable.
func (s *Spool) Held(ctx context.Context) ([]entropy.Held, error) {
	if err := s.Sync(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]entropy.Held, 0, len(s.entries))
	for id, e := range s.entries {
		out = append(out, entropy.Held{JobID: e.start.JobID, AssignmentID: id, Spooled: e.exit != nil, GPUs: e.start.GPUs})
	}
	return out, nil
}

// Unfinished returns the starts that have no exit, with the processes known of
// them (nil where none is): at open, what the process before left behind.
func (s *Spool) Unfinished() (starts []Start, processes []*Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.exit == nil {
			starts, processes = append(starts, *e.start), append(processes, e.process)
		}
	}
	return starts, processes
}

// Counts returns how many assignments run and how many have ended undecided.
func (s *Spool) Counts() (running, ended int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries) - len(s.ended), len(s.ended)
}

// Knows reports whether the assignment is held.
func (s *Spool) Knows(id entropy.AssignmentID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries[id] != nil
}
