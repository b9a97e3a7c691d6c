package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/entropy-fabric/entropy/actors/analyzer/graph"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/persistence/graphdb"
)

// boltFlags say where a graph database is.
type boltFlags struct {
	url, credentials, database string
}

func (b *boltFlags) add(f *pflag.FlagSet) {
	f.StringVar(&b.url, "graph-bolt", "", "write it into the graph database at this `URL`, as in bolt://localhost:7687 or bolt+s://HOST")
	f.StringVar(&b.credentials, "graph-credentials", "", "`FILE` with USER:PASSWORD for it, which only its owner may read")
	f.StringVar(&b.database, "graph-database", "", "`NAME` of the database in it (default: the user's own)")
}

// write makes the database hold a graph, taken at a time.
func (b *boltFlags) write(ctx context.Context, a *app, g *graph.Graph, at time.Time) error {
	c := graphdb.Config{URL: b.url, Database: b.database, Note: func(s string) { a.notef("%s", printable(s)) }}
	if b.credentials != "" {
		secret, err := identity.ReadSecretFile(b.credentials)
		if err != nil {
			return missingFile(err, "write USER:PASSWORD into it, readable by you alone")
		}
		user, password, ok := strings.Cut(secret, ":")
		if !ok || user == "" || password == "" {
			return usagef("%s does not hold USER:PASSWORD", b.credentials).WithHint("write both on one line, with a colon between them")
		}
		c.User, c.Password = user, password
	}
	sink, err := graphdb.Open(ctx, c)
	if err != nil {
		return err
	}
	defer sink.Close(ctx)
	return sink.Write(ctx, boltGraph(g, at))
}

// boltGraph returns a graph as the database takes it.
func boltGraph(g *graph.Graph, at time.Time) *graphdb.Graph {
	b := &graphdb.Graph{Kind: g.Kind, At: at}
	index := map[string]int{}
	for i, n := range g.Nodes {
		index[n.ID] = i
		b.Nodes = append(b.Nodes, graphdb.Node{Role: n.Role, Step: n.Step, Count: n.Count, Share: n.Share, Entropy: n.Entropy, MedianMS: n.Median})
	}
	for _, e := range g.Edges {
		edge := graphdb.Edge{From: index[e.From], To: index[e.To], Count: e.Count, P: e.P, Bits: e.Bits, MedianMS: e.Median, P99MS: e.P99}
		if e.Change != nil {
			edge.ChangedAt, edge.WasShare, edge.IsNowShare = e.Change.At, e.Change.Was, e.Change.Is
		}
		b.Edges = append(b.Edges, edge)
	}
	return b
}
