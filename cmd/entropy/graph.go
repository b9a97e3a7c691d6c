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

It is learned from a file of events in the envelope, one JSON object a line ("-" is
the standard input), as entropy generate and entropy events -o jsonl write them.

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
	c := &cobra.Command{Use: "graph KIND --events FILE", Short: "Show the order of steps as a graph", Long: graphLong, Args: argument(1, 1, "the kind of entities")}
	f := c.Flags()
	f.StringVar(&events, "events", "", "learn from this `FILE`, JSON lines")
	f.IntVar(&nodes, "nodes", graph.DefaultNodes, "show at most so many `STEPS`, the most frequent")
	f.IntVar(&edges, "edges", graph.DefaultEdges, "show at most so many `TRANSITIONS`, the most frequent")
	f.StringVarP(&format, "output", "o", outputText, "`FORMAT` of the output: text, json, jsonl, dot or graphml")
	bolt.add(f)
	return a.command(c, func(ctx context.Context, args []string) error {
		if !slices.Contains(append([]string{outputDOT, outputGraphML}, outputs...), format) {
			return usagef("--output is %q", format).WithHint("it is text, json, jsonl, dot or graphml")
		}
		if events == "" || nodes < 2 || edges < 1 {
			return usagef("--events names a file, --nodes is 2 or more, --edges 1 or more").WithHint("entropy graph %s --events events.jsonl", args[0])
		}
		an, newest, err := a.learn(events, analyzer.Config{})
		if err != nil {
			return err
		}
		an.Advance(newest.AddDate(1, 0, 0)) // the file is all there is: what is open has ended
		g, ok := an.Graph(args[0])
		if !ok {
			return entropy.Errorf(entropy.CodeNotFound, "no case of the kind %q is in the events", args[0]).WithHint("kinds with cases are: %s; an event belongs to a case by its correlation_id", kindWords(an))
		}
		if bolt.url == "" {
			return a.writeGraph(g.Bound(nodes, edges), format)
		}
		if err := bolt.write(ctx, a, g, a.now()); err != nil {
			return err
		}
		return a.printf("wrote %d steps and %d transitions of %s\n", len(g.Nodes), len(g.Edges), printable(g.Kind))
	})
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
		return a.printf("%s", g.DOT())
	case outputGraphML:
		text, err := g.GraphML()
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
