package workspace

import (
	"fmt"
	"os"
	"sync"
)

// Log is a capped file of output. It keeps the head: what is written beyond the
// limit is counted and dropped, and the writer never notices. The file is made
// at the first byte. Its methods may be called from any goroutine.
type Log struct {
	path  string
	limit int64

	mu      sync.Mutex
	f       *os.File
	size    int64
	dropped int64
	failed  error // of the disk: what follows is dropped as well
}

// NewLog returns a log that will be at path and keep at most limit bytes.
func NewLog(path string, limit int64) *Log { return &Log{path: path, limit: limit} }

// Write implements [io.Writer]. It never fails and never writes less.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	keep := min(int64(len(p)), l.limit-l.size)
	if l.failed != nil {
		keep = 0
	}
	if keep > 0 {
		n, err := l.write(p[:keep])
		l.size += int64(n)
		l.failed = err
		keep = int64(n)
	}
	l.dropped += int64(len(p)) - keep
	return len(p), nil
}

func (l *Log) write(p []byte) (int, error) {
	if l.f == nil {
		f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return 0, err
		}
		l.f = f
	}
	return l.f.Write(p)
}

// Finish notes what was dropped at the end of the file, closes it and returns
// its size. The note may exceed the limit.
func (l *Log) Finish() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dropped > 0 {
		why := fmt.Sprintf("the limit of %d bytes was reached", l.limit)
		if l.failed != nil {
			why = l.failed.Error()
		}
		n, _ := l.write(fmt.Appendf(nil, "\n[entropy: %d bytes of output were dropped: %s]\n", l.dropped, why))
		l.size += int64(n)
		l.dropped = 0
	}
	if l.f != nil {
		_ = l.f.Close() // all its bytes were handed to the kernel already
		l.f = nil
	}
	return l.size
}
