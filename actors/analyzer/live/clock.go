package live

import (
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/baseline"
)

// The times of sources.
const (
	// Grid is the distance of the marks at which the wall's clock moves the sources'.
	// What it moves between two rows does not depend on when it is looked at.
	Grid = 10 * time.Second
	// straggling is how old an event may be when it comes, or how far behind the newest
	// of its source, without being taken for a part of the past that is delivered later.
	straggling = 15 * time.Minute
	// allowedYoung is how long a source may be silent of which little is known.
	allowedYoung = 15 * time.Minute
	// allowedLeast is how long any may be silent.
	allowedLeast = time.Minute
	// reconnect is how long the sources have to come back after a start.
	reconnect = time.Minute
	// grown is how long a source must have been known to be called silent.
	grown = 24 * time.Hour
	// maxSources bounds how many are told apart.
	maxSources = 256
)

// The times that a source is in: what it states as it happens, and what of the past
// it delivers later, which has a clock of its own.
const backlog = "/backlog"

// source is the clock of one system that states events.
//
// Its time is that of its newest event, less the disorder in which events came. While
// it states things as they happen, the wall's time moves it too, less the time that
// events normally take to come, but no farther than the source is ever silent: a
// connector that is dead makes nothing late.
type source struct {
	system   string
	own      bool      // the fabric itself: it is never silent
	top      time.Time // of its events
	late     time.Time // of the newest event of the backlog
	disorder time.Duration
	lag      time.Duration
	current  bool      // it states things as they happen
	heard    time.Time // or since when it could be, after a start
	spoke    time.Time // it was really heard of
	first    time.Time
	held     time.Time // until then the wall does not move it
	silences pauses    // by when its events came
	holes    pauses    // by when they happened
	silent   bool
}

// pauses is what is known of the gaps between the events of a source.
type pauses struct {
	last    time.Time // the newest event
	gaps    baseline.Gaps
	longest [24]longest // that began in an hour of the day

	may      time.Duration // what allowed said for the newest event
	mayKnown bool
	mayAt    time.Time
}

// longest is the longest of something, and when it was.
type longest struct {
	gap time.Duration
	at  time.Time
}

// event notes an event. Those at the same time, and older ones, say nothing.
func (p *pauses) event(at time.Time) {
	gap := at.Sub(p.last)
	switch {
	case p.last.IsZero():
		p.gaps.Begin()
	case gap <= 0:
		return
	default:
		p.gaps.Learn(at, gap)
		p.gaps.Begin()
		if l := &p.longest[p.last.Hour()]; gap >= l.faded(at) {
			*l = longest{gap, at}
		}
	}
	p.last = at
}

// allowed returns how long a pause after the newest event may be: as long as none ever
// is, by those of any hour and by the longest that began in the same hour of the day.
func (p *pauses) allowed() (d time.Duration, known bool) {
	if p.mayAt.Equal(p.last) {
		return p.may, p.mayKnown
	}
	e, known := p.gaps.Expect()
	d = allowedYoung
	if known {
		d = max(allowedLeast, e.Missing)
	}
	l := p.longest[p.last.Hour()]
	p.may, p.mayKnown, p.mayAt = max(d, l.gap+l.gap/2), known, p.last
	return p.may, p.mayKnown
}

// hear notes that an event of the source was received, and returns the name of the
// clock that it is in. A hole is how much longer nothing happened before it than ever
// does: the source was not there, or not connected.
func (s *source) hear(at, received time.Time) (clock string, hole time.Duration) {
	if s.silent = false; s.heard.IsZero() {
		s.first = received
	}
	s.heard, s.spoke = later(s.heard, received), received
	s.silences.event(received)
	if at.After(received) {
		at = received // its clock is ahead; the time of all is not moved by that
	}
	if behind := s.top.Sub(at); behind > straggling && !s.top.IsZero() {
		s.late = at
		return s.system + backlog, 0
	} else if behind > s.disorder {
		s.disorder = behind
	} else {
		s.disorder -= s.disorder >> 10
	}
	if at.After(s.top) {
		if d, known := s.holes.allowed(); known && !s.own && at.Sub(s.top) > d {
			hole = at.Sub(s.top) - d
		}
		s.holes.event(at)
		s.top = at
	}
	lag := max(0, received.Sub(at))
	if s.current = lag <= straggling; s.current {
		s.lag = max(lag, s.lag-s.lag>>10)
	}
	return s.system, hole
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// faded returns the longest as it counts at a time: half in two weeks.
func (l *longest) faded(at time.Time) time.Duration {
	for age := at.Sub(l.at); age >= 14*24*time.Hour; age -= 14 * 24 * time.Hour {
		if l.gap /= 2; l.gap == 0 {
			return 0
		}
		l.at = l.at.Add(14 * 24 * time.Hour)
	}
	return l.gap
}

// clock returns the time of the source when the wall's is at now.
func (s *source) clock(now time.Time) time.Time {
	t := s.top.Add(-s.disorder)
	if !s.current || now.Before(s.held) {
		return t
	}
	if !s.own {
		if d, _ := s.silences.allowed(); now.Sub(s.heard) > d {
			now = s.heard.Add(d)
		}
	}
	if wall := now.Add(-s.lag); wall.After(t) {
		return wall
	}
	return t
}

// quiet reports whether the source has become silent by now; once.
func (s *source) quiet(now time.Time) (allowed time.Duration, became bool) {
	if s.silent || s.own || !s.current || now.Before(s.held) || s.heard.Sub(s.first) < grown {
		return 0, false
	}
	d, known := s.silences.allowed()
	if !known || now.Sub(s.heard) <= d {
		return 0, false
	}
	s.silent = true
	return d, true
}

// restarted notes that nobody listened until at: what was said meanwhile is still
// to come.
func (s *source) restarted(at time.Time) {
	s.heard = later(s.heard, at)
	s.silences.last = later(s.silences.last, at)
	s.held = at.Add(reconnect + s.lag)
}
