// Package trial measures the analyzer on generated streams whose faults are
// known: how often it cries wolf, how soon it sees a change, and whether what
// it calls late or missing is.
package trial

import (
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer"
	"github.com/entropy-fabric/entropy/actors/analyzer/generate"
)

// Result is what was measured, beside what is aimed at.
type Result struct {
	Seed        uint64  `json:"seed"`
	Sigma       float64 `json:"sigma"`
	Events      int     `json:"events"`
	KeyDays     float64 `json:"keyDays"`     // series times days without a fault, after the warm-up
	FalseAlarms int     `json:"falseAlarms"` // deviations of windows and of order in them
	PerThousand float64 `json:"falseAlarmsPer1000KeyDays"`

	Doubled   int `json:"doubled"`            // entities whose median was doubled
	Found     int `json:"doubledFound"`       // of these
	InTime    int `json:"doubledFoundInTime"` // within the first window of 50 that lies wholly after the change
	MostAfter int `json:"doubledMostEvents"`  // events of the step until it was found, at most

	Late          int     `json:"late"`        // cases that were made late
	LateFlagged   int     `json:"lateFlagged"` // cases called late or missing within the bound on false discoveries
	LateTrue      int     `json:"lateTrue"`    // of these, those that were made so
	LatePrecision float64 `json:"latePrecision"`
	LateRecall    float64 `json:"lateRecall"`

	Missing        int     `json:"missing"` // cases cut off
	MissingFound   int     `json:"missingFound"`
	MissingRecall  float64 `json:"missingRecall"`
	MissingMost    float64 `json:"missingMostP99"`          // when, in learned 99 % gaps, at most
	FalselyMissing float64 `json:"falselyMissingPer1000"`   // of 1,000 waits that ended as always, those called missing first
	PerDay         float64 `json:"expectedFalseAlarmsADay"` // what the analyzer says of itself at the end
}

// The trial's shape: two weeks to learn, then two quiet weeks, then the faults,
// each on entities of its own.
const (
	entities = 50
	warm     = 14
	quiet    = 28
	days     = 32
	day      = 24 * time.Hour
)

// Stream returns the trial's stream for a seed: on day 29 the time of the step
// "process" of ten entities is doubled, on day 30 a fifth of the deliveries of
// ten others is late, on day 31 a twentieth of those of ten more never comes.
// Sigma is how much the logarithm of a step's time scatters.
func Stream(seed uint64, sigma float64) generate.Config {
	c := generate.Config{Seed: seed, Days: days, Entities: entities, Every: 15 * time.Minute, Sigma: sigma}
	for e := range 10 {
		c.Overlays = append(c.Overlays,
			generate.Overlay{Kind: generate.Drift, Entity: e, Step: "process", From: quiet * day, For: 3 * day},
			generate.Overlay{Kind: generate.Late, Entity: 10 + e, Step: "deliver", From: (quiet + 1) * day, For: day},
			generate.Overlay{Kind: generate.Missing, Entity: 20 + e, Step: "deliver", From: (quiet + 2) * day, For: day})
	}
	return c
}

// run is a trial under way.
type run struct {
	analyzer *analyzer.Analyzer
	start    time.Time
	truth    map[string]string  // by case: whether it was made late or missing
	doubled  map[string]int     // by entity: events of the doubled step since the change; below 0: it was found
	late     map[string]bool    // cases of which it was said with a bound
	missing  map[string]float64 // cases called missing, and after how many learned 99 % gaps
	waits    int
	result   Result
}

// Run measures the analyzer, at the setting that ships, on one stream.
func Run(seed uint64, sigma float64) Result {
	r := &run{analyzer: analyzer.New(analyzer.Config{}), truth: map[string]string{}, doubled: map[string]int{}, missing: map[string]float64{}, late: map[string]bool{}}
	r.result.Seed, r.result.Sigma = seed, sigma
	for e := range Stream(seed, sigma).Events() {
		if r.start.IsZero() {
			r.start = e.At.Truncate(day)
		}
		r.event(e)
	}
	r.judge(r.analyzer.Advance(r.start.Add((days + 1) * day)))
	return r.finish()
}

