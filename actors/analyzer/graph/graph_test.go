package graph

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"
)

// small returns a graph of three steps, given in another order than its own.
func small() *Graph {
	nodes := []Node{{Role: End, Step: "(end)", Count: 10, Share: 1}, {Role: Step, Step: "ship", Count: 9, Share: 0.3},
		{Role: Step, Step: "pick", Count: 11, Share: 0.37, Entropy: 0.44, Median: new(1500.0)}, {Role: Start, Step: "(start)", Count: 10, Share: 1}}
	at := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	edges := []IndexedEdge{
		{Edge{Count: 9, P: 0.9, Bits: 0.152, Median: new(60_000.0), P99: new(120_000.0), Change: &Change{At: at, Was: 1, Is: 0.9}}, 2, 1},
		{Edge{Count: 10, P: 1}, 3, 2}, {Edge{Count: 9, P: 1}, 1, 0}, {Edge{Count: 1, P: 0.1, Bits: 3.32}, 2, 0},
	}
	g := Normalize("order", nodes, edges)
	g.Cases, g.Events, g.Rate = 10, 20, 0.21
	return g
}

// proves E-8: nodes and edges have one order, whatever order they came in, and
// the drawing says what is known of each.
func TestDOT(t *testing.T) {
	want := `digraph "order" {
	rankdir=LR;
	labelloc=t;
	label="order: 10 cases, 0.21 bits a step";
	node [fontname="Helvetica", shape=box, style=rounded];
	edge [fontname="Helvetica", fontsize=10];
	n0 [label="(start)", shape=circle];
	n1 [label="pick\n11, 37 %, half in 1.5 s\n0.44 bits"];
	n2 [label="ship\n9, 30 %\n0.00 bits"];
	n3 [label="(end)", shape=circle];
	n0 -> n1 [label="100 %, 0.0 bits", penwidth=3.5];
	n1 -> n2 [label="90 %, 0.2 bits\n60 s, 99 % 2 min\n100 % → 90 %", penwidth=3.2, color=red, fontcolor=red];
	n1 -> n3 [label="10 %, 3.3 bits", penwidth=0.8];
	n2 -> n3 [label="100 %, 0.0 bits", penwidth=3.5];
}
`
	if got := string(DOT(small())); got != want {
		t.Errorf("%s", got)
	}
}

// hostile are names that would say something else if they were not escaped.
var hostile = []string{"a\"; n0 -> n0 [label=\"", `back\slash\`, "<script>&amp;]]></data>", "new\nline", "bell\a\x00\x1b[31m", "not\xffutf8", "\u202eright to left", "", "雪 \\N \\G", "\ufffe"}

// hostileGraph has a step of each hostile name, in a chain.
func hostileGraph() *Graph {
	var nodes []Node
	var edges []IndexedEdge
	for i, name := range hostile {
		nodes = append(nodes, Node{Role: Step, Step: name, Count: 1})
		if i > 0 {
			edges = append(edges, IndexedEdge{Edge{Count: 1, P: 1}, i - 1, i})
		}
	}
	return Normalize("kind\"<&\x01", nodes, edges)
}

// proves E-8: whatever steps are called, the DOT that is made has as many
// statements as the graph has nodes and edges: no name breaks out of its
// quotes. Where Graphviz is there, it reads them and has the names again.
func TestHostileNamesInDOT(t *testing.T) {
	g := hostileGraph()
	dot := DOT(g)
	if n, want := bytes.Count(dot, []byte("\n")), 6+len(g.Nodes)+len(g.Edges)+1; n != want {
		t.Errorf("%d lines, not %d:\n%s", n, want, dot)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(dot)), "\n") {
		rest := line
		for strings.Contains(rest, `"`) { // each quoted string ends where it should
			i := strings.IndexByte(rest, '"')
			end := closing(rest[i+1:])
			if end < 0 {
				t.Fatalf("a string does not end: %s", line)
			}
			rest = rest[i+1+end+1:]
		}
	}
	if _, err := exec.LookPath("dot"); err != nil {
		t.Log("not checked: Graphviz is not installed, so it did not read the drawing")
		return
	}
	cmd := exec.CommandContext(t.Context(), "dot", "-Tplain")
	cmd.Stdin = bytes.NewReader(dot)
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Count(out, []byte("\nnode ")) != len(g.Nodes) || bytes.Count(out, []byte("\nedge ")) != len(g.Edges) {
		t.Errorf("%v\n%s", err, out)
	}
}

