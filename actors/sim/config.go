package sim

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Config says which history to run.
type Config struct {
	Seed    uint64  // decides everything
	Mutant  Mutant  // a protection to take away; "" takes none
	Planner Planner // who gets what; nil means [ByPriority]
	Tail    int     // how many of the last events to keep for the report; 0 means 60
}

func (c Config) withDefaults() Config {
	if c.Planner == nil {
		c.Planner = ByPriority
	}
	if c.Tail == 0 {
		c.Tail = 60
	}
	return c
}

// Planner chooses, from the queue, the jobs that a worker gets: at most want, each
// of which the worker can run. It must not change or keep its arguments.
type Planner func(queue []*entropy.Job, w *entropy.Worker, want int) []*entropy.Job

// agingStep is by how much one point of priority puts a job forward in the queue.
const agingStep = 10 * time.Second

// ByPriority is the fabric's order: by the static key of waiting time and priority.
func ByPriority(queue []*entropy.Job, w *entropy.Worker, want int) []*entropy.Job {
	var fit []*entropy.Job
	for _, j := range queue {
		if w.Offers(&j.Spec) && !j.Excludes(w.ID) {
			fit = append(fit, j)
		}
	}
	key := func(j *entropy.Job) time.Time {
		return j.EligibleAt.Add(-time.Duration(j.Spec.Priority) * agingStep)
	}
	slices.SortStableFunc(fit, func(a, b *entropy.Job) int { return cmp.Or(key(a).Compare(key(b)), cmp.Compare(a.ID, b.ID)) })
	return fit[:min(want, len(fit))]
}

// shape is what one seed draws: sizes, times and the mix of faults.
type shape struct {
	workers, jobs  int
	slots          int // at most, of each worker
	ttl, heartbeat time.Duration
	horizon        time.Duration // length of the first phase
	longestRun     time.Duration

	drop, dup, late float64 // of a message
	latest          time.Duration
	fsync           time.Duration // the longest
	slowSync        float64       // share of commits that take up to a second

	crashes, pauses, powerCuts  int // of the control plane; of everything
	agentCrashes, reboots, cuts int // of workers

	failing, breaking, refusing  float64 // share of attempts that fail, that break the worker, of pairs refused
	stop, discard, noRetry       float64 // shares of jobs
	canceled, delayed, impatient float64
}

// drawShape draws a mix. Every kind of fault is absent in some seeds, so that
// the others are seen alone.
func drawShape(r *rand.Rand) shape {
	some := func(p, most float64) float64 {
		if r.Float64() < p {
			return r.Float64() * most
		}
		return 0
	}
	count := func(p float64, most int) int {
		if r.Float64() < p {
			return 1 + r.IntN(most)
		}
		return 0
	}
	ttl := []time.Duration{3 * time.Second, 6 * time.Second, 15 * time.Second}[r.IntN(3)]
	s := shape{
		workers: 1 + r.IntN(4), jobs: 2 + r.IntN(16), slots: 1 + r.IntN(3),
		ttl: ttl, heartbeat: ttl / 3,
		horizon:    time.Duration(15+r.IntN(45)) * time.Second,
		longestRun: time.Duration(1+r.IntN(14)) * time.Second,
		drop:       some(.6, .3), dup: some(.6, .25), late: some(.5, .15), latest: time.Duration(1+r.IntN(15)) * time.Second,
		fsync: time.Duration(1+r.IntN(20)) * time.Millisecond, slowSync: some(.3, .1),
		crashes: count(.5, 4), pauses: count(.3, 3), powerCuts: count(.15, 2),
		agentCrashes: count(.4, 5), reboots: count(.4, 4), cuts: count(.5, 6),
		failing: some(.6, .5), breaking: some(.3, .3), refusing: some(.3, .4),
		stop: some(.4, 1), discard: some(.2, 1), noRetry: some(.3, .6),
		canceled: some(.4, .3), delayed: some(.4, .5), impatient: some(.3, .4),
	}
	return s
}
