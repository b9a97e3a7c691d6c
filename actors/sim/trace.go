package sim

import (
	"fmt"
	"time"
)

// trace is the hash of everything that happened and, when it is on, the last of
// it in words. Words cost more than the history itself, so that only a history
// that is looked at has them; the hash is the same with and without.
type trace struct {
	on    bool
	keep  int
	lines []string // a ring, once full
	next  int
	hash  uint64
	buf   []byte
}

const prime = 1099511628211 // of the 64-bit FNV hash

func (t *trace) mix(n uint64) { t.hash = (t.hash ^ n) * prime }

func (t *trace) mixString(s string) {
	h := t.hash
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * prime
	}
	t.hash = h
}

// happens mixes an event of a kind, at its time, about someone, into the hash.
func (w *world) happens(kind byte, about string) {
	w.trace.mix(uint64(w.now)<<8 | uint64(kind))
	w.trace.mixString(about)
}

// note writes a line, if lines are written.
func (w *world) note(format string, args ...any) {
	t := &w.trace
	if !t.on {
		return
	}
	t.buf = fmt.Appendf(t.buf[:0], "%10.4fs ", float64(w.now)/float64(time.Second))
	t.buf = fmt.Appendf(t.buf, format, args...)
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
