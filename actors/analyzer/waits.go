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
	source string    // by whose time it is due
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

// waits are the armed ones by source, as each source has a time of its own.
type waits map[string]*queue

// arm sets or moves a wait. Its source is not changed while it is armed.
func (w waits) arm(v *wait, due time.Time) {
	v.due = due
	q := w[v.source]
	switch {
	case v.index > 0:
		heap.Fix(q, v.index-1)
		return
	case q == nil:
		q = new(queue)
		w[v.source] = q
	}
	heap.Push(q, v)
}

func (w waits) disarm(v *wait) {
	if v.index > 0 {
		heap.Remove(w[v.source], v.index-1)
	}
}

// next returns the wait of a source that is due at now, or nil.
func (w waits) next(source string, now time.Time) *wait {
	q := w[source]
	if q == nil || len(*q) == 0 || (*q)[0].due.After(now) {
		return nil
	}
	return heap.Pop(q).(*wait)
}

// first returns the wait that is due at now before all others, of any source; of
// those due at once the one of the first source by name.
func (w waits) first(now time.Time) *wait {
	var best *wait
	for source, q := range w {
		if len(*q) == 0 || (*q)[0].due.After(now) {
			continue
		}
		v := (*q)[0]
		if best == nil || v.due.Before(best.due) || v.due.Equal(best.due) && source < best.source {
			best = v
		}
	}
	if best != nil {
		heap.Pop(w[best.source])
	}
	return best
}

// excuse lets the time of a source stand still for a while that nothing was heard of
// it: what is waited for is due that much later.
func (w waits) excuse(source string, gap time.Duration) {
	q := w[source]
	if q == nil {
		return
	}
	for _, v := range *q { // all alike, so that their order stays
		v.due = v.due.Add(gap)
		if v.stage <= patient {
			v.since = v.since.Add(gap)
		}
	}
}

// elsewhere moves a wait that is due to the source that states what is expected next,
// if that is another, and reports whether it did: late is what is late by its time.
func (a *Analyzer) elsewhere(w *wait) bool {
	if w.of == nil || w.stage != patient {
		return false
	}
	k := a.kinds[w.of.class]
	if k == nil {
		return false
	}
	next := k.model.Expect(w.of.context, 1)
	if len(next) == 0 {
		return false
	}
	e, ok := a.series.items[seriesID{w.of.class, next[0].Step, true}]
	if !ok {
		return false
	}
	by := e.Value.(*entry[seriesID, *series]).value.by
	if by == "" || by == w.source {
		return false
	}
	w.source = by
	a.waits.arm(w, w.due)
	return true
}

// queue holds the waits of one source, the next due first.
type queue []*wait

func (w queue) Len() int           { return len(w) }
func (w queue) Less(i, j int) bool { return w[i].due.Before(w[j].due) }
func (w queue) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i+1, j+1
}

// Push is heap.Interface's.
func (w *queue) Push(x any) {
	v := x.(*wait)
	v.index = len(*w) + 1
	*w = append(*w, v)
}

// Pop is heap.Interface's.
func (w *queue) Pop() any {
	old := *w
	v := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	v.index = 0
	return v
}
