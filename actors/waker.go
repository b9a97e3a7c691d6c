package actors

import (
	"container/heap"
	"log/slog"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

// wakes tells the waker when jobs want attention: a zero time means no more.
type wakes struct{ items []wakeItem }

type wakeItem struct {
	id entropy.JobID
	at time.Time
}

type wakeTick struct{}

// reloadWakes asks the waker to read the journal again, which it could not.
type reloadWakes struct{}

// maxSleep bounds the waker's sleep. Its timer stands still while the machine is
// suspended and knows nothing of a clock that was set; what is due it then sees
// at the next look.
const maxSleep = 30 * time.Second

// rewake is how long the waker waits for a job to change after it was woken,
// before it wakes it again: the journal may have had no room.
const rewake = 5 * time.Second

// waker wakes jobs whose time has come: delays, backoffs, timeouts, deadlines. One
// heap for all, so that a job that only waits needs no actor and no timer.
type waker struct {
	log   *slog.Logger
	now   func() time.Time
	load  func(f func(id entropy.JobID, at time.Time) error) error
	wake  func(entropy.JobID)
	heap  wakeHeap
	due   map[entropy.JobID]time.Time // the valid entry per job; others in the heap are stale
	timer *time.Timer
}

// Receive handles one message.
func (w *waker) Receive(c *es.Context) {
	switch m := c.Message().(type) {
	case es.Started:
		w.start(c)
	case *wakes:
		for _, i := range m.items {
			w.set(i.id, i.at)
		}
		w.arm(c)
	case reloadWakes:
		w.start(c)
	case wakeTick:
		w.fire()
		w.arm(c)
	case es.Stopped:
		if w.timer != nil {
			w.timer.Stop()
		}
	}
}

func (w *waker) start(c *es.Context) {
	w.due, w.heap = make(map[entropy.JobID]time.Time), nil
	err := w.load(func(id entropy.JobID, at time.Time) error {
		w.set(id, at)
		return nil
	})
	if err != nil {
		w.log.Error("load the times at which jobs want attention", "error", err)
		c.After(rewake, reloadWakes{})
	}
	w.arm(c)
}

func (w *waker) set(id entropy.JobID, at time.Time) {
	if at.IsZero() {
		delete(w.due, id)
		return
	}
	if old, ok := w.due[id]; ok && old.Equal(at) {
		return
	}
	w.due[id] = at
	heap.Push(&w.heap, wakeItem{id, at})
}

func (w *waker) fire() {
	now := w.now()
	for len(w.heap) > 0 && !w.heap[0].at.After(now) {
		i := heap.Pop(&w.heap).(wakeItem)
		if !w.due[i.id].Equal(i.at) {
			continue
		}
		w.wake(i.id)
		w.set(i.id, now.Add(rewake))
	}
}

func (w *waker) arm(c *es.Context) {
	for len(w.heap) > 0 && !w.due[w.heap[0].id].Equal(w.heap[0].at) {
		heap.Pop(&w.heap)
	}
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if len(w.heap) > 0 {
		w.timer = c.After(min(max(w.heap[0].at.Sub(w.now()), time.Millisecond), maxSleep), wakeTick{})
	}
}

type wakeHeap []wakeItem

func (h wakeHeap) Len() int           { return len(h) }
func (h wakeHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h wakeHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *wakeHeap) Push(x any)        { *h = append(*h, x.(wakeItem)) }
func (h *wakeHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = wakeItem{}
	*h = old[:len(old)-1]
	return last
}
