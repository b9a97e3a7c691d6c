package live

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer"
	"github.com/entropy-fabric/entropy/actors/analyzer/own"
)

// engine is the analyzer with what is around it: the clocks of the sources, the
// system entropy, the findings as events. It is owned by one goroutine, and the same
// rows and marks make the same of it.
type engine struct {
	analyzer *analyzer.Analyzer
	mapper   own.Mapper
	predict  Predict
	skew     time.Duration
	warn     func(message string, args ...any)

	sources map[string]*source
	order   []*source // as they came
	phi     *phi
	hour    int64 // of the newest event, since 1970; 0: there was none
	book    book

	row      uint64
	first    uint64
	received time.Time // when the newest row was, or a later mark
	mark     time.Time // the last mark of the wall

	out         []entropy.Event // what was found and is to be recorded
	events      uint64
	skewed      uint64
	deviations  uint64
	predictions uint64
	foreseen    foreseen
	evicted     bool // that was said
}

func newEngine(c Config) *engine {
	e := &engine{analyzer: analyzer.New(c.Analyzer), predict: c.Predict, skew: c.Analyzer.Skew, warn: c.Logger.Warn, sources: make(map[string]*source), phi: newPhi()}
	if e.skew <= 0 {
		e.skew = 5 * time.Minute
	}
	e.mapper.Limit = c.Analyzer.Cases
	return e
}

// take takes the next row of the ledger in.
func (e *engine) take(entry *entropy.LedgerEntry) {
	if e.row = entry.Row; e.first == 0 {
		e.first = entry.Row
	}
	before := e.received
	e.received = later(e.received, entry.ReceivedAt)
	var v entropy.Event
	if err := json.Unmarshal(entry.Event, &v); err != nil {
		e.warn("an event of the ledger is not understood; nothing is learned from it", "row", entry.Row, "error", err)
		return
	}
	if strings.HasPrefix(v.Type, analyzer.OwnPrefix) {
		if entry.Origin == Origin && v.Type == entropy.EntropyStarted {
			e.restarted(before)
			return
		}
		e.pass()
		if entry.Origin == Origin {
			e.book.apply(&v)
		}
		return
	}
	e.pass()
	if entry.Origin == journalOrigin {
		for _, o := range e.mapper.Observations(&v) {
			e.observe(&o, ownSystem, v.ID)
		}
	} else if o, ok := analyzer.FromEvent(&v); ok {
		system := v.Source.System
		if system == ownSystem || system == "" {
			system = "outside"
		}
		e.observe(&o, system, v.ID)
	}
	e.collect(v.ID)
}

// What the journal's events are known by.
const (
	journalOrigin = "journal"
	ownSystem     = "entropy"
)

// observe shows one observation to the analyzer, after its source's time has come up
// to it.
func (e *engine) observe(o *analyzer.Observation, system, cause string) {
	if o.At.After(e.received.Add(e.skew)) {
		e.skewed++ // its source is not taken at its word for the time either
		return
	}
	o.Entity, o.Step, o.Case, o.Outcome = name(o.Entity), name(o.Step), name(o.Case), name(o.Outcome)
	s := e.source(name(system))
	if s.silent {
		v, err := spokeEvent(s.system, s.spoke, e.received)
		e.say(v, err)
	}
	var hole time.Duration
	if o.Source, hole = s.hear(o.At, e.received); o.Source != s.system {
		e.analyzer.AdvanceSource(o.Source, s.late)
	} else {
		if hole > 0 { // its time comes up to where it fell silent, and goes on from here
			e.analyzer.AdvanceSource(o.Source, s.top.Add(-hole-s.disorder))
			e.analyzer.Excuse(o.Source, hole)
		}
		e.analyzer.AdvanceSource(o.Source, s.top.Add(-s.disorder))
	}
	e.events++
	r := e.analyzer.Observe(*o, e.received)
	if r.Duplicate {
		return
	}
	kind, _ := entropy.SplitEntity(o.Entity)
	e.phi.add(kind, o.At, amount{events: 1, bits: finite(r.Bits)})
	e.turn(o.At)
	if o.Case != "" && !o.Last && !o.Alone && e.predict != PredictNone {
		e.foresee(o, cause)
	}
}

// maxName bounds what is kept of a name, in bytes: an event may be much longer.
const maxName = 256

// name returns a name as it is learned: of a long one its beginning, and what tells it
// from others that begin alike.
func name(s string) string {
	if len(s) <= maxName {
		return s
	}
	return strings.ToValidUTF8(s[:maxName-40], "") + "…" + identifier(s)
}

// source returns the clock of a system.
func (e *engine) source(system string) *source {
	s := e.sources[system]
	if s != nil {
		return s
	}
	if len(e.sources) >= maxSources {
		system = "others"
		if s = e.sources[system]; s != nil {
			return s
		}
	}
	s = &source{system: system, own: system == ownSystem}
	e.sources[system] = s
	e.order = append(e.order, s)
	return s
}

