package sim

import (
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// A request is what a worker or the client asks over the network: one of the
// entropy package's request types, or one of these.
type (
	submitRequest struct{ sub entropy.Submission }
	// wishRequest is a person's command about a job.
	wishRequest struct {
		id  entropy.JobID
		cmd entropy.JobCommand
		op  string // names it, so that its repeat is known (J-5)
	}
	// operateRequest is a person's command about a worker, or about a queue.
	operateRequest struct {
		worker entropy.WorkerID
		event  string // "" pauses the queue, or resumes it
		pause  bool
		op     string
	}
)

// call is a request that has arrived and is not yet answered.
type call struct {
	what string
	by   time.Duration // when it should be
}

// receive serves a request. Reply may be called at any later time; the first call
// counts for LIV-4.
func (c *control) receive(from *session, body any, reply func(any, error)) {
	open := &call{what: kindOf(body), by: c.w.now}
	if m, ok := body.(*entropy.ClaimRequest); ok {
		open.by += m.Wait.D()
	}
	c.calls = append(c.calls, open)
	c.serve(from, body, func(v any, err error) {
		c.calls = slices.DeleteFunc(c.calls, func(o *call) bool { return o == open })
		reply(v, err)
	})
}

func (c *control) serve(from *session, body any, reply func(any, error)) {
	switch m := body.(type) {
	case *entropy.Registration:
		from.onRegister(m, reply)
	case *entropy.Heartbeat:
		if r, err := from.onBeat(m); err != nil {
			reply(nil, err)
		} else {
			reply(r, nil)
		}
	case *entropy.ClaimRequest:
		from.onClaim(m, reply)
	case *entropy.AckRequest:
		c.onAck(from, m, reply)
	case *entropy.RefuseRequest:
		c.onRefuse(from, m, reply)
	case *entropy.CompleteRequest:
		c.onComplete(from, m, reply)
	case *submitRequest:
		c.onSubmit(m, reply)
	case *wishRequest:
		c.once(m.op, reply, func(reply func(any, error)) {
			c.exec(byClient, m.id, m.cmd, func(_ entropy.Decision, err error) { reply(&entropy.Job{ID: m.id}, err) })
		})
	case *operateRequest:
		c.once(m.op, reply, func(reply func(any, error)) { c.onOperate(m, reply) })
	}
}

// once does an operation unless it was done before. What is recorded with its
// events is remembered by the journal; see write.
func (c *control) once(op string, reply func(any, error), do func(func(any, error))) {
	switch {
	case c.w.mutant(OperationForgotten):
		do(reply)
	case c.w.disk.operations[op]:
		c.w.tally[OperationRepeated]++
		reply(&entropy.Job{}, nil)
	case c.doing[op]:
		reply(nil, entropy.Errorf(entropy.CodeUnavailable, "operation %s is being done", op))
	default:
		c.doing[op] = true
		do(func(v any, err error) {
			delete(c.doing, op)
			if err == nil { // one that changed nothing is remembered, too
				c.w.disk.operations[op] = true
			}
			reply(v, err)
		})
	}
}

// sender returns who a request about an assignment is taken to come from: its
// sender, unless a mutant believes what it is told.
func (c *control) sender(s *session, h entropy.Held) entropy.WorkerID {
	if c.w.mutant(IdentityFromBody) {
		if a := c.jobs[h.JobID]; a != nil {
			if t := attemptOf(a.job, h.AssignmentID); t != nil {
				return t.WorkerID
			}
		}
	}
	return s.id
}

func (c *control) onAck(s *session, m *entropy.AckRequest, reply func(any, error)) {
	if err := s.check(m.Incarnation); err != nil {
		reply(nil, err)
		return
	}
	if err := s.onHeard(); err != nil {
		reply(nil, err)
		return
	}
	h, asked := m.Items[0], c.w.check.listened()
	c.exec(string(s.id), h.JobID, entropy.Ack{AssignmentID: h.AssignmentID, WorkerID: c.sender(s, h)}, func(d entropy.Decision, err error) {
		if err != nil && retryable(err) {
			reply(nil, err)
			return
		}
		if err == nil && !d.Repeat {
			c.w.check.renewed(s.id, h, asked)
		}
		reply(&entropy.ItemResult{AssignmentID: h.AssignmentID, Error: entropy.AsError(err)}, nil)
	})
}

func (c *control) onRefuse(s *session, m *entropy.RefuseRequest, reply func(any, error)) {
	if err := s.check(m.Incarnation); err != nil {
		reply(nil, err)
		return
	}
	x := m.Items[0]
	cause := entropy.CauseRefused
	if x.Transient || c.w.mutant(RefusalForgotten) {
		cause = entropy.CauseTransient
	}
	h := entropy.Held{JobID: x.JobID, AssignmentID: x.AssignmentID}
	cmd := entropy.Release{AssignmentID: x.AssignmentID, WorkerID: c.sender(s, h), Cause: cause, Message: x.Message}
	c.exec(string(s.id), x.JobID, cmd, func(d entropy.Decision, err error) {
		if err != nil && retryable(err) {
			reply(nil, err)
			return
		}
		reply(&entropy.ItemResult{AssignmentID: x.AssignmentID, Error: entropy.AsError(err)}, nil)
	})
}

func (c *control) onComplete(s *session, m *entropy.CompleteRequest, reply func(any, error)) {
	if err := s.check(m.Incarnation); err != nil {
		reply(nil, err)
		return
	}
	item := m.Items[0]
	h := entropy.Held{JobID: item.JobID, AssignmentID: item.AssignmentID}
	c.exec(string(s.id), item.JobID, entropy.Complete{Completion: item, WorkerID: c.sender(s, h)}, func(d entropy.Decision, err error) {
		out := &entropy.CompletionReply{AssignmentID: item.AssignmentID, Verdict: d.Verdict, Repeat: d.Repeat}
		switch {
		case err != nil && retryable(err):
			out.Verdict, out.Message = entropy.VerdictRetry, err.Error()
		case err != nil:
			out.Verdict, out.Message = entropy.VerdictRefused, err.Error()
			if entropy.ErrorCode(err) == entropy.CodeForbidden {
				c.w.tally[ForgeryRefused]++
			}
		case d.Repeat:
			c.w.tally[FirstAnswerAgain]++
		}
		reply(out, nil)
	})
}

func (c *control) onSubmit(m *submitRequest, reply func(any, error)) {
	s := &m.sub.Spec
	hash, err := s.SpecHash()
	if err == nil {
		err = c.acceptable(s)
	}
	if err != nil {
		reply(nil, err)
		return
	}
	cmd := entropy.Submit{Spec: *s, SpecHash: hash, Principal: byClient}
	if settle := c.look(s); settle.Open > 0 || settle.Broken != "" {
		cmd.Blocked = true
	}
	c.exec(byClient, m.sub.ID, cmd, func(d entropy.Decision, err error) {
		if err != nil && retryable(err) {
			reply(nil, err)
			return
		}
		reply(&entropy.SubmitResult{ID: m.sub.ID, Created: !d.Repeat, Error: entropy.AsError(err)}, nil)
	})
}

// acceptable refuses what could never be kept: an unknown dependency, and a grace
// that does not fit into the lease of a job that must stop in time (L-2).
func (c *control) acceptable(s *entropy.JobSpec) error {
	for _, d := range s.After {
		if up := c.jobs[d.Job]; up == nil || up.job.State == "" {
			return entropy.Errorf(entropy.CodeNotFound, "there is no job %s to wait for", d.Job)
		}
	}
	if s.Disconnect.Worker == entropy.DisconnectStop && s.Grace.D() > c.w.shape.ttl/3 {
		return entropy.Errorf(entropy.CodeInvalid, "a grace of %s is over a third of the lease's %s", s.Grace, c.w.shape.ttl)
	}
	return nil
}

func (c *control) onOperate(m *operateRequest, reply func(any, error)) {
	if m.event == "" {
		c.w.pauseQueue(m.pause)
		c.planner.SetPolicy(&c.w.policy, c.now())
		c.wantMatch()
		reply(&entropy.Job{}, nil)
		return
	}
	s := c.session(m.worker)
	s.exclusively(func(release func()) {
		s.append(s.worker.Mark(m.event, "by request", entropy.Operation{ID: m.op}, c.now()), func(err error) {
			reply(&entropy.Job{}, err)
			release()
		})
	})
}
