package stat

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func near(t *testing.T, name string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance {
		t.Errorf("%s = %.12g, want %.12g", name, got, want)
	}
}

// proves E-2: entropies of constructed distributions to 1e-9.
func TestEntropyKnownAnswers(t *testing.T) {
	geometric := make([]float64, 40) // p = 1/2, 1/4, ...: 2 bits, less what is cut off
	for i := range geometric {
		geometric[i] = math.Exp2(float64(39 - i))
	}
	tests := []struct {
		name   string
		counts []float64
		want   float64
	}{
		{"nothing", nil, 0},
		{"one outcome", []float64{17}, 0},
		{"a fair coin", []float64{5, 5}, 1},
		{"eight alike", []float64{3, 3, 3, 3, 3, 3, 3, 3}, 3},
		{"halves and quarters", []float64{4, 2, 2}, 1.5},
		{"a tenth", []float64{9, 1}, 0.468995593589281},
		{"zeros count nothing", []float64{0, 4, 0, 2, 2, 0}, 1.5},
		{"geometric", geometric, 2},
		{"97 alike", slices.Repeat([]float64{2}, 97), math.Log2(97)},
	}
	for _, tt := range tests {
		near(t, tt.name, Entropy(tt.counts), tt.want, 1e-9)
	}
	near(t, "Miller-Madow", MillerMadow([]float64{4, 2, 2}), 1.5+2/(16*math.Ln2), 1e-9)
	// (1/4 log2^2 1/4) twice + 1/2 log2^2 1/2 = 2.5; less 1.5^2; over 8.
	near(t, "variance", EntropyVariance([]float64{4, 2, 2}), 0.25/8, 1e-12)
	near(t, "variance of alike", EntropyVariance([]float64{3, 3, 3}), 0, 1e-12)
	// G(1) = psi(1) - (psi(1) - psi(1/2))/2 = -gamma - ln 2; of n singletons
	// H = ln n - G(1).
	near(t, "Grassberger of singletons", Grassberger([]float64{1, 1, 1, 1}), (math.Log(4)+0.57721566490153286+math.Ln2)/math.Ln2, 1e-9)
}

// proves E-2: at 20 observations Grassberger's and Miller and Madow's
// corrections remove most of the plug-in's bias.
func TestCorrectionsRemoveBias(t *testing.T) {
	p := []float64{8, 7, 6, 5, 4, 3, 2, 2, 1, 1, 1}
	truth, r := Entropy(p), NewRand(1)
	var plug, mm, gr float64
	const reps = 4000
	for range reps {
		counts := make([]float64, len(p))
		for range 20 {
			x := r.Float64() * sum(p)
			i := 0
			for ; x >= p[i]; i++ {
				x -= p[i]
			}
			counts[i]++
		}
		plug += (Entropy(counts) - truth) / reps
		mm += (MillerMadow(counts) - truth) / reps
		gr += (Grassberger(counts) - truth) / reps
	}
	if plug > -0.2 || math.Abs(mm) > math.Abs(plug)/2 || math.Abs(gr) > math.Abs(plug)/5 {
		t.Errorf("bias of the plug-in %.3f, Miller-Madow %.3f, Grassberger %.3f bits", plug, mm, gr)
	}
}

func sum(v []float64) (s float64) {
	for _, x := range v {
		s += x
	}
	return s
}

// proves E-4: the tails of the distributions that the tests use, against
// published values and closed forms.
func TestTails(t *testing.T) {
	near(t, "normal 1.96", NormalTail(1.959963984540054), 0.025, 1e-12)
	near(t, "two-sided", TwoSided(-1.959963984540054), 0.05, 1e-12)
	near(t, "chi-square 1", ChiSquareTail(3.841458820694124, 1), 0.05, 1e-10)
	near(t, "chi-square 10", ChiSquareTail(18.307038053275146, 10), 0.05, 1e-10)
	near(t, "chi-square 2, far", ChiSquareTail(80, 2)/math.Exp(-40), 1, 1e-9)
	near(t, "digamma 1", Digamma(1), -0.5772156649015329, 1e-12)
	near(t, "digamma 1/2", Digamma(0.5), -1.9635100260214235, 1e-12)
	near(t, "digamma 10", Digamma(10), 2.251752589066721, 1e-12)
}

// proves E-4: the binomial tail equals the sum of its terms.
func TestBinomialAgainstSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 80).Draw(t, "n")
		k := rapid.IntRange(0, n).Draw(t, "k")
		p := rapid.Float64Range(0.001, 0.999).Draw(t, "p")
		want := 0.0
		for i := k; i <= n; i++ {
			a, _ := math.Lgamma(float64(n + 1))
			b, _ := math.Lgamma(float64(i + 1))
			c, _ := math.Lgamma(float64(n - i + 1))
			want += math.Exp(a - b - c + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
		}
		if got := BinomialTail(float64(k), float64(n), p); math.Abs(got-want) > 1e-9 {
			t.Fatalf("P(X >= %d | %d, %v) = %v, want %v", k, n, p, got, want)
		}
	})
}

// proves E-2, E-4: bounds and identities that hold for all counts.
func TestEntropyProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "outcomes")
		draw := func(name string) []float64 {
			v := make([]float64, n)
			for i, x := range rapid.SliceOfN(rapid.IntRange(0, 50), n, n).Draw(t, name) {
				v[i] = float64(x)
			}
			return v
		}
		a, b := draw("a"), draw("b")
		h := Entropy(a)
		_, k := total(a)
		if h < 0 || h > math.Log2(float64(max(1, k)))+1e-9 {
			t.Fatalf("H = %v of %d outcomes", h, k)
		}
		na, nb := sum(a), sum(b)
		if na == 0 || nb == 0 {
			return
		}
		if d := Divergence(a, b); d < 0 || d > 1+1e-12 || Divergence(a, a) > 1e-12 || math.Abs(d-Divergence(b, a)) > 1e-12 {
			t.Fatalf("divergence %v", d)
		}
		// The two-sample G in nats is 2 ln 2 n times the weighted divergence.
		g := 0.0
		for i := range a {
			if a[i] > 0 {
				g += 2 * a[i] * math.Log(a[i]*(na+nb)/((a[i]+b[i])*na))
			}
			if b[i] > 0 {
				g += 2 * b[i] * math.Log(b[i]*(na+nb)/((a[i]+b[i])*nb))
			}
		}
		if want := 2 * math.Ln2 * (na + nb) * JensenShannon(a, b); math.Abs(g-want) > 1e-6 {
			t.Fatalf("G = %v, from the divergence %v", g, want)
		}
	})
}

// proves E-3: the median and the MAD are not moved by a minority.
func TestRobust(t *testing.T) {
	m, s := MedianMAD([]float64{5, 1, 2, 4, 3, 1e9, -1e12})
	near(t, "median", m, 3, 0)
	near(t, "scale", s, 2*1.4826, 1e-12)
	if m, s := MedianMAD(nil); m != 0 || s != 0 || Median([]float64{1, 2}) != 1.5 {
		t.Error("edges")
	}
}

// proves E-7: the same seed gives the same numbers, which look uniform.
func TestRand(t *testing.T) {
	if got := NewRand(0).Uint64(); got != 0xe220a8397b1dcdaf { // splitmix64's published first output
		t.Errorf("%#x", got)
	}
	r, mean, square := NewRand(9), 0.0, 0.0
	for range 20000 {
		x := r.Normal()
		mean, square = mean+x/20000, square+x*x/20000
	}
	near(t, "mean", mean, 0, 0.03)
	near(t, "variance", square, 1, 0.04)
}
