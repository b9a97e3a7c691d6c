package sim

import (
	"github.com/entropy-fabric/entropy"
)

// A request is what a worker or the client asks over the network: one of the
// entropy package's request types, or one of these.
type (
	submitRequest struct{ sub entropy.Submission }
	cancelRequest struct{ id entropy.JobID }
)

// receive serves a request. Reply may be called at any later time.
func (c *control) receive(from *session, body any, reply func(any, error)) {
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
	case *cancelRequest:
		c.exec(m.id, entropy.Cancel{Message: "by request"}, func(d entropy.Decision, err error) { reply(&entropy.Job{ID: m.id}, err) })
	}
}

func (c *control) onAck(s *session, m *entropy.AckRequest, reply func(any, error)) {
	if err := s.check(m.Incarnation); err != nil {
		reply(nil, err)
		return
	}
	s.onHeard()
	h, asked := m.Items[0], c.w.check.listened()
	c.exec(h.JobID, entropy.Ack{AssignmentID: h.AssignmentID, WorkerID: s.id}, func(d entropy.Decision, err error) {
		if err == nil && !d.Repeat {
			c.w.check.renewed(h.AssignmentID, asked)
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
	if x.Transient {
		cause = entropy.CauseTransient
	}
	cmd := entropy.Release{AssignmentID: x.AssignmentID, WorkerID: s.id, Cause: cause, Message: x.Message}
	c.exec(x.JobID, cmd, func(d entropy.Decision, err error) {
		reply(&entropy.ItemResult{AssignmentID: x.AssignmentID, Error: entropy.AsError(err)}, nil)
	})
}

func (c *control) onComplete(s *session, m *entropy.CompleteRequest, reply func(any, error)) {
	if err := s.check(m.Incarnation); err != nil {
		reply(nil, err)
		return
	}
	item := m.Items[0]
	c.exec(item.JobID, entropy.Complete{Completion: item, WorkerID: s.id}, func(d entropy.Decision, err error) {
		out := &entropy.CompletionReply{AssignmentID: item.AssignmentID, Verdict: d.Verdict, Repeat: d.Repeat}
		if err != nil {
			out.Verdict, out.Message = entropy.VerdictRefused, err.Error()
		}
		if d.Repeat {
			c.w.tally[FirstAnswerAgain]++
		}
		reply(out, nil)
	})
}

func (c *control) onSubmit(m *submitRequest, reply func(any, error)) {
	hash, err := m.sub.Spec.SpecHash()
	if err != nil {
		reply(nil, err)
		return
	}
	cmd := entropy.Submit{Spec: m.sub.Spec, SpecHash: hash, Principal: "admin:sim"}
	c.exec(m.sub.ID, cmd, func(d entropy.Decision, err error) {
		reply(&entropy.SubmitResult{ID: m.sub.ID, Created: !d.Repeat, Error: entropy.AsError(err)}, nil)
	})
}
