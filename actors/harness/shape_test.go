package harness

import (
	"math/rand/v2"
	"time"
)

// shape is what one seed draws: sizes, times and the mix of faults.
type shape struct {
	hosts, jobs, slots int
	ttl, heartbeat     time.Duration
	horizon            time.Duration // length of the first phase
	longestRun         time.Duration
	order              order
	lag                float64
	yield              float64 // how often an actor lets others run between two of its messages
	read               float64 // how often reading the journal takes a while

	drop, dup, late float64 // of a message
	latest          time.Duration
	fsync           time.Duration // the longest
	slowSync        float64       // share of commits that take up to two seconds
	panics          float64       // share of appends of jobs under which the actor crashes

	crashes, pauses, powerCuts           int // of the control plane; of everything
	fullDisks, ioErrors, steps           int // of its disk; of its wall clock
	agentCrashes, reboots, suspends      int // of workers
	cuts, totalCuts                      int // links of one worker; of all
	isolating, artifacts                 float64
	lostStages                           int // how often what is staged is lost
	drains, forgeries                    int
	failing, breaking, refusing          float64 // shares of attempts that fail or break the worker, of pairs refused
	stop, discard, noRetry               float64 // shares of jobs
	canceled, delayed, impatient, retold float64
	after, needing, keyed, preemptible   float64
	held                                 float64
	policies                             int
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
	return shape{
		hosts: 1 + r.IntN(4), jobs: 2 + r.IntN(24), slots: 1 + r.IntN(3),
		ttl: ttl, heartbeat: ttl / 3,
		horizon:    time.Duration(10+r.IntN(35)) * time.Second,
		longestRun: longestRun(r, ttl),
		order:      order(r.IntN(int(orders))), lag: some(.4, .1), yield: some(.5, 1), read: some(.4, .3),
		drop: some(.6, .3), dup: some(.6, .25), late: some(.5, .15), latest: time.Duration(1+r.IntN(15)) * time.Second,
		fsync: time.Duration(1+r.IntN(20)) * time.Millisecond, slowSync: some(.3, .1), panics: some(.15, .05),
		crashes: count(.5, 4), pauses: count(.3, 3), powerCuts: count(.15, 2),
		fullDisks: count(.2, 2), ioErrors: count(.2, 2), steps: count(.15, 2),
		agentCrashes: count(.4, 4), reboots: count(.4, 3), suspends: count(.3, 3),
		cuts: count(.6, 8), isolating: some(.5, .4), artifacts: some(.4, .8), lostStages: count(.3, 5), totalCuts: count(.15, 2), drains: count(.2, 3), forgeries: count(.3, 4),
		failing: some(.6, .5), breaking: some(.3, .3), refusing: some(.3, .4),
		stop: some(.4, 1), discard: some(.2, 1), noRetry: some(.3, .6),
		canceled: some(.4, .3), delayed: some(.4, .5), impatient: some(.3, .4), retold: some(.4, .5),
		after: some(.3, .6), needing: some(.3, .6), keyed: some(.2, .4), preemptible: some(.3, .8), held: some(.3, .3),
		policies: count(.2, 3),
	}
}

// longestRun draws short jobs, or such as outlast a lease.
func longestRun(r *rand.Rand, ttl time.Duration) time.Duration {
	if r.IntN(2) == 0 {
		return time.Duration(1+r.IntN(12)) * time.Second
	}
	return ttl + time.Duration(r.Int64N(int64(2*ttl)))
}