func (r *run) event(e generate.Event) {
	switch {
	case e.Label == generate.Late || e.Label == generate.Missing && e.Absent:
		r.truth[e.Case] = e.Label
	case e.Label == generate.Drift:
		r.truth[e.Case] = e.Label // late, if that is said of it, is not wrong
		if r.doubled[e.Entity] >= 0 {
			r.doubled[e.Entity]++
		}
	}
	if e.Absent {
		return
	}
	r.result.Events++
	if e.Step != generate.Steps[0] && e.At.Sub(r.start) >= quiet*day {
		r.waits++
	}
	r.judge(r.analyzer.Advance(e.At))
	r.analyzer.Observe(analyzer.Observation{Entity: e.Entity, Step: e.Step, Case: e.Case, At: e.At,
		Timed: true, Latency: e.Took, Last: e.Step == "deliver"}, e.At)
	r.judge(r.analyzer.Advance(e.At))
}

func (r *run) judge(found []analyzer.Deviation) {
	for _, d := range found {
		since := d.At.Sub(r.start)
		n, doubled := r.doubled[d.Entity]
		switch {
		case d.Channel == analyzer.Missing && since >= quiet*day:
			if d.Bounded {
				r.late[d.Cases[0]] = true
			}
			after := float64(d.To.Sub(d.From)) / float64(d.Expected.P99)
			if before, ok := r.missing[d.Cases[0]]; ok {
				after = min(after, before) // it was said again when it was certain
			}
			r.missing[d.Cases[0]] = after
		case d.Channel == analyzer.Late || d.Channel == analyzer.Missing:
		case doubled && d.Step == "process" && n >= 0:
			r.result.Found++
			r.result.MostAfter = max(r.result.MostAfter, n)
			if n <= inTime {
				r.result.InTime++
			}
			r.doubled[d.Entity] = -1
		case since >= warm*day && since < quiet*day:
			r.result.FalseAlarms++
		}
	}
}

// Together returns what several trials give as one.
func Together(all []Result) Result {
	var t Result
	var late float64
	for _, r := range all {
		t.Sigma = r.Sigma
		t.Events, t.KeyDays, t.FalseAlarms = t.Events+r.Events, t.KeyDays+r.KeyDays, t.FalseAlarms+r.FalseAlarms
		t.Doubled, t.Found, t.InTime, t.MostAfter = t.Doubled+r.Doubled, t.Found+r.Found, t.InTime+r.InTime, max(t.MostAfter, r.MostAfter)
		t.Late, t.LateFlagged, t.LateTrue = t.Late+r.Late, t.LateFlagged+r.LateFlagged, t.LateTrue+r.LateTrue
		late += r.LateRecall * float64(r.Late)
		t.Missing, t.MissingFound, t.MissingMost = t.Missing+r.Missing, t.MissingFound+r.MissingFound, max(t.MissingMost, r.MissingMost)
		t.FalselyMissing += r.FalselyMissing / float64(len(all))
		t.PerDay += r.PerDay / float64(len(all))
	}
	t.PerThousand = 1000 * float64(t.FalseAlarms) / max(1, t.KeyDays)
	t.LatePrecision = float64(t.LateTrue) / float64(max(1, t.LateFlagged))
	t.LateRecall = late / float64(max(1, t.Late))
	t.MissingRecall = float64(t.MissingFound) / float64(max(1, t.Missing))
	return t
}

// inTime is how many events the first window may take that lies wholly after
// the change: the rest of the one that was open, and 50.
const inTime = 100

func (r *run) finish() Result {
	x := &r.result
	x.KeyDays = entities * float64(len(generate.Steps)) * (quiet - warm)
	x.PerThousand = 1000 * float64(x.FalseAlarms) / x.KeyDays
	x.Doubled = len(r.doubled)
	x.LateFlagged = len(r.late)
	for id := range r.late {
		if r.truth[id] != "" {
			x.LateTrue++
		}
	}
	falsely := len(r.missing)
	for id, label := range r.truth {
		if label == generate.Late {
			x.Late++
			if r.late[id] {
				x.LateRecall++
			}
		}
		after, found := r.missing[id]
		if found {
			falsely--
		}
		if label == generate.Missing {
			x.Missing++
			if found {
				x.MissingFound++
				x.MissingMost = max(x.MissingMost, after)
			}
		}
	}
	x.FalselyMissing = 1000 * float64(falsely) / float64(max(1, r.waits))
	if x.LateFlagged > 0 {
		x.LatePrecision = float64(x.LateTrue) / float64(x.LateFlagged)
	}
	if x.Late > 0 {
		x.LateRecall /= float64(x.Late)
	}
	if x.Missing > 0 {
		x.MissingRecall = float64(x.MissingFound) / float64(x.Missing)
	}
	x.PerDay = r.analyzer.Health().Expected
	return *x
}
