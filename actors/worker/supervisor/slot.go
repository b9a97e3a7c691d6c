package supervisor

import (
	"errors"
	"log/slog"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy/actors/worker/workspace"
)

// slot is what a run borrows: two pipes for its output and a control group.
// They are reused, so that a short job costs little more than its process.
type slot struct {
	out, err *pipe
	cgroup   *cgroup // nil: there are none here
}

// slots lends slots.
type slots struct {
	log *slog.Logger

	mu      sync.Mutex
	cgroups *cgroups // nil: do without
	free    []*slot
}

const maxFreeSlots = 256

func (s *slots) get() (*slot, error) {
	s.mu.Lock()
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		s.mu.Unlock()
		return b, nil
	}
	groups := s.cgroups
	s.mu.Unlock()
	b := &slot{}
	var err error
	if b.out, err = newPipe(); err != nil {
		return nil, err
	}
	if b.err, err = newPipe(); err != nil {
		b.close()
		return nil, err
	}
	if groups != nil {
		if b.cgroup, err = groups.open(); err != nil {
			s.degrade(err)
		}
	}
	return b, nil
}

// dir returns where the control groups of this supervisor are, or "".
func (s *slots) dir() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cgroups == nil {
		return ""
	}
	return s.cgroups.dir
}

// degrade does without control groups from now on, and says so once.
func (s *slots) degrade(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cgroups != nil {
		s.cgroups = nil
		s.log.Warn("jobs run without control groups; their process trees are followed by process group, parent and environment", slog.Any("cause", cause))
	}
}

// put takes a slot back. One whose processes may not all be gone for certain is
// not lent again, nor is one whose control group was killed.
func (s *slots) put(b *slot) {
	s.mu.Lock()
	reuse := b.cgroup != nil && !b.cgroup.killed.Load() && s.cgroups != nil && len(s.free) < maxFreeSlots
	if reuse {
		s.free = append(s.free, b)
	}
	s.mu.Unlock()
	if !reuse {
		b.close()
	}
}

func (s *slots) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.free {
		b.close()
	}
	s.free = nil
}

func (b *slot) close() {
	for _, p := range []*pipe{b.out, b.err} {
		if p != nil {
			p.close()
		}
	}
	if b.cgroup != nil {
		b.cgroup.close()
	}
}

// pipe carries one stream of output into a log. The processes hold its write
// end; a goroutine empties it, so that they are never held up.
type pipe struct {
	r, w *os.File
	done chan struct{}

	mu   sync.Mutex // held while bytes move from the pipe to the log
	sink *workspace.Log
}

func newPipe() (*pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	// Only the reading end: the processes must find an ordinary, blocking one.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, err
	}
	p := &pipe{r: os.NewFile(uintptr(fds[0]), "output"), w: os.NewFile(uintptr(fds[1]), "output"), done: make(chan struct{})}
	go p.pump()
	return p, nil
}

var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

func (p *pipe) pump() {
	defer close(p.done)
	conn, err := p.r.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Read(func(uintptr) bool {
		for p.move() {
		}
		return false // wait until there is more; ends when r is closed
	})
}

// move takes what is in the pipe now, and reports whether there was something.
func (p *pipe) move() bool {
	buf := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buf)
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := p.read(buf[:])
	if n > 0 && p.sink != nil {
		_, _ = p.sink.Write(buf[:n]) // never fails
	}
	return n > 0 || errors.Is(err, unix.EINTR)
}

func (p *pipe) read(b []byte) (n int, err error) {
	conn, err := p.r.SyscallConn()
	if err != nil {
		return 0, err
	}
	if cerr := conn.Control(func(fd uintptr) { n, err = unix.Read(int(fd), b) }); cerr != nil {
		return 0, cerr
	}
	return max(n, 0), err
}

// attach lets the output flow into a log.
func (p *pipe) attach(l *workspace.Log) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sink = l
}

// detach takes what is still in the pipe and returns the size of the log. All
// writers must be gone: what comes later is dropped.
func (p *pipe) detach() int64 {
	for p.move() {
	}
	p.mu.Lock()
	l := p.sink
	p.sink = nil
	p.mu.Unlock()
	return l.Finish()
}

func (p *pipe) close() {
	p.w.Close()
	p.r.Close()
	<-p.done
}
