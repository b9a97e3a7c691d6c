package worker

import (
	"context"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
)

// slots keeps count of the assignments that take up a slot: from the claim to
// the end of the run.
type slots struct {
	total int

	mu    sync.Mutex
	held  map[entropy.AssignmentID]*holding
	freed chan struct{} // holds a token when a slot may have become free
	gone  chan struct{} // closed and made anew at each release, while somebody waits for GPUs
}

// holding is one assignment in a slot.
type holding struct {
	job     entropy.JobID
	gpus    []entropy.GPUShare
	ex      executor
	acked   bool          // its ACK was answered; a heartbeat must name it
	settled bool          // its executor has it
	trust   time.Duration // of its lease, by the newest renewal
}

func newSlots(total int) *slots {
	return &slots{total: total, held: map[entropy.AssignmentID]*holding{}, freed: make(chan struct{}, 1)}
}

func (s *slots) signal() {
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// adopt takes a slot for an assignment that runs already.
func (s *slots) adopt(h entropy.Held, ex executor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[h.AssignmentID] = &holding{job: h.JobID, gpus: h.GPUs, ex: ex, acked: true, settled: true}
}

// reserve takes slots for claimed assignments and returns those that had none
// yet. Busy are those among them some of whose GPUs another assignment here still
// owns: the fabric gave it up, and its processes are not gone yet.
func (s *slots) reserve(as []entropy.Assignment) (fresh, busy []entropy.Assignment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh = make([]entropy.Assignment, 0, len(as))
	for _, a := range as {
		if a.Revoked || s.held[a.AssignmentID] != nil {
			continue
		}
		if s.gpusFree(a.GPUs) {
			fresh = append(fresh, a)
			s.held[a.AssignmentID] = &holding{job: a.JobID, gpus: a.GPUs}
		} else {
			busy = append(busy, a)
			s.held[a.AssignmentID] = &holding{job: a.JobID} // until it is given back
		}
	}
	return fresh, busy
}

// awaitGPUs blocks until the GPUs of a reserved assignment are free, and then
// owns them for it. It reports false when ctx ends first.
func (s *slots) awaitGPUs(ctx context.Context, a *entropy.Assignment) bool {
	for {
		s.mu.Lock()
		if h := s.held[a.AssignmentID]; h == nil || s.gpusFree(a.GPUs) {
			if h != nil {
				h.gpus = a.GPUs
			}
			s.mu.Unlock()
			return h != nil
		}
		if s.gone == nil {
			s.gone = make(chan struct{})
		}
		gone := s.gone
		s.mu.Unlock()
		select {
		case <-gone:
		case <-ctx.Done():
			return false
		}
	}
}

func (s *slots) gpusFree(want []entropy.GPUShare) bool {
	if len(want) == 0 {
		return true
	}
	used := make(map[int]entropy.Amount)
	for _, h := range s.held {
		for _, g := range h.gpus {
			used[g.Index] += g.Amount
		}
	}
	for _, g := range want {
		if used[g.Index] += g.Amount; used[g.Index] > entropy.Unit {
			return false
		}
	}
	return true
}

// release frees the slots of assignments.
func (s *slots) release(ids ...entropy.AssignmentID) {
	s.mu.Lock()
	for _, id := range ids {
		delete(s.held, id)
	}
	if s.gone != nil {
		close(s.gone)
		s.gone = nil
	}
	s.mu.Unlock()
	s.signal()
}

// acked notes that an assignment's ACK was answered.
func (s *slots) acked(id entropy.AssignmentID, trust time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.held[id]; h != nil {
		h.acked, h.trust = true, max(h.trust, trust)
	}
}

// trust returns until when an assignment's lease can be trusted.
func (s *slots) trust(id entropy.AssignmentID) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.held[id]; h != nil {
		return h.trust
	}
	return 0
}

// settle notes that executors have assignments.
func (s *slots) settle(ids []entropy.AssignmentID, ex executor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if h := s.held[id]; h != nil {
			h.ex, h.settled = ex, true
		}
	}
}

// renew notes a newer end of trust for the assignments that no executor has yet.
func (s *slots) renew(ids []entropy.AssignmentID, trust time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if h := s.held[id]; h != nil {
			h.trust = max(h.trust, trust)
		}
	}
}

// waiting returns the assignments that were ACKed and that no executor has yet:
// their inputs are on the way.
func (s *slots) waiting() []entropy.Held {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []entropy.Held
	for id, h := range s.held {
		if h.acked && !h.settled {
			list = append(list, entropy.Held{JobID: h.job, AssignmentID: id})
		}
	}
	return list
}

// runningOn returns the assignments that ex should be running, with their jobs.
func (s *slots) runningOn(ex executor) map[entropy.AssignmentID]entropy.JobID {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := map[entropy.AssignmentID]entropy.JobID{}
	for id, h := range s.held {
		if h.settled && h.ex == ex {
			m[id] = h.job
		}
	}
	return m
}

// has reports whether an assignment takes up a slot.
func (s *slots) has(id entropy.AssignmentID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[id] != nil
}

func (s *slots) used() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held)
}

func (s *slots) free() int { return max(0, s.total-s.used()) }

// awaitFree blocks until a slot is free and may is true, and returns how many
// are, or 0 when ctx ends.
func (s *slots) awaitFree(ctx context.Context, may func() bool) int {
	for {
		if n := s.free(); n > 0 && may() {
			return n
		}
		select {
		case <-s.freed:
		case <-ctx.Done():
			return 0
		}
	}
}
