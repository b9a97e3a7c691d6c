package sim

import "time"

// loop is virtual time: a heap of what happens when, and in which order at the
// same instant. It is used by one goroutine.
type loop struct {
	now  time.Duration // since the start of the history
	seq  uint64
	heap []timed
}

type timed struct {
	at  time.Duration
	seq uint64
	do  func()
}

func (t timed) before(o timed) bool { return t.at < o.at || t.at == o.at && t.seq < o.seq }

// at has f run at t, or now if t has passed.
func (l *loop) at(t time.Duration, f func()) {
	l.seq++
	l.heap = append(l.heap, timed{max(t, l.now), l.seq, f})
	for i := len(l.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !l.heap[i].before(l.heap[parent]) {
			return
		}
		l.heap[i], l.heap[parent] = l.heap[parent], l.heap[i]
		i = parent
	}
}

// after has f run when d has passed.
func (l *loop) after(d time.Duration, f func()) { l.at(l.now+d, f) }

// step runs what comes next. It reports false when nothing does.
func (l *loop) step() bool {
	if len(l.heap) == 0 {
		return false
	}
	next := l.heap[0]
	last := len(l.heap) - 1
	l.heap[0] = l.heap[last]
	l.heap[last] = timed{}
	l.heap = l.heap[:last]
	l.sink()
	l.now = next.at
	next.do()
	return true
}

func (l *loop) sink() {
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(l.heap); c++ {
			if l.heap[c].before(l.heap[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		l.heap[i], l.heap[least] = l.heap[least], l.heap[i]
		i = least
	}
}
