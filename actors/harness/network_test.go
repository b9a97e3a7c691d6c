package harness

import (
	"context"
	"fmt"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
)

// link is the way of one host, or of the clients, to the control plane and back.
// A cut direction swallows whatever arrives while it lasts.
type link struct {
	name           string
	upCut, downCut time.Duration // until when
}

// request is a call on its way.
type request struct {
	w     *world
	link  *link
	from  *plane // of the caller: if it dies, nobody hears the answer
	what  string
	ctx   context.Context
	limit time.Duration // how long the caller waits
	do    func(ctx context.Context, s *actors.System) (any, error)
	heard func(v any, err error) // run for each answer that arrives: none, one or several
}

// deliver has f run on p when a message arrives there, as often as it arrives.
func (w *world) deliver(p *plane, cut *time.Duration, f func()) {
	copies := 1
	if w.chaos && w.chance(w.shape.dup) {
		copies = 2
	}
	for range copies {
		if w.chaos && w.chance(w.shape.drop) {
			continue
		}
		took := w.between(100*time.Microsecond, 3*time.Millisecond)
		if w.chaos && w.chance(w.shape.late) {
			took = w.between(0, w.shape.latest)
		}
		w.after(p, took, func() {
			if w.now() >= *cut {
				f()
			}
		})
	}
}

// send sends the call to the control plane.
func (r *request) send() {
	r.w.deliver(nil, &r.link.upCut, r.arrive)
}

// arrive has the control plane carry out the call, if it is there.
func (r *request) arrive() {
	w, c := r.w, r.w.ctl
	if c == nil || c.sys == nil { // nobody listens: the connection is refused
		r.answer(nil, entropy.Errorf(entropy.CodeUnavailable, "connection refused"))
		return
	}
	begin, back := w.con.enter(c.plane), w.con.enter(c.plane)
	go func() {
		if !begin() {
			return
		}
		w.note("%s> %s", r.link.name, r.what)
		ctx, cancel := context.WithTimeout(r.ctx, r.limit) // the server sees the caller go
		defer cancel()
		v, err := r.do(ctx, c.sys)
		if !back() {
			return // the process died, and the answer with it
		}
		if ctx.Err() == nil {
			w.note("%s: %s: %s", r.link.name, r.what, w.describeAnswer(v, err))
			r.answer(v, err)
		}
	}()
}

func (r *request) answer(v any, err error) {
	r.w.deliver(r.from, &r.link.downCut, func() { r.heard(v, err) })
}

// describeAnswer writes an answer for the trace.
func (w *world) describeAnswer(v any, err error) string {
	if err != nil {
		return string(entropy.ErrorCode(err))
	}
	switch m := v.(type) {
	case entropy.Registered:
		s := fmt.Sprintf("incarnation %d", m.Incarnation)
		for _, h := range m.Held {
			s += fmt.Sprintf(" %s=%s", w.trace.short(string(h.AssignmentID)), h.Verdict)
		}
		return s
	case entropy.ClaimReply:
		s := "granted"
		for _, a := range m.Assignments {
			s += fmt.Sprintf(" %s=%s revoked=%t", a.JobID, w.trace.short(string(a.AssignmentID)), a.Revoked)
		}
		return s
	case entropy.HeartbeatReply:
		return w.describeDirectives(m.Directives)
	case entropy.Directives:
		return w.describeDirectives(m)
	case []entropy.ItemResult:
		s := ""
		for _, i := range m {
			s += fmt.Sprintf(" %s=%s", w.trace.short(string(i.AssignmentID)), codeOf(i.Error))
		}
		return s
	case []entropy.CompletionReply:
		s := ""
		for _, i := range m {
			s += fmt.Sprintf(" %s=%s repeat=%t", w.trace.short(string(i.AssignmentID)), i.Verdict, i.Repeat)
		}
		return s
	case []entropy.SubmitResult:
		s := ""
		for _, i := range m {
			s += fmt.Sprintf(" %s created=%t %s", i.ID, i.Created, codeOf(i.Error))
		}
		return s
	case *entropy.Job:
		return fmt.Sprintf("%s v%d %s", m.ID, m.Version, m.State)
	}
	return "done"
}

func (w *world) describeDirectives(d entropy.Directives) string {
	s := fmt.Sprintf("drain=%t", d.Drain)
	for _, x := range d.Stop {
		s += fmt.Sprintf(" stop %s (%s)", w.trace.short(string(x.AssignmentID)), x.Reason)
	}
	return s
}

func codeOf(e *entropy.Error) entropy.Code {
	if e == nil {
		return "ok"
	}
	return e.Code
}

// asError is e as an error that is nil when e is.
func asError(e *entropy.Error) error {
	if e == nil {
		return nil
	}
	return e
}
