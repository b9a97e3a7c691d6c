package fleet

import (
	"context"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

// mark is a change of the worker's state that nobody asked for.
type mark struct{ event, reason string }

// appended reports, to the session's own mailbox, what came of a change.
type appended struct {
	worker *entropy.Worker // after the change; nil when nothing changed
	reply  es.Reply
	answer any
	err    error
	fresh  bool // a registration: a new agent process
}

// mutate carries out one change at a time, outside the actor's turn, so that
// heartbeats are answered while the journal writes.
func (s *Session) mutate(c *es.Context, w waiting) {
	if s.busy {
		if _, ok := w.msg.(mark); !ok { // silence, and its end, will be noticed again
			s.queued = append(s.queued, w)
		}
		return
	}
	s.busy = true
	now, worker, heard := s.cfg.Now(), s.worker, s.heard
	switch m := w.msg.(type) {
	case *Register:
		met := s.met
		twin := met && s.worker.BootID != m.BootID && s.cfg.Listening()-heard <= s.cfg.Heartbeat+time.Second
		c.Go(func() any {
			return s.register(worker, &m.Registration, circumstances{twin: twin, outage: !met, now: now}, w.reply)
		})
	case *Leave:
		if m.Incarnation == worker.Incarnation {
			s.cfg.Claims.Withdraw(s.id) // it takes no more
		}
		c.Go(func() any { return s.leave(worker, m, now, w.reply) })
	case *SetMode:
		c.Go(func() any { return s.setMode(worker, m, now, w.reply) })
	case *Judge:
		c.Go(func() any {
			next, err := s.append(worker, worker.Judge(m.Good, m.Why, now), nil)
			return &appended{worker: next, err: err}
		})
	case mark:
		c.Go(func() any { return s.lose(worker, m, now) })
	}
}

func (s *Session) onAppended(c *es.Context, m *appended) {
	s.busy = false
	if m.err != nil && !m.reply.Waiting() {
		s.cfg.Logger.Warn("worker state not recorded", "worker", s.id, "error", m.err)
	}
	if m.worker != nil {
		was, capacity := s.worker.Schedulable(), s.worker.Capacity()
		s.worker = m.worker
		s.cfg.Registry.set(m.worker)
		s.directives.setDrain(m.worker.Draining || m.worker.Quarantined)
		if was != m.worker.Schedulable() || capacity != m.worker.Capacity() { // a claim that waits was made as the other kind
			s.cfg.Claims.Withdraw(s.id)
		}
	}
	if m.fresh {
		s.dropClaim()
		s.beatSeq = 0
		s.heard, s.met = s.cfg.Listening(), true
		s.cfg.Registry.greet(s.id, s.heard)
		s.cfg.Registry.Witness(s.id, false) // gossip spoke of an earlier process
		s.directives.reset()
	}
	if _, ok := m.answer.(*entropy.Registered); ok && !m.fresh { // a repeat is a sign of life as well
		s.heard = s.cfg.Listening()
		s.cfg.Registry.greet(s.id, s.heard)
	}
	m.reply.Send(m.answer, m.err)
	if len(s.queued) > 0 {
		next := s.queued[0]
		s.queued = s.queued[1:]
		s.mutate(c, next)
	}
}

// append makes worker events durable and returns the state after them, nil if
// there were none; an operation is recorded even so. It runs outside the actor's turn and touches only arguments.
func (s *Session) append(w *entropy.Worker, events []entropy.WorkerEvent, op *entropy.OperationRecord) (*entropy.Worker, error) {
	if len(events) == 0 {
		return nil, s.note(w, op)
	}
	next := w.Clone()
	ch := entropy.Change{Entity: entropy.Entity(entropy.KindWorker, string(w.ID)), Expected: w.Version, Before: w, State: next, Operation: op}
	for i := range events {
		if err := next.Apply(events[i]); err != nil {
			return nil, err
		}
		e, err := events[i].Envelope()
		if err != nil {
			return nil, err
		}
		ch.Events = append(ch.Events, e)
	}
	if _, err := s.cfg.Journal.Append(context.Background(), ch); err != nil {
		return nil, err
	}
	return next, nil
}

// note records an operation that changed nothing, so that its late duplicate
// changes nothing either (J-5).
func (s *Session) note(w *entropy.Worker, op *entropy.OperationRecord) error {
	if op == nil {
		return nil
	}
	_, err := s.cfg.Journal.Append(context.Background(), entropy.Change{Entity: op.Entity, Expected: w.Version, Operation: op})
	return err
}

// circumstances are what a session knows of a registration beside its content.
type circumstances struct {
	now    time.Time
	twin   bool // another live host uses the key
	outage bool // not heard since the control plane started: what is lost, its absence may have lost
}

func (s *Session) register(w *entropy.Worker, r *entropy.Registration, at circumstances, reply es.Reply) *appended {
	fail := func(err error) *appended { return &appended{reply: reply, err: err} }
	if at.twin && w.KeyHash == r.KeyHash {
		return fail(entropy.Errorf(entropy.CodeConflict, "two live hosts use the key of worker %s: %s and %s", w.ID, w.Hostname, r.Hostname).
			WithHint("a copied data directory? stop one of them, or run entropy worker reset-identity on the copy and give it another --name; after a quick reboot just wait"))
	}
	events, rebooted, err := w.Register(*r, at.now)
	if err != nil {
		return fail(err)
	}
	next, err := s.append(w, events, nil)
	if err != nil {
		return fail(err)
	}
	state := next
	if state == nil {
		state = w // a repeat
	}
	held, err := s.reconcile(state, r.Inventory, rebooted, at)
	if err != nil {
		return &appended{worker: next, reply: reply, err: err, fresh: next != nil}
	}
	return &appended{worker: next, reply: reply, fresh: next != nil, answer: &entropy.Registered{
		Epoch: s.cfg.Epoch, ClusterID: s.cfg.ClusterID, WorkerID: w.ID, Incarnation: state.Incarnation,
		LeaseTTL: entropy.Duration(s.cfg.LeaseTTL), Heartbeat: entropy.Duration(s.cfg.Heartbeat), Held: held,
	}}
}

// reconcile compares what a new agent holds with what the journal says it holds:
// keep, reattach, stop or report; and what it no longer has is lost.
func (s *Session) reconcile(w *entropy.Worker, inventory []entropy.Held, rebooted bool, at circumstances) ([]entropy.HeldVerdict, error) {
	ctx := context.Background()
	has := make(map[entropy.AssignmentID]bool, len(inventory))
	var verdicts []entropy.HeldVerdict
	for _, h := range inventory {
		has[h.AssignmentID] = true
		v := entropy.VerdictReport
		if !h.Spooled {
			var err error
			if v, _, err = s.cfg.Jobs.Reattach(ctx, h, w); err != nil {
				return nil, err
			}
		}
		verdicts = append(verdicts, entropy.HeldVerdict{AssignmentID: h.AssignmentID, Verdict: v})
	}
	leased, err := s.cfg.Jobs.Leased(ctx, w.ID)
	if err != nil {
		return nil, err
	}
	end := entropy.EndLease{Cause: entropy.CauseForgotten, Message: "the agent of " + string(w.ID) + " started anew and no longer has it", Uncounted: at.outage,
		Before: w.Incarnation}
	if rebooted {
		end.Cause, end.Message = entropy.CauseRebooted, "the host of "+string(w.ID)+" has booted again"
		end.Uncounted = s.cfg.Registry.Outage(w.ID, s.cfg.Listening(), at.now) || at.outage
	}
	for _, h := range leased {
		if has[h.AssignmentID] {
			continue
		}
		end.AssignmentID = h.AssignmentID
		if err := s.cfg.Jobs.EndLease(ctx, h.JobID, end); err != nil {
			return nil, err
		}
	}
	return verdicts, nil
}

func (s *Session) leave(w *entropy.Worker, m *Leave, now time.Time, reply es.Reply) *appended {
	if w.State == "" || m.Incarnation != w.Incarnation {
		return &appended{reply: reply, err: entropy.Errorf(entropy.CodeStale, "incarnation %d of worker %s is not the newest", m.Incarnation, w.ID)}
	}
	var events []entropy.WorkerEvent
	if m.Final {
		events = w.Mark(entropy.WorkerDeparted, "it said goodbye", entropy.Operation{}, now)
	}
	next, err := s.append(w, events, nil)
	return &appended{worker: next, reply: reply, err: err}
}

var modeEvents = map[entropy.WorkerMode]string{
	entropy.WorkerDrain:      entropy.WorkerDrained,
	entropy.WorkerResume:     entropy.WorkerResumed,
	entropy.WorkerQuarantine: entropy.WorkerWasQuarantined,
}

func (s *Session) setMode(w *entropy.Worker, m *SetMode, now time.Time, reply es.Reply) *appended {
	event, ok := modeEvents[m.Mode]
	switch {
	case !ok:
		return &appended{reply: reply, err: entropy.Errorf(entropy.CodeInvalid, "%q is not a mode; use drain, resume or quarantine", m.Mode)}
	case w.State == "":
		return &appended{reply: reply, err: entropy.Errorf(entropy.CodeNotFound, "there is no worker %s", w.ID).WithHint("entropy workers lists them")}
	}
	next, err := s.append(w, w.Mark(event, m.Op.Reason, m.Op, now), m.Operation)
	return &appended{worker: next, reply: reply, err: err}
}
