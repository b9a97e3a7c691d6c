package series

import (
	"math"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

var monday = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// alarms returns the rows at which a series of values, one every five minutes,
// gives an alarm.
func alarms(n int, f func(i int, at time.Time) float64) (rows []int) {
	d := New(Config{})
	for i := range n {
		at := monday.Add(time.Duration(i) * 5 * time.Minute)
		if d.Observe(at, f(i, at)).Alarm {
			rows = append(rows, i)
		}
	}
	return rows
}

// proves E-2: constant, periodic and smoothly noisy series are not surprising.
func TestCalmSeries(t *testing.T) {
	r := stat.NewRand(1)
	for name, f := range map[string]func(int, time.Time) float64{
		"constant": func(int, time.Time) float64 { return 42 },
		"zero":     func(int, time.Time) float64 { return 0 },
		"a wave a day": func(_ int, at time.Time) float64 {
			return 100 + 20*math.Sin(2*math.Pi*float64(at.Hour()*60+at.Minute())/1440)
		},
		"work from nine to five": func(_ int, at time.Time) float64 {
			if h := at.Hour(); h >= 9 && h < 17 {
				return 80 + r.Normal()
			}
			return 20 + r.Normal()
		},
	} {
		if rows := alarms(4000, f); len(rows) > 0 && rows[len(rows)-1] > 900 {
			t.Errorf("%s: alarms at %v", name, rows)
		}
	}
}

// proves E-2: a jump of the level and a spike are found at once, once.
func TestBreaks(t *testing.T) {
	r := stat.NewRand(2)
	for name, change := range map[string]func(i int) float64{
		"a jump":  func(i int) float64 { return 30 * float64(min(1, max(0, i-2999))) },
		"a spike": func(i int) float64 { return 200 * float64(max(0, min(i-2999, 3005-i, 1))) },
	} {
		rows := alarms(3100, func(i int, _ time.Time) float64 { return 100 + r.Normal() + change(i) })
		if len(rows) == 0 || rows[len(rows)-1] < 3000 || rows[len(rows)-1] > 3010 {
			t.Errorf("%s at 3000: alarms at %v", name, rows)
		}
	}
}

// proves E-2: whatever comes, what is said is finite.
func TestStrangeValues(t *testing.T) {
	d := New(Config{})
	for i, x := range []float64{0, 1e300, -1e300, 1e-300, 0, 0, math.MaxFloat64 / 4, 1, 2, 3} {
		r := d.Observe(monday.Add(time.Duration(i)*time.Minute), x)
		if math.IsNaN(r.Bits) || math.IsInf(r.Bits, 0) {
			t.Fatalf("value %v: %v bits", x, r.Bits)
		}
	}
}
