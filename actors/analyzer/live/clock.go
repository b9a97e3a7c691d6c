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
	current  bool // it states things as they happen
	heard    time.Time
	first    time.Time
	held     time.Time // until then the wall does not move it
	gaps     baseline.Gaps
	longest  [24]longest // silence that began in an hour of the day
	silent   bool
}

// longest is the longest of something, and when it was.
type longest struct {
	gap time.Duration
	at  time.Time
}

// hear notes that an event of the source was received, and returns the name of the
// clock that it is in.
func (s *source) hear(at, received time.Time) string {
	s.arrived(received)
	if behind := s.top.Sub(at); behind > straggling && !s.top.IsZero() {
		s.late = at
		return s.system + backlog
	} else if behind > s.disorder {
		s.disorder = behind
	} else {
		s.disorder -= s.disorder >> 10
	}
	if at.After(s.top) {
		s.top = at
	}
	lag := max(0, received.Sub(at))
	if s.current = lag <= straggling; s.current {
		s.lag = max(lag, s.lag-s.lag>>10)
	}
	return s.system
}

// arrived learns how long the source is silent.
func (s *source) arrived(received time.Time) {
	s.silent = false
	gap := received.Sub(s.heard)
	switch {
	case s.heard.IsZero():
		s.first = received
		s.gaps.Begin()
	case gap <= 0:
		return // of the same batch
	default:
		s.gaps.Learn(received, gap)
		s.gaps.Begin()
		l := &s.longest[s.heard.Hour()]
		if gap >= l.faded(received) {
			*l = longest{gap, received}
		}
	}
	s.heard = received
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

// allowed returns how long the source may be silent: as long as it is never, by its
// gaps of any hour and by the longest that began in the hour in which this one did.
func (s *source) allowed() (d time.Duration, known bool) {
	e, known := s.gaps.Expect()
	d = allowedYoung
	if known {
		d = max(allowedLeast, e.Missing)
	}
	l := s.longest[s.heard.Hour()]
	return max(d, l.gap+l.gap/2), known
}

// clock returns the time of the source when the wall's is at now.
func (s *source) clock(now time.Time) time.Time {
	t := s.top.Add(-s.disorder)
	if !s.current || now.Before(s.held) {
		return t
	}
	if !s.own {
		if d, _ := s.allowed(); now.Sub(s.heard) > d {
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
	d, known := s.allowed()
	if !known || now.Sub(s.heard) <= d {
		return 0, false
	}
	s.silent = true
	return d, true
}

// restarted notes that nobody listened until at: what was said meanwhile is still
// to come.
func (s *source) restarted(at time.Time) {
	if s.heard.Before(at) {
		s.heard = at
	}
	s.held = at.Add(reconnect + s.lag)
}