// closing returns where a string of DOT ends.
func closing(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// proves E-8: GraphML is well-formed, declares every key it uses for what it
// uses it for, names only nodes that are there, and gives back every name.
func TestGraphML(t *testing.T) {
	for _, g := range []*Graph{small(), hostileGraph(), Normalize("empty", nil, nil)} {
		text, err := GraphML(g)
		if err != nil {
			t.Fatal(err)
		}
		var d mlDocument
		if err := xml.Unmarshal(text, &d); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		keys := map[string]string{}
		for _, k := range d.Keys {
			if keys[k.ID] != "" {
				t.Errorf("key %s is declared twice", k.ID)
			}
			keys[k.ID] = k.For
		}
		check := func(what string, data []mlData) {
			seen := map[string]bool{}
			for _, x := range data {
				if keys[x.Key] != what || seen[x.Key] {
					t.Errorf("key %s of a %s is for %q, or twice", x.Key, what, keys[x.Key])
				}
				seen[x.Key] = true
			}
		}
		check("graph", d.Graph.Data)
		ids := map[string]bool{}
		for i, n := range d.Graph.Nodes {
			check("node", n.Data)
			ids[n.ID] = true
			if got := n.Data[1].Value; got != clean(g.Nodes[i].Step) {
				t.Errorf("node %d is called %q, not %q", i, got, g.Nodes[i].Step)
			}
		}
		for _, e := range d.Graph.Edges {
			check("edge", e.Data)
			if ids[e.ID] || !ids[e.Source] || !ids[e.Target] {
				t.Errorf("edge %s from %s to %s", e.ID, e.Source, e.Target)
			}
		}
		if len(d.Graph.Nodes) != len(g.Nodes) || len(d.Graph.Edges) != len(g.Edges) {
			t.Errorf("%d nodes and %d edges", len(d.Graph.Nodes), len(d.Graph.Edges))
		}
		wellFormed(t, text)
	}
}

func wellFormed(t *testing.T, text []byte) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// proves E-8: a bound keeps what is most frequent and both ends, draws nothing
// to nodes that are not there, and says what it left out.
func TestBound(t *testing.T) {
	nodes := []Node{{Role: Start, Step: "(start)", Count: 1}, {Role: End, Step: "(end)", Count: 1}}
	var edges []IndexedEdge
	for i := range 50 {
		nodes = append(nodes, Node{Role: Step, Step: fmt.Sprintf("s%02d", i), Count: float64(i + 1)})
		edges = append(edges, IndexedEdge{Edge{Count: float64(i + 1)}, 0, i + 2}, IndexedEdge{Edge{Count: float64(i + 1)}, i + 2, 1})
	}
	g := Normalize("k", nodes, edges)
	b := Bound(g, 12, 15)
	if len(b.Nodes) != 12 || len(b.Edges) != 15 || b.LeftOut.Nodes != 40 || b.LeftOut.Edges != 85 {
		t.Fatalf("%d nodes, %d edges, left out %+v", len(b.Nodes), len(b.Edges), b.LeftOut)
	}
	kept := 0.0
	for _, e := range b.Edges {
		kept += e.Count
	}
	if want := 1 - kept/2550; math.Abs(b.LeftOut.Transitions-want) > 1e-12 || b.LeftOut.String() == "" {
		t.Errorf("%v of the transitions, not %v", b.LeftOut.Transitions, want)
	}
	if b.Nodes[0].Role != Start || b.Nodes[11].Role != End || b.Nodes[1].Step != "s40" {
		t.Errorf("%+v", b.Nodes)
	}
	if again := Bound(b, 12, 15); !reflect.DeepEqual(again, b) {
		t.Errorf("bound twice: %+v", again.LeftOut)
	}
	if all := Bound(g, 1000, 1000); !reflect.DeepEqual(all, g) || all.LeftOut.String() != "" {
		t.Errorf("%+v", all.LeftOut)
	}
	if !strings.Contains(string(DOT(b)), "left out: 40 steps and 85 transitions") {
		t.Error("the drawing does not say what was left out")
	}
}
