package sim

import (
	"math"
	"math/rand/v2"
	"time"
)

// shape is what one seed draws: sizes, times and the mix of faults. Every kind of
// fault and of wish is absent in some seeds, so that the others are seen alone.
type shape struct {
	workers, jobs  int
	slots          int // at most, of each worker
	ttl, heartbeat time.Duration
	horizon        time.Duration // length of the first phase
	longestRun     time.Duration
	bytes          bool // every event and record passes through its JSON

	drop, dup, late float64 // of a message
	latest          time.Duration
	forged          float64       // of a worker's messages: another worker sends it as its own
	fsync           time.Duration // the longest
	slowSync        float64       // share of commits that take up to a second

	crashes, pauses, powerCuts   int // of the control plane; of everything
	agentCrashes, reboots        int // of workers
	suspends, rumors, badSpools  int
	cuts, flaps, splits, swizzle int  // of links
	diskErrors, diskFull, slow   int  // of the journal
	steps                        int  // of the wall clock
	gossips                      bool // and notices who is gone

	failing, breaking, refusing  float64 // share of attempts that fail, that break the worker, of pairs refused
	stop, discard, noRetry       float64 // shares of jobs
	canceled, delayed, impatient float64
	after, held, reprioritized   float64
	preemptible, keyed, needy    float64
	operated                     int // drains, quarantines, pauses of a queue
	preempts, reserves, gates    bool
	tenants                      int
	reference                    bool // the simplest planner instead of the fabric's
	maxRetrying, maxRunning      int  // 0: no limit
}

// drawing draws a shape.
type drawing struct{ *rand.Rand }

// some draws a share, or none at all.
func (r drawing) some(p, most float64) float64 {
	if r.Float64() < p {
		return r.Float64() * most
	}
	return 0
}

func (r drawing) count(p float64, most int) int {
	if r.Float64() < p {
		return 1 + r.IntN(most)
	}
	return 0
}

// size draws from 1 to most so that every order of magnitude is as likely, bent
// towards the small: most histories should be cheap.
func (r drawing) size(least, most, bend float64) int {
	return int(least * math.Exp(math.Pow(r.Float64(), bend)*math.Log((most+1)/least)))
}

func drawShape(rng *rand.Rand) shape {
	r := drawing{rng}
	ttl := []time.Duration{3 * time.Second, 6 * time.Second, 15 * time.Second}[r.IntN(3)]
	s := shape{
		workers: r.size(1, 20, 2), jobs: r.size(2, 300, 2.2), slots: 1 + r.IntN(3),
		ttl: ttl, heartbeat: ttl / 3,
		horizon:    time.Duration(15+r.IntN(45)) * time.Second,
		longestRun: time.Duration(1+r.IntN(14)) * time.Second,
		bytes:      r.IntN(4) == 0,
		fsync:      time.Duration(1+r.IntN(20)) * time.Millisecond, slowSync: r.some(.3, .1),
		latest: time.Duration(1+r.IntN(15)) * time.Second,
	}
	if r.IntN(2) == 0 { // longer than a lease may last unrenewed
		s.longestRun = time.Duration((.5 + 1.5*r.Float64()) * float64(ttl))
	}
	if s.jobs > 40 { // a large history must end: its jobs are short
		s.longestRun = min(s.longestRun, 4*time.Second)
	}
	s.drawFaults(r)
	s.drawWishes(r)
	if r.IntN(8) == 0 {
		s.besiege(r)
	}
	return s
}

// besiege draws what chance seldom brings together: few long jobs that must not
// run twice at once, on workers that are cut off and suspended again and again.
func (s *shape) besiege(r drawing) {
	s.workers, s.jobs, s.slots = 2+r.IntN(4), 2+r.IntN(8), 2
	s.longestRun, s.horizon = 3*s.ttl, 6*s.ttl
	s.stop, s.keyed, s.failing, s.refusing, s.impatient = .9, r.Float64(), 0, 0, 0
	s.cuts, s.suspends, s.rumors, s.gossips, s.flaps = 2+r.IntN(8), r.IntN(6), r.IntN(4), r.IntN(2) == 0, r.IntN(2)
}

func (s *shape) drawFaults(r drawing) {
	s.drop, s.dup, s.late, s.forged = r.some(.6, .3), r.some(.6, .25), r.some(.5, .15), r.some(.2, .1)
	s.crashes, s.pauses, s.powerCuts = r.count(.5, 4), r.count(.3, 3), r.count(.15, 2)
	s.agentCrashes, s.reboots = r.count(.4, 5), r.count(.4, 4)
	s.suspends, s.rumors, s.badSpools = r.count(.3, 3), r.count(.2, 3), r.count(.2, 3)
	s.gossips = r.IntN(2) == 0
	s.cuts, s.flaps, s.splits, s.swizzle = r.count(.4, 6), r.count(.2, 2), r.count(.15, 2), r.count(.1, 1)
	s.diskErrors, s.diskFull, s.slow = r.count(.2, 2), r.count(.2, 2), r.count(.2, 2)
	s.steps = r.count(.15, 2)
}

func (s *shape) drawWishes(r drawing) {
	s.failing, s.breaking, s.refusing = r.some(.6, .5), r.some(.3, .3), r.some(.3, .4)
	s.stop, s.discard, s.noRetry = r.some(.4, 1), r.some(.2, 1), r.some(.3, .6)
	s.canceled, s.delayed, s.impatient = r.some(.4, .3), r.some(.4, .5), r.some(.3, .4)
	s.after, s.held, s.reprioritized = r.some(.4, .5), r.some(.3, .3), r.some(.3, .4)
	s.preemptible, s.keyed, s.needy = r.some(.5, 1), r.some(.3, .5), r.some(.4, .8)
	s.operated = r.count(.3, 4)
	s.preempts, s.reserves, s.gates = r.IntN(3) == 0, r.IntN(5) == 0, r.IntN(6) == 0
	s.tenants = 1 + r.IntN(3)
	s.reference = r.IntN(4) == 0
	if r.IntN(4) == 0 {
		s.maxRetrying = 1 + r.IntN(4)
	}
	if r.IntN(4) == 0 {
		s.maxRunning = 1 + r.IntN(4)
	}
}

// limitedQueue is the only queue that has limits.
const limitedQueue = "limited"
