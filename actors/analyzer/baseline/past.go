package baseline

import "github.com/entropy-fabric/entropy/actors/analyzer/stat"

// Remembered is how many windows are remembered: four weeks of days, or 28
// windows of whatever length.
const Remembered = 28

// Windows is the number of windows that must have been remembered before
// another is compared with them.
const Windows = 8

// Summary is what is remembered of one closed window.
type Summary struct {
	Excess     float32 // entropy above what was expected then, bits
	Location   float32 // standard score against what was expected then
	Dispersion float32 // G / df against what was expected then
	Tail       float32 // share beyond the 99 % that was expected then
}

// Past holds the last windows that were normal. The zero value is empty, and so
// is a nil one, which nothing can be added to.
type Past struct {
	ring [Remembered]Summary
	n    int
}

// Add remembers one more window and forgets the oldest.
func (p *Past) Add(s Summary) {
	p.ring[p.n%Remembered] = s
	p.n++
}

// N returns how many windows are remembered.
func (p *Past) N() int {
	if p == nil {
		return 0
	}
	return min(p.n, Remembered)
}

// Recent returns what is remembered, the newest last.
func (p *Past) Recent() []Summary {
	all := make([]Summary, 0, p.N())
	for i := range p.N() {
		all = append(all, p.ring[(p.n-p.N()+i)%Remembered])
	}
	return all
}

// Robust is a median and a robust standard deviation.
type Robust struct{ Median, Scale float64 }

// Excess returns the median and the scale of the windows' entropies above what
// was expected, in bits.
func (p *Past) Excess() Robust {
	return p.of(func(s *Summary) float32 { return s.Excess })
}

// Location returns the median and the scale of the windows' standard scores:
// 0 and 1 where observations are independent and the baseline fits.
func (p *Past) Location() Robust {
	return p.of(func(s *Summary) float32 { return s.Location })
}

// Dispersion returns the median and the scale of the windows' G / df.
func (p *Past) Dispersion() Robust {
	return p.of(func(s *Summary) float32 { return s.Dispersion })
}

// Tail returns the median and the scale of the shares beyond the 99 %.
func (p *Past) Tail() Robust {
	return p.of(func(s *Summary) float32 { return s.Tail })
}

func (p *Past) of(f func(*Summary) float32) Robust {
	var values [Remembered]float64
	for i := range p.N() {
		values[i] = float64(f(&p.ring[i]))
	}
	m, s := stat.MedianMAD(values[:p.N()])
	return Robust{m, s}
}
