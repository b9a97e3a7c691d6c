package analyzer

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// readings returns n numbers of a sensor, one every five minutes.
func readings(r *stat.Rand, from time.Time, n int, level float64) []Observation {
	all := make([]Observation, n)
	for i := range all {
		all[i] = Observation{Entity: "sensor:1", Step: "temperature", At: from.Add(time.Duration(i) * 5 * time.Minute), Value: level + r.Normal(), Valued: true}
	}
	return all
}

// proves E-2, E-4: numbers that come alone are watched; a jump is found at once,
// once, and said which way; numbers of steps that state how long they took are not
// watched.
func TestValues(t *testing.T) {
	a, r := New(Config{}), stat.NewRand(31)
	before := readings(r, monday, 3000, 40)
	if found := feed(a, before); len(found) > 0 {
		t.Fatalf("%+v", found[0])
	}
	at := ends(before).Add(5 * time.Minute)
	found := feed(a, readings(r, at, 60, 20))
	if len(found) != 1 || found[0].Channel != Value || found[0].Direction != "below" || found[0].At.Sub(at) > 30*time.Minute || found[0].Bits < 6 || len(found[0].Why) != 1 {
		t.Fatalf("%+v", found)
	}
	if found[0].Entity != "sensor:1" || found[0].Step != "temperature" || found[0].Bounded != (found[0].P <= found[0].Limit) || found[0].P > valueLimit {
		t.Errorf("%+v", found[0])
	}
	if n := a.Health().Values; n != 1 {
		t.Errorf("%d series of numbers", n)
	}
	timed := before[0]
	timed.Entity, timed.Timed, timed.Latency = "sensor:2", true, time.Second
	a.Observe(timed, timed.At)
	if n := a.Health().Values; n != 1 {
		t.Errorf("%d series of numbers: one of a step that says how long it took is watched", n)
	}
}

// proves E-4: on noise, also such as depends on itself, scatters unevenly or has a
// rhythm, there are at most three false alarms in 1,000 series-days.
func TestValuesOfNoise(t *testing.T) {
	series := 20
	if raceEnabled {
		series = 6
	}
	for name, f := range map[string]func(at time.Time, z, before float64) float64{
		"white":  func(_ time.Time, z, _ float64) float64 { return z },
		"red":    func(_ time.Time, z, before float64) float64 { return 0.9*before + z },
		"uneven": func(_ time.Time, z, _ float64) float64 { return math.Exp(0.5 * z) },
		"daily":  func(at time.Time, z, _ float64) float64 { return z + 10*math.Sin(2*math.Pi*float64(at.Hour())/24) },
	} {
		a, alarms, r := New(Config{}), 0, stat.NewRand(32)
		const days = 28
		for s := range series {
			x := 0.0
			for i := range days * 288 {
				at := monday.Add(time.Duration(i) * 5 * time.Minute)
				x = f(at, r.Normal(), x)
				a.value(&Observation{Entity: fmt.Sprint("sensor:", s), Step: "x", At: at, Value: 100 + x})
				if found := a.Found(); i > 7*288 {
					alarms += len(found)
				}
			}
		}
		if most := 1 + 3*series*(days-7)/1000; alarms > most {
			t.Errorf("%s: %d false alarms in %d series-days", name, alarms, series*(days-7))
		}
	}
}

// proves E-1, E-2: numbers that are none, too large or older than others break
// nothing; and of a hundred thousand series as many are watched as there is room for.
func TestStrangeValues(t *testing.T) {
	a := New(Config{Values: 100, Series: 1000})
	for i, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, 1, math.MaxFloat64} {
		at := monday.Add(time.Duration(i) * time.Minute)
		a.Observe(Observation{Entity: "sensor:1", Step: "x", At: at, Value: x, Valued: true}, at)
	}
	old := a.Health().Reordered
	a.Observe(Observation{Entity: "sensor:1", Step: "x", Case: "c", At: monday, Value: 1, Valued: true}, monday.Add(time.Hour))
	if got := a.Health().Reordered; got != old+1 {
		t.Errorf("%d older ones, not %d", got, old+1)
	}
	w, _ := a.values.get(seriesID{entity: "sensor:1", step: "x"})
	if r := w.detector.Observe(monday.Add(time.Hour), 2); r.N != 4 || math.IsNaN(r.Bits) || math.IsNaN(r.Usual) || math.IsInf(r.Usual, 0) {
		t.Errorf("%+v", r)
	}
	for i := range 10_000 {
		at := monday.Add(time.Duration(i) * time.Second)
		a.Observe(Observation{Entity: fmt.Sprint("sensor:", i), Step: "x", At: at, Value: 1, Valued: true}, at)
	}
	if h := a.Health(); h.Values != 100 || h.Evicted < 9900 {
		t.Errorf("%+v", h)
	}
}

// proves E-1: a number is the attribute "value" when that is one; another type
// there spoils nothing else.
func TestValueFromEvent(t *testing.T) {
	for attrs, want := range map[string]Observation{
		`{"value": 12.5}`:                      {Value: 12.5, Valued: true},
		`{"value": "12.5", "latency_ms": 100}`: {Timed: true, Latency: 100 * time.Millisecond},
		`{"value": null}`:                      {},
		`{"value": 3, "duration_ms": 100}`:     {Timed: true, Latency: 100 * time.Millisecond, Value: 3, Valued: true},
		`{"value": 1e999}`:                     {},
	} {
		o, ok := FromEvent(&entropy.Event{Type: "reading", EntityID: "sensor:1", TS: monday, Attrs: []byte(attrs)})
		want.Entity, want.Step, want.At = "sensor:1", "reading", monday
		if !ok || o != want {
			t.Errorf("%s: %+v", attrs, o)
		}
	}
}
