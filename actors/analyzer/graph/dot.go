package graph

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/entropy-fabric/entropy/actors/analyzer/detect"
)

// DOT returns the graph in the language of Graphviz: the more often a
// transition, the thicker; what changed is red.
func DOT(g *Graph) []byte {
	var b strings.Builder
	title := fmt.Sprintf("%s: %d cases, %.2f bits a step", g.Kind, g.Cases, g.Rate)
	if left := g.LeftOut.String(); left != "" {
		title += "\n" + left
	}
	fmt.Fprintf(&b, "digraph %s {\n\trankdir=LR;\n\tlabelloc=t;\n\tlabel=%s;\n", quote(g.Kind), quote(title))
	b.WriteString("\tnode [fontname=\"Helvetica\", shape=box, style=rounded];\n\tedge [fontname=\"Helvetica\", fontsize=10];\n")
	for i := range g.Nodes {
		n := &g.Nodes[i]
		fmt.Fprintf(&b, "\t%s [label=%s%s];\n", n.ID, quote(nodeWords(n)), shape(n))
	}
	for i := range g.Edges {
		e := &g.Edges[i]
		fmt.Fprintf(&b, "\t%s -> %s [label=%s, penwidth=%.1f%s];\n", e.From, e.To, quote(edgeWords(e)), 0.5+3*e.P, color(e))
	}
	b.WriteString("}\n")
	return []byte(b.String())
}

func nodeWords(n *Node) string {
	w := n.Step
	if n.Role == Start || n.Role == End {
		return w
	}
	w += fmt.Sprintf("\n%.0f, %s", n.Count, share(n.Share))
	if n.Median != nil {
		w += ", half in " + detect.Words(duration(*n.Median))
	}
	return w + fmt.Sprintf("\n%.2f bits", n.Entropy)
}

func shape(n *Node) string {
	switch n.Role {
	case Start, End:
		return ", shape=circle"
	case Other:
		return ", style=dashed"
	}
	return ""
}

func edgeWords(e *Edge) string {
	w := fmt.Sprintf("%s, %.1f bits", share(e.P), e.Bits)
	if e.Median != nil && e.P99 != nil {
		w += fmt.Sprintf("\n%s, 99 %% %s", detect.Words(duration(*e.Median)), detect.Words(duration(*e.P99)))
	}
	if e.Change != nil {
		w += fmt.Sprintf("\n%s → %s", share(e.Change.Was), share(e.Change.Is))
	}
	return w
}

func color(e *Edge) string {
	if e.Change != nil {
		return ", color=red, fontcolor=red"
	}
	return ""
}

func duration(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

func share(p float64) string {
	if p >= 0.1 || p == 0 {
		return fmt.Sprintf("%.0f %%", 100*p)
	}
	return fmt.Sprintf("%s %%", trimmed(100*p))
}

// trimmed writes a number to two digits, without an exponent.
func trimmed(x float64) string {
	digits := max(0, 1-int(math.Floor(math.Log10(math.Abs(x)))))
	return fmt.Sprintf("%.*f", min(digits, 6), x)
}

// clean replaces what is no printable text: control characters but newlines,
// and bytes that are not UTF-8.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || r == '\ufffe' || r == '\uffff' || unicode.Is(unicode.Bidi_Control, r)) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}

// dotEscapes are those of a label (an escString): a backslash begins \N or \l,
// and an ampersand an entity of HTML.
var dotEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "&", "&amp;", "\n", `\n`)

// quote makes a string of DOT that shows s as it is, and nothing else.
func quote(s string) string { return `"` + dotEscapes.Replace(clean(s)) + `"` }
