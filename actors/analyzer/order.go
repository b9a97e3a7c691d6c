package analyzer

import (
	"maps"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/graph"
	"github.com/entropy-fabric/entropy/actors/analyzer/sequence"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// changed is the last change of the order of a kind's steps.
type changed struct {
	at     time.Time
	shifts []sequence.Shift
}

// Kinds returns the names of the kinds whose order of steps is learned, sorted.
func (a *Analyzer) Kinds() []string { return slices.Sorted(maps.Keys(a.kinds)) }

// Graph returns what is known of the order of a kind's steps, all of it, and
// false when nothing is. It costs as much as the graph is large: up to
// 1,024 steps and 65,536 transitions.
func (a *Analyzer) Graph(kind string) (*graph.Graph, bool) {
	k := a.kinds[kind]
	if k == nil {
		return nil, false
	}
	index := map[sequence.Symbol]int{}
	var nodes []graph.Node
	node := func(s sequence.Symbol) int {
		i, ok := index[s]
		if !ok {
			i = len(nodes)
			index[s] = i
			nodes = append(nodes, graph.Node{Role: role(s), Step: k.model.Name(s)})
		}
		return i
	}
	var edges []graph.IndexedEdge
	var events, cases float64
	leaving := map[int][]float64{}
	for _, t := range k.model.Transitions() {
		from, to := node(t.From), node(t.To)
		edges = append(edges, graph.IndexedEdge{Edge: graph.Edge{Count: t.Count}, FromNode: from, ToNode: to})
		leaving[from] = append(leaving[from], t.Count)
		if t.From == sequence.Start {
			cases += t.Count
			nodes[from].Count += t.Count
		}
		if nodes[to].Count += t.Count; t.To != sequence.End {
			events += t.Count
		}
	}
	for i := range nodes {
		n := &nodes[i]
		if n.Share = n.Count / max(1, events); n.Role == graph.Start || n.Role == graph.End {
			n.Share = n.Count / max(1, cases)
		}
		if n.Entropy = stat.Grassberger(leaving[i]); len(leaving[i]) < 2 {
			n.Entropy = 0
		}
		n.Median = a.median(kind, n)
	}
	for i := range edges {
		a.edge(kind, k, &edges[i], nodes, leaving[edges[i].FromNode])
	}
	g := graph.Normalize(kind, nodes, edges)
	g.Cases, g.Events, g.Rate = k.cases, events, k.model.EntropyRate()
	return g, true
}

func role(s sequence.Symbol) string {
	switch s {
	case sequence.Start:
		return graph.Start
	case sequence.End:
		return graph.End
	case sequence.Other:
		return graph.Other
	}
	return graph.Step
}

// edge completes an edge: its share, the times, and whether it has changed.
func (a *Analyzer) edge(kind string, k *kind, e *graph.IndexedEdge, nodes []graph.Node, leaving []float64) {
	total := 0.0
	for _, n := range leaving {
		total += n
	}
	e.P = e.Count / total
	e.Bits = stat.Surprisal(e.P)
	from, to := &nodes[e.FromNode], &nodes[e.ToNode]
	if s := a.ofKind(kind, from); s != nil && to.Role == graph.Step {
		if g := s.gapsTo(to.Step); g != nil && g.Continued() > 0 {
			e.Median, e.P99 = inMilliseconds(g.Quantile(0.5)), inMilliseconds(g.Quantile(0.99))
		}
	}
	for _, s := range k.last.shifts {
		if s.After == from.Step && s.Then == to.Step {
			e.Change = &graph.Change{At: k.last.at, Was: s.Was, Is: s.Is}
		}
	}
}

// median returns how long half of a kind's steps take, nil when it is not
// known.
func (a *Analyzer) median(kind string, n *graph.Node) *float64 {
	s := a.ofKind(kind, n)
	if s == nil || s.base.Weight() == 0 {
		return nil
	}
	return inMilliseconds(s.base.Median())
}

// ofKind returns the series of a node over the whole kind, nil for what is no
// step, and when it was forgotten.
func (a *Analyzer) ofKind(kind string, n *graph.Node) *series {
	if n.Role != graph.Step {
		return nil
	}
	e, ok := a.series.items[seriesID{kind, n.Step, true}]
	if !ok {
		return nil
	}
	return e.Value.(*entry[seriesID, *series]).value
}

func inMilliseconds(d time.Duration) *float64 {
	ms := float64(d) / float64(time.Millisecond)
	return &ms
}
