package generate

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"
)

func collect(c Config) []Event { return slices.Collect(c.Events()) }

// proves E-7: the same configuration gives the same bytes, another seed other
// ones, in order of time.
func TestSameSeedSameStream(t *testing.T) {
	c := Config{Seed: 3, Days: 3, Entities: 4, Overlays: []Overlay{{Kind: Incident, Entity: 1, From: time.Hour, For: 6 * time.Hour}}}
	bytes := func(c Config) string {
		b, err := json.Marshal(collect(c))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	first := bytes(c)
	if bytes(c) != first {
		t.Error("the same seed gives another stream")
	}
	other := c
	other.Seed = 4
	if first == bytes(other) {
		t.Error("another seed gives the same stream")
	}
	if !slices.IsSortedFunc(collect(c), func(a, b Event) int { return a.At.Compare(b.At) }) {
		t.Error("events are out of order")
	}
}

// proves E-7: an overlay changes what it names and nothing else, and labels
// what it touched.
func TestOverlaysTouchOnlyTheirs(t *testing.T) {
	quiet := Config{Seed: 5, Days: 6, Entities: 3}
	for _, kind := range Kinds {
		c := quiet
		c.Overlays = []Overlay{{Kind: kind, Entity: 1, Step: "process", From: 48 * time.Hour, For: 24 * time.Hour}}
		before, after := byCase(collect(quiet)), byCase(collect(c))
		touched := 0
		for id, events := range after {
			for i, e := range events {
				if e.Label != "" {
					touched++
					if e.Label != kind || e.Entity != Kind+":1" {
						t.Fatalf("%s: %+v", kind, e)
					}
				}
				if id[0] != '1' && (e.Label != "" || e != before[id][i]) {
					t.Fatalf("%s touched %+v", kind, e)
				}
			}
		}
		if touched == 0 {
			t.Errorf("%s touched nothing", kind)
		}
	}
}

func byCase(all []Event) map[string][]Event {
	m := map[string][]Event{}
	for _, e := range all {
		m[e.Case] = append(m[e.Case], e)
	}
	return m
}

// proves E-7: a drift of factor two doubles the median, and what is missing is
// the share that was asked for.
func TestOverlaysDoWhatTheySay(t *testing.T) {
	c := Config{Seed: 6, Days: 20, Entities: 1, Flat: true, Overlays: []Overlay{
		{Kind: Drift, Entity: -1, Step: "process", From: 10 * 24 * time.Hour, For: 10 * 24 * time.Hour},
		{Kind: Missing, Entity: -1, Step: "deliver", From: 0, For: 20 * 24 * time.Hour, Share: 0.2},
	}}
	var logs [2][]float64
	var delivered, gone float64
	for e := range c.Events() {
		switch {
		case e.Step == "process" && e.Label == Drift:
			logs[1] = append(logs[1], math.Log(e.Took.Seconds()))
		case e.Step == "process":
			logs[0] = append(logs[0], math.Log(e.Took.Seconds()))
		case e.Step == "deliver" && e.Absent:
			gone++
		case e.Step == "deliver":
			delivered++
		}
	}
	for i := range logs {
		slices.Sort(logs[i])
	}
	ratio := math.Exp(logs[1][len(logs[1])/2] - logs[0][len(logs[0])/2])
	if math.Abs(ratio-2) > 0.2 {
		t.Errorf("the median became %.2f times as long", ratio)
	}
	if share := gone / (gone + delivered); math.Abs(share-0.2) > 0.05 {
		t.Errorf("%.2f are missing", share)
	}
}

// proves E-7: what cannot be made is refused.
func TestValidate(t *testing.T) {
	good := Overlay{Kind: Drift, Entity: -1, For: time.Hour}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []Overlay{{Kind: "x", For: 1}, {Kind: Drift}, {Kind: Drift, For: 1, Step: "x"}, {Kind: Drift, For: 1, Share: 2}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
