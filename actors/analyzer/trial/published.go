package trial

import (
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/score"
	"github.com/entropy-fabric/entropy/actors/analyzer/sequence"
	"github.com/entropy-fabric/entropy/actors/analyzer/series"
)

// Detection is a row of a series at which an alarm was given.
type Detection struct {
	Series string    `json:"series"`
	At     time.Time `json:"at"`
	Value  float64   `json:"value"`
	Bits   float64   `json:"bits"`
	View   string    `json:"view"`
}

// NAB lets the shipped detector of series run over each series of a set,
// writes its scores into them (1 for an alarm, else 0: the threshold is the
// detector's own, not chosen on the set), and returns the alarms after the
// probation.
func NAB(set []score.Series) []Detection {
	var all []Detection
	for i := range set {
		s := &set[i]
		d := series.New(series.Config{})
		s.Scores = make([]float64, len(s.Values))
		for row, x := range s.Values {
			r := d.Observe(s.Times[row], x)
			if !r.Alarm {
				continue
			}
			s.Scores[row] = 1
			if row >= score.Probation(len(s.Values)) {
				all = append(all, Detection{s.Name, s.Times[row], x, r.Bits, r.View})
			}
		}
	}
	return all
}

// Drift lets the shipped detector of changed order run over the cases of a log
// and returns the changes it finds.
func Drift(cases []score.Case) []sequence.Change {
	d := sequence.NewDrift(sequence.DriftConfig{})
	var changes []sequence.Change
	for _, c := range cases {
		if change := d.Observe(c.Steps); change != nil {
			changes = append(changes, *change)
		}
	}
	if change := d.Flush(); change != nil {
		changes = append(changes, *change)
	}
	return changes
}

// Verdict is what the shipped judge says of one case.
type Verdict struct {
	score.Verdict
	Case score.Case
	Why  sequence.CaseSurprise
}

// Sequences lets the shipped judge learn from training cases and judge others.
// Without normal ones, the training's are judged by models that did not see
// them, the abnormal ones by the same models in turn, and the normal ones
// weigh as many as there would be: an estimate.
func Sequences(train, normal, abnormal []score.Case, normals int) []Verdict {
	judge, parts := sequence.CrossValidate(sequence.Config{}, steps(train))
	var all []Verdict
	say := func(j *sequence.Judge, c score.Case, abnormal bool, weight float64) {
		all = append(all, Verdict{score.Verdict{Excess: j.Excess(c.Steps), Abnormal: abnormal, Weight: weight}, c, j.Model.Case(c.Steps)})
	}
	if len(normal) > 0 {
		for _, c := range abnormal {
			say(judge, c, true, 1)
		}
		for _, c := range normal {
			say(judge, c, false, 1)
		}
		return all
	}
	for i, c := range abnormal {
		say(&parts[i%len(parts)].Judge, c, true, 1)
	}
	for k := range parts {
		for _, s := range parts[k].Cases {
			say(&parts[k].Judge, score.Case{Steps: s}, false, float64(normals)/float64(len(train)))
		}
	}
	return all
}

func steps(cases []score.Case) [][]string {
	all := make([][]string, len(cases))
	for i, c := range cases {
		all[i] = c.Steps
	}
	return all
}
