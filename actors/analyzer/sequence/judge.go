package sequence

import (
	"math"
	"slices"
)

// FalseAlarms is the share of normal cases that a Judge may call abnormal: one
// in a thousand.
const FalseAlarms = 0.001

// folds is into how many parts the training cases are cut to learn how
// surprising a case is that was not learned from.
const folds = 10

// Judge tells abnormal cases from normal ones without having seen an abnormal
// one. A case is looked at in three ways: its most surprising transition, the
// step that occurs the most surprising number of times, and the mean surprise
// of its transitions. The limit of each is where normal cases that were held
// out of the training lie beyond it at a third of FalseAlarms; where the
// training is too small to resolve that rate, the limit is extrapolated by the
// bits that are missing. Neither limit nor rate is ever chosen on what is to
// be judged.
type Judge struct {
	Model  *Model
	limits [3]float64
}

// meanScale is how many bits per event of a case's mean stand for one bit of
// evidence.
const meanScale = 0.1

var scales = [3]float64{1, 1, meanScale}

func (c CaseSurprise) channels() [3]float64 { return [3]float64{c.Order, c.Count, c.Mean} }

// HeldOut is a judge that did not see one part of the training.
type HeldOut struct {
	Judge
	Cases [][]string // what it did not see
}

// NewJudge learns from normal cases.
func NewJudge(c Config, normal [][]string) *Judge {
	j, _ := CrossValidate(c, normal)
	return j
}

// CrossValidate learns from normal cases, and returns beside the judge of all
// of them one for each tenth that did not see that tenth, with the same
// limits. They estimate the rate of false alarms where no further normal cases
// are at hand.
func CrossValidate(c Config, normal [][]string) (*Judge, []HeldOut) {
	all := &Judge{Model: New(c)}
	parts := make([]HeldOut, folds)
	for k := range parts {
		parts[k].Model = New(c)
	}
	for i, steps := range normal {
		all.Model.LearnCase(steps)
		for k := range parts {
			if i%folds == k {
				parts[k].Cases = append(parts[k].Cases, steps)
			} else {
				parts[k].Model.LearnCase(steps)
			}
		}
	}
	var held [3][]float64
	for _, p := range parts {
		for _, steps := range p.Cases {
			for ch, v := range p.Model.Case(steps).channels() {
				held[ch] = append(held[ch], v)
			}
		}
	}
	for ch := range held {
		all.limits[ch] = limit(held[ch], FalseAlarms/float64(len(held)), scales[ch])
	}
	for k := range parts {
		parts[k].limits = all.limits
	}
	return all, parts
}

// limit returns the value that a share of rate lies beyond.
func limit(values []float64, rate, scale float64) float64 {
	if len(values) == 0 {
		return math.Inf(1)
	}
	slices.Sort(values)
	beyond := rate * float64(len(values))
	top := values[len(values)-1-min(len(values)-1, int(beyond))]
	if beyond < 1 {
		top -= scale * math.Log2(beyond)
	}
	return top
}

// Excess returns by how many bits a case is more surprising than the limit of
// the way in which it is most so; above 0 it is abnormal.
func (j *Judge) Excess(steps []string) float64 {
	excess := math.Inf(-1)
	for ch, v := range j.Model.Case(steps).channels() {
		excess = max(excess, (v-j.limits[ch])/scales[ch])
	}
	return excess
}
