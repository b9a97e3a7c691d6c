package score

import (
	"slices"
)

// Verdict is what a detector says of one case: how far it is beyond its own
// frozen limit (above 0 it is called abnormal), what it is, and for how many
// cases it stands.
type Verdict struct {
	Excess   float64
	Abnormal bool
	Weight   float64
}

// SequenceResult is how cases were judged.
type SequenceResult struct {
	Frozen    Rates   `json:"frozen"`    // at the limit that was learned from normal cases alone
	Best      Rates   `json:"best"`      // at the limit that is best on these cases, as several published scores are taken
	BestLimit float64 `json:"bestLimit"` // in bits beyond the frozen one
	FalseRate float64 `json:"falseRate"` // share of the normal cases called abnormal at the frozen limit
}

// Sequences scores verdicts by precision, recall and F1 over cases.
func Sequences(verdicts []Verdict) SequenceResult {
	v := slices.Clone(verdicts)
	slices.SortStableFunc(v, func(a, b Verdict) int { return cmpFloat(b.Excess, a.Excess) })
	var abnormal, normal float64
	for _, x := range v {
		if x.Abnormal {
			abnormal += x.Weight
		} else {
			normal += x.Weight
		}
	}
	var r SequenceResult
	r.Frozen, r.Best = NewRates(0, 0, abnormal), NewRates(0, 0, abnormal)
	var tp, fp float64
	for i, x := range v {
		if x.Abnormal {
			tp += x.Weight
		} else {
			fp += x.Weight
		}
		if i+1 < len(v) && v[i+1].Excess == x.Excess {
			continue
		}
		now := NewRates(tp, fp, abnormal-tp)
		if x.Excess > 0 {
			r.Frozen = now
		}
		if now.F1 > r.Best.F1 {
			r.Best, r.BestLimit = now, x.Excess
		}
	}
	if normal > 0 {
		r.FalseRate = r.Frozen.FP / normal
	}
	return r
}
