package baseline

import (
	"math"
	"slices"
	"time"
)

// Calendar remembers when something ran that runs about once a day, or on certain days
// of the week: the last calendarRuns times. The zero value has seen nothing.
type Calendar struct {
	runs []uint32 // minutes since the epoch, the oldest first
}

const (
	calendarRuns = 168              // of a daily run 24 weeks
	minWindow    = 15 * time.Minute // of a due time
	recentDays   = 56               // that a day of the week counts by
)

// Add remembers that it ran.
func (c *Calendar) Add(at time.Time) {
	if len(c.runs) == calendarRuns {
		copy(c.runs, c.runs[1:])
		c.runs = c.runs[:calendarRuns-1]
	}
	c.runs = append(c.runs, uint32(max(0, min(math.MaxUint32, at.Unix()/60))))
}

// Schedule is what a calendar tells: on which days of the week it is due, and when, by
// the clock on the wall.
type Schedule struct {
	zone *time.Location
	cut  int // the minute of the day that is farthest from all runs; days are counted from there
	next int // 1: what is due begins on the day after the one counted
	days [7]dayTimes
	slow float64 // minutes after its median that one run in a hundred is, over all days
	last int     // the day of the last run
	ran  time.Time
}

// dayTimes are minutes after the cut.
type dayTimes struct {
	due           bool
	pooled        bool // the times are those of all days: this one has too few
	n             int
	p10, p50, p90 float64
}

// Schedule returns what the calendar tells in a time zone, and false when that is
// nothing: fewer than Young runs, more than one in ten a second one of its day, or no
// four hours of the day that are free of them. A day of the week is due when it ran on
// four in five of those of the last eight weeks, at least three times.
func (c *Calendar) Schedule(zone *time.Location) (*Schedule, bool) {
	if len(c.runs) < Young {
		return nil, false
	}
	s := &Schedule{zone: zone}
	minutes := make([]int, len(c.runs))
	for i, r := range c.runs {
		minutes[i] = minuteOfDay(at(r, zone))
	}
	var free int
	if s.cut, free = emptiest(minutes); free < 4*60 {
		return nil, false
	}
	first := make(map[int]float64, len(c.runs)) // by day, the first run
	var all []float64
	for i, r := range c.runs {
		day := s.day(at(r, zone))
		after := float64((minutes[i] - s.cut + dayMinutes) % dayMinutes)
		if _, ok := first[day]; !ok {
			first[day] = after
			all = append(all, after)
		}
		s.last = day
	}
	s.ran = at(c.runs[len(c.runs)-1], zone)
	if len(c.runs)-len(first) > len(c.runs)/10 || len(first) < Young {
		return nil, false
	}
	slices.Sort(all)
	if s.cut+int(quantileOf(all, 0.5)) >= dayMinutes {
		s.next = 1
	}
	return s, s.learn(first, all)
}

// learn sets the days, and reports whether any is due.
func (s *Schedule) learn(first map[int]float64, all []float64) bool {
	from := s.last
	for day := range first {
		from = min(from, day)
	}
	from = max(from, s.last-recentDays+1)
	var seen, ran [7]int
	for day := from; day <= s.last; day++ {
		w := s.weekday(day)
		if seen[w]++; has(first, day) {
			ran[w]++
		}
	}
	var own [7][]float64
	for day, after := range first {
		own[s.weekday(day)] = append(own[s.weekday(day)], after)
	}
	any := false
	for w := range s.days {
		d := &s.days[w]
		d.due = ran[w] >= 3 && 5*ran[w] >= 4*seen[w]
		any = any || d.due
		times := own[w]
		if slices.Sort(times); len(times) < Young {
			times, d.pooled = all, true
		}
		d.n, d.p10, d.p50, d.p90 = len(times), quantileOf(times, 0.1), quantileOf(times, 0.5), quantileOf(times, 0.9)
	}
	behind := make([]float64, 0, len(first))
	for day, after := range first {
		behind = append(behind, after-s.days[s.weekday(day)].p50)
	}
	slices.Sort(behind)
	s.slow = quantileOf(behind, 0.99)
	return any
}

const dayMinutes = 24 * 60

func has(m map[int]float64, day int) bool { _, ok := m[day]; return ok }

func at(minutes uint32, zone *time.Location) time.Time {
	return time.Unix(int64(minutes)*60, 0).In(zone)
}

func minuteOfDay(t time.Time) int { return t.Hour()*60 + t.Minute() }

// emptiest returns the middle of the longest part of the day without a run, and how
// many minutes that has; the day is a circle.
func emptiest(minutes []int) (middle, free int) {
	m := slices.Clone(minutes)
	slices.Sort(m)
	before := m[len(m)-1] - dayMinutes
	for _, x := range m {
		if x-before > free {
			free, middle = x-before, (before+(x-before)/2+dayMinutes)%dayMinutes
		}
		before = x
	}
	return middle, free
}

