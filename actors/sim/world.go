package sim

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// world is one history in progress. It is used by one goroutine.
type world struct {
	cfg   Config
	rng   *rand.Rand
	shape shape
	loop
	trace trace

	disk    disk
	ctl     *control // nil while it is down
	workers []*worker
	client  client
	check   *checker
	tally   Tally

	chaos       bool // faults happen
	assignments int
	names       int
	steps       int
	broken      *Violation
}

// epoch is the wall clock at the start of every history.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (w *world) wall() time.Time { return epoch.Add(w.now) }

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// between draws a time in [low, high).
func (w *world) between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(w.rng.Int64N(int64(high-low)))
}

// name returns a name that is new in this history.
func (w *world) name(prefix string) string {
	w.names++
	return fmt.Sprintf("%s%d", prefix, w.names)
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
	Tail      []string   // the last events, oldest first
	Steps     int
	Virtual   time.Duration // how long the history was, in its own time
	Events    int           // journaled
	Jobs      int
	Hash      uint64 // of everything that happened: equal for equal configurations
	Tally     Tally
}

// Run runs one history. Equal configurations give equal reports.
func Run(cfg Config) Report {
	cfg = cfg.withDefaults()
	w := &world{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x656e74726f7079)), disk: newDisk(), tally: make(Tally),
		trace: trace{keep: cfg.Tail}, chaos: true}
	w.shape = drawShape(w.rng)
	w.check = newChecker(w)
	w.buildWorkers()
	w.startControl()
	for _, wk := range w.workers {
		wk.boot()
	}
	w.client.start(w)
	w.scheduleFaults()
	w.at(w.shape.horizon, w.heal)
	w.run()
	return Report{Seed: cfg.Seed, Violation: w.broken, Tail: w.trace.tail(), Steps: w.steps, Virtual: w.now,
		Events: len(w.disk.log), Jobs: w.shape.jobs, Hash: w.trace.hash, Tally: w.tally}
}

// run goes on until the fabric is at rest after the healing, or a promise is broken.
func (w *world) run() {
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
			w.check.liveness()
			return
		}
	}
}

// patience is how long a healed fabric may take to come to rest: every job may use
// up its attempts one after the other, and the longest backoff and lost timeout.
func (w *world) patience() time.Duration {
	slots := 0
	for _, wk := range w.workers {
		slots += wk.slots
	}
	attempts := 6*w.shape.jobs/slots + 6
	return 2*time.Minute + time.Duration(attempts)*(w.shape.longestRun+10*time.Second)
}
