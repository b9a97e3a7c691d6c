package sim

import (
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/scheduler/planner"
)

// Planner chooses who gets what: the methods that a control plane needs of its
// scheduler's [planner.Planner], which is one. A control plane makes one when it
// starts and uses it from one goroutine; time never runs backward.
type Planner interface {
	// SetPolicy and SetWorker say what holds from now on. Nobody changes it later.
	SetPolicy(p *entropy.Policy, now time.Time)
	SetWorker(w *entropy.Worker)
	// Sync says what has become of a job, in the order of its versions.
	Sync(j *entropy.Job, now time.Time)
	// Pick chooses up to n jobs for a worker. They hold their room until Sync says
	// that they have a lease, or Undo that they got none.
	Pick(w entropy.WorkerID, n int, now time.Time) []planner.Choice
	Undo(id entropy.JobID, now time.Time)
	// Reserve is called every half heartbeat; Preemptions names, before jobs are
	// picked, running attempts that are to end to make room.
	Reserve(now time.Time)
	Preemptions(now time.Time) []planner.Preemption
}

// NewFabric returns the fabric's own planner.
func NewFabric(now time.Time) Planner { return planner.New(&entropy.Policy{}, now) }

// mutantPlanner tells a planner something else than the truth.
type mutantPlanner struct {
	Planner
	mutant Mutant
}

func (m mutantPlanner) SetWorker(w *entropy.Worker) {
	switch m.mutant {
	case Overcommit:
		w = w.Clone()
		w.Slots++
	case DrainIgnored:
		w = w.Clone()
		w.Draining, w.Quarantined = false, false
	}
	m.Planner.SetWorker(w)
}

func (m mutantPlanner) Pick(w entropy.WorkerID, n int, now time.Time) []planner.Choice {
	if m.mutant == Overcommit {
		n++
	}
	return m.Planner.Pick(w, n, now)
}

func (m mutantPlanner) Sync(j *entropy.Job, now time.Time) {
	switch {
	case m.mutant == AgingInverted:
		p := -j.Priority()
		j = j.Clone()
		j.PriorityNow = &p
	case m.mutant == HeldAssigned && j.Held:
		j = j.Clone()
		j.Held = false
	case m.mutant == DoubleAssign && j.State == entropy.Assigned:
		m.Undo(j.ID, now) // it was never chosen
		j = j.Clone()
		j.State, j.Lease = entropy.Pending, nil
	}
	m.Planner.Sync(j, now)
}
