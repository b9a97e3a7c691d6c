package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer"
	"github.com/entropy-fabric/entropy/actors/analyzer/graph"
)

const graphLong = `Show which step of a kind of entities follows which: how often, how surprising that
is, how long it takes, and what changed last.

It is what the control plane has learned or, with --events, what a file of events in
the envelope teaches, one JSON object a line ("-" is the standard input), as entropy
generate and entropy events -o jsonl write them.

-o dot is for Graphviz, -o graphml for Gephi, yEd and networkx, -o json for programs:

  entropy graph supplier --events events.jsonl -o dot | dot -Tsvg > order.svg

--graph-bolt writes it into a graph database that speaks Bolt (Neo4j, Memgraph) instead:
what the database holds of that kind is replaced, in one transaction. Steps are
(:EntropyStep), transitions [:FOLLOWED_BY].`

// The formats that only a graph has.
const (
	outputDOT     = "dot"
	outputGraphML = "graphml"
)

func (a *app) graphCommand() *cobra.Command {
	var events, format string
	var nodes, edges int
	var bolt boltFlags
	c := &cobra.Command{Use: "graph KIND", Short: "Show the order of steps as a graph", Long: graphLong, Args: argument(1, 1, "the kind of entities")}
	f := c.Flags()
	f.StringVar(&events, "events", "", "learn from this `FILE`, JSON lines, without a control plane")
	f.IntVar(&nodes, "nodes", entropy.DefaultGraphNodes, "show at most so many `STEPS`, the most frequent")
	f.IntVar(&edges, "edges", entropy.DefaultGraphEdges, "show at most so many `TRANSITIONS`, the most frequent")
	f.StringVarP(&format, "output", "o", outputText, "`FORMAT` of the output: text, json, jsonl, dot or graphml")
	bolt.add(f)
	return a.command(c, func(ctx context.Context, args []string) error {
		if !slices.Contains(append([]string{outputDOT, outputGraphML}, outputs...), format) {
			return usagef("--output is %q", format).WithHint("it is text, json, jsonl, dot or graphml")
		}
		if nodes < 2 || edges < 1 || nodes > entropy.MaxGraphNodes || edges > entropy.MaxGraphEdges {
			return usagef("--nodes is from 2 to %d, --edges from 1 to %d", entropy.MaxGraphNodes, entropy.MaxGraphEdges)
		}
		g, err := a.graphOf(ctx, args[0], events, nodes, edges)
		if err != nil {
			return err
		}
		if bolt.url == "" {
			return a.writeGraph(g, format)
		}
		if err := bolt.write(ctx, a, g, a.now()); err != nil {
			return err
		}
		return a.printf("wrote %d steps and %d transitions of %s\n", len(g.Nodes), len(g.Edges), printable(g.Kind))
	})
}

// graphOf returns the graph of a kind, learned from a file or, when none is named, as
// the control plane has it.
func (a *app) graphOf(ctx context.Context, kind, events string, nodes, edges int) (*graph.Graph, error) {
	if events == "" {
		service, err := a.entropyService()
		if err != nil {
			return nil, err
		}
		g, err := service.EntropyGraph(ctx, kind, nodes, edges)
		return &g, err
	}
	an, newest, err := a.learn(events, analyzer.Config{})
	if err != nil {
		return nil, err
	}
	an.Advance(newest.AddDate(1, 0, 0)) // the file is all there is: what is open has ended
	g, ok := an.Graph(kind)
	if !ok {
		return nil, entropy.Errorf(entropy.CodeNotFound, "no case of the kind %q is in the events", kind).WithHint("kinds with cases are: %s; an event belongs to a case by its correlation_id", kindWords(an))
	}
	return graph.Bound(g, nodes, edges), nil
}

func kindWords(an *analyzer.Analyzer) string {
	kinds := an.Kinds()
	if len(kinds) == 0 {
		return "none"
	}
	return printable(strings.Join(kinds[:min(20, len(kinds))], ", "))
}

func (a *app) writeGraph(g *graph.Graph, format string) error {
	switch format {
	case outputDOT:
		return a.printf("%s", graph.DOT(g))
	case outputGraphML:
		text, err := graph.GraphML(g)
		if err != nil {
			return err
		}
		return a.printf("%s", text)
	}
	a.global.output = format
	return a.one(g, func() error { return a.drawGraph(g) })
}

func (a *app) drawGraph(g *graph.Graph) error {
	name := map[string]string{}
	for _, n := range g.Nodes {
		name[n.ID] = n.Step
	}
	t := new(table)
	t.row("STEP", "THEN", "COUNT", "SHARE", "BITS", "HALF WITHIN", "99 % WITHIN", "CHANGED")
	for _, e := range g.Edges {
		half, most, change := "", "", ""
		if e.Median != nil && e.P99 != nil {
			half, most = msWords(*e.Median), msWords(*e.P99)
		}
		if e.Change != nil {
			change = decimal(100*e.Change.Was, 0) + " % → " + decimal(100*e.Change.Is, 0) + " %"
		}
		t.row(name[e.From], name[e.To], decimal(e.Count, 0), decimal(100*e.P, 1)+" %", decimal(e.Bits, 1), half, most, change)
	}
	if err := t.write(a.stdout); err != nil {
		return err
	}
	if err := a.printf("\n%d cases ended, %.0f steps, %.2f bits a transition\n", g.Cases, g.Events, g.Rate); err != nil {
		return err
	}
	if left := g.LeftOut.String(); left != "" {
		return a.printf("%s (--nodes and --edges show more)\n", left)
	}
	return nil
}
