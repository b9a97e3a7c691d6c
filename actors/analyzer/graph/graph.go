package graph

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Graph is which step of one kind of entities follows which.
type Graph struct {
	Kind    string  `json:"kind"`
	Cases   int     `json:"cases"`        // that have ended
	Events  float64 `json:"events"`       // steps that were counted
	Rate    float64 `json:"entropy_rate"` // bits per transition: how open it is, on average, what follows
	Nodes   []Node  `json:"nodes"`
	Edges   []Edge  `json:"edges"`
	LeftOut LeftOut `json:"left_out"`
}

// The roles of a node. A step may call itself "(start)": the role tells.
const (
	Step  = "step"
	Start = "start" // before the first step of a case
	End   = "end"   // after the last
	Other = "other" // all steps beyond the limit of what is told apart
)

// Node is a step, or an end of the cases.
type Node struct {
	ID      string   `json:"id"` // within this graph
	Role    string   `json:"role"`
	Step    string   `json:"step"`
	Count   float64  `json:"count"`
	Share   float64  `json:"share"`     // of all steps; of the ends, of all cases
	Entropy float64  `json:"entropy"`   // of what follows, bits
	Median  *float64 `json:"median_ms"` // of how long the step takes; nil: not known
}

// Edge is a transition.
type Edge struct {
	From   string   `json:"from"` // ID of a node
	To     string   `json:"to"`
	Count  float64  `json:"count"`
	P      float64  `json:"p"`             // share of what followed From
	Bits   float64  `json:"bits"`          // -log2 p
	Median *float64 `json:"gap_median_ms"` // from one to the other; nil: not known
	P99    *float64 `json:"gap_p99_ms"`
	Change *Change  `json:"change"` // nil: it is not among what changed last
}

// Change is that the share of a transition became another one.
type Change struct {
	At  time.Time `json:"at"` // when it was confirmed
	Was float64   `json:"was"`
	Is  float64   `json:"is"`
}

// LeftOut says what a bound has kept out of a graph.
type LeftOut struct {
	Nodes       int     `json:"nodes"`
	Edges       int     `json:"edges"`
	Transitions float64 `json:"transitions"` // share of all that were counted
}

// String says it in words, and nothing when nothing was left out.
func (l LeftOut) String() string {
	if l.Nodes == 0 && l.Edges == 0 {
		return ""
	}
	return fmt.Sprintf("left out: %d steps and %d transitions, %.2g %% of what was counted", l.Nodes, l.Edges, 100*l.Transitions)
}

// The number of nodes and edges that are drawn when nothing else is asked for.
const (
	DefaultNodes = 100
	DefaultEdges = 400
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
func (g *Graph) Bound(nodes, edges int) *Graph {
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
