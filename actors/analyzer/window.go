package analyzer

import (
	"slices"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/baseline"
	"github.com/entropy-fabric/entropy/actors/analyzer/detect"
	"github.com/entropy-fabric/entropy/actors/analyzer/sketch"
)

// series is the state of one (entity, step), or of a step of a whole kind.
type series struct {
	seriesID

	base baseline.Baseline
	past *baseline.Past // nil: no window has closed
	next baseline.Gaps  // until the next step of the case
	self baseline.Gaps  // until the same step again, where there are no cases

	now     window
	shown   *window // the newest that has closed
	pending *window // the window before, which teaches when the one after it is normal too
	summary baseline.Summary
	lastP   float64 // of the window before

	tested  bool      // it is counted among those that are
	anew    bool      // it learns anew: its kind does not know its new normal and cannot test for it
	opened  time.Time // since when a deviation is open; zero: none is
	as      string    // the channel of that deviation
	from    time.Time // the window of it
	clean   int       // windows in a row that were normal since
	repeats int       // late and missing ones since the last that came in time
	absent  time.Time // since when none has come in time; zero: the last did

	latest time.Time // of its events
	by     string    // the source of the newest; of kinds only
	wait   wait

	outcomes *outcomes // nil: it has none
}

// window is what was observed since the last one closed.
type window struct {
	from, to time.Time
	cells    []cell
	n        int
	cases    [3]string // examples: of its slowest observations
	slowest  [3]uint8
}

// cell counts one bucket in one hour of the week.
type cell struct {
	hour, bucket uint8
	n            uint32
}

// add counts an observation.
func (w *window) add(at time.Time, bucket int, id string) {
	if w.n == 0 {
		w.from = at
	}
	w.n++
	if at.After(w.to) {
		w.to = at
	}
	if at.Before(w.from) {
		w.from = at
	}
	w.example(uint8(bucket), id)
	hour := uint8(baseline.HourOfWeek(at))
	for i := len(w.cells) - 1; i >= 0; i-- {
		if c := &w.cells[i]; c.hour == hour && c.bucket == uint8(bucket) {
			c.n++
			return
		}
	}
	w.cells = append(w.cells, cell{hour, uint8(bucket), 1})
}

// example keeps the cases of the slowest observations.
func (w *window) example(bucket uint8, id string) {
	if id == "" {
		return
	}
	for i := range w.cases {
		if w.cases[i] == "" || bucket > w.slowest[i] {
			w.cases[i], w.slowest[i] = id, bucket
			return
		}
	}
}

