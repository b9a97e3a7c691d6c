package stat

import "math"

// Rand is a small deterministic generator of random numbers, splitmix64
// (Steele, Lea & Flood, OOPSLA 2014). The zero value is the generator of seed
// 0. The permutations of a test and the generated streams draw from one, so
// that the same input gives the same bytes everywhere. It is not for secrets.
type Rand struct{ state uint64 }

// NewRand returns the generator of a seed.
func NewRand(seed uint64) *Rand { return &Rand{state: seed} }

// Uint64 returns the next 64 random bits.
func (r *Rand) Uint64() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// Float64 returns a number in [0, 1).
func (r *Rand) Float64() float64 { return float64(r.Uint64()>>11) / (1 << 53) }

// IntN returns a number in [0, n); n is positive.
func (r *Rand) IntN(n int) int { return int(r.Float64() * float64(n)) }

// Normal returns a standard normal number (Box & Muller 1958).
func (r *Rand) Normal() float64 {
	return math.Sqrt(-2*math.Log(1-r.Float64())) * math.Cos(2*math.Pi*r.Float64())
}

// Exponential returns an exponential number of mean 1.
func (r *Rand) Exponential() float64 { return -math.Log(1 - r.Float64()) }

// Shuffle permutes the integers of p (Fisher & Yates).
func (r *Rand) Shuffle(p []int) {
	for i := len(p) - 1; i > 0; i-- {
		j := r.IntN(i + 1)
		p[i], p[j] = p[j], p[i]
	}
}
