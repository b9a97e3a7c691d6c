package graphdb

import (
	"encoding/json"
	"time"
)

// Graph is which step of one kind of entities follows which.
type Graph struct {
	Kind  string
	At    time.Time // when it was taken: it tells this write from others
	Nodes []Node
	Edges []Edge
}

// Node is a step of a role: an ordinary one, an end of the cases, or all others.
type Node struct {
	Role, Step            string
	Count, Share, Entropy float64
	MedianMS              *float64 // nil: not known
}

// Edge is a transition between nodes, by their index.
type Edge struct {
	From, To             int
	Count, P, Bits       float64
	MedianMS, P99MS      *float64 // of the gap; nil: not known
	ChangedAt            time.Time
	WasShare, IsNowShare float64 // of a transition that has changed; ChangedAt is zero for others
}

// statement is one Cypher statement with its parameters.
type statement struct {
	Cypher string         `json:"cypher"`
	Params map[string]any `json:"params"`
}

// The statements, in the part of Cypher that Neo4j, Memgraph and Kuzu share. Rows
// hold no null, of which Kuzu does not know the type: what is not known is cleared
// first, and set from the rows that know it.
const (
	mergeNodes = `UNWIND $rows AS row
MERGE (s:EntropyStep {id: row.id})
SET s.kind = row.kind, s.role = row.role, s.step = row.step, s.count = row.count,
    s.share = row.share, s.entropy = row.entropy, s.version = row.version, s.median_ms = NULL`

	setNodeTimes = `UNWIND $rows AS row
MATCH (s:EntropyStep {id: row.id})
SET s.median_ms = row.median_ms`

	mergeEdges = `UNWIND $rows AS row
MATCH (a:EntropyStep {id: row.from_id})
MATCH (b:EntropyStep {id: row.to_id})
MERGE (a)-[n:FOLLOWED_BY]->(b)
SET n.count = row.count, n.p = row.p, n.bits = row.bits, n.version = row.version,
    n.gap_median_ms = NULL, n.gap_p99_ms = NULL, n.changed_at = NULL, n.was = NULL, n.is_now = NULL`

	setEdgeTimes = `UNWIND $rows AS row
MATCH (a:EntropyStep {id: row.from_id})-[n:FOLLOWED_BY]->(b:EntropyStep {id: row.to_id})
SET n.gap_median_ms = row.gap_median_ms, n.gap_p99_ms = row.gap_p99_ms`

	setEdgeChanges = `UNWIND $rows AS row
MATCH (a:EntropyStep {id: row.from_id})-[n:FOLLOWED_BY]->(b:EntropyStep {id: row.to_id})
SET n.changed_at = row.changed_at, n.was = row.was, n.is_now = row.is_now`

	removeEdges = `MATCH (a:EntropyStep {kind: $kind})-[n:FOLLOWED_BY]->(b:EntropyStep)
WHERE n.version <> $version
DELETE n`

	removeNodes = `MATCH (s:EntropyStep {kind: $kind})
WHERE s.version <> $version
DETACH DELETE s`

	// constraint makes merging fast and unique. It is Neo4j's own; where a database
	// refuses it, merging works all the same.
	constraint = `CREATE CONSTRAINT entropy_step_id IF NOT EXISTS FOR (s:EntropyStep) REQUIRE s.id IS UNIQUE`
)

// batchRows bounds the rows of one statement.
const batchRows = 500

// plan returns the statements that make a database hold a graph, in their order.
func plan(g *Graph) []statement {
	version := g.At.UnixNano() / int64(time.Microsecond)
	ids := make([]string, len(g.Nodes))
	var nodes, nodeTimes, edges, edgeTimes, edgeChanges []map[string]any
	for i := range g.Nodes {
		n := &g.Nodes[i]
		ids[i] = identity(g.Kind, n)
		nodes = append(nodes, map[string]any{"id": ids[i], "kind": g.Kind, "role": n.Role, "step": n.Step,
			"count": n.Count, "share": n.Share, "entropy": n.Entropy, "version": version})
		if n.MedianMS != nil {
			nodeTimes = append(nodeTimes, map[string]any{"id": ids[i], "median_ms": *n.MedianMS})
		}
	}
	for i := range g.Edges {
		e := &g.Edges[i]
		row := func(more map[string]any) map[string]any {
			more["from_id"], more["to_id"] = ids[e.From], ids[e.To]
			return more
		}
		edges = append(edges, row(map[string]any{"count": e.Count, "p": e.P, "bits": e.Bits, "version": version}))
		if e.MedianMS != nil && e.P99MS != nil {
			edgeTimes = append(edgeTimes, row(map[string]any{"gap_median_ms": *e.MedianMS, "gap_p99_ms": *e.P99MS}))
		}
		if !e.ChangedAt.IsZero() {
			edgeChanges = append(edgeChanges, row(map[string]any{"changed_at": e.ChangedAt.UTC().Format(time.RFC3339Nano), "was": e.WasShare, "is_now": e.IsNowShare}))
		}
	}
	var all []statement
	for _, part := range []struct {
		cypher string
		rows   []map[string]any
	}{{mergeNodes, nodes}, {setNodeTimes, nodeTimes}, {mergeEdges, edges}, {setEdgeTimes, edgeTimes}, {setEdgeChanges, edgeChanges}} {
		for from := 0; from < len(part.rows); from += batchRows {
			rows := make([]any, 0, batchRows)
			for _, r := range part.rows[from:min(len(part.rows), from+batchRows)] {
				rows = append(rows, r)
			}
			all = append(all, statement{part.cypher, map[string]any{"rows": rows}})
		}
	}
	stale := map[string]any{"kind": g.Kind, "version": version}
	return append(all, statement{removeEdges, stale}, statement{removeNodes, stale})
}

// identity names a node over all graphs: no two kinds, roles or steps give the same.
func identity(kind string, n *Node) string {
	b, _ := json.Marshal([]string{kind, n.Role, n.Step}) // strings can always be encoded
	return string(b)
}
