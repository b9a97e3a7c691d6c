package graph

import (
	"bytes"
	"encoding/xml"
	"strconv"
	"time"
)

// The document of GraphML (Brandes et al., GD 2001) as far as it is used here.
type (
	mlDocument struct {
		XMLName  xml.Name `xml:"http://graphml.graphdrawing.org/xmlns graphml"`
		Instance string   `xml:"xmlns:xsi,attr"`
		Schema   string   `xml:"xsi:schemaLocation,attr"`
		Keys     []mlKey  `xml:"key"`
		Graph    mlGraph  `xml:"graph"`
	}
	mlKey struct {
		ID   string `xml:"id,attr"`
		For  string `xml:"for,attr"`
		Name string `xml:"attr.name,attr"`
		Type string `xml:"attr.type,attr"`
	}
	mlGraph struct {
		ID       string   `xml:"id,attr"`
		Directed string   `xml:"edgedefault,attr"`
		Data     []mlData `xml:"data"`
		Nodes    []mlNode `xml:"node"`
		Edges    []mlEdge `xml:"edge"`
	}
	mlNode struct {
		ID   string   `xml:"id,attr"`
		Data []mlData `xml:"data"`
	}
	mlEdge struct {
		ID     string   `xml:"id,attr"`
		Source string   `xml:"source,attr"`
		Target string   `xml:"target,attr"`
		Data   []mlData `xml:"data"`
	}
	mlData struct {
		Key   string `xml:"key,attr"`
		Value string `xml:",chardata"`
	}
)

// mlKeys declares everything that is said, in the order in which it is.
var mlKeys = []mlKey{
	{"kind", "graph", "kind", "string"},
	{"cases", "graph", "cases", "long"},
	{"rate", "graph", "entropy_rate", "double"},
	{"leftnodes", "graph", "left_out_nodes", "long"},
	{"leftedges", "graph", "left_out_edges", "long"},
	{"lefttransitions", "graph", "left_out_transitions", "double"},
	{"role", "node", "role", "string"},
	{"step", "node", "step", "string"},
	{"count", "node", "count", "double"},
	{"share", "node", "share", "double"},
	{"entropy", "node", "entropy", "double"},
	{"median", "node", "median_ms", "double"},
	{"ecount", "edge", "count", "double"},
	{"p", "edge", "p", "double"},
	{"bits", "edge", "bits", "double"},
	{"gapmedian", "edge", "gap_median_ms", "double"},
	{"gapp99", "edge", "gap_p99_ms", "double"},
	{"changedat", "edge", "changed_at", "string"},
	{"was", "edge", "was", "double"},
	{"is", "edge", "is", "double"},
}

// GraphML returns the graph as a document that the schema of GraphML 1.0
// accepts. What is not known is left out.
func GraphML(g *Graph) ([]byte, error) {
	d := mlDocument{
		Instance: "http://www.w3.org/2001/XMLSchema-instance",
		Schema:   "http://graphml.graphdrawing.org/xmlns http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd",
		Keys:     mlKeys,
		Graph: mlGraph{ID: "g", Directed: "directed", Data: []mlData{
			{"kind", clean(g.Kind)}, {"cases", strconv.Itoa(g.Cases)}, number("rate", g.Rate),
			{"leftnodes", strconv.Itoa(g.LeftOut.Nodes)}, {"leftedges", strconv.Itoa(g.LeftOut.Edges)},
			number("lefttransitions", g.LeftOut.Transitions),
		}},
	}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		data := []mlData{{"role", n.Role}, {"step", clean(n.Step)}, number("count", n.Count), number("share", n.Share), number("entropy", n.Entropy)}
		d.Graph.Nodes = append(d.Graph.Nodes, mlNode{ID: n.ID, Data: known(data, "median", n.Median)})
	}
	for i := range g.Edges {
		e := &g.Edges[i]
		data := []mlData{number("ecount", e.Count), number("p", e.P), number("bits", e.Bits)}
		data = known(known(data, "gapmedian", e.Median), "gapp99", e.P99)
		if e.Change != nil {
			data = append(data, mlData{"changedat", e.Change.At.UTC().Format(time.RFC3339Nano)}, number("was", e.Change.Was), number("is", e.Change.Is))
		}
		d.Graph.Edges = append(d.Graph.Edges, mlEdge{ID: "e" + strconv.Itoa(i), Source: e.From, Target: e.To, Data: data})
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	e.Indent("", "  ")
	if err := e.Encode(d); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func number(key string, x float64) mlData {
	return mlData{key, strconv.FormatFloat(x, 'g', -1, 64)}
}

func known(data []mlData, key string, x *float64) []mlData {
	if x == nil {
		return data
	}
	return append(data, number(key, *x))
}
