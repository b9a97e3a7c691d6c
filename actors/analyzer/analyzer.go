package analyzer

import (
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/baseline"
	"github.com/entropy-fabric/entropy/actors/analyzer/detect"
	"github.com/entropy-fabric/entropy/actors/analyzer/sequence"
	"github.com/entropy-fabric/entropy/actors/analyzer/sketch"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// Analyzer learns from a stream of observations and finds deviations. It is
// owned by one goroutine.
type Analyzer struct {
	config    Config
	series    *lru[seriesID, *series]
	cases     *lru[string, *openCase]
	values    *lru[seriesID, *watched]
	kinds     map[string]*kind
	waits     waits
	keys      recent
	discovery *detect.Discovery // of windows
	gaps      *detect.Discovery // of single waits
	whole     *detect.Discovery // of whole cases
	numbers   *detect.Discovery // of numbers
	lateLimit float64           // the latter's, taken every gapsPerLimit of them
	gapsNoted int
	scratch   sketch.Histogram // of a mixture of gaps
	parts     []baseline.Part  // of the same
	found     []Deviation
	ended     []Ended
	health    Health
	open      int // deviations of windows
	tested    int // series that are ready to be tested
}

// seriesID names a series; of a whole kind, entity is the kind's name.
type seriesID struct {
	entity, step string
	kind         bool
}

// kind is what is learned of all entities of one kind.
type kind struct {
	model *sequence.Model
	drift *sequence.Drift
	cases int // closed
	last  changed
	norm  sequence.Norm    // of its cases
	odd   uint32           // which of the last cases were odd, a bit each
	odds  map[oddID]oddWay // the ways in which cases are
}

// New returns an Analyzer that has seen nothing.
func New(c Config) *Analyzer {
	a := &Analyzer{config: c.withDefaults(), kinds: make(map[string]*kind), waits: make(waits)}
	a.keys.size = a.config.Remember
	a.discovery, a.gaps = detect.NewDiscovery(a.config.windows()), detect.NewDiscovery(a.config.singles())
	a.whole, a.numbers = detect.NewDiscovery(a.config.singles()), detect.NewDiscovery(a.config.singles())
	a.series = newLRU[seriesID](a.config.Series, a.forget)
	a.cases = newLRU[string](a.config.Cases, func(c *openCase) {
		a.waits.disarm(&c.wait)
		a.absentEnded(&c.wait, c.wait.due, EndedForgotten)
	})
	a.values = newLRU[seriesID](a.config.Values, func(*watched) {})
	return a
}

// forget lets go of a series that was evicted.
func (a *Analyzer) forget(s *series) {
	a.waits.disarm(&s.wait)
	a.absentEnded(&s.wait, s.wait.due, EndedForgotten)
	if s.deviating() {
		a.windowEnded(s, s.latestWindow(), EndedForgotten)
	}
	if s.tested {
		a.tested--
	}
	a.forgetOutcomes(s)
}

// Health returns what the analyzer knows of itself.
func (a *Analyzer) Health() Health {
	h := a.health
	h.Series, h.Cases, h.Values, h.Open = a.series.len(), a.cases.len(), a.values.len(), a.open
	h.Evicted, h.CasesCut = a.series.evicted+a.values.evicted, a.cases.evicted
	for _, k := range a.kinds {
		h.Unlearned += k.model.Dropped()
	}
	h.Tests, h.Limit = a.discovery.Tests(), a.discovery.Limit(a.tested)
	h.Expected = a.discovery.Expected(a.tested) + a.whole.Share()*float64(a.whole.Tests()) + a.numbers.Share()*float64(a.numbers.Tests())
	return h
}

// Observe takes one event in at now, the watermark of its source: what is
// later than now by more than the allowed skew is from the future, and
// teaches nothing. It returns how surprising the event is by what was known
// before it. What it brings to light is kept for Advance.
func (a *Analyzer) Observe(o Observation, now time.Time) Reading {
	var r Reading
	if o.Key != "" && a.keys.seen(o.Key) {
		a.health.Duplicates++
		r.Duplicate = true
		return r
	}
	if o.At.After(now.Add(a.config.Skew)) {
		a.health.Skewed++
		r.Skewed = true
		return r
	}
	o.At = o.At.In(a.config.Zone)
	class, _ := entropy.SplitEntity(o.Entity)
	own, all := a.at(seriesID{entity: o.Entity, step: o.Step}), a.at(seriesID{class, o.Step, true})
	all.by = o.Source
	if o.Valued && !o.Timed {
		a.value(&o)
	}
	switch {
	case o.Alone:
	case o.Case != "":
		a.follow(&o, class, own, all, &r)
	default:
		a.recur(&o, own)
	}
	r.Start = stat.Surprisal(own.base.Start(baseline.HourOfWeek(o.At)))
	if o.Timed {
		r.Timing = a.duration(&o, own, all)
	}
	if o.Outcome != "" {
		a.outcome(&o, own, all)
	}
	r.Bits = r.Order + r.Timing
	return r
}

// at returns the series of an id, and makes it when there is none.
func (a *Analyzer) at(id seriesID) *series {
	s, ok := a.series.get(id)
	if !ok {
		s = &series{seriesID: id}
		a.series.add(id, s)
	}
	return s
}

// parent returns the series of the same step over the whole kind; nil for that
// itself, or when it was forgotten.
func (a *Analyzer) parent(s *series) *series {
	if s.kind {
		return nil
	}
	class, _ := entropy.SplitEntity(s.entity)
	e, ok := a.series.items[seriesID{class, s.step, true}]
	if !ok {
		return nil
	}
	return e.Value.(*entry[seriesID, *series]).value
}

// name returns the entity that a series is reported as.
func (s *series) name() string {
	if s.kind {
		return s.entity + ":*"
	}
	return s.entity
}

// duration learns how long a step took and returns how surprising that is. The
// entity's own series always sees it; the kind's window sees it while the
// entity's is too young to be tested, so that each is tested once.
func (a *Analyzer) duration(o *Observation, own, all *series) float64 {
	bucket := sketch.Bucket(o.Latency)
	bits := stat.Surprisal(own.base.Probability(bucket, all.base.Probability(bucket, 1.0/sketch.Buckets)))
	ready := own.ready()
	a.observe(own, o.At, bucket, o.Case)
	if !ready && !own.anew {
		a.observe(all, o.At, bucket, o.Case)
		return bits
	}
	if all.deviating() && o.At.Sub(all.latestWindow()) >= cleanWindows*a.config.MaxSpan {
		a.windowEnded(all, o.At, EndedGivenUp) // its entities are tested by themselves now
	}
	if !all.deviating() && !own.deviating() {
		all.base.Learn(o.At, baseline.HourOfWeek(o.At), bucket, 1)
	}
	return bits
}

// Advance moves the time of every source to now, the watermark of the stream: what is due is
// late, missing or over. It returns what was found since it was last called,
// the most surprising first. Callers whose source is behind pass the source's
// time, not the wall's: a source that is behind makes nothing late.
func (a *Analyzer) Advance(now time.Time) []Deviation {
	for w := a.waits.first(now); w != nil; w = a.waits.first(now) {
		a.overdue(w)
	}
	return a.Found()
}

// AdvanceSource moves the time of one source to now. What it brings to light is
// kept for Found.
func (a *Analyzer) AdvanceSource(source string, now time.Time) {
	for w := a.waits.next(source, now); w != nil; w = a.waits.next(source, now) {
		a.overdue(w)
	}
}

// Excuse lets the time of a source stand still for a gap in which nothing was heard
// of it, or nobody listened: what is waited for is due that much later.
func (a *Analyzer) Excuse(source string, gap time.Duration) { a.waits.excuse(source, gap) }

// Found returns what was found since it was last asked, the most surprising first.
func (a *Analyzer) Found() []Deviation {
	found := a.found
	a.found = nil
	Rank(found)
	return found
}
