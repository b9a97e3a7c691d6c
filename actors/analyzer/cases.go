package analyzer

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/baseline"
	"github.com/entropy-fabric/entropy/actors/analyzer/detect"
	"github.com/entropy-fabric/entropy/actors/analyzer/sequence"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// openCase is a case that may continue.
type openCase struct {
	id, class string
	at        time.Time
	last      *series // of its last step
	context   sequence.Context
	steps     []string // the first maxSteps
	wait      wait
}

// maxSteps bounds what is kept of a case for the test of its order.
const maxSteps = 256

// The bits from which a single transition is a deviation, and how often its
// context must have been seen for that.
const (
	unseenBits = 12
	unseenSeen = 50
)

// follow learns that a step came after the others of its case.
func (a *Analyzer) follow(o *Observation, class string, own, all *series, r *Reading) {
	k := a.kind(class)
	c, ok := a.cases.get(o.Case)
	if !ok {
		c = &openCase{id: o.Case, class: class, at: o.At}
		c.wait.of = c
		a.cases.add(o.Case, c)
	} else if o.At.Before(c.at) {
		a.health.Reordered++
		r.Reordered = true
		return
	}
	if k != nil {
		before := c.context
		seen := k.model.Seen(before)
		symbol, bits := k.model.Step(before, o.Step, true)
		r.Order = bits
		c.context = before.Then(symbol)
		if bits >= unseenBits && seen >= unseenSeen {
			a.unseen(o, c, k.model.Count(before, symbol), bits, seen)
		}
	}
	if len(c.steps) < maxSteps {
		c.steps = append(c.steps, own.step) // the series' own, which is kept anyway
	}
	if ok {
		gap := o.At.Sub(c.at)
		if !o.Timed {
			o.Latency, o.Timed = gap, true
		}
		a.arrived(c, o.At, gap)
	}
	c.at, c.last = o.At, own
	if o.Last {
		a.closeCase(c)
		return
	}
	own.next.Begin()
	all.next.Begin()
	c.wait.source = o.Source
	a.expect(&c.wait, own, all, o.At)
}

// arrived learns how long the step before waited for this one, unless that was
// a deviation.
func (a *Analyzer) arrived(c *openCase, at time.Time, gap time.Duration) {
	w := &c.wait
	a.waits.disarm(w)
	a.waited(w, at)
	a.absentEnded(w, at, EndedCame)
	all := a.parent(c.last)
	if !a.teaches(c.last, w.stage, at) {
		c.last.next.Forgive()
		if all != nil {
			all.next.Forgive()
		}
		return
	}
	c.last.next.Learn(at, gap)
	if all != nil {
		all.next.Learn(at, gap)
	}
}

// teaches reports whether a gap that ended in a stage may be learned from: when
// it was in time, when it was the only one late, as the tail of every
// distribution is now and then, and when all have been late for so long that
// this is the new normal.
func (a *Analyzer) teaches(s *series, st stage, at time.Time) bool {
	if st == idle || st == patient {
		s.repeats, s.absent = 0, time.Time{}
		return true
	}
	return st == late && s.repeats == 1 || at.Sub(s.absent) >= a.config.Adopt
}

// expect arms the wait for what comes after a step, by the entity's own gaps
// when they are known and else by its kind's.
func (a *Analyzer) expect(w *wait, own, all *series, at time.Time) {
	w.since, w.series, w.stage = at, own, idle
	for _, level := range [2]*series{own, all} {
		if e, ok := level.next.Expect(); ok {
			w.expect, w.level, w.stage = e, level, patient
			a.waits.arm(w, at.Add(a.patience(e)))
			return
		}
	}
	a.waits.arm(w, at.Add(a.config.Idle))
}

// recur learns that a step came again by itself, and expects the next.
func (a *Analyzer) recur(o *Observation, own *series) {
	if o.At.Before(own.latest) {
		a.health.Reordered++
		return
	}
	w := &own.wait
	a.waits.disarm(w)
	a.waited(w, o.At)
	a.absentEnded(w, o.At, EndedCame)
	w.source = o.Source
	if !own.latest.IsZero() {
		gap := o.At.Sub(own.latest)
		if !o.Timed {
			o.Latency, o.Timed = gap, true
		}
		if a.teaches(own, w.stage, o.At) {
			own.self.Learn(o.At, gap)
		} else {
			own.self.Forgive()
		}
	}
	own.latest = o.At
	own.self.Begin()
	w.since, w.series, w.level, w.stage = o.At, own, own, idle
	if e, ok := own.self.Expect(); ok {
		w.expect, w.stage = e, patient
		a.waits.arm(w, o.At.Add(a.patience(e)))
	}
}

