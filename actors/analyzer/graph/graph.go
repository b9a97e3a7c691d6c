package graph

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/entropy-fabric/entropy"
)

type (
	// Graph is of the root's vocabulary, as are its parts: they travel to clients.
	Graph = entropy.EntropyGraph
	// Node is a step.
	Node = entropy.GraphNode
	// Edge is a transition.
	Edge = entropy.GraphEdge
	// Change says that the share of a transition became another one.
	Change = entropy.GraphChange
	// LeftOut says what a bound has kept out.
	LeftOut = entropy.GraphLeftOut
)

// The roles of a node.
const (
	Step  = entropy.GraphStep
	Start = entropy.GraphStart
	End   = entropy.GraphEnd
	Other = entropy.GraphOther
)

// Normalize puts nodes and edges in their order and gives them their IDs: the
// start, the steps by name, the rest, the end. Edges name their nodes by
// index until then.
func Normalize(kind string, nodes []Node, edges []IndexedEdge) *Graph {
	order := make([]int, len(nodes))
	for i := range order {
		order[i] = i
	}
	rank := map[string]int{Start: 0, Step: 1, Other: 2, End: 3}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(rank[nodes[a].Role], rank[nodes[b].Role]), cmp.Compare(nodes[a].Step, nodes[b].Step))
	})
	g := &Graph{Kind: kind, Nodes: make([]Node, len(nodes)), Edges: make([]Edge, len(edges))}
	place := make([]int, len(nodes))
	for to, from := range order {
		place[from] = to
		g.Nodes[to] = nodes[from]
		g.Nodes[to].ID = fmt.Sprintf("n%d", to)
	}
	slices.SortStableFunc(edges, func(a, b IndexedEdge) int {
		return cmp.Or(cmp.Compare(place[a.FromNode], place[b.FromNode]), cmp.Compare(place[a.ToNode], place[b.ToNode]))
	})
	for i, e := range edges {
		e.From, e.To = g.Nodes[place[e.FromNode]].ID, g.Nodes[place[e.ToNode]].ID
		g.Edges[i] = e.Edge
	}
	return g
}

// IndexedEdge is an edge between nodes that have no ID yet.
type IndexedEdge struct {
	Edge
	FromNode, ToNode int
}

// Bound returns the graph with the most frequent of its nodes and edges, at
// most so many of each, and says what it left out. Both ends of the cases stay.
func Bound(g *Graph, nodes, edges int) *Graph {
	b := *g
	b.Nodes, b.Edges = nil, nil
	kept := mostFrequent(len(g.Nodes), nodes, func(i int) (float64, bool) {
		n := &g.Nodes[i]
		return n.Count, n.Role == Start || n.Role == End
	})
	there := map[string]bool{}
	for _, i := range kept {
		b.Nodes = append(b.Nodes, g.Nodes[i])
		there[g.Nodes[i].ID] = true
	}
	var between []Edge
	total, left := 0.0, 0.0
	for _, e := range g.Edges {
		if total += e.Count; there[e.From] && there[e.To] {
			between = append(between, e)
		}
	}
	for _, i := range mostFrequent(len(between), edges, func(i int) (float64, bool) { return between[i].Count, false }) {
		b.Edges = append(b.Edges, between[i])
		left += between[i].Count
	}
	b.LeftOut.Nodes += len(g.Nodes) - len(b.Nodes)
	b.LeftOut.Edges += len(g.Edges) - len(b.Edges)
	if total > 0 {
		b.LeftOut.Transitions = 1 - (1-g.LeftOut.Transitions)*left/total
	}
	if len(b.Edges) == len(g.Edges) {
		b.LeftOut.Transitions = g.LeftOut.Transitions // and not what rounding makes of it
	}
	return &b
}

// mostFrequent returns the indexes of the items that count most, in order: at
// most so many, and those that must stay.
func mostFrequent(n, most int, count func(int) (float64, bool)) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	slices.SortStableFunc(all, func(a, b int) int {
		ca, stayA := count(a)
		cb, stayB := count(b)
		if stayA != stayB {
			if stayA {
				return -1
			}
			return 1
		}
		return cmp.Compare(cb, ca)
	})
	all = all[:min(n, max(0, most))]
	slices.Sort(all)
	return all
}
