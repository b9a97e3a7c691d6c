package deadline

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/boottime"
)

// Target is a run that a [Watch] keeps to its limits. Its methods are called
// without locks, from the watch's goroutine or from the caller of Stop.
type Target interface {
	// Term asks the run to end. The run remembers the reason as that of its end,
	// unless it had ended by itself before.
	Term(entropy.Reason)
	// Kill ends the run.
	Kill()
}

// Watch keeps runs to their limits. One goroutine sleeps on the boot clock
// until the next action of any run is due.
type Watch struct {
	alarm *boottime.Alarm

	mu    sync.Mutex
	runs  map[entropy.AssignmentID]*watched
	armed time.Duration // what the alarm is set to; 0 for never
	turn  uint64        // turns of the loop
	turns chan struct{} // closed and replaced at every turn
	done  chan struct{}
}

type watched struct {
	Limits
	target Target
}

// NewWatch starts a watch; Close ends it.
func NewWatch() (*Watch, error) {
	alarm, err := boottime.NewAlarm()
	if err != nil {
		return nil, err
	}
	w := &Watch{alarm: alarm, runs: map[entropy.AssignmentID]*watched{}, turns: make(chan struct{}), done: make(chan struct{})}
	go w.loop()
	return w, nil
}

// Close stops watching. Runs are left alone.
func (w *Watch) Close() error {
	err := w.alarm.Close()
	<-w.done
	return err
}

// Add begins to watch a run.
func (w *Watch) Add(id entropy.AssignmentID, l Limits, t Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &watched{Limits: l, target: t}
	w.runs[id] = r
	w.arm(r)
}

// Remove ends the watch of a run. A call of its target may still be in progress.
func (w *Watch) Remove(id entropy.AssignmentID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.runs, id)
}

// Renew moves the end of trust of a run; see [Limits.Renew].
func (w *Watch) Renew(id entropy.AssignmentID, trust time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.runs[id]; r != nil {
		r.Limits.Renew(boottime.Now(), trust) // the alarm may now ring early, which is harmless
	}
}

// Stop asks a run to end now; its grace begins. Unknown runs, and runs that are
// already ending, are left as they are.
func (w *Watch) Stop(id entropy.AssignmentID, reason entropy.Reason) {
	w.mu.Lock()
	r := w.runs[id]
	begun := r != nil && r.Stop(boottime.Now(), reason)
	if begun {
		w.arm(r)
	}
	w.mu.Unlock()
	if begun {
		r.target.Term(reason)
	}
}

// Check returns once the loop has gone round after the call: the proof that
// deadlines are being kept. It fails when ctx ends first.
func (w *Watch) Check(ctx context.Context) error {
	w.mu.Lock()
	turns, turn := w.turns, w.turn
	w.set(1)
	w.mu.Unlock()
	select {
	case <-turns:
		return nil
	case <-w.done:
		return fmt.Errorf("deadline watch is closed")
	case <-ctx.Done():
		return fmt.Errorf("deadline watch stands still at turn %d: %w", turn, ctx.Err())
	}
}

// arm lets the alarm ring early enough for r. The caller holds mu.
func (w *Watch) arm(r *watched) {
	if at, act, _ := r.Next(); act != None && (w.armed == 0 || at < w.armed) {
		w.set(max(at, 1))
	}
}

// set sets the alarm. The caller holds mu.
func (w *Watch) set(at time.Duration) {
	w.armed = at
	if err := w.alarm.Set(at); err != nil {
		select {
		case <-w.done: // closed
		default:
			panic(fmt.Sprintf("deadline: set alarm: %v", err)) // no deadline could be kept any more
		}
	}
}

func (w *Watch) loop() {
	defer close(w.done)
	for w.alarm.Wait() == nil {
		for _, d := range w.due() {
			if d.act == Term {
				d.run.target.Term(d.reason)
			} else {
				d.run.target.Kill()
			}
		}
	}
}

type duty struct {
	run    *watched
	act    Action
	reason entropy.Reason
}

// due collects what is to be done now and sets the alarm for what follows.
func (w *Watch) due() []duty {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, next := boottime.Now(), time.Duration(0)
	var todo []duty
	for _, r := range w.runs {
		for {
			act, reason := r.Due(now)
			if act == None {
				break
			}
			todo = append(todo, duty{r, act, reason})
		}
		if at, act, _ := r.Next(); act != None && (next == 0 || at < next) {
			next = at
		}
	}
	w.turn++
	close(w.turns)
	w.turns = make(chan struct{})
	w.armed = 0
	if next != 0 {
		w.set(max(next, 1))
	}
	return todo
}
