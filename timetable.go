package entropy

import "time"

// Timetable is a [Cron] expression in a time zone. It does not change, and is
// safe for concurrent use.
//
// An expression that names hours fires once for each time of day it names. One
// that a clock change leaves out (a gap, in spring) fires at the first instant
// after the gap; several of one gap fire once. One that comes twice (a fold, in
// autumn) fires the first time only. An expression that names no hour, as in
// "*/10 * * * *", follows the clock as it goes: it loses nothing to a gap and
// goes on through a fold.
type Timetable struct {
	cron *Cron
	zone *time.Location
}

// NewTimetable reads an expression and the name of a zone of the IANA time zone
// database; "" means UTC. CodeInvalid.
func NewTimetable(cron, zone string) (*Timetable, error) {
	c, err := ParseCron(cron)
	if err != nil {
		return nil, err
	}
	if zone == "Local" || len(zone) > MaxIDLength {
		return nil, badZone(zone)
	}
	// The database is a table like that of the letters: the same wherever it is read.
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return nil, badZone(zone)
	}
	return &Timetable{c, loc}, nil
}

func badZone(zone string) error {
	return Errorf(CodeInvalid, "there is no time zone %q", cut(zone)).WithHint("name one of the IANA database, as in Europe/Berlin or UTC")
}

// Zone returns the time zone.
func (t *Timetable) Zone() *time.Location { return t.zone }

// Next returns the first nominal time after an instant, in UTC. Zero: there is
// none within forty years, which no expression of [ParseCron] has.
func (t *Timetable) Next(after time.Time) time.Time {
	after = after.In(t.zone)
	if t.cron.hours == everyHour {
		return t.running(after)
	}
	for w := t.cron.wall(wallOf(after).Truncate(time.Minute)); !w.IsZero(); w = t.cron.wall(w.Add(time.Minute)) {
		if at := t.instant(w); at.After(after) {
			return at.UTC()
		}
	}
	return time.Time{}
}

// Upcoming returns the first n nominal times after an instant, in UTC.
func (t *Timetable) Upcoming(after time.Time, n int) []time.Time {
	times := make([]time.Time, 0, n)
	for range n {
		if after = t.Next(after); after.IsZero() {
			break
		}
		times = append(times, after)
	}
	return times
}

// wallOf returns the time of day that a clock at t's location shows, kept as UTC.
func wallOf(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// running returns the first instant after another at which the clock on the wall
// shows a minute of the expression.
func (t *Timetable) running(after time.Time) time.Time {
	from := after.Add(1)
	for {
		_, end := from.ZoneBounds()
		_, offset := from.Zone()
		w := t.cron.wall(wallOf(from))
		at := w.Add(-time.Duration(offset) * time.Second)
		if w.IsZero() || end.IsZero() || at.Before(end) {
			return at
		}
		from = end
	}
}

// instant returns the first instant at which the clock on the wall shows w or, if
// it never does, the first after the gap that w is in.
func (t *Timetable) instant(w time.Time) time.Time {
	// Go promises of a gap or fold only that this is right on one of its sides.
	near := time.Date(w.Year(), w.Month(), w.Day(), w.Hour(), w.Minute(), 0, 0, t.zone)
	start, end := near.ZoneBounds()
	var first time.Time
	for _, side := range [...]time.Time{start.Add(-1), near, end} {
		_, offset := side.Zone()
		at := w.Add(-time.Duration(offset) * time.Second).In(t.zone)
		if wallOf(at).Equal(w) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	if !first.IsZero() {
		return first
	}
	for _, change := range [...]time.Time{start, end} {
		if !change.IsZero() && wallOf(change.Add(-1)).Before(w) && w.Before(wallOf(change)) {
			return change
		}
	}
	return near
}

// newest returns the last n nominal times in (after, until], oldest first.
func (t *Timetable) newest(after, until time.Time, n int) []time.Time {
	for window := 2 * time.Hour; ; window *= 8 {
		from := until.Add(-window)
		whole := !from.After(after) || window > 1<<56 // two years: then it is looked at as a whole
		if whole {
			from = after
		}
		var last []time.Time
		for at := t.Next(from); !at.IsZero() && !at.After(until); at = t.Next(at) {
			if len(last) == n {
				last = last[1:]
			}
			last = append(last, at)
		}
		if whole || len(last) == n {
			return last
		}
	}
}

// maxMissed bounds how far nominal times are counted that were missed.
const maxMissed = 10_000

// before returns the nominal times in (after, end): how many, counted up to
// maxMissed, and the first. Of none, the first is zero.
func (t *Timetable) before(after, end time.Time) (n int, first time.Time) {
	for at := t.Next(after); !at.IsZero() && at.Before(end) && n < maxMissed; at = t.Next(at) {
		if n++; n == 1 {
			first = at
		}
	}
	return n, first
}
