package baseline

import (
	"math"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/sketch"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

var monday = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// proves E-2: hours of the week are the wall's: a change to summer time moves
// nothing but the hour that is left out.
func TestHourOfWeek(t *testing.T) {
	if HourOfWeek(monday) != 0 || HourOfWeek(monday.Add(-time.Minute)) != 167 || HourOfWeek(monday.Add(25*time.Hour)) != 25 {
		t.Error("the week does not begin on Monday")
	}
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no table of time zones here: the change to summer time was not checked")
	}
	before := time.Date(2026, 3, 23, 9, 0, 0, 0, zone) // the clock changes on March 29
	after := time.Date(2026, 3, 30, 9, 0, 0, 0, zone)
	if HourOfWeek(before) != HourOfWeek(after) || after.Sub(before) == 7*24*time.Hour {
		t.Error("summer time moves the week")
	}
}

// proves E-3: what is a half-life old counts half, whatever was rescaled
// meanwhile.
func TestForwardDecay(t *testing.T) {
	var b Baseline
	for i := range 60 { // 60 half-lives: several rescalings
		b.Learn(monday.Add(time.Duration(i)*HalfLife), 0, 10, 1)
	}
	if w := b.Weight(); math.Abs(w-2) > 1e-3 {
		t.Errorf("1 + 1/2 + 1/4 + … = %v", w)
	}
	if n := b.N(); n > 3.01 || n < 1.99 {
		t.Errorf("it is worth %v observations", n)
	}
}

// proves E-3: a young series says what its kind says; a mature one what it has
// seen itself; both sum to one.
func TestShrinkage(t *testing.T) {
	var young, mature, kind Baseline
	for range 1000 {
		kind.Learn(monday, 0, 20, 1)
		mature.Learn(monday, 0, 40, 1)
	}
	young.Learn(monday, 0, 40, 1)
	for _, tt := range []struct {
		b        *Baseline
		at20, at float64
	}{{&young, 0.9, 0.1}, {&mature, 0.01, 0.99}} {
		q := make([]float64, sketch.Buckets)
		Root(q)
		kind.Shrink(q, true)
		tt.b.Shrink(q, false)
		var sum float64
		for _, p := range q {
			sum += p
		}
		if math.Abs(q[20]-tt.at20) > 0.02 || math.Abs(q[40]-tt.at) > 0.02 || math.Abs(sum-1) > 1e-9 {
			t.Errorf("%.3f and %.3f, sum %v", q[20], q[40], sum)
		}
	}
}

// proves E-3: an hour that differs is told from the others.
func TestHoursAreTold(t *testing.T) {
	var b Baseline
	for i := range 28 * 24 * 10 {
		at := monday.Add(time.Duration(i) * 6 * time.Minute)
		bucket := 20
		if at.Hour() == 3 {
			bucket = 40
		}
		b.Learn(at, HourOfWeek(at), bucket, 1)
	}
	q := make([]float64, sketch.Buckets)
	for hour, want := range map[int]float64{3: 40, 27: 40, 4: 20} {
		Root(q)
		b.Shrink(q, true)
		b.ShrinkHour(q, hour)
		if q[int(want)] < 0.65 {
			t.Errorf("hour %d: %.2f in bucket %v", hour, q[int(want)], want)
		}
	}
	if !b.Knows(3, true, 10) || new(Baseline).Knows(3, false, 1) {
		t.Error("what was seen is not known")
	}
	if p := b.Start(3); math.Abs(p-1.0/Hours) > 0.002 {
		t.Errorf("an hour of an even week begins %.4f of the events", p)
	}
}

// proves E-4: the expectation of log-normal gaps has their quantiles, and is
// not given when one in fifty is the last.
func TestGaps(t *testing.T) {
	r := stat.NewRand(1)
	var g, ends Gaps
	const sigma = 0.4
	for i := range 5000 {
		gap := time.Duration(60 * float64(time.Second) * math.Exp(sigma*r.Normal()))
		g.Begin()
		g.Learn(monday.Add(time.Duration(i)*time.Minute), gap)
		ends.Begin()
		if i%50 != 0 {
			ends.Learn(monday.Add(time.Duration(i)*time.Minute), gap)
		}
	}
	e, ok := g.Expect()
	if !ok {
		t.Fatal("nothing is expected")
	}
	for _, tt := range []struct {
		name string
		got  time.Duration
		z    float64
	}{{"median", e.P50, 0}, {"90 %", e.P90, 1.2816}, {"99 %", e.P99, 2.3263}, {"late", e.Until(0.001), 3.0902}} {
		want := 60 * math.Exp(sigma*tt.z)
		if math.Abs(math.Log(tt.got.Seconds()/want)) > 0.15 {
			t.Errorf("%s: %v, want %.0f s", tt.name, tt.got, want)
		}
	}
	if e.Missing != time.Duration(1.5*float64(e.P99)) || e.Late > e.Missing || e.Late < e.P99 {
		t.Errorf("%+v", e)
	}
	if p := e.Tail(e.Until(1e-5)); math.Abs(p/1e-5-1) > 1e-3 {
		t.Errorf("tail and until do not agree: %v", p)
	}
	if s := g.Survival(60 * time.Second); math.Abs(s-0.45) > 0.12 {
		t.Errorf("half survive the median, not %.2f", s)
	}
	if _, ok := ends.Expect(); ok {
		t.Error("what may be the last is expected to be followed")
	}
}

// proves E-3: the past is the last 28 windows, its summary their median.
func TestPast(t *testing.T) {
	var p Past
	for i := range 100 {
		p.Add(Summary{Location: float32(i)})
	}
	if r := p.Location(); p.N() != Remembered || r.Median != 85.5 {
		t.Errorf("%d windows, median %v", p.N(), r.Median)
	}
	if (*Past)(nil).N() != 0 || (*Past)(nil).Tail() != (Robust{}) {
		t.Error("a nil past is not empty")
	}
}
