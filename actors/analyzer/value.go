package analyzer

import (
	"fmt"
	"math"
	"time"

	numeric "github.com/entropy-fabric/entropy/actors/analyzer/series"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// watched is a series of numbers.
type watched struct {
	detector *numeric.Detector
	latest   time.Time
	normal   stat.Envelope // of the bits of its values
	quiet    int           // values after a reported one that do not teach how surprising normal is
}

// mostValue bounds the size of a number, so that no difference of two overflows.
const mostValue = 1e300

// valueLimit is how rarely a series' values must be as surprising as an alarm of its
// detector for that to be reported. The detector alone, which is set for the best
// score of a benchmark, alarms on plain noise every third day of a value each five
// minutes; together it is up to three times in 1,000 days.
const valueLimit = 0.0003

// value lets the detector of its series judge a number. Its alarms are reported as
// far as the series' own values are rarely so surprising, and marked as bounded when
// they are within the bound on false discoveries. What is older than the newest
// teaches nothing.
func (a *Analyzer) value(o *Observation) {
	if math.IsNaN(o.Value) || math.IsInf(o.Value, 0) {
		return
	}
	id := seriesID{entity: o.Entity, step: o.Step}
	w, ok := a.values.get(id)
	if !ok {
		w = &watched{detector: numeric.New(numeric.Config{})}
		a.values.add(id, w)
	}
	if o.At.Before(w.latest) {
		a.health.Reordered++
		return
	}
	w.latest = o.At
	x := max(-mostValue, min(mostValue, o.Value))
	r := w.detector.Observe(o.At, x)
	p := w.normal.P(r.Bits)
	a.numbers.Note(o.At, p)
	if !r.Alarm || p > valueLimit {
		if w.quiet > 0 {
			w.quiet--
		} else {
			w.normal.Learn(r.Bits)
		}
		return
	}
	limit := a.numbers.Share()
	w.quiet = numeric.Shipped().Pause
	d := Deviation{
		Entity: o.Entity, Step: o.Step, Channel: Value, Direction: "above", At: o.At, From: o.At, To: o.At,
		Bits: surprisal(p), P: p, Limit: limit, Bounded: p <= limit, N: float64(r.N),
		Why: []string{fmt.Sprintf("%.6g, usually about %.6g; most surprising is its %s: %.1f bits, an alarm from %.1f", o.Value, r.Usual, r.View, r.Bits, r.Limit)},
	}
	if x < r.Usual {
		d.Direction = "below"
	}
	if o.Case != "" {
		d.Cases = []string{o.Case}
	}
	a.found = append(a.found, d)
}
