package stat

import "math"

// Entropy returns Shannon's plug-in entropy of counts, in bits:
// H = -sum p log2 p (Shannon 1948). Counts need not be whole; those that are
// not positive are left out. The entropy of nothing is 0.
//
// Invariant: 0 <= H <= log2(number of positive counts).
func Entropy(counts []float64) float64 {
	var n, s float64
	for _, c := range counts {
		if c > 0 {
			n += c
			s += c * math.Log2(c)
		}
	}
	if n <= 0 {
		return 0
	}
	return max(0, math.Log2(n)-s/n)
}

// MillerMadow returns the plug-in entropy plus the first-order correction of
// its bias, (K-1) / (2 n ln 2) bits for K outcomes seen in n observations
// (Miller 1955). It is one expression, which SQL can repeat.
func MillerMadow(counts []float64) float64 {
	n, k := total(counts)
	if n <= 0 {
		return 0
	}
	return Entropy(counts) + float64(k-1)/(2*n*math.Ln2)
}

// Grassberger returns the entropy in bits by Grassberger's estimator of 2003
// (arXiv physics/0307138): H = ln N - (1/N) sum n_i G(n_i), with
// G(n) = psi(n) + (-1)^n/2 (psi((n+1)/2) - psi(n/2)). Its bias at 20
// observations is a seventh of Miller and Madow's. Counts are rounded to whole
// numbers in the sign (-1)^n only.
func Grassberger(counts []float64) float64 {
	n, _ := total(counts)
	if n <= 0 {
		return 0
	}
	var s float64
	for _, c := range counts {
		if c > 0 {
			s += c * grassbergerG(c)
		}
	}
	return max(0, (math.Log(n)-s/n)/math.Ln2)
}

func grassbergerG(n float64) float64 {
	sign := 1.0
	if int64(math.Round(n))%2 != 0 {
		sign = -1
	}
	return Digamma(n) + sign/2*(Digamma((n+1)/2)-Digamma(n/2))
}

// EntropyVariance returns the variance of the plug-in entropy, in bits
// squared: (sum p log2^2 p - H^2) / n (Basharin 1959). Two entropies of
// different n are never to be compared without it.
func EntropyVariance(counts []float64) float64 {
	n, _ := total(counts)
	if n <= 0 {
		return 0
	}
	var h, s float64
	for _, c := range counts {
		if c > 0 {
			l := math.Log2(c / n)
			h -= c / n * l
			s += c / n * l * l
		}
	}
	return max(0, s-h*h) / n
}

// Surprisal returns -log2 p in bits, at most MaxBits.
func Surprisal(p float64) float64 {
	if p >= 1 {
		return 0
	}
	if p <= 0 {
		return MaxBits
	}
	return min(MaxBits, -math.Log2(p))
}

// MaxBits bounds every surprisal, so that one impossible event does not
// outrank everything else for ever.
const MaxBits = 64

// JensenShannon returns the weighted Jensen-Shannon divergence of two vectors
// of counts over the same outcomes, in bits (Lin 1991): H(pooled) minus the
// weighted mean of the entropies, each sample weighing by its total. Times
// 2 ln 2 and the number of observations it is the two-sample G statistic.
func JensenShannon(a, b []float64) float64 {
	na, _ := total(a)
	nb, _ := total(b)
	if na <= 0 || nb <= 0 {
		return 0
	}
	return weightedJS(a, b, 1/(na+nb), 1/(na+nb), na/(na+nb))
}

// Divergence returns the Jensen-Shannon divergence of two distributions given
// as counts, each weighing one half, in bits.
//
// Invariant: 0 <= Divergence <= 1.
func Divergence(a, b []float64) float64 {
	na, _ := total(a)
	nb, _ := total(b)
	if na <= 0 || nb <= 0 {
		return 0
	}
	return weightedJS(a, b, 0.5/na, 0.5/nb, 0.5)
}

// weightedJS returns sum of wa a log2(p/m) + wb b log2(q/m), with p and q the
// distributions and m their mixture at share of the first.
func weightedJS(a, b []float64, wa, wb, share float64) float64 {
	var d float64
	for i := range a {
		x, y := a[i]*wa, b[i]*wb
		m := x + y
		if x > 0 {
			d += x * math.Log2(x/(share*m))
		}
		if y > 0 {
			d += y * math.Log2(y/((1-share)*m))
		}
	}
	return max(0, d)
}

// total returns the sum of the positive counts and how many there are.
func total(counts []float64) (n float64, k int) {
	for _, c := range counts {
		if c > 0 {
			n += c
			k++
		}
	}
	return n, k
}
