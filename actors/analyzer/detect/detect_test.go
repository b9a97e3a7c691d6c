package detect

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/baseline"
	"github.com/entropy-fabric/entropy/actors/analyzer/sketch"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// sample returns n log-normal durations by bucket.
func sample(r *stat.Rand, n int, median, sigma float64) []float64 {
	counts := make([]float64, sketch.Buckets)
	for range n {
		counts[sketch.Bucket(time.Duration(median*math.Exp(sigma*r.Normal())*float64(time.Millisecond)))]++
	}
	return counts
}

// expectation returns what n observations say, with one spread over all
// buckets.
func expectation(counts []float64) []float64 {
	n := sum(counts)
	q := make([]float64, len(counts))
	for i, c := range counts {
		q[i] = (c + 1/float64(len(q))) / (n + 1)
	}
	return q
}

// past returns the memory of windows like those to come.
func past(r *stat.Rand, q []float64, base float64, n int) *baseline.Past {
	p := new(baseline.Past)
	for range baseline.Remembered {
		p.Add(Compare(Input{Counts: sample(r, n, 1000, 0.5), Expected: q, N: base}).Summary)
	}
	return p
}

// proves E-4: the four tests have the size and about the power that docs/ENTROPY.md
// states, at windows of 50 and p < 0.001.
func TestSizeAndPower(t *testing.T) {
	const n, reps = 50, 600
	for _, tt := range []struct {
		name          string
		median, sigma float64
		least, most   float64
	}{
		{"nothing", 1000, 0.5, 0, 0.005},
		{"a quarter slower", 1250, 0.5, 0.08, 0.6},
		{"twice as slow", 2000, 0.5, 0.99, 1},
		{"half as slow", 500, 0.5, 0.99, 1},
		{"more scatter", 1000, 0.8, 0.4, 1},
		{"half the scatter", 1000, 0.25, 0.7, 1},
	} {
		r, found := stat.NewRand(7), 0
		for rep := range reps {
			if rep%20 != 0 {
				continue // a baseline of its own for every twenty windows
			}
			base := sample(r, 28*n, 1000, 0.5)
			q := expectation(base)
			p := past(r, q, 28*n, n)
			for range 20 {
				if Compare(Input{Counts: sample(r, n, tt.median, tt.sigma), Expected: q, N: 28 * n, Past: p}).P < 0.001 {
					found++
				}
			}
		}
		share := float64(found) / reps
		t.Logf("%s: found in %.3f of the windows", tt.name, share)
		if share < tt.least || share > tt.most {
			t.Errorf("want %.3f to %.3f", tt.least, tt.most)
		}
	}
}

// proves E-4: significant is not enough: a change of one part in a hundred is
// not material, however many observations show it.
func TestTrivialIsNotMaterial(t *testing.T) {
	r := stat.NewRand(3)
	q := expectation(sample(r, 2_000_000, 1000, 0.5))
	x := Compare(Input{Counts: sample(r, 500_000, 1010, 0.5), Expected: q, N: 2_000_000})
	if x.P > 1e-6 || x.Material {
		t.Errorf("p %v, material %v", x.P, x.Material)
	}
}

// proves E-4: the limit is what Benjamini and Hochberg's procedure on all
// p-values of the day gives, to a factor of two, and never above the plain
// bound.
func TestDiscoveryAgainstSort(t *testing.T) {
	r, at := stat.NewRand(5), time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	d := NewDiscovery(DiscoveryConfig{FalseAlarms: 1e9})
	var p []float64
	for i := range 5000 {
		x := r.Float64()
		if i%50 == 0 {
			x *= 1e-6
		}
		p = append(p, x)
		d.Note(at.Add(time.Duration(i)*10*time.Second), x)
	}
	exact := 0.0
	for _, x := range p {
		below := 0.0
		for _, y := range p {
			if y <= x {
				below++
			}
		}
		if x*float64(len(p)) <= 0.05*below {
			exact = max(exact, x)
		}
	}
	limit := d.Share()
	if d.Tests() != 5000 || limit > 2*exact || limit < exact/2.001 && limit < 1.0/4096 {
		t.Errorf("limit %v of %d tests, exactly %v", limit, d.Tests(), exact)
	}
	for i := range 5 { // two days later only what is new counts
		d.Note(at.Add(48*time.Hour+time.Duration(i)*time.Minute), 0.5)
	}
	if d.Tests() != 5 {
		t.Errorf("%d tests in the last day", d.Tests())
	}
	plain := NewDiscovery(DiscoveryConfig{})
	for range 2400 {
		plain.Note(at, 1e-12)
	}
	if got, want := plain.Limit(100), 0.001*100/2400; math.Abs(got-want) > 1e-12 {
		t.Errorf("plain limit %v, want %v", got, want)
	}
	if p := Together(0.01, 0.01); math.Abs(p-1e-4*(1-math.Log(1e-4))) > 1e-12 || Together(1, 1) != 1 {
		t.Errorf("together %v", p)
	}
}

// proves E-4: a deviation explains itself in words and numbers.
func TestExplain(t *testing.T) {
	r := stat.NewRand(9)
	base := sample(r, 2000, 1000, 0.5)
	x := Compare(Input{Counts: sample(r, 50, 3000, 0.5), Expected: expectation(base), N: 2000})
	why := strings.Join(Explain(&x), "; ")
	for _, want := range []string{"slower: half now take up to", "normally 903 ms", "× ", "% → "} {
		if !strings.Contains(why, want) {
			t.Errorf("%q does not say %q", why, want)
		}
	}
	for d, want := range map[time.Duration]string{time.Millisecond: "1 ms", 90 * time.Second: "90 s", 5 * time.Hour: "5 h", 72 * time.Hour: "3 days"} {
		if got := Words(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
