package sim

import (
	"time"

	"github.com/entropy-fabric/entropy"
)

// link is somebody's way to the control plane and back. A cut direction swallows
// whatever arrives while it lasts.
type link struct {
	name           string
	upCut, downCut time.Duration // until when
	session        entropy.WorkerID
	host           *worker // whose end it is; nil of the client
}

// cut cuts the way up, the way down, or both, until a time.
func (l *link) cut(side int, until time.Duration) {
	if side != 1 {
		l.upCut = max(l.upCut, until)
	}
	if side != 0 {
		l.downCut = max(l.downCut, until)
	}
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
	if l.host != nil && w.chaos && w.chance(w.shape.forged) {
		w.forge(l.host, body)
	}
	arrive := func() {
		if w.ctl == nil {
			return // nobody listens
		}
		c := w.ctl
		c.guard(func() {
			w.happens('>', l.name)
			w.trace.mixString(kindOf(body))
			if w.trace.on {
				w.note("%s> %s", l.name, describe(body))
			}
			c.receive(c.session(l.session), body, func(v any, err error) { w.respond(l, v, err, answered) })
		})()
	}
	w.deliver(&l.upCut, arrive)
	if _, ok := body.(*entropy.Registration); ok && w.chaos && w.shape.late > 0 && w.chance(.2) {
		w.after(w.between(0, w.shape.latest), arrive) // registrations are few; a late copy of one is the hardest
	}
}

// respond sends an answer back.
func (w *world) respond(l *link, v any, err error, answered func(any, error)) {
	w.deliver(&l.downCut, func() {
		arrive := func() {
			w.happens('<', l.name)
			w.trace.mixString(string(entropy.ErrorCode(err)))
			if w.trace.on {
				w.note("%s< %s %s", l.name, describe(v), describeError(err))
			}
			answered(v, err)
		}
		if l.host == nil || w.now >= l.host.frozenUntil {
			arrive()
		} else if w.chance(.5) { // it waits in the suspended host's kernel
			w.at(l.host.frozenUntil, arrive)
		}
	})
}

// forge has another worker send a message as its own: a copy of one about an
// assignment that is not its.
func (w *world) forge(victim *worker, body any) {
	thief := w.workers[w.rng.IntN(len(w.workers))]
	if thief == victim || thief.agent == nil || thief.agent.inc == 0 {
		return
	}
	inc := thief.agent.inc
	switch m := body.(type) {
	case *entropy.AckRequest:
		body = &entropy.AckRequest{Incarnation: inc, Items: m.Items}
	case *entropy.RefuseRequest:
		body = &entropy.RefuseRequest{Incarnation: inc, Items: m.Items}
	case *entropy.CompleteRequest:
		body = &entropy.CompleteRequest{Incarnation: inc, Items: m.Items}
	case *entropy.Heartbeat:
		thief.agent.beatSeq++
		body = &entropy.Heartbeat{Incarnation: inc, Seq: thief.agent.beatSeq, Held: m.Held}
	default:
		return
	}
	w.tally[Forged]++
	w.note("%s forges:", thief.id)
	w.after(w.between(0, 50*time.Millisecond), func() {
		if c := w.ctl; c != nil {
			c.guard(func() { c.receive(c.session(thief.id), body, func(any, error) {}) })()
		}
	})
}
