package detect

import (
	"math"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// DiscoveryConfig bounds false alarms over all series.
type DiscoveryConfig struct {
	// Q is the share of false ones among the windows reported (Benjamini &
	// Hochberg 1995), over all windows tested in the last day; 0 means 0.05.
	Q float64
	// FalseAlarms is how many false alarms are allowed per series and day;
	// 0 means 1 in 1,000.
	FalseAlarms float64
}

func (c DiscoveryConfig) withDefaults() DiscoveryConfig {
	if c.Q <= 0 {
		c.Q = 0.05
	}
	if c.FalseAlarms <= 0 {
		c.FalseAlarms = 0.001
	}
	return c
}

// Discovery decides which p-values are alarms, all series together. It counts
// the tests of the last day by their surprisal in whole bits, which is all
// that the procedure of Benjamini and Hochberg needs to know: reject up to the
// largest p with m p <= q #(tests at most p). Beside it stands a plain bound on
// the expected number of false alarms, for when few series are watched. The
// zero value of its memory is ready; it is owned by one goroutine.
type Discovery struct {
	config DiscoveryConfig
	hours  [24]hourOfTests
	latest int64 // the newest hour, since the epoch
}

type hourOfTests struct {
	hour  int64
	tests [stat.MaxBits + 1]uint32 // by surprisal, rounded down
	total uint64
}

// NewDiscovery returns a control that has seen no test.
func NewDiscovery(c DiscoveryConfig) *Discovery { return &Discovery{config: c.withDefaults()} }

// Note records a test made at a time.
func (d *Discovery) Note(at time.Time, p float64) {
	hour := at.Unix() / 3600
	if hour <= d.latest-24 {
		return // older than what is remembered
	}
	d.latest = max(d.latest, hour)
	h := &d.hours[((hour%24)+24)%24]
	if h.hour != hour {
		*h = hourOfTests{hour: hour}
	}
	h.tests[int(stat.Surprisal(p))]++
	h.total++
}

// Tests returns how many tests the last day had.
func (d *Discovery) Tests() (n uint64) {
	for i := range d.hours {
		if d.hours[i].hour > d.latest-24 {
			n += d.hours[i].total
		}
	}
	return n
}

// Limit returns the largest p that is an alarm while so many series are
// watched: as many are reported wrongly in a day as the configuration allows.
// The rate of tests is taken per series from the last day, but at least one an
// hour, so that a quiet start is not a license.
func (d *Discovery) Limit(series int) float64 {
	m := max(float64(d.Tests()), 24*float64(max(1, series)))
	plain := d.config.FalseAlarms * float64(max(1, series)) / m
	return min(plain, d.benjaminiHochberg(m))
}

// Share returns the largest p that keeps the false ones among those reported at
// Q, with no bound on their number: for statements of single events, whose
// false ones are bounded otherwise.
func (d *Discovery) Share() float64 { return d.benjaminiHochberg(max(1, float64(d.Tests()))) }

// benjaminiHochberg returns the largest power of one half that the procedure
// rejects, or q / m, which it always would.
func (d *Discovery) benjaminiHochberg(m float64) float64 {
	limit, rejected := d.config.Q/m, 0.0
	for b := stat.MaxBits; b >= 1; b-- {
		for i := range d.hours {
			if d.hours[i].hour > d.latest-24 {
				rejected += float64(d.hours[i].tests[b])
			}
		}
		if p := math.Exp2(-float64(b)); m*p <= d.config.Q*rejected {
			limit = max(limit, p)
		}
	}
	return limit
}

// Expected returns how many false alarms per day the limit admits while so
// many series are watched.
func (d *Discovery) Expected(series int) float64 { return d.Limit(series) * float64(d.Tests()) }

// Together returns the p-value of two independent ones by Fisher's method:
// x (1 - ln x) of their product x. Two windows in a row that are each a little
// surprising are more so together.
func Together(p1, p2 float64) float64 {
	x := p1 * p2
	if x <= 0 {
		return 0
	}
	return min(1, x*(1-math.Log(x)))
}
