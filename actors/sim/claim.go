package sim

import (
	"github.com/entropy-fabric/entropy"
)

// openClaim is the newest claim of a worker's agent and its answer.
type openClaim struct {
	seq      uint64
	want     int
	granting int // grants under way
	done     bool
	items    []entropy.Held // the set it was answered with
	granted  []entropy.Assignment
	waiters  []func(any, error)
}

// onClaim answers a claim when there is work, or when its time is over.
func (s *session) onClaim(m *entropy.ClaimRequest, reply func(any, error)) {
	cl := s.claim
	switch err := s.check(m.Incarnation); {
	case err != nil:
		reply(nil, err)
	case !s.met: // its inventory gates its own claims
		s.early = append(s.early, func() { s.onClaim(m, reply) })
	case cl == nil && !s.c.w.mutant(ClaimAgain) && s.claimedBefore(m, reply):
	case cl == nil || m.ClaimSeq > cl.seq:
		s.openClaim(m, reply)
	case m.ClaimSeq < cl.seq:
		reply(nil, entropy.Errorf(entropy.CodeConflict, "claim %d is older than claim %d", m.ClaimSeq, cl.seq))
	case !cl.done:
		cl.waiters = append(cl.waiters, reply)
	case s.c.w.mutant(ClaimAgain):
		s.openClaim(m, reply)
	default:
		s.replay(m, cl.items, reply)
	}
}

// claimedBefore answers the first claim after a restart that is the repeat of one
// whose answer was lost with the process, or older still.
func (s *session) claimedBefore(m *entropy.ClaimRequest, reply func(any, error)) bool {
	set, ok := s.c.w.disk.claims[s.id]
	if !ok || set.incarnation != m.Incarnation || m.ClaimSeq > set.seq {
		return false
	}
	if m.ClaimSeq < set.seq {
		reply(nil, entropy.Errorf(entropy.CodeConflict, "claim %d is older than claim %d", m.ClaimSeq, set.seq))
		return true
	}
	s.claim = &openClaim{seq: m.ClaimSeq, done: true, items: set.items}
	s.replay(m, set.items, reply)
	return true
}

func (s *session) openClaim(m *entropy.ClaimRequest, reply func(any, error)) {
	s.dropClaim()
	cl := &openClaim{seq: m.ClaimSeq, want: m.Want, waiters: []func(any, error){reply}}
	s.claim = cl
	s.c.after(m.Wait.D(), func() {
		if s.claim == cl && !cl.done && cl.granting == 0 {
			s.answer(cl)
		}
	})
	s.c.wantMatch()
}

// replay answers with the original set, each assignment marked live or revoked.
func (s *session) replay(m *entropy.ClaimRequest, items []entropy.Held, reply func(any, error)) {
	out := &entropy.ClaimReply{}
	for _, h := range items {
		a := s.c.jobs[h.JobID]
		if l := a.job.Lease; l == nil || l.AssignmentID != h.AssignmentID {
			out.Assignments = append(out.Assignments, entropy.Assignment{JobID: h.JobID, AssignmentID: h.AssignmentID, Revoked: true})
			continue
		}
		out.Assignments = append(out.Assignments, assignmentOf(a.job))
	}
	if len(items) > 0 {
		s.c.w.tally[ClaimReplayed]++
	}
	s.c.w.check.claimed(s.id, m.Incarnation, m.ClaimSeq, items)
	reply(out, nil)
}

func assignmentOf(j *entropy.Job) entropy.Assignment {
	return entropy.Assignment{JobID: j.ID, AssignmentID: j.Lease.AssignmentID, Attempt: j.Attempt, TTL: j.Lease.TTL,
		AckTimeout: entropy.Duration(j.Spec.AckTimeoutOrDefault()), Resources: j.Lease.Resources, GPUs: j.Lease.GPUs, Spec: j.Spec}
}

func (s *session) answer(cl *openClaim) {
	cl.done = true
	out := &entropy.ClaimReply{Assignments: cl.granted}
	for _, a := range cl.granted {
		cl.items = append(cl.items, entropy.Held{JobID: a.JobID, AssignmentID: a.AssignmentID})
	}
	s.c.w.check.claimed(s.id, s.worker.Incarnation, cl.seq, cl.items)
	for _, reply := range cl.waiters {
		reply(out, nil)
	}
	cl.waiters = nil
}

// openRequest reports whether the worker waits for the answer to a claim.
func (s *session) openRequest() bool { return s.claim != nil && !s.claim.done }

// dropClaim answers a claim that was overtaken with nothing: what was granted to it
// is released for want of an ACK.
func (s *session) dropClaim() {
	if cl := s.claim; cl != nil {
		s.claim = nil
		for _, reply := range cl.waiters {
			reply(&entropy.ClaimReply{}, nil)
		}
		cl.waiters = nil
	}
}
