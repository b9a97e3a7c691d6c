package fleet

import (
	"slices"
	"strings"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

// stopAssignment asks a session to have an assignment ended.
type stopAssignment struct{ entropy.StopDirective }

// directives is what a worker should do now, and who waits to hear of it.
type directives struct {
	version uint64
	stops   map[entropy.AssignmentID]*stop
	drain   bool
	polls   []waiting
}

type stop struct {
	reason entropy.Reason
	missed int // heartbeats in a row that did not name the assignment
}

// forgottenAfter is how many heartbeats must not name an assignment before its
// stop is dropped: one may have been under way when the stop was given.
const forgottenAfter = 2

// pollOver ends a poll that has waited long enough.
type pollOver struct{ reply es.Reply }

func newDirectives() directives {
	return directives{version: 1, stops: make(map[entropy.AssignmentID]*stop)}
}

func (d *directives) now() entropy.Directives {
	out := entropy.Directives{Version: d.version, Drain: d.drain}
	for id, s := range d.stops {
		out.Stop = append(out.Stop, entropy.StopDirective{AssignmentID: id, Reason: s.reason})
	}
	slices.SortFunc(out.Stop, func(a, b entropy.StopDirective) int {
		return strings.Compare(string(a.AssignmentID), string(b.AssignmentID))
	})
	return out
}

func (d *directives) add(s entropy.StopDirective) {
	if old := d.stops[s.AssignmentID]; old != nil {
		old.missed = 0
		return
	}
	d.stops[s.AssignmentID] = &stop{reason: s.Reason}
	d.changed()
}

func (d *directives) setDrain(on bool) {
	if d.drain != on {
		d.drain = on
		d.changed()
	}
}

// prune drops the stops of assignments that the worker no longer has. What
// remains to be done is unchanged, so nobody is woken.
func (d *directives) prune(held []entropy.Held) {
	if len(d.stops) == 0 {
		return
	}
	for _, s := range d.stops {
		s.missed++
	}
	for _, h := range held {
		if s := d.stops[h.AssignmentID]; s != nil {
			s.missed = 0
		}
	}
	for id, s := range d.stops {
		if s.missed >= forgottenAfter {
			delete(d.stops, id)
		}
	}
}

// reset forgets the stops of an agent process that is gone.
func (d *directives) reset() {
	clear(d.stops)
	d.changed()
}

func (d *directives) changed() {
	d.version++
	for _, p := range d.polls {
		p.reply.Send(d.answer(), nil)
	}
	d.polls = nil
}

func (d *directives) answer() *entropy.Directives {
	now := d.now()
	return &now
}

func (d *directives) over(m pollOver) {
	m.reply.Send(d.answer(), nil)
	d.polls = slices.DeleteFunc(d.polls, func(p waiting) bool { return p.reply == m.reply || !p.reply.Waiting() })
}

func (s *Session) onPoll(c *es.Context, m *Poll) {
	if err := s.check(m.Incarnation); err != nil {
		c.Reply(nil, err)
		return
	}
	if m.Known != s.directives.version || m.Wait <= 0 {
		c.Reply(s.directives.answer(), nil)
		return
	}
	reply := c.Defer()
	s.directives.polls = append(s.directives.polls, waiting{m, reply})
	c.After(min(m.Wait.D(), maxWait), pollOver{reply})
}