// patience returns how long is waited before something is called late.
func (a *Analyzer) patience(e baseline.Expectation) time.Duration { return min(e.Late, e.Missing) }

// waited counts a wait that has ended, or will not, among all of the last day.
func (a *Analyzer) waited(w *wait, at time.Time) {
	if w.stage == idle || w.stage == certain {
		return // nothing was expected, or it was counted already
	}
	a.gaps.Note(at, w.expect.Tail(at.Sub(w.since)))
	if a.gapsNoted++; a.gapsNoted%gapsPerLimit == 0 {
		a.lateLimit = a.gaps.Share()
	}
}

const gapsPerLimit = 16

// overdue moves a wait that is due to its next stage. Late and missing are what
// is said of each run by its own gaps, wrongly of about one in a thousand. What
// is waited for still longer becomes certain: so long that, among all waits of
// the last day, the share of false ones is bounded.
func (a *Analyzer) overdue(w *wait) {
	if a.elsewhere(w) {
		return
	}
	switch w.stage {
	case idle:
		a.closeCase(w.of)
	case patient:
		w.stage = late
		if w.series.repeats++; w.series.absent.IsZero() {
			w.series.absent = w.due
		}
		if w.expect.Late < w.expect.Missing {
			a.absent(w, Late)
			a.waits.arm(w, w.since.Add(w.expect.Missing))
			return
		}
		fallthrough
	case late:
		w.stage = missing
		a.absent(w, Missing)
		if w.expect.Tail(w.due.Sub(w.since)) <= a.lateLimit {
			a.ascertain(w)
			return
		}
		a.waits.arm(w, a.certainAt(w))
	case missing:
		if at := a.certainAt(w); at.After(w.due.Add(w.expect.P99 / 100)) {
			a.waits.arm(w, at) // the limit has become stricter meanwhile
			return
		}
		a.absent(w, Missing)
		a.ascertain(w)
	case certain:
		a.absentEnded(w, w.due, EndedGivenUp)
		w.series.next.Forgive()
		if all := a.parent(w.series); all != nil {
			all.next.Forgive()
		}
		a.closeCase(w.of)
	}
}

// ascertain ends the waiting: of a case, but for what comes after all.
func (a *Analyzer) ascertain(w *wait) {
	a.waited(w, w.due)
	w.stage = certain
	if w.of != nil {
		a.waits.arm(w, w.due.Add(max(a.config.Idle, w.expect.Missing)))
	}
}

// certainAt returns when a missing one is certain by the present limit.
func (a *Analyzer) certainAt(w *wait) time.Time {
	limit := a.lateLimit
	if limit == 0 {
		limit = 1e-6
	}
	return w.since.Add(max(w.expect.Missing, min(w.expect.Until(limit), maxPatience*w.expect.P99)))
}

// maxPatience times the 99 % gap is when anything missing is certain.
const maxPatience = 50

// absent reports that something expected is not there.
func (a *Analyzer) absent(w *wait, channel string) {
	what := w.series.step + " again"
	if w.of != nil {
		what = "the step after " + w.series.step
	}
	p := w.expect.Tail(w.due.Sub(w.since))
	d := Deviation{
		Entity: w.series.name(), Step: w.series.step, Channel: channel, At: w.due, From: w.since, To: w.due,
		Bits: surprisal(p), P: p, Limit: a.lateLimit, Bounded: p <= a.lateLimit*(1+1e-9), N: w.expect.N, Repeats: w.series.repeats - 1,
	}
	expect := w.expect
	d.Expected = &expect
	if w.of != nil {
		d.Cases = []string{w.of.id}
		if k := a.kinds[w.of.class]; k != nil {
			if e := k.model.Expect(w.of.context, 1); len(e) > 0 {
				what = fmt.Sprintf("%s (in %.0f %% of the cases the next step)", e[0].Step, 100*e[0].P)
			}
		}
	}
	d.Why = []string{fmt.Sprintf("%s has not come in %s; half come within %s, 99 %% within %s", what,
		detect.Words(w.due.Sub(w.since)), detect.Words(w.expect.P50), detect.Words(w.expect.P99))}
	a.found = append(a.found, d)
}

