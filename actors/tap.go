package actors

import (
	"sync"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/scheduler"
)

// tally counts what the journal says, since the start. It is safe for concurrent use.
type tally struct {
	mu     sync.Mutex
	states map[entropy.State]int64
	events map[string]uint64
	late   uint64 // completions accepted after their lease had ended
}

func newTally(states map[entropy.State]int64) *tally {
	return &tally{states: states, events: make(map[string]uint64)}
}

func (t *tally) add(ch *entropy.Change) {
	for i := range ch.Events {
		t.events[ch.Events[i].Type]++
	}
	j, ok := ch.State.(*entropy.Job)
	if !ok {
		return
	}
	if b, ok := ch.Before.(*entropy.Job); ok && b.State != "" {
		t.states[b.State]--
	}
	t.states[j.State]++
	if j.State == entropy.Succeeded {
		if a := j.LastAttempt(); a != nil && a.Late {
			t.late++
		}
	}
}

// onCommit follows the journal: it is called with every committed batch, in
// commit order, by the committer. It must not block.
func (s *System) onCommit(batch []entropy.Change) {
	var ready []scheduler.Ready
	var waking []wakeItem
	left := 0 // pending jobs that were not taken from the queue by the scheduler
	s.tally.mu.Lock()
	for i := range batch {
		s.tally.add(&batch[i])
	}
	s.tally.mu.Unlock()
	for i := range batch {
		j, ok := batch[i].State.(*entropy.Job)
		if !ok {
			continue
		}
		before, _ := batch[i].Before.(*entropy.Job)
		if j.State == entropy.Pending && !j.Held && (before == nil || before.State != entropy.Pending || before.Held) {
			ready = append(ready, scheduler.ReadyOf(j, s.agingStep()))
		}
		if before != nil && before.State == entropy.Pending && j.State != entropy.Pending && j.State != entropy.Assigned {
			left++
		}
		if at := j.WakeAt(); !at.IsZero() || before != nil && before.State != "" && !before.WakeAt().IsZero() {
			waking = append(waking, wakeItem{j.ID, at})
		}
		if j.State.Terminal() {
			s.bell.ring(entropy.Entity(entropy.KindJob, string(j.ID)))
		}
	}
	if len(ready)+left > 0 {
		s.scheduler.Tell(&scheduler.Enqueue{Jobs: ready, Left: left})
	}
	if len(waking) > 0 {
		s.waker.Tell(&wakes{waking})
	}
	s.bell.ring(anyEvent)
}
