package analyzer

import (
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/graph"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// proves E-8: the graph of a known process has its shares, its entropy and its
// times; an order that changes is marked.
func TestGraph(t *testing.T) {
	a, r := New(Config{}), stat.NewRand(11)
	at := monday
	for i := range 4000 {
		steps := []string{"pick", "pack", "ship"}
		if i%4 == 0 {
			steps = []string{"pick", "hold", "pack", "ship"}
		}
		feed(a, chain(r, fmt.Sprint(i), at, steps...))
		at = at.Add(10 * time.Minute)
	}
	g, ok := a.Graph("order")
	if !ok || g.Cases != 4000 || g.Events != 13_000 || len(g.Nodes) != 6 || len(g.Edges) != 6 {
		t.Fatalf("%+v", g)
	}
	again, _ := a.Graph("order")
	if !reflect.DeepEqual(g, again) {
		t.Error("asked twice, it is another one")
	}
	step := map[string]graph.Node{}
	name := map[string]string{}
	for _, n := range g.Nodes {
		step[n.Step], name[n.ID] = n, n.Step
	}
	if n := step["pick"]; n.Count != 4000 || math.Abs(n.Share-4000.0/13_000) > 1e-12 || math.Abs(n.Entropy-0.8113) > 1e-3 {
		t.Errorf("pick: %+v", n)
	}
	if want := 4000 * 0.811278 / 17_000; math.Abs(g.Rate-want) > 1e-3 {
		t.Errorf("%.4f bits a transition, not %.4f", g.Rate, want)
	}
	for _, e := range g.Edges {
		if name[e.From] == "pick" && name[e.To] == "hold" {
			if e.Count != 1000 || e.P != 0.25 || e.Bits != 2 || e.Change != nil {
				t.Errorf("%+v", e)
			}
			if e.Median == nil || *e.Median < 50_000 || *e.Median > 70_000 || *e.P99 < 90_000 || *e.P99 > 160_000 {
				t.Errorf("half within %v ms, 99 %% within %v ms", *e.Median, *e.P99)
			}
		}
	}
	for i := range 1500 {
		feed(a, chain(r, fmt.Sprint("after", i), at, "pick", "ship", "pack"))
		at = at.Add(10 * time.Minute)
	}
	changed := 0
	g, _ = a.Graph("order")
	for _, e := range g.Edges {
		if e.Change != nil {
			changed++
		}
	}
	if changed != 3 {
		t.Errorf("%d transitions are marked as changed", changed)
	}
	if _, ok := a.Graph("nobody"); ok {
		t.Error("there is a graph of what never came")
	}
}

// proves E-8: a case that was cut off does not teach that cases end there.
func TestCutOffTeachesNoEnd(t *testing.T) {
	a, r := New(Config{}), stat.NewRand(12)
	at := monday
	for i := range 400 {
		all := chain(r, fmt.Sprint(i), at, "pick", "pack", "ship")
		if i == 300 {
			all = all[:2]
		}
		feed(a, all)
		at = at.Add(10 * time.Minute)
	}
	a.Advance(at.Add(30 * 24 * time.Hour))
	g, _ := a.Graph("order")
	if a.Health().Cases != 0 || g.Cases != 400 || len(g.Edges) != 4 {
		t.Errorf("%d open, %d closed, %d transitions instead of start, two and end", a.Health().Cases, g.Cases, len(g.Edges))
	}
}
