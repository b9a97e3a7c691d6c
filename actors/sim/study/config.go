package study

import (
	"strconv"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Config says on what a workload is run, and how.
type Config struct {
	Workers    int            // all alike; 0 means 10
	Slots      int            // of each; 0 means 1
	CPUs       entropy.Amount // of each; 0 means one per slot
	GPUs       entropy.Amount // of each, whole ones; 0 means none
	Policy     string         // see [PolicyByName]; "" means "fabric". Planner goes before it
	Planner    Policy
	Scheduling entropy.Policy // of the fabric's policy: aging, gates, tenants, reservations, preemption
	Fail       float64        // share of attempts that fail, to be tried again by the fabric's defaults
	Grace      time.Duration  // of a preempted attempt; it starts over when it is chosen again
	Seed       uint64         // decides which attempts fail, and when
}

const (
	maxWorkers = 1_000_000
	maxSlots   = 1_000_000
)

func (c Config) withDefaults() Config {
	if c.Workers == 0 {
		c.Workers = 10
	}
	if c.Slots == 0 {
		c.Slots = 1
	}
	if c.CPUs == 0 {
		c.CPUs = entropy.Amount(c.Slots) * entropy.Unit
	}
	if c.Policy == "" {
		c.Policy = "fabric"
	}
	return c
}

func (c *Config) validate() error {
	switch {
	case c.Workers < 1 || c.Workers > maxWorkers || c.Slots < 1 || c.Slots > maxSlots:
		return entropy.Errorf(entropy.CodeInvalid, "%d workers of %d slots; there must be 1 to %d of each", c.Workers, c.Slots, maxWorkers)
	case c.CPUs < 0 || c.GPUs < 0 || c.GPUs%entropy.Unit != 0 || c.GPUs > 1000*entropy.Unit:
		return entropy.Errorf(entropy.CodeInvalid, "%s CPUs and %s GPUs a worker; the GPUs must be whole, and at most 1000", c.CPUs, c.GPUs)
	case !(c.Fail >= 0 && c.Fail < 1) || c.Grace < 0:
		return entropy.Errorf(entropy.CodeInvalid, "a share of %v that fails, a grace of %s", c.Fail, c.Grace)
	}
	if c.Planner == nil {
		p, err := PolicyByName(c.Policy)
		if err != nil {
			return err
		}
		c.Planner = p
	}
	return c.Scheduling.Validate()
}

// worker returns the worker with an index.
func (c *Config) worker(i int) *entropy.Worker {
	r := entropy.Resources{entropy.ResourceCPU: c.CPUs}
	if c.GPUs > 0 {
		r[entropy.ResourceGPU] = c.GPUs
	}
	return &entropy.Worker{ID: workerName(i), State: entropy.WorkerAlive, Slots: c.Slots, Resources: r}
}

func workerName(i int) entropy.WorkerID { return entropy.WorkerID("w" + strconv.Itoa(i+1)) }
