package analyzer

import (
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/generate"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

var monday = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// feed hands observations in, the clock at each of them, and returns what was
// found.
func feed(a *Analyzer, all []Observation) (found []Deviation) {
	for _, o := range all {
		a.Observe(o, o.At)
		found = append(found, a.Advance(o.At)...)
	}
	return found
}

// lognormal returns n timed observations, one every interval.
func lognormal(r *stat.Rand, from time.Time, n int, every time.Duration, median, sigma float64) []Observation {
	all := make([]Observation, n)
	for i := range all {
		ms := median * math.Exp(sigma*r.Normal())
		all[i] = Observation{Entity: "supplier:acme", Step: "respond", At: from.Add(time.Duration(i) * every),
			Timed: true, Latency: time.Duration(ms * float64(time.Millisecond))}
	}
	return all
}

func ends(all []Observation) time.Time { return all[len(all)-1].At }

// proves E-4: a day, and a month, of perfectly regular events stay silent.
func TestRegularIsSilent(t *testing.T) {
	a := New(Config{})
	var all []Observation
	for i := range 30 * 24 * 60 {
		at := monday.Add(time.Duration(i) * time.Minute)
		all = append(all, Observation{Entity: "probe:1", Step: "beat", At: at},
			Observation{Entity: "job:1", Step: "poll", At: at, Timed: true, Latency: 250 * time.Millisecond})
	}
	if found := feed(a, all); len(found) > 0 {
		t.Errorf("%d deviations, the first %+v", len(found), found[0])
	}
	if h := a.Health(); h.Tests == 0 {
		t.Errorf("nothing was tested: %+v", h)
	}
}

// proves E-4: each kind of change is found within two windows, called by its
// name, and nothing is found before it.
func TestChangesAreFoundAndNamed(t *testing.T) {
	tests := []struct {
		name               string
		median, sigma      float64
		channel, direction string
	}{
		{"twice as slow", 2000, 0.5, "location", "slower"},
		{"half as slow", 500, 0.5, "location", "faster"},
		{"chaotic", 1000, 1.2, "spread", "chaotic"},
		{"stuck", 1000, 0.1, "spread", "stuck"},
	}
	for _, tt := range tests {
		a, r := New(Config{}), stat.NewRand(1)
		before := lognormal(r, monday, 3000, time.Minute, 1000, 0.5)
		if found := feed(a, before); len(found) > 0 {
			t.Errorf("%s: before the change: %+v", tt.name, found[0])
		}
		after := lognormal(r, ends(before).Add(time.Minute), 150, time.Minute, tt.median, tt.sigma)
		found := feed(a, after)
		if len(found) != 1 || found[0].Channel != tt.channel || found[0].Direction != tt.direction || len(found[0].Why) == 0 {
			t.Errorf("%s: %+v", tt.name, found)
		}
	}
}

// proves E-4: the same mean with a changed shape is found, and named so.
func TestSameMeanOtherShape(t *testing.T) {
	a, r := New(Config{}), stat.NewRand(2)
	before := lognormal(r, monday, 3000, time.Minute, 1000, 0.3)
	feed(a, before)
	mean := 1000 * math.Exp(0.3*0.3/2)
	after := lognormal(r, ends(before).Add(time.Minute), 200, time.Minute, 1000, 0.05)
	for i := range after { // two humps around the same mean
		share := 0.6
		if i%2 == 1 {
			share = 1.4
		}
		after[i].Latency = time.Duration(share * mean * float64(after[i].Latency) / 1000)
	}
	found := feed(a, after)
	if len(found) != 1 || found[0].Channel != "shape" && found[0].Channel != "spread" {
		t.Fatalf("%+v", found)
	}
	if found[0].JSD < 0.1 {
		t.Errorf("%.3f bits apart", found[0].JSD)
	}
}

// proves E-3: windows under an open deviation do not teach: when it ends, the
// old normal is still known; when it does not end, it is adopted.
func TestDeviationsDoNotTeach(t *testing.T) {
	a, r := New(Config{}), stat.NewRand(3)
	before := lognormal(r, monday, 15*24*60, time.Minute, 1000, 0.5)
	if found := feed(a, before); len(found) > 0 {
		t.Fatalf("%+v", found)
	}
	slow := lognormal(r, ends(before).Add(time.Minute), 6000, time.Minute, 3000, 0.5)
	if found := feed(a, slow); len(found) != 1 {
		t.Fatalf("%d deviations instead of the one that stays open", len(found))
	}
	back := lognormal(r, ends(slow).Add(time.Minute), 500, time.Minute, 1000, 0.5)
	if found := feed(a, back); len(found) != 0 || a.Health().Open != 0 {
		t.Fatalf("the old normal was forgotten: %+v, %d open", found, a.Health().Open)
	}
	forever := lognormal(r, ends(back).Add(time.Minute), 26*24*60, time.Minute, 3000, 0.5)
	if found := feed(a, forever); len(found) != 1 || a.Health().Open != 0 {
		t.Errorf("after 26 days: %d deviations, %d open: %+v", len(found), a.Health().Open, found)
	}
}

// proves E-3: a night that is always slower than the day is not a deviation,
// and a day as slow as a night is.
func TestSeasonIsNormal(t *testing.T) {
	a, r := New(Config{}), stat.NewRand(4)
	median := func(at time.Time) float64 {
		if at.Hour() < 6 {
			return 4000
		}
		return 1000
	}
	day := func(from time.Time, n int, m func(time.Time) float64) []Observation {
		all := lognormal(r, from, n, time.Minute, 1, 0.4)
		for i := range all {
			all[i].Latency = time.Duration(float64(all[i].Latency) * m(all[i].At))
		}
		return all
	}
	learned := day(monday, 35*24*60, median)
	var late []Deviation
	for _, d := range feed(a, learned) {
		if d.At.Sub(monday) > 14*24*time.Hour {
			late = append(late, d)
		}
	}
	if len(late) > 0 {
		t.Errorf("after two weeks: %+v", late[0])
	}
	noon := ends(learned).Add(12*time.Hour + time.Minute)
	if found := feed(a, day(noon, 120, func(time.Time) float64 { return 4000 })); len(found) != 1 || found[0].Channel != "location" {
		t.Errorf("a day like a night: %+v", found)
	}
}

// chain returns the observations of one case: steps a minute apart, each gap
// times a factor around 1.
func chain(r *stat.Rand, id string, from time.Time, steps ...string) []Observation {
	var all []Observation
	for i, s := range steps {
		if i > 0 {
			from = from.Add(time.Duration(float64(time.Minute) * math.Exp(0.3*r.Normal())))
		}
		all = append(all, Observation{Entity: "order:*shop", Step: s, Case: id, At: from, Last: i == len(steps)-1})
	}
	return all
}

// proves E-4: a step that vanishes is found within its expected gap; a step
// that never followed is found at once; both say what was expected.
func TestVanishedAndUnseen(t *testing.T) {
	a, r := New(Config{}), stat.NewRand(5)
	at := monday
	for i := range 2000 {
		if found := feed(a, chain(r, fmt.Sprint(i), at, "pick", "pack", "ship")); len(found) > 0 {
			for _, d := range found {
				if d.Channel != Late || i < 50 {
					t.Fatalf("case %d: %+v", i, d)
				}
			}
		}
		at = at.Add(10 * time.Minute)
	}
	half := chain(r, "half", at, "pick", "pack", "ship")[:2]
	feed(a, half)
	p, ok := a.Predict("half")
	if !ok || len(p.Next) == 0 || p.Next[0].Step != "ship" || p.Next[0].P < 0.99 {
		t.Fatalf("predicted %+v", p)
	}
	limit := time.Duration(1.5 * float64(p.Expect.P99))
	if p.Expect.P99 > 4*time.Minute || p.Deadline.Sub(ends(half)) > limit {
		t.Errorf("99 %% gap %v, deadline after %v", p.Expect.P99, p.Deadline.Sub(ends(half)))
	}
	found := a.Advance(ends(half).Add(limit))
	if !slices.ContainsFunc(found, func(d Deviation) bool { return d.Channel == Missing && d.Step == "pack" && d.Cases[0] == "half" }) {
		t.Fatalf("missing: %+v", found)
	}
	at = at.Add(time.Hour)
	certain := a.Advance(at)
	if len(certain) != 1 || certain[0].Channel != Missing || !certain[0].Bounded {
		t.Errorf("an hour later it is not certain: %+v", certain)
	}
	odd := feed(a, chain(r, "odd", at, "pick", "ship"))
	if len(odd) != 1 || odd[0].Channel != Unseen || odd[0].Bits < 12 {
		t.Errorf("unseen: %+v", odd)
	}
}

// proves E-4: what recurs by itself and stops is missed within 1.5 times its
// learned 99 % gap, and not before nearly all are there.
func TestSilenceIsMissed(t *testing.T) {
	a := New(Config{})
	var all []Observation
	for i := range 100 {
		all = append(all, Observation{Entity: "file:daily", Step: "arrived", At: monday.Add(time.Duration(i) * time.Hour)})
	}
	if found := feed(a, all); len(found) > 0 {
		t.Fatalf("%+v", found)
	}
	if found := a.Advance(ends(all).Add(time.Hour)); len(found) > 0 {
		t.Errorf("after an hour: %+v", found)
	}
	var missing bool
	for _, d := range a.Advance(ends(all).Add(time.Duration(1.5 * 1.25 * float64(time.Hour)))) {
		missing = missing || d.Channel == Missing
	}
	if !missing {
		t.Error("it is not missed")
	}
}

// proves E-1, E-2: duplicates, events of the future and events out of order
// are counted, and teach nothing that is wrong.
func TestBadInput(t *testing.T) {
	clean, dirty := New(Config{}), New(Config{})
	r := stat.NewRand(6)
	all := lognormal(r, monday, 2000, time.Minute, 1000, 0.5)
	for i := range all {
		all[i].Key = fmt.Sprint(i)
	}
	feed(clean, all)
	for i, o := range all {
		dirty.Observe(o, o.At)
		dirty.Observe(o, o.At)
		if i%10 == 0 {
			future := o
			future.Key, future.At = "f"+o.Key, o.At.AddDate(7, 0, 0)
			if !dirty.Observe(future, o.At).Skewed {
				t.Fatal("an event seven years ahead is believed")
			}
		}
		dirty.Advance(o.At)
	}
	h := dirty.Health()
	if h.Duplicates != 2000 || h.Skewed != 200 {
		t.Errorf("%+v", h)
	}
	x, y := clean.at(seriesID{entity: "supplier:acme", step: "respond"}), dirty.at(seriesID{entity: "supplier:acme", step: "respond"})
	if !reflect.DeepEqual(x.base, y.base) {
		t.Error("the baselines differ")
	}
	dirty.Observe(Observation{Entity: "order:1", Step: "b", Case: "c", At: monday.Add(time.Hour)}, monday.AddDate(0, 1, 0))
	if got := dirty.Observe(Observation{Entity: "order:1", Step: "a", Case: "c", At: monday}, monday.AddDate(0, 1, 0)); !got.Reordered {
		t.Errorf("%+v", got)
	}
}

// proves E-2: a million distinct entities take bounded memory; the coldest are
// forgotten and counted.
func TestMillionEntities(t *testing.T) {
	n := 1_000_000
	if raceEnabled {
		n = 100_000
	}
	a := New(Config{Series: 20_000, Cases: 20_000, Remember: 10_000})

	for i := range n {
		at := monday.Add(time.Duration(i) * time.Second)
		id := fmt.Sprint(i)
		a.Observe(Observation{Entity: "job:" + id, Step: "done", Case: id, Key: id, At: at, Timed: true, Latency: time.Second}, at)
	}
	h := a.Health()
	if h.Series != 20_000 || h.Evicted != uint64(n+1-20_000) || h.Cases > 20_000 || len(*a.waits[""]) > 20_000 {
		t.Errorf("%+v, %d waits", h, len(*a.waits[""]))
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 100<<20 {
		t.Errorf("%d MiB are held", m.HeapAlloc>>20)
	}
	runtime.KeepAlive(a)
}

// proves that the analyzer is pure: the same events give the same answers, in
// the same order, whatever maps they went through.
func TestSameEventsSameAnswers(t *testing.T) {
	withoutRace(t)
	run := func() (found []Deviation, health Health) {
		a := New(Config{})
		c := generate.Config{Seed: 3, Days: 6, Entities: 12, Overlays: []generate.Overlay{
			{Kind: generate.Incident, Entity: -1, From: 80 * time.Hour, For: 6 * time.Hour},
			{Kind: generate.Skip, Entity: 2, Step: "check", From: 100 * time.Hour, For: 20 * time.Hour},
		}}
		for e := range c.Events() {
			if e.Absent {
				continue
			}
			a.Observe(Observation{Entity: e.Entity, Step: e.Step, Case: e.Case, At: e.At, Timed: true, Latency: e.Took, Last: e.Step == "deliver"}, e.At)
			found = append(found, a.Advance(e.At)...)
		}
		return found, a.Health()
	}
	found, health := run()
	again, healthAgain := run()
	if len(found) == 0 || !reflect.DeepEqual(found, again) || health != healthAgain {
		t.Errorf("%d deviations, then %d; %+v, then %+v", len(found), len(again), health, healthAgain)
	}
}

// proves E-1: an entity that calls itself like a whole kind is not taken for
// one.
func TestEntityNamedLikeItsKind(t *testing.T) {
	a := New(Config{})
	for i := range 30 {
		a.Observe(Observation{Entity: "job:*", Step: "done", At: monday.Add(time.Duration(i) * time.Minute), Timed: true, Latency: time.Second}, monday.Add(time.Hour))
	}
	if h := a.Health(); h.Series != 2 {
		t.Errorf("%d series, not its own and its kind's", h.Series)
	}
}

// proves E-5: the analyzer does not feed on its own events, and reads the
// envelope's.
func TestFromEvent(t *testing.T) {
	if _, ok := FromEvent(&entropy.Event{Type: "entropy.deviation", EntityID: "job:1"}); ok {
		t.Error("its own event is taken")
	}
	o, ok := FromEvent(&entropy.Event{Type: "step.completed", EntityID: "job:1", CorrelationID: "c", TS: monday,
		Tags: map[string]string{"step": "build"}, Attrs: []byte(`{"latency_ms": 1500, "x": "y"}`)})
	if want := (Observation{Entity: "job:1", Step: "build", Case: "c", At: monday, Timed: true, Latency: 1500 * time.Millisecond}); !ok || o != want {
		t.Errorf("%+v", o)
	}
}

// proves E-2: an event takes microseconds; the number is printed.
func BenchmarkObserve(b *testing.B) {
	a, r := New(Config{}), stat.NewRand(7)
	all := lognormal(r, monday, 100_000, time.Second, 1000, 0.5)
	for i := range all {
		all[i].Entity = fmt.Sprint("supplier:", i%100)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		o := all[i%len(all)]
		a.Observe(o, o.At)
	}
}
