package analyzer

import (
	"container/heap"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/baseline"
)

// wait is something expected until a time. It belongs to an open case, or to a
// series that recurs by itself.
type wait struct {
	due    time.Time
	index  int // in the heap, from 1; 0: not in it
	since  time.Time
	stage  stage
	expect baseline.Expectation
	of     *openCase // nil: of the series
	series *series   // whose gap it is
	level  *series   // from which the expectation was taken
}

type stage uint8

const (
	idle    stage = iota // nothing is expected; a case is closed when due
	patient              // something is expected, and not late
	late                 // it is late, and not missing
	missing              // it is missing, as one in a thousand is for a while
	certain              // it is missing beyond what chance gives all waits together
)

// waits are the armed ones, the next due first.
type waits []*wait

func (w waits) Len() int           { return len(w) }
func (w waits) Less(i, j int) bool { return w[i].due.Before(w[j].due) }
func (w waits) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i+1, j+1
}

// Push is heap.Interface's.
func (w *waits) Push(x any) {
	v := x.(*wait)
	v.index = len(*w) + 1
	*w = append(*w, v)
}

// Pop is heap.Interface's.
func (w *waits) Pop() any {
	old := *w
	v := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	v.index = 0
	return v
}

// arm sets or moves a wait.
func (w *waits) arm(v *wait, due time.Time) {
	v.due = due
	if v.index > 0 {
		heap.Fix(w, v.index-1)
		return
	}
	heap.Push(w, v)
}

func (w *waits) disarm(v *wait) {
	if v.index > 0 {
		heap.Remove(w, v.index-1)
	}
}

// next returns the wait that is due at now, or nil.
func (w *waits) next(now time.Time) *wait {
	if len(*w) == 0 || (*w)[0].due.After(now) {
		return nil
	}
	return heap.Pop(w).(*wait)
}
