package sim

import (
	"fmt"
	"time"

	"github.com/entropy-fabric/entropy"
)

// link is one worker's way to the control plane and back. A cut direction
// swallows whatever arrives while it lasts.
type link struct {
	name           string
	upCut, downCut time.Duration // until when
	session        entropy.WorkerID
}

// deliver has f run when a message arrives, as often as it arrives.
func (w *world) deliver(cut *time.Duration, f func()) {
	copies := 1
	if w.chaos && w.chance(w.shape.dup) {
		copies = 2
	}
	for range copies {
		if w.chaos && w.chance(w.shape.drop) {
			continue
		}
		took := w.between(100*time.Microsecond, 5*time.Millisecond)
		if w.chaos && w.chance(w.shape.late) {
			took = w.between(0, w.shape.latest)
		}
		w.after(took, func() {
			if w.now >= *cut {
				f()
			}
		})
	}
}

// request sends body to the control plane. Answered is run for each answer that
// arrives: none, one, or several.
func (w *world) request(l *link, body any, answered func(any, error)) {
	w.deliver(&l.upCut, func() {
		if w.ctl == nil {
			return // nobody listens
		}
		c := w.ctl
		c.guard(func() {
			w.note("%s> %s", l.name, describe(body))
			c.receive(c.session(l.session), body, func(v any, err error) {
				w.deliver(&l.downCut, func() {
					w.note("%s< %s %s", l.name, describe(v), describeError(err))
					answered(v, err)
				})
			})
		})()
	})
}

func describeError(err error) string {
	if err == nil {
		return ""
	}
	return string(entropy.ErrorCode(err)) + ": " + err.Error()
}

// describe writes a message for the trace.
func describe(body any) string {
	switch m := body.(type) {
	case *entropy.Registration:
		return fmt.Sprintf("register nonce=%s boot=%s %v", m.Nonce, m.BootID, m.Inventory)
	case *entropy.Registered:
		return fmt.Sprintf("registered inc=%d %v", m.Incarnation, m.Held)
	case *entropy.Heartbeat:
		return fmt.Sprintf("heartbeat inc=%d seq=%d %v", m.Incarnation, m.Seq, m.Held)
	case *entropy.HeartbeatReply:
		return fmt.Sprintf("heard stop=%v", m.Directives.Stop)
	case *entropy.ClaimRequest:
		return fmt.Sprintf("claim inc=%d seq=%d want=%d", m.Incarnation, m.ClaimSeq, m.Want)
	case *entropy.ClaimReply:
		s := "assignments"
		for _, a := range m.Assignments {
			s += fmt.Sprintf(" %s/%s", a.JobID, a.AssignmentID)
			if a.Revoked {
				s += "(revoked)"
			}
		}
		return s
	case *entropy.AckRequest:
		return fmt.Sprintf("ack inc=%d %v", m.Incarnation, m.Items)
	case *entropy.RefuseRequest:
		return fmt.Sprintf("refuse inc=%d %v", m.Incarnation, m.Items)
	case *entropy.CompleteRequest:
		c := &m.Items[0]
		return fmt.Sprintf("complete inc=%d %s %s %s %s", m.Incarnation, c.JobID, c.AssignmentID, c.Outcome, c.Reason)
	case *entropy.CompletionReply:
		return fmt.Sprintf("completion %s %s repeat=%t", m.AssignmentID, m.Verdict, m.Repeat)
	case *entropy.ItemResult:
		return fmt.Sprintf("item %s %v", m.AssignmentID, describeItem(m.Error))
	case *entropy.SubmitResult:
		return fmt.Sprintf("submitted %s created=%t %s", m.ID, m.Created, describeItem(m.Error))
	case *submitRequest:
		return "submit " + string(m.sub.ID)
	case *cancelRequest:
		return "cancel " + string(m.id)
	case *entropy.Job:
		return "canceled " + string(m.ID)
	}
	return "-"
}

func describeItem(e *entropy.Error) string {
	if e == nil {
		return "ok"
	}
	return string(e.Code)
}
