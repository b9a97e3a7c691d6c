package stat

import "math"

// NormalTail returns P(Z >= z) of the standard normal distribution.
func NormalTail(z float64) float64 { return 0.5 * math.Erfc(z/math.Sqrt2) }

// TwoSided returns P(|Z| >= |z|) of the standard normal distribution.
func TwoSided(z float64) float64 { return math.Erfc(math.Abs(z) / math.Sqrt2) }

// NormalQuantile returns the z with P(Z <= z) = p of the standard normal
// distribution.
func NormalQuantile(p float64) float64 { return -math.Sqrt2 * math.Erfcinv(2*p) }

// ChiSquareTail returns P(X >= x) of the chi-square distribution with df
// degrees of freedom: the regularized upper incomplete gamma function
// Q(df/2, x/2).
func ChiSquareTail(x, df float64) float64 {
	if x <= 0 || df <= 0 {
		return 1
	}
	return gammaQ(df/2, x/2)
}

// gammaQ is the regularized upper incomplete gamma function, by its series for
// small x and Lentz's continued fraction for large (Press et al., Numerical
// Recipes, 6.2).
func gammaQ(a, x float64) float64 {
	lg, _ := math.Lgamma(a)
	scale := math.Exp(a*math.Log(x) - x - lg)
	if x < a+1 {
		term, sum := 1/a, 1/a
		for n := 1; n < maxTerms && math.Abs(term) > math.Abs(sum)*epsilon; n++ {
			term *= x / (a + float64(n))
			sum += term
		}
		return max(0, 1-sum*scale)
	}
	b := x + 1 - a
	c, d := 1/tiny, 1/b
	h := d
	for i := 1; i < maxTerms; i++ {
		an := -float64(i) * (float64(i) - a)
		b += 2
		d = 1 / notZero(an*d+b)
		c = notZero(b + an/c)
		h *= d * c
		if math.Abs(d*c-1) < epsilon {
			break
		}
	}
	return scale * h
}

// BinomialTail returns P(X >= k) of n trials with probability p each: the
// regularized incomplete beta function I_p(k, n-k+1). n and k need not be
// whole.
func BinomialTail(k, n, p float64) float64 {
	switch {
	case k <= 0:
		return 1
	case k > n, p <= 0:
		return 0
	case p >= 1:
		return 1
	}
	return betaI(k, n-k+1, p)
}

// betaI is the regularized incomplete beta function by Lentz's continued
// fraction (Press et al., 6.4).
func betaI(a, b, x float64) float64 {
	lab, _ := math.Lgamma(a + b)
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	front := math.Exp(lab - la - lb + a*math.Log(x) + b*math.Log1p(-x))
	if x < (a+1)/(a+b+2) {
		return front * betaFraction(a, b, x) / a
	}
	return max(0, 1-front*betaFraction(b, a, 1-x)/b)
}

func betaFraction(a, b, x float64) float64 {
	c, d := 1.0, 1/notZero(1-(a+b)*x/(a+1))
	h := d
	for m := 1.0; m < maxTerms; m++ {
		e := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		d = 1 / notZero(1+e*d)
		c = notZero(1 + e/c)
		h *= d * c
		e = -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		d = 1 / notZero(1+e*d)
		c = notZero(1 + e/c)
		h *= d * c
		if math.Abs(d*c-1) < epsilon {
			break
		}
	}
	return h
}

// Digamma returns psi(x) for positive x, by its recurrence and the asymptotic
// series (Abramowitz & Stegun 6.3.18).
func Digamma(x float64) float64 {
	var s float64
	for ; x < 10; x++ {
		s -= 1 / x
	}
	i := 1 / (x * x)
	return s + math.Log(x) - 0.5/x - i*(1.0/12-i*(1.0/120-i*(1.0/252-i*(1.0/240-i/132))))
}

const (
	maxTerms = 500
	epsilon  = 1e-14
	tiny     = 1e-300
)

func notZero(x float64) float64 {
	if math.Abs(x) < tiny {
		return tiny
	}
	return x
}

// BetaBinomialTails returns P(X >= k) and P(X <= k) of the beta-binomial
// distribution: of n trials whose common probability is Beta(a, b).
func BetaBinomialTails(k, n int, a, b float64) (upper, lower float64) {
	if n <= 0 || a <= 0 || b <= 0 {
		return 1, 1
	}
	lg := func(x float64) float64 { v, _ := math.Lgamma(x); return v }
	norm := lg(float64(n)+1) + lg(a+b) - lg(a) - lg(b) - lg(float64(n)+a+b)
	for i := 0; i <= n; i++ {
		x := float64(i)
		p := math.Exp(norm - lg(x+1) - lg(float64(n)-x+1) + lg(x+a) + lg(float64(n)-x+b))
		if i >= k {
			upper += p
		}
		if i <= k {
			lower += p
		}
	}
	return min(1, upper), min(1, lower)
}