// pass lets the wall's clock come up to the newest row, mark by mark.
func (e *engine) pass() { e.marks(e.received) }

// marks lets the wall's clock move the sources' up to now, at each mark on the way.
func (e *engine) marks(now time.Time) {
	last := now.Truncate(Grid)
	if e.mark.IsZero() {
		e.mark = last
		return
	}
	if d := last.Sub(e.mark); d > longestPass {
		e.mark = last.Add(-longestPass)
	}
	for e.mark.Before(last) {
		e.mark = e.mark.Add(Grid)
		for _, s := range e.order {
			if d, became := s.quiet(e.mark); became {
				e.silence(s, d)
			}
			e.analyzer.AdvanceSource(s.system, s.clock(e.mark))
		}
		if len(e.phi.hours.slots) > 0 && e.mark.Unix()%3600 == 0 {
			e.turn(e.mark)
		}
	}
	e.collect("")
}

// longestPass bounds the marks that are passed between two rows.
const longestPass = 7 * 24 * time.Hour

// tick lets the wall's clock move on while no row comes.
func (e *engine) tick(now time.Time) { e.marks(now) }

// restarted notes that nobody listened between the row before and the newest.
func (e *engine) restarted(before time.Time) {
	e.mark = e.received.Truncate(Grid)
	for _, s := range e.order {
		if s.current && !before.IsZero() {
			e.analyzer.Excuse(s.system, e.received.Sub(before))
		}
		s.restarted(e.received)
	}
}

// silence says that a source is silent.
func (e *engine) silence(s *source, allowed time.Duration) {
	v, err := silentEvent(s.system, s.spoke, e.mark, allowed)
	e.say(v, err)
	e.warn("a source is silent for longer than it ever is; nothing of it is called late meanwhile", "source", s.system, "since", s.spoke, "allowed", allowed)
}

// collect turns what was found into events.
func (e *engine) collect(cause string) {
	for _, d := range e.analyzer.Found() {
		v, err := deviationEvent(&d, cause)
		e.say(v, err)
		e.deviations++
		if d.Channel == analyzer.Late || d.Channel == analyzer.Missing {
			kind, _ := entropy.SplitEntity(d.Entity)
			e.phi.add(kind, d.At, amount{absent: 1, bits: finite(d.Bits)})
		}
	}
	for _, x := range e.analyzer.Ended() {
		v, err := recoveredEvent(&x)
		e.say(v, err)
	}
}

// say keeps an event to be recorded.
func (e *engine) say(v entropy.Event, err error) {
	if err != nil {
		e.warn("a finding cannot be written down", "error", err)
		return
	}
	e.out = append(e.out, v)
}

// turn writes down the system entropy of the hour before when another begins.
func (e *engine) turn(at time.Time) {
	hour := at.Unix() / 3600
	if hour <= e.hour {
		return
	}
	if slots := e.phi.hours.slots; e.hour > 0 {
		for i := len(slots) - 1; i >= 0 && slots[i].number >= e.hour; i-- {
			if slots[i].number == e.hour {
				v, err := phiEvent(&slots[i], e.phi.hours.begin(e.hour))
				e.say(v, err)
			}
		}
	}
	e.hour = hour
}

// foresee writes down what is expected next of a case, where that is sure enough to
// be worth it.
func (e *engine) foresee(o *analyzer.Observation, cause string) {
	if e.predict == PredictSome && e.foreseen.has(o.Case) || !e.foreseen.may(e.received, e.predict) {
		return
	}
	p, ok := e.analyzer.Predict(o.Case)
	if !ok || len(p.Next) == 0 || p.Deadline.IsZero() {
		return
	}
	if e.predict == PredictSome && (p.Next[0].P < sureStep || p.Confidence < sureTime) {
		return
	}
	e.foreseen.note(o.Case)
	attrs := prediction(o.Step, &p)
	v, err := predictedEvent(o, &attrs, cause)
	e.say(v, err)
	e.predictions++
}

// From when on a prediction is written down unasked: the step that comes next has come
// in nine of ten cases, and its time is known from 50.
const (
	sureStep = 0.9
	sureTime = 0.85
)

// foreseen bounds predictions: one of a case, and so many in a minute.
type foreseen struct {
	now, old map[string]struct{}
	minute   int64
	n        int
}

func (f *foreseen) has(id string) bool {
	_, now := f.now[id]
	_, old := f.old[id]
	return now || old
}

func (f *foreseen) note(id string) {
	f.n++
	if f.now == nil || len(f.now) >= 1<<16 {
		f.now, f.old = make(map[string]struct{}), f.now
	}
	f.now[id] = struct{}{}
}

// may reports whether another may be made in the minute of at.
func (f *foreseen) may(at time.Time, p Predict) bool {
	if m := at.Unix() / 60; m != f.minute {
		f.minute, f.n = m, 0
	}
	return f.n < perMinute[p]
}

var perMinute = map[Predict]int{PredictSome: 60, PredictAll: 6000}
