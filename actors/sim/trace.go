package sim

import (
	"fmt"
	"hash/fnv"
	"time"
)

// trace keeps the last lines of a history and a hash of all of them.
type trace struct {
	keep  int
	lines []string // a ring, once full
	next  int
	hash  uint64
	buf   []byte
}

// note adds a line.
func (w *world) note(format string, args ...any) {
	t := &w.trace
	t.buf = fmt.Appendf(t.buf[:0], "%10.4fs ", float64(w.now)/float64(time.Second))
	t.buf = fmt.Appendf(t.buf, format, args...)
	h := fnv.New64a()
	h.Write(t.buf)
	t.hash = t.hash*1099511628211 ^ h.Sum64()
	if len(t.lines) < t.keep {
		t.lines = append(t.lines, string(t.buf))
		return
	}
	t.lines[t.next] = string(t.buf)
	t.next = (t.next + 1) % t.keep
}

// tail returns the lines that were kept, oldest first.
func (t *trace) tail() []string {
	return append(append([]string(nil), t.lines[t.next:]...), t.lines[:t.next]...)
}
