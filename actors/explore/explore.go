package explore

import (
	"fmt"
	"slices"

	"github.com/entropy-fabric/entropy"
)

// Config says what to explore.
type Config struct {
	Name        string
	Spec        entropy.JobSpec
	After       bool      // the job waits for the success of another
	Assignments int       // at most so many; 0 means 2, the most is 4
	Outcomes    []Outcome // how executions end; empty means success and failure
	Depth       int       // commands from the beginning, what happens outside not counted; 0 means 64
	MaxStates   int       // the search ends there, unfinished; 0 means 2,000,000
	Mutant      Mutant
}

func (c Config) withDefaults() Config {
	if c.Assignments == 0 {
		c.Assignments = 2
	}
	if len(c.Outcomes) == 0 {
		c.Outcomes = []Outcome{Succeeded, Failed}
	}
	if c.Depth == 0 {
		c.Depth = 64
	}
	if c.MaxStates == 0 {
		c.MaxStates = 2_000_000
	}
	return c
}

// Violation is a broken promise and the shortest way to it.
type Violation struct {
	Invariant string
	Message   string
	Path      []string // the steps
}

// Error returns the invariant and what broke it.
func (v *Violation) Error() string { return v.Invariant + ": " + v.Message }

// Result is what an exploration has found.
type Result struct {
	States    int        // different ones, the first included
	Steps     int        // that were tried
	Ended     int        // states in which the job has ended
	Depth     int        // of the deepest state
	Exhausted bool       // there is no further state, at whatever depth
	Violation *Violation // the first, in the order of depth; nil: every promise holds
}

// String describes the result in one line.
func (r Result) String() string {
	return fmt.Sprintf("states=%d steps=%d ended=%d depth=%d exhausted=%t", r.States, r.Steps, r.Ended, r.Depth, r.Exhausted)
}

// node is how a state was reached.
type node struct {
	parent int32
	step   string
}

// search is an exploration in progress.
type search struct {
	cfg   Config
	seen  map[string]bool
	nodes []node
	cut   bool // there are states beyond the limits
	res   Result
}

// Run explores, breadth first: every state within Config.Depth steps, or until one
// breaks a promise. It is deterministic.
func Run(cfg Config) Result {
	x := &search{cfg: cfg.withDefaults(), seen: make(map[string]bool)}
	first := &state{job: &entropy.Job{ID: "j"}, shadow: newShadow()}
	first.inc, first.reg = [workers]uint8{1, 1}, [workers]uint8{1, 1}
	if cfg.After {
		first.up = &entropy.Job{ID: "up", State: entropy.Running}
	}
	x.seen[first.key()] = true
	x.nodes = append(x.nodes, node{parent: -1})
	x.res.States = 1
	frontier, ids := []*state{first}, []int32{0}
	for depth := 0; depth <= x.cfg.Depth && len(frontier) > 0 && x.res.Violation == nil; depth++ {
		x.res.Depth = depth
		frontier, ids = x.level(frontier, ids, depth == x.cfg.Depth)
	}
	x.res.Exhausted = len(frontier) == 0 && !x.cut && x.res.Violation == nil
	return x.res
}

// level expands the states that are as many commands away from the beginning, and
// those to which they lead without one, and returns those one command further;
// at the last level none.
func (x *search) level(frontier []*state, ids []int32, last bool) (next []*state, nextIDs []int32) {
	for f := 0; f < len(frontier); f++ {
		s := frontier[f]
		frontier[f] = nil
		w := walker{cfg: &x.cfg, s: s}
		w.expand()
		x.res.Steps += len(w.out)
		if b := x.stuck(s, w.out); b != nil {
			x.violated(ids[f], "nothing can happen any more", b)
			return nil, nil
		}
		for i := range w.out {
			o := &w.out[i]
			if o.broken != nil {
				x.violated(ids[f], o.step, o.broken)
				return nil, nil
			}
			if o.command && last {
				x.cut = x.cut || !x.seen[o.state.key()]
				continue
			}
			if !x.isNew(o, ids[f]) {
				continue
			}
			if x.cut = x.cut || x.res.States >= x.cfg.MaxStates; x.cut {
				return nil, nil
			}
			id := int32(len(x.nodes) - 1)
			if o.command {
				next, nextIDs = append(next, o.state), append(nextIDs, id)
			} else {
				frontier, ids = append(frontier, o.state), append(ids, id)
			}
		}
	}
	return next, nextIDs
}

// isNew enters a state that was not seen before.
func (x *search) isNew(o *successor, parent int32) bool {
	k := o.state.key()
	if x.seen[k] {
		return false
	}
	x.seen[k] = true
	x.res.States++
	if o.state.job.State.Terminal() {
		x.res.Ended++
	}
	x.nodes = append(x.nodes, node{parent, o.step})
	return true
}

// stuck reports a job that has not ended and to which nothing can happen, people's
// wishes apart. Where the number of assignments is used up it may be so.
func (x *search) stuck(s *state, out []successor) *broken {
	j := s.job
	if j.State.Terminal() || j.State == "" || j.Held || s.n == x.cfg.Assignments {
		return nil
	}
	moves := func(o successor) bool { return o.moved && o.step != "cancel" && o.step != "hold" || !o.command }
	if slices.ContainsFunc(out, moves) {
		return nil
	}
	return breaks("LIV-1", "the job is %s and only people can move it", j.State)
}

func (x *search) violated(at int32, step string, b *broken) {
	path := []string{step}
	for i := at; i > 0; i = x.nodes[i].parent {
		path = append(path, x.nodes[i].step)
	}
	slices.Reverse(path)
	x.res.Violation = &Violation{b.invariant, b.message, path}
}
