package sim

import (
	"time"
)

// Config says which history to run.
type Config struct {
	Seed    uint64                      // decides everything
	Mutant  Mutant                      // a protection to take away; "" takes none
	Planner func(now time.Time) Planner // makes who chooses, once per life of the control plane; nil means the fabric's own, and in every fourth history [NewReference]
	Without []int                       // numbers of planned faults to leave out, as [Shrink] does
	Calm    bool                        // the network loses, repeats and delays nothing
	Trace   bool                        // write down what happens; Report.Tail is empty without it
	Tail    int                         // how many of the last events to keep for the report; 0 means 50

	swarm bool // the seed chooses the planner
}

func (c Config) withDefaults() Config {
	if c.Planner == nil {
		c.Planner, c.swarm = NewFabric, true
	}
	if c.Tail == 0 {
		c.Tail = 50
	}
	return c
}

// agingStep is by how much one point of priority puts a job forward in the queue.
const agingStep = 10 * time.Second
