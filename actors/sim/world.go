package sim

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/entropy-fabric/entropy"
)

// world is one history in progress. It is used by one goroutine.
type world struct {
	cfg   Config
	rng   *rand.Rand
	shape shape
	loop
	trace trace

	policy  entropy.Policy
	disk    disk
	ctl     *control // nil while it is down
	workers []*worker
	client  client
	check   *checker
	tally   Tally
	faults  []Fault

	chaos       bool          // faults happen
	healedAt    time.Duration // when they stopped
	offset      time.Duration // by how much the wall clock is wrong
	steppedAt   time.Duration // when it was last set, or the power came back
	assignments int
	names       int
	steps       int
	broken      *Violation
}

// epoch is the true time at the start of every history.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// wall is what the control plane's host takes for the time.
func (w *world) wall() time.Time { return epoch.Add(w.now + w.offset) }

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

func (w *world) mutant(m Mutant) bool { return w.cfg.Mutant == m }

// between draws a time in [low, high).
func (w *world) between(low, high time.Duration) time.Duration { return between(w.rng, low, high) }

func between(r *rand.Rand, low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// name returns a name that is new in this history.
func (w *world) name(prefix string) string {
	w.names++
	return prefix + strconv.Itoa(w.names)
}

// Violation is a broken promise.
type Violation struct {
	Invariant string // its number in the specification
	Message   string
}

// Error returns the invariant and what broke it.
func (v *Violation) Error() string { return v.Invariant + ": " + v.Message }

// fail records the first broken promise; the history ends there.
func (w *world) fail(invariant, format string, args ...any) {
	if w.broken == nil {
		w.broken = &Violation{invariant, fmt.Sprintf(format, args...)}
		w.note("VIOLATION %s", w.broken)
	}
}

// Report is what came of a history.
type Report struct {
	Seed      uint64
	Violation *Violation // nil: every promise was kept
	Tail      []string   // the last events, oldest first; only with Config.Trace
	Faults    []Fault    // as planned, without those left out
	Steps     int
	Virtual   time.Duration // how long the history was, in its own time
	Events    int           // journaled
	Workers   int
	Jobs      int
	Hash      uint64 // of everything that happened: equal for equal configurations
	Tally     Tally
}

// newWorld draws everything that a seed decides beforehand.
func newWorld(cfg Config) *world {
	w := &world{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x656e74726f7079)), disk: newDisk(), tally: make(Tally),
		trace: trace{on: cfg.Trace, keep: cfg.Tail}, chaos: true}
	w.shape = drawShape(w.rng)
	if cfg.Calm {
		w.shape.drop, w.shape.dup, w.shape.late = 0, 0, 0
	}
	w.policy = w.drawPolicy()
	w.check = newChecker(w)
	w.buildWorkers()
	w.faults = w.planFaults()
	return w
}

// Run runs one history. Equal configurations give equal reports.
func Run(cfg Config) Report {
	w := newWorld(cfg.withDefaults())
	w.startControl()
	for _, wk := range w.workers {
		wk.boot()
	}
	w.client.start(w)
	w.scheduleFaults()
	w.at(w.shape.horizon, w.heal)
	w.run()
	return Report{Seed: cfg.Seed, Violation: w.broken, Tail: w.trace.tail(), Faults: w.remaining(), Steps: w.steps, Virtual: w.now,
		Events: int(w.disk.seq), Workers: w.shape.workers, Jobs: w.shape.jobs, Hash: w.trace.hash, Tally: w.tally}
}

// crashed turns a panic of the core into a broken promise: nothing that can be sent
// may bring the control plane down.
func (w *world) crashed() {
	if r := recover(); r != nil {
		w.fail(Crash, "%v\n%s", r, debug.Stack())
	}
}

// run goes on until the fabric is at rest after the healing, or a promise is broken.
func (w *world) run() {
	defer w.crashed()
	deadline := w.shape.horizon + w.patience()
	for w.broken == nil && w.step() {
		w.steps++
		if w.chaos {
			continue
		}
		if w.check.atRest() {
			w.check.final()
			return
		}
		if w.now > deadline {
			w.check.unrest()
			return
		}
	}
}

// patience is how long a healed fabric may take to come to rest (LIV-3): every
// job may use up its attempts one after the other where only one worker can run
// it, and wait for the longest backoff, for the wall clock to settle and for a
// lost worker.
func (w *world) patience() time.Duration {
	slots := 0
	for _, wk := range w.workers {
		slots += wk.slots
	}
	if w.shape.keyed > 0 || w.shape.needy > 0 || w.shape.maxRetrying > 0 || w.shape.maxRunning > 0 {
		slots = 1
	}
	attempts := 6*w.shape.jobs/slots + 6
	return 5*time.Minute + time.Duration(attempts)*(w.shape.longestRun+10*time.Second)
}