// unseen reports a single transition that is all but impossible.
func (a *Analyzer) unseen(o *Observation, c *openCase, count, bits, seen float64) {
	d := Deviation{
		Entity: o.Entity, Step: o.Step, Channel: Unseen, At: o.At, From: c.at, To: o.At,
		Bits: bits, P: exp2(-bits), N: seen, Cases: []string{o.Case},
	}
	after := "at the start of a case"
	if len(c.steps) > 0 {
		after = "after " + c.steps[len(c.steps)-1]
	}
	if count > 1 {
		d.Channel = Transition
		d.Why = []string{fmt.Sprintf("%s came %s %.0f times in %.0f: %.1f bits", o.Step, after, count, seen+1, bits)}
	} else {
		d.Why = []string{fmt.Sprintf("%s never came %s in %.0f times: %.1f bits", o.Step, after, seen, bits)}
	}
	a.found = append(a.found, d)
}

// closeCase lets a case end: its order is compared with the others'.
func (a *Analyzer) closeCase(c *openCase) {
	a.waits.disarm(&c.wait)
	a.cases.remove(c.id)
	k := a.kinds[c.class]
	if k == nil {
		return
	}
	k.model.Learn(c.context, sequence.End)
	k.cases++
	change := k.drift.Observe(c.steps)
	if change == nil {
		return
	}
	d := Deviation{
		Entity: c.class + ":*", Step: "*", Channel: Transition, Direction: "changed", At: c.at, From: c.at, To: c.at,
		Bits: change.Bits, P: exp2(-change.Bits), N: float64(k.cases), Cases: []string{c.id},
	}
	for _, s := range change.Why {
		d.Why = append(d.Why, fmt.Sprintf("%s → %s: %.0f %% → %.0f %%", s.After, s.Then, 100*s.Was, 100*s.Is))
	}
	a.found = append(a.found, d)
}

// kind returns what is known of a kind of entities, nil when there are too
// many kinds.
func (a *Analyzer) kind(class string) *kind {
	k := a.kinds[class]
	if k == nil && len(a.kinds) < a.config.Kinds {
		k = &kind{model: sequence.New(sequence.Config{}), drift: sequence.NewDrift(sequence.DriftConfig{})}
		a.kinds[class] = k
	} else if k == nil {
		a.health.Unlearned++
	}
	return k
}

// Prediction says what is expected next of a case, when, and how sure that is.
type Prediction struct {
	Step       string               `json:"step"` // the newest of the case
	Next       []sequence.Expected  `json:"expected_next"`
	Since      time.Time            `json:"since"`
	Expect     baseline.Expectation `json:"expect"`
	Deadline   time.Time            `json:"deadline"`   // when it is late; zero: nothing is expected by then
	Confidence float64              `json:"confidence"` // 1 - 1/sqrt(n)
}

// Predict returns what is expected next of an open case.
func (a *Analyzer) Predict(id string) (Prediction, bool) {
	e, ok := a.cases.items[id]
	if !ok {
		return Prediction{}, false
	}
	c := e.Value.(*entry[string, *openCase]).value
	p := Prediction{Step: c.last.step, Since: c.at}
	if k := a.kinds[c.class]; k != nil {
		p.Next = k.model.Expect(c.context, 3)
	}
	if c.wait.stage == patient || c.wait.stage == late {
		p.Expect, p.Deadline = c.wait.expect, c.wait.since.Add(c.wait.expect.Late)
		p.Confidence = confidence(c.wait.expect.N)
	}
	return p, true
}

// Rank orders deviations by their bits, the most surprising first; of equal
// ones the oldest.
func Rank(d []Deviation) {
	slices.SortStableFunc(d, func(x, y Deviation) int {
		switch {
		case x.Bits > y.Bits:
			return -1
		case x.Bits < y.Bits:
			return 1
		}
		return x.At.Compare(y.At)
	})
}

func exp2(x float64) float64 { return math.Exp2(x) }

// confidence is 1 - 1/sqrt(n).
func confidence(n float64) float64 { return max(0, 1-1/math.Sqrt(max(1, n))) }

func surprisal(p float64) float64 { return stat.Surprisal(p) }
