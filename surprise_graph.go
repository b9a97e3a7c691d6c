package entropy

import (
	"fmt"
	"time"
)

// EntropyGraph is which step of one kind of entities follows which.
type EntropyGraph struct {
	Kind    string       `json:"kind"`
	Cases   int          `json:"cases"`        // that have ended
	Events  float64      `json:"events"`       // steps that were counted
	Rate    float64      `json:"entropy_rate"` // bits per transition: how open it is, on average, what follows
	Nodes   []GraphNode  `json:"nodes"`
	Edges   []GraphEdge  `json:"edges"`
	LeftOut GraphLeftOut `json:"left_out"`
}

// The roles of a node. A step may call itself "(start)": the role tells.
const (
	GraphStep  = "step"
	GraphStart = "start" // before the first step of a case
	GraphEnd   = "end"   // after the last
	GraphOther = "other" // all steps beyond the limit of what is told apart
)

// GraphNode is a step, or an end of the cases.
type GraphNode struct {
	ID      string   `json:"id"` // within this graph
	Role    string   `json:"role"`
	Step    string   `json:"step"`
	Count   float64  `json:"count"`
	Share   float64  `json:"share"`     // of all steps; of the ends, of all cases
	Entropy float64  `json:"entropy"`   // of what follows, bits
	Median  *float64 `json:"median_ms"` // of how long the step takes; nil: not known
}

// GraphEdge is a transition.
type GraphEdge struct {
	From   string       `json:"from"` // ID of a node
	To     string       `json:"to"`
	Count  float64      `json:"count"`
	P      float64      `json:"p"`             // share of what followed From
	Bits   float64      `json:"bits"`          // -log2 p
	Median *float64     `json:"gap_median_ms"` // from one to the other; nil: not known
	P99    *float64     `json:"gap_p99_ms"`
	Change *GraphChange `json:"change"` // nil: it is not among what changed last
}

// GraphChange is that the share of a transition became another one.
type GraphChange struct {
	At  time.Time `json:"at"` // when it was confirmed
	Was float64   `json:"was"`
	Is  float64   `json:"is"`
}

// GraphLeftOut says what a bound has kept out of a graph.
type GraphLeftOut struct {
	Nodes       int     `json:"nodes"`
	Edges       int     `json:"edges"`
	Transitions float64 `json:"transitions"` // share of all that were counted
}

// String says it in words, and nothing when nothing was left out.
func (l GraphLeftOut) String() string {
	if l.Nodes == 0 && l.Edges == 0 {
		return ""
	}
	return fmt.Sprintf("left out: %d steps and %d transitions, %.2g %% of what was counted", l.Nodes, l.Edges, 100*l.Transitions)
}

// How many nodes and edges of a graph are shown when nothing else is asked for, and at
// most.
const (
	DefaultGraphNodes = 100
	DefaultGraphEdges = 400
	MaxGraphNodes     = 1100
	MaxGraphEdges     = 10_000
)

// EntropyDue is a due time of what runs rarely by itself, and what became of it.
type EntropyDue struct {
	EntityID string     `json:"entity_id"`
	Step     string     `json:"step"`
	Status   string     `json:"status"`   // MET, LATE, MISSING or EXPECTED
	DueAt    time.Time  `json:"due_at"`   // half of its runs come before
	From     time.Time  `json:"from"`     // one in ten comes before
	To       time.Time  `json:"to"`       // one in ten comes after
	Until    time.Time  `json:"until"`    // the end of its window
	Window   float64    `json:"window_s"` // max(15 min, To - From), seconds
	Weekday  string     `json:"weekday"`
	N        int        `json:"n"`      // runs that tell it
	Pooled   bool       `json:"pooled"` // runs of all days of the week
	RanAt    *time.Time `json:"ran_at"` // nil: it did not
}

// EntropyDueList is a list of due times.
type EntropyDueList struct {
	Due []EntropyDue `json:"due"`
}

// MaxDue bounds a list of due times.
const MaxDue = 1000
