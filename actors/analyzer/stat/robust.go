package stat

import (
	"math"
	"slices"
)

// Median returns the median of values, which it does not change; 0 of nothing.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Clone(values)
	slices.Sort(s)
	return middle(s)
}

// MedianMAD returns the median of values and 1.4826 times their median
// absolute deviation from it, which estimates the standard deviation where the
// values are normal and is moved by neither a few outliers nor a few
// contaminated windows (Hampel 1974).
func MedianMAD(values []float64) (median, scale float64) {
	if len(values) == 0 {
		return 0, 0
	}
	s := slices.Clone(values)
	slices.Sort(s)
	median = middle(s)
	for i, v := range s {
		s[i] = math.Abs(v - median)
	}
	slices.Sort(s)
	return median, 1.4826 * middle(s)
}

func middle(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}
