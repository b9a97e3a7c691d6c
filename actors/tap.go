package actors

import (
	"sync"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/action"
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
// commit order, by the committer. It must not block; only while the system starts
// does it wait for the actors that it tells.
func (s *System) onCommit(batch []entropy.Change) {
	<-s.spawned
	var plan scheduler.Commit
	var waking []wakeItem
	var tied ties
	var acts []*entropy.Action
	s.tally.mu.Lock()
	for i := range batch {
		s.tally.add(&batch[i])
	}
	s.tally.mu.Unlock()
	for i := range batch {
		var j *entropy.Job
		switch state := batch[i].State.(type) {
		case *entropy.Job:
			j = state
		case *entropy.Worker:
			plan.Workers = append(plan.Workers, state)
			continue
		case *entropy.Policy:
			s.followPolicy(state)
			plan.Policy = state
			continue
		case *entropy.Action:
			before, _ := batch[i].Before.(*entropy.Action)
			s.followAction(before, state)
			acts = append(acts, state)
			continue
		case *entropy.DeadLetter:
			s.backlog.letter(state)
			continue
		case *entropy.Array:
			s.graph.array(state.ID, state.Count)
			continue
		default:
			continue
		}
		before, _ := batch[i].Before.(*entropy.Job)
		s.retries.changed(before, j)
		s.judge(before, j)
		if scheduler.Concerns(before, j) {
			plan.Jobs = append(plan.Jobs, j)
		}
		if at := j.WakeAt(); !at.IsZero() || before != nil && before.State != "" && !before.WakeAt().IsZero() {
			waking = append(waking, wakeItem{j.ID, at})
		}
		s.tie(&tied, before, j)
		if j.State.Terminal() {
			s.bell.ring(entropy.Entity(entropy.KindJob, string(j.ID)))
		}
	}
	if len(plan.Jobs)+len(plan.Workers) > 0 || plan.Policy != nil {
		s.scheduler.Tell(&plan)
	}
	if len(waking) > 0 {
		s.waker.Tell(&wakes{waking})
	}
	if len(tied.look)+len(tied.settled) > 0 {
		s.settler.Tell(&tied)
	}
	switch {
	case len(acts) > 0:
		s.turns.Tell(&action.Commit{Actions: acts})
	case plan.Policy != nil:
		s.turns.Tell(action.Look{})
	}
	s.bell.ring(anyEvent)
}

// judge tells a worker on probation what it has shown: a job that succeeded, or
// an attempt that it lost or broke under. A job's own failure shows nothing.
func (s *System) judge(before, j *entropy.Job) {
	if before == nil || before.Lease == nil || j.Lease != nil {
		return
	}
	w := before.Lease.WorkerID
	switch a := j.LastAttempt(); {
	case j.State == entropy.Succeeded:
		s.registry.Judge(w, true, "")
	case a != nil && a.AssignmentID == before.Lease.AssignmentID && a.Counted == entropy.CountLoss:
		s.registry.Judge(w, false, "job "+string(j.ID)+" was lost with it")
	}
}