// day returns the day that a moment is counted to, in days since the epoch.
func (s *Schedule) day(t time.Time) int {
	y, m, d := t.Date()
	day := int(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
	if minuteOfDay(t) < s.cut {
		day--
	}
	return day
}

// weekday returns the day of the week on which what is due on a day comes.
func (s *Schedule) weekday(day int) int { return (day + s.next + 4) % 7 } // day 0 was a Thursday

// Due is when something is due.
type Due struct {
	At      time.Time     // half of its runs come before
	From    time.Time     // one in ten comes before
	To      time.Time     // one in ten comes after
	Until   time.Time     // the end of its window: after it a run is late
	Window  time.Duration // from At: the time between From and To, 15 minutes at least
	N       int           // runs that tell it
	Pooled  bool          // runs of all days of the week
	p99     time.Duration // after At
	day     int
	weekday time.Weekday
}

// Weekday returns the day of the week that it is due on.
func (d *Due) Weekday() time.Weekday { return d.weekday }

// on returns when it is due on a day, and false when it is not.
func (s *Schedule) on(day int) (Due, bool) {
	w := s.weekday(day)
	t := &s.days[w]
	if !t.due {
		return Due{}, false
	}
	clock := func(minutes float64) time.Time {
		// The clock on the wall: a time that summer time leaves out is moved by as much.
		return time.Date(1970, 1, 1+day, 0, s.cut, int(60*minutes), 0, s.zone)
	}
	d := Due{At: clock(t.p50), From: clock(t.p10), To: clock(t.p90), N: t.n, Pooled: t.pooled, day: day, weekday: time.Weekday(w)}
	d.Window = max(minWindow, d.To.Sub(d.From))
	d.Until = d.At.Add(d.Window)
	d.p99 = max(d.Window, time.Duration(exponential99*float64(d.To.Sub(d.At))), time.Duration(s.slow*float64(time.Minute)))
	return d, true
}

// Next returns what is due first after the last run.
func (s *Schedule) Next() (Due, bool) { return s.after(s.last) }

// after returns what is due first after a day.
func (s *Schedule) after(day int) (Due, bool) {
	for d := day + 1; d <= day+14; d++ {
		if due, ok := s.on(d); ok {
			return due, true
		}
	}
	return Due{}, false
}

// exponential99 times the distance from the median to the 90 % is where the 99 % of an
// exponential distribution is: ln 50 / ln 5.
const exponential99 = 2.4307

// Expect returns the expectation of a due run as a gap that began at since: of a
// log-normal that begins a window before the tenth that comes first. Its 99 % is what
// was seen over all days of the week, but not within the window, nor less than it would
// be of an exponential distribution: few runs do not show it.
func (d *Due) Expect(since time.Time) Expectation {
	e := Expectation{N: float64(d.N), P50: d.At.Sub(since), P90: d.To.Sub(since), after: d.From.Add(-d.Window).Sub(since)}
	e.P99 = e.P50 + d.p99
	e.due()
	return e
}

// The states of what was or is due.
const (
	Met      = "MET"      // it ran within its window
	Late     = "LATE"     // it ran after it, or has not run and may be on its way
	Missing  = "MISSING"  // it has not run
	Expected = "EXPECTED" // its window has not ended
)

// DueRun is a due time and what became of it.
type DueRun struct {
	Due
	Status string
	Ran    time.Time // zero: it did not
}

// Runs returns what became of the last due time that ran and of those since, at most
// seven, and what is due next.
func (s *Schedule) Runs(now time.Time) (all []DueRun) {
	if due, ok := s.on(s.last); ok {
		r := DueRun{Due: due, Status: Met, Ran: s.ran}
		if s.ran.After(due.Until) {
			r.Status = Late
		}
		all = append(all, r)
	}
	day := max(s.last, s.day(now.In(s.zone))-7)
	for range 9 {
		due, ok := s.after(day)
		if !ok {
			break
		}
		day = due.day
		r := DueRun{Due: due, Status: Expected}
		if now.After(due.Until) {
			if r.Status = Late; now.After(due.At.Add(due.Expect(due.At).Missing)) {
				r.Status = Missing
			}
		}
		if all = append(all, r); r.Status == Expected && due.At.After(now) {
			break
		}
	}
	return all
}

// quantileOf returns a quantile of sorted values, interpolated.
func quantileOf(sorted []float64, q float64) float64 {
	x := q * float64(len(sorted)-1)
	i := int(x)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (x-float64(i))*(sorted[i+1]-sorted[i])
}
