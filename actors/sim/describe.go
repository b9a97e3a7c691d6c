package sim

import (
	"fmt"

	"github.com/entropy-fabric/entropy"
)

// kindOf names a request.
func kindOf(body any) string {
	switch body.(type) {
	case *entropy.Registration:
		return "register"
	case *entropy.Heartbeat:
		return "heartbeat"
	case *entropy.ClaimRequest:
		return "claim"
	case *entropy.AckRequest:
		return "ack"
	case *entropy.RefuseRequest:
		return "refuse"
	case *entropy.CompleteRequest:
		return "complete"
	case *submitRequest:
		return "submit"
	case *wishRequest:
		return "wish"
	case *operateRequest:
		return "operate"
	}
	return "?"
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
	case *wishRequest:
		return fmt.Sprintf("wish %s %T", m.id, m.cmd)
	case *operateRequest:
		return fmt.Sprintf("operate %s %s %t", m.worker, m.event, m.pause)
	case *entropy.Job:
		return "done " + string(m.ID)
	}
	return "-"
}

func describeItem(e *entropy.Error) string {
	if e == nil {
		return "ok"
	}
	return string(e.Code)
}
