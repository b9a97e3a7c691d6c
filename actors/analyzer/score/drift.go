package score

import "slices"

// Tolerance is how many cases a detection may lie from the change that it
// finds, in the published comparison of process drift detectors (Adams et al.,
// PVLDB 16(8), 2023).
const Tolerance = 200

// Rates are counts of what was found, and what follows from them.
type Rates struct {
	TP        float64 `json:"true_positives"`
	FP        float64 `json:"false_positives"`
	FN        float64 `json:"false_negatives"`
	Precision float64 `json:"precision"`
	Recall    float64 `json:"recall"`
	F1        float64 `json:"f1"`
}

// NewRates returns the rates of counts. What cannot be divided is 0.
func NewRates(tp, fp, fn float64) Rates {
	r := Rates{TP: tp, FP: fp, FN: fn}
	if tp > 0 {
		r.Precision, r.Recall = tp/(tp+fp), tp/(tp+fn)
		r.F1 = 2 * tp / (2*tp + fp + fn)
	}
	return r
}

// Drift matches detected changes with true ones, each with at most one of the
// other and no further than the tolerance apart, as many as can be; it returns
// how many were matched and the sum of their distances. Both are case numbers,
// in any order.
func Drift(detected, truth []int, tolerance int) (matched, distance int) {
	d, t := slices.Sorted(slices.Values(detected)), slices.Sorted(slices.Values(truth))
	// In order, the first detection that is not too early for a change is
	// the one whose use costs later changes least: the greedy choice is
	// a largest matching, because all tolerances are equal.
	i := 0
	for _, at := range t {
		for i < len(d) && d[i] < at-tolerance {
			i++
		}
		if i < len(d) && d[i] <= at+tolerance {
			matched++
			distance += max(d[i]-at, at-d[i])
			i++
		}
	}
	return matched, distance
}
