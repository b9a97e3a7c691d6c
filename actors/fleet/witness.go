package fleet

import (
	"context"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

// witnessSlack is how much more than one heartbeat interval a worker must have
// been silent before gossip is believed.
const witnessSlack = time.Second

// witnessed has a session weigh what gossip says of its worker.
type witnessed struct{}

// Witness records what gossip says of a worker: that it is dead, or no longer.
// It is a hint and expires nothing by itself. What it says of a worker that never
// registered is ignored. It does not block.
func (r *Registry) Witness(id entropy.WorkerID, dead bool) {
	r.mu.Lock()
	s := r.workers[id]
	if s == nil || s.worker == nil {
		r.mu.Unlock()
		return
	}
	s.dead = dead
	session := s.session
	r.mu.Unlock()
	if dead {
		session.Tell(witnessed{})
	}
}

// witnessedDead reports whether gossip says that a worker is dead.
func (r *Registry) witnessedDead(id entropy.WorkerID) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s := r.workers[id]
	return s != nil && s.dead
}

// weigh loses a worker before its leases end, if and only if gossip says that it
// is dead, no heartbeat came for one interval and a second, and it has no request
// open. Without gossip the leases do it alone.
func (s *Session) weigh(c *es.Context) {
	if s.worker.State != entropy.WorkerAlive || !s.cfg.Registry.witnessedDead(s.id) || s.asking() {
		return
	}
	silence := s.cfg.Listening() - s.heard
	if most := s.cfg.Heartbeat + witnessSlack; silence <= most {
		c.After(most-silence+time.Millisecond, witnessed{})
		return
	}
	s.mutate(c, waiting{mark{entropy.WorkerWentLost, lostEarly}, es.Reply{}})
}

// lostEarly is the reason of a loss that gossip was a witness of.
const lostEarly = "gossip says it is dead, and no heartbeat came"

// asking reports whether a claim or a poll of the worker is open: whoever waits
// for an answer is there.
func (s *Session) asking() bool {
	if s.claim != nil && !s.claim.done {
		for _, w := range s.claim.waiters {
			if w.Waiting() {
				return true
			}
		}
	}
	for _, p := range s.directives.polls {
		if p.reply.Waiting() {
			return true
		}
	}
	return false
}

// lose records the loss of a worker, and ends the leases of the jobs that may run
// twice at once. It runs outside the actor's turn. A lease that cannot be ended
// now ends by itself.
func (s *Session) lose(w *entropy.Worker, m mark, now time.Time) *appended {
	next, err := s.append(w, w.Mark(m.event, m.reason, entropy.Operation{}, now), nil)
	if err != nil || m.reason != lostEarly {
		return &appended{worker: next, err: err}
	}
	leased, err := s.cfg.Jobs.Leased(context.Background(), w.ID)
	if err != nil {
		s.cfg.Logger.Warn("leases not ended early", "worker", w.ID, "error", err)
	}
	for _, h := range leased {
		if err := s.endEarly(w, h); err != nil {
			s.cfg.Logger.Warn("lease not ended early", "worker", w.ID, "job", h.JobID, "error", err)
		}
	}
	return &appended{worker: next}
}

// endEarly ends a running job's lease. A job that must never run twice at once
// refuses: gossip may be wrong, and only the lease's end says that it was stopped.
func (s *Session) endEarly(w *entropy.Worker, h entropy.Held) error {
	ctx := context.Background()
	j, err := s.cfg.Jobs.Live(ctx, h)
	if err != nil || j == nil || !j.Lease.Acked {
		return err
	}
	return s.cfg.Jobs.EndLease(ctx, h.JobID, entropy.EndLease{AssignmentID: h.AssignmentID, Cause: entropy.CauseWorkerLost, Before: w.Incarnation + 1,
		Message: "worker " + string(w.ID) + " is lost: " + lostEarly})
}