func (w *window) examples() []string {
	var ids []string
	for _, id := range w.cases {
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// ready reports whether a series has learned enough to be tested on its own.
func (s *series) ready() bool {
	return s.past.N() >= baseline.Windows && s.base.N() >= baseline.Young
}

// remember adds a normal window to the past.
func (s *series) remember(x baseline.Summary) {
	if s.past == nil {
		s.past = new(baseline.Past)
	}
	s.past.Add(x)
}

// deviating reports whether a deviation of the series' windows is open.
func (s *series) deviating() bool { return !s.opened.IsZero() }

// observe counts a duration in the series' window, and closes the window when
// it is full or old.
func (a *Analyzer) observe(s *series, at time.Time, bucket int, id string) {
	if s.now.n >= baseline.Young && at.Sub(s.now.from) >= a.config.MaxSpan {
		a.close(s, at)
	}
	s.now.add(at, bucket, id)
	if s.now.n >= a.config.Window && s.now.to.Sub(s.now.from) >= a.config.MinSpan {
		a.close(s, at)
	}
}

// close tests a series' window against what is normal, and opens, continues or
// ends a deviation.
func (a *Analyzer) close(s *series, at time.Time) {
	w := s.now
	s.now, s.shown = window{}, &w
	if s.deviating() && at.Sub(s.opened) >= a.config.Adopt {
		a.adopt(s, at)
	}
	var r detect.Result
	known := s.base.N() >= baseline.Young && s.knows(&w, false)
	if known {
		r = detect.Compare(a.input(s, &w))
	}
	if !known || !s.ready() {
		s.teach(&w)
		if r.N > 0 {
			s.remember(r.Summary)
		}
		if s.ready() && !s.tested {
			s.tested, s.anew = true, false
			a.tested++
		}
		return
	}
	p := r.P
	if s.lastP > 0 {
		p = min(1, 2*min(p, detect.Together(p, s.lastP)))
	}
	s.lastP = r.P
	a.discovery.Note(at, p)
	if s.deviating() {
		if !s.knows(&w, true) {
			s.teach(&w)
		}
		a.continued(s, &r, at)
		return
	}
	if limit := a.discovery.Limit(a.tested); r.Material && p <= limit {
		s.opened, s.as, s.from, s.clean, s.pending = at, r.Channel, w.from, 0, nil
		a.open++
		a.report(s, &w, &r, p, limit)
		return
	}
	if s.pending != nil {
		s.teach(s.pending)
		s.remember(s.summary)
	}
	s.pending, s.summary = &w, r.Summary
}

// continued ends an open deviation after three normal windows in a row.
func (a *Analyzer) continued(s *series, r *detect.Result, at time.Time) {
	if s.clean++; r.P <= 0.01 {
		s.clean = 0
	}
	if s.clean >= cleanWindows {
		a.windowEnded(s, at, EndedNormal)
	}
}

const cleanWindows = 3

// adopt makes what a deviation has become the new normal: the series learns
// from the beginning.
func (a *Analyzer) adopt(s *series, at time.Time) {
	a.windowEnded(s, at, EndedAdopted)
	s.base, s.past, s.pending, s.lastP = baseline.Baseline{}, nil, nil, 0
	s.tested, s.anew = false, true
	a.tested--
}

// teach lets a window into the baseline.
func (s *series) teach(w *window) {
	for _, c := range w.cells {
		s.base.Learn(w.to, int(c.hour), int(c.bucket), float64(c.n))
	}
}

// knows reports whether the baseline has seen most of the hours of a window
// before. A window at hours of the day that it does not know teaches and is not
// tested; one at hours of the week that it does not know is tested, and teaches
// even under an open deviation: it may be the season.
func (s *series) knows(w *window, ofWeek bool) bool {
	var byHour [baseline.Hours]float64
	for _, c := range w.cells {
		byHour[c.hour] += float64(c.n)
	}
	known := 0.0
	for hour, n := range byHour {
		if n > 0 && s.base.Knows(hour, ofWeek, n) {
			known += n
		}
	}
	return known >= 0.8*float64(w.n)
}

// input puts together a window and what is expected of it, each hour weighing
// as it did in the window.
func (a *Analyzer) input(s *series, w *window) detect.Input {
	in := detect.Input{Counts: make([]float64, sketch.Buckets), Expected: make([]float64, sketch.Buckets), Past: s.past}
	var byHour [baseline.Hours]float64
	for _, c := range w.cells {
		in.Counts[c.bucket] += float64(c.n)
		byHour[c.hour] += float64(c.n)
	}
	all := make([]float64, sketch.Buckets)
	in.N = a.expected(s, all)
	hour := make([]float64, sketch.Buckets)
	for h, n := range byHour {
		if n == 0 {
			continue
		}
		copy(hour, all)
		s.base.ShrinkHour(hour, h)
		for i, p := range hour {
			in.Expected[i] += p * n / float64(w.n)
		}
	}
	return in
}

// expected writes what a series' durations are distributed like over all hours
// into q, shrunk to its kind's, and returns how many observations that is
// worth.
func (a *Analyzer) expected(s *series, q []float64) float64 {
	baseline.Root(q)
	n := s.base.N()
	parent := a.parent(s)
	if parent != nil {
		parent.base.Shrink(q, true)
		n += min(baseline.KindPrior, parent.base.N())
	}
	s.base.Shrink(q, parent == nil || parent.base.Weight() < 1)
	return n
}

// report writes down a window's deviation.
func (a *Analyzer) report(s *series, w *window, r *detect.Result, p, limit float64) {
	a.found = append(a.found, Deviation{
		Entity: s.name(), Step: s.step, Channel: r.Channel, Direction: r.Direction,
		At: w.to, From: w.from, To: w.to,
		Bits: surprisal(p), P: p, Limit: limit, Bounded: true, N: r.N,
		Entropy: r.Entropy, Normal: r.Normal, JSD: r.Divergence,
		Why: detect.Explain(r), Cases: w.examples(),
	})
}
