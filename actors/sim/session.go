package sim

import (
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// session is one worker's place in the control plane.
type session struct {
	c      *control
	id     entropy.WorkerID
	worker *entropy.Worker // as committed

	busy  bool // a change is under way
	queue []func(release func())

	beatSeq uint64
	heard   time.Duration // listening time of the last sign of life
	met     bool          // heard since the start
	stops   []entropy.StopDirective
	claim   *openClaim
	early   []func() // claims that came before the first sign of life
}

func newSession(c *control, id entropy.WorkerID) *session {
	return &session{c: c, id: id, worker: &entropy.Worker{ID: id}}
}

// check returns CodeStale for an incarnation that is not the newest.
func (s *session) check(incarnation uint64) error {
	if s.worker.State == "" || incarnation != s.worker.Incarnation {
		return entropy.Errorf(entropy.CodeStale, "incarnation %d is not the newest (%d)", incarnation, s.worker.Incarnation)
	}
	return nil
}

// stop asks the worker, with the answer to its next heartbeat, to end an assignment.
func (s *session) stop(id entropy.AssignmentID, why entropy.Reason) {
	is := func(d entropy.StopDirective) bool { return d.AssignmentID == id }
	if !slices.ContainsFunc(s.stops, is) {
		s.stops = append(s.stops, entropy.StopDirective{AssignmentID: id, Reason: why})
	}
}

// exclusively runs f after the changes before it. F calls release when it is done.
func (s *session) exclusively(f func(release func())) {
	if s.busy {
		s.queue = append(s.queue, f)
		return
	}
	s.busy = true
	f(func() {
		s.busy = false
		if len(s.queue) > 0 {
			next := s.queue[0]
			s.queue = s.queue[1:]
			s.exclusively(next)
		}
	})
}

// append makes worker events durable. An error says that nothing was recorded.
func (s *session) append(events []entropy.WorkerEvent, done func(error)) {
	if len(events) == 0 {
		done(nil)
		return
	}
	next := s.worker.Clone()
	for i := range events {
		if err := next.Apply(events[i]); err != nil {
			s.c.w.fail(Determinism, "worker %s: %v", s.id, err)
			return
		}
	}
	s.c.journal.append(&change{entity: entropy.Entity(entropy.KindWorker, string(s.id)), wkEvents: events, worker: next, done: func() {
		s.worker = next
		s.c.planner.SetWorker(next)
		s.c.wantMatch()
		done(nil)
	}, failed: done})
}

func (s *session) mark(event, reason string) {
	if s.busy {
		return // it will be noticed again
	}
	s.exclusively(func(release func()) {
		s.append(s.worker.Mark(event, reason, entropy.Operation{}, s.c.now()), func(error) { release() })
	})
}

// onBeat answers a heartbeat. It never waits for the journal.
func (s *session) onBeat(h *entropy.Heartbeat) (*entropy.HeartbeatReply, error) {
	stale := s.c.w.mutant(StaleHeartbeat)
	if err := s.check(h.Incarnation); err != nil && !stale {
		return nil, err
	}
	if h.Seq <= s.beatSeq && !stale {
		s.c.w.tally[StaleBeatDropped]++
		return s.beatReply(), nil
	}
	s.c.w.check.beat(s, h)
	s.beatSeq = h.Seq
	_ = s.onHeard() // without room the answer promises less
	named := make(map[entropy.AssignmentID]bool, len(h.Held))
	for _, held := range h.Held {
		named[held.AssignmentID] = true
		s.c.renew(s, held)
	}
	s.stops = slices.DeleteFunc(s.stops, func(d entropy.StopDirective) bool { return !named[d.AssignmentID] })
	if s.worker.State == entropy.WorkerLost {
		s.mark(entropy.WorkerReturned, "")
	}
	s.releaseEarly()
	return s.beatReply(), nil
}

func (s *session) beatReply() *entropy.HeartbeatReply {
	deduct := s.overlooked()
	if deduct > 0 {
		s.c.w.tally[ShortTrust]++
	}
	return &entropy.HeartbeatReply{Directives: entropy.Directives{Stop: slices.Clone(s.stops)}, Deduct: entropy.Duration(deduct)}
}

// onHeard takes note of a sign of life. The regular save may come too late for a
// worker that was silent for long: it is saved at once, so that no restart takes
// the worker for more than one interval more silent than it was.
func (s *session) onHeard() error {
	s.heard, s.met = s.c.listening(), true
	if s.heard-s.c.w.disk.heard[s.id] <= s.c.w.shape.heartbeat || s.c.w.mutant(RestartForgets) {
		return nil
	}
	if s.c.w.now < s.c.w.disk.fullUntil {
		if s.overlooked() == 0 {
			return nil
		}
		return entropy.Errorf(entropy.CodeDiskFull, "no room to save who was heard")
	}
	s.c.w.disk.heard[s.id] = s.heard
	return nil
}

// overlooked is by how much longer silent than it is a restart could take a worker
// that is heard now. A full disk keeps what it has, and the answer to a heartbeat
// says how much less it renews (H-3, L-3).
func (s *session) overlooked() time.Duration {
	if s.c.w.mutant(DeductionForgotten) {
		return 0
	}
	return max(0, s.c.w.disk.listening-s.c.heardBefore(s.id))
}

func (s *session) releaseEarly() {
	early := s.early
	s.early = nil
	for _, f := range early {
		f()
	}
}

// onRegister introduces an agent process and decides on what it holds.
func (s *session) onRegister(r *entropy.Registration, reply func(any, error)) {
	s.exclusively(func(release func()) {
		answer := func(v any, err error) {
			reply(v, err)
			release()
		}
		twin := s.met && s.worker.KeyHash == r.KeyHash && s.worker.BootID != r.BootID && s.c.listening()-s.heard <= s.c.w.shape.heartbeat+time.Second
		if twin {
			answer(nil, entropy.Errorf(entropy.CodeConflict, "two live hosts use the key of worker %s", s.id))
			return
		}
		events, rebooted, err := s.worker.Register(*r, s.c.now())
		if err != nil {
			if entropy.ErrorCode(err) == entropy.CodeStale {
				s.c.w.tally[OldRegistration]++
			}
			answer(nil, err)
			return
		}
		s.append(events, func(err error) {
			if err != nil {
				answer(nil, err)
				return
			}
			if len(events) > 0 {
				s.dropClaim()
				s.beatSeq, s.stops = 0, nil
			}
			if err := s.onHeard(); err != nil { // a repeat, too: what it gets back must outlast a restart
				answer(nil, err)
				return
			}
			s.releaseEarly()
			inc := s.worker.Incarnation
			s.reconcile(r.Inventory, rebooted, func(held []entropy.HeldVerdict, err error) {
				if err != nil { // not all of it is recorded: a repeat will go on
					answer(nil, err)
					return
				}
				answer(&entropy.Registered{WorkerID: s.id, Incarnation: inc, Held: held}, nil)
			})
		})
	})
}

// reconcile compares what an agent holds with what the journal says it holds, and
// ends what it no longer has.
func (s *session) reconcile(inventory []entropy.Held, rebooted bool, then func([]entropy.HeldVerdict, error)) {
	verdicts := make([]entropy.HeldVerdict, len(inventory))
	open, failed := 1, error(nil)
	closed := func(err error) {
		if err != nil && retryable(err) {
			failed = err
		}
		if open--; open == 0 {
			then(verdicts, failed)
		}
	}
	has := make(map[entropy.AssignmentID]bool, len(inventory))
	for i, h := range inventory {
		has[h.AssignmentID] = true
		verdicts[i] = entropy.HeldVerdict{AssignmentID: h.AssignmentID, Verdict: entropy.VerdictReport}
		if !h.Spooled {
			open++
			s.c.reattach(s, h, func(v entropy.Verdict, stop entropy.Reason, err error) {
				verdicts[i].Verdict = v
				closed(err)
			})
		}
	}
	end := entropy.EndLease{Cause: entropy.CauseForgotten, Before: s.worker.Incarnation}
	if s.c.w.mutant(RegisterTwice) {
		end.Before = 0
	}
	if rebooted {
		end.Cause, end.Uncounted = entropy.CauseRebooted, s.c.outage(s.id)
	}
	for _, a := range s.c.order {
		if l := a.job.Lease; l != nil && l.WorkerID == s.id && !has[l.AssignmentID] {
			open++
			end.AssignmentID = l.AssignmentID
			s.c.exec(byControl, a.id, end, func(d entropy.Decision, err error) {
				if err == nil && rebooted && !d.Repeat {
					s.c.w.tally[HostRebooted]++
				}
				closed(err)
			})
		}
	}
	closed(nil)
}

// retryable reports whether an error says that nothing was done, or perhaps.
func retryable(err error) bool {
	switch entropy.ErrorCode(err) {
	case entropy.CodeDiskFull, entropy.CodeUnavailable, entropy.CodeUnknown, entropy.CodeOverloaded:
		return true
	}
	return false
}
