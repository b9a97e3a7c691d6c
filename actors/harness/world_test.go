package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entropy-fabric/entropy"
)

// world is one history in progress. Only the running goroutine touches it.
type world struct {
	rng    *rand.Rand
	shape  shape
	mutant mutant
	began  time.Time
	con    *conductor
	trace  trace

	disk   *disk
	stored stored
	ctl    *control // nil while it is down; starting or serving otherwise
	hosts  []*host
	client *client
	check  *checker
	tally  tally

	ahead atomic.Int64 // of the control plane's wall clock, in nanoseconds

	chaos  bool // faults happen
	healed time.Duration
	names  int
	over   bool
	broken *violation
}

// now is the virtual time since the history began.
func (w *world) now() time.Duration { return time.Since(w.began) }

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// between draws a time in [low, high), to the microsecond.
func (w *world) between(low, high time.Duration) time.Duration {
	if high-low < time.Microsecond {
		return low
	}
	return low + time.Duration(w.rng.Int64N(int64((high-low)/time.Microsecond)))*time.Microsecond
}

// name returns a name that is new in this history.
func (w *world) name(prefix string) string {
	w.names++
	return fmt.Sprintf("%s%d", prefix, w.names)
}

// after has f run on p when d has passed, unless p has died.
func (w *world) after(p *plane, d time.Duration, f func()) {
	wait := w.con.enter(p)
	time.AfterFunc(d, func() {
		if wait() {
			f()
		}
	})
}

// violation is a broken promise.
type violation struct {
	invariant string // its number in the specification
	message   string
}

func (v *violation) Error() string { return v.invariant + ": " + v.message }

// fail records the first broken promise; the history ends there.
func (w *world) fail(invariant, format string, args ...any) {
	if w.broken == nil {
		w.broken = &violation{invariant, fmt.Sprintf(format, args...)}
		w.note("VIOLATION %s", invariant)
		w.con.ring()
	}
}

// report is what came of a history.
type report struct {
	seed    uint64
	broken  *violation // nil: every promise was kept
	tail    []string   // the last lines of the trace, oldest first
	all     []string   // every line, if asked for
	hash    uint64     // of every message, append and turn
	turns   int
	events  int // journaled
	virtual time.Duration
	wall    time.Duration
	tally   tally
}

// options say which history to run, and how.
type options struct {
	seed    uint64
	mutant  mutant
	verbose bool // keep the whole trace
}

// history runs one history in a bubble of its own.
func history(t *testing.T, o options) (r report) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		w := newWorld(o)
		w.start()
		w.con.run(w.finished)
		r = report{seed: o.seed, broken: w.broken, tail: w.trace.tail(), all: w.trace.all, hash: w.trace.hash,
			turns: w.con.turns, events: len(w.disk.log), virtual: w.now(), tally: w.tally}
		w.end()
	})
	return r
}

func newWorld(o options) *world {
	rng := rand.New(rand.NewPCG(o.seed, 0x6861726e657373))
	w := &world{rng: rng, mutant: o.mutant, began: time.Now(), con: newConductor(rng), disk: newDisk(), stored: newStored(), tally: make(tally), chaos: true,
		trace: trace{verbose: o.verbose, names: make(map[string]string)}}
	w.shape = drawShape(rng)
	if o.mutant == ContractIgnored { // it lives where jobs must stop and hosts are cut off
		w.shape.stop, w.shape.isolating, w.shape.hosts = 1, .5, max(w.shape.hosts, 2)
	}
	w.con.order, w.con.lag = w.shape.order, w.shape.lag
	w.con.step = func(g *gate) { w.trace.turn(g.number, w.now()) }
	w.check = newChecker(w)
	w.buildHosts()
	w.client = newClient(w)
	return w
}

// start lets everybody begin, one after the other.
func (w *world) start() {
	w.startControl()
	for _, h := range w.hosts {
		w.after(nil, w.between(0, 500*time.Millisecond), h.boot)
	}
	w.client.start()
	w.scheduleFaults()
	w.after(nil, w.shape.horizon, w.heal)
	w.watch()
}

// watch looks once a second whether all has come to its end.
func (w *world) watch() {
	w.after(nil, time.Second, func() {
		if !w.chaos {
			w.check.progress()
		}
		if !w.chaos && w.check.atRest() {
			w.check.final()
			w.over = true
			return
		}
		w.watch()
	})
}

func (w *world) finished() bool { return w.over || w.broken != nil }

// end lets everything stop, so that the bubble can end.
func (w *world) end() {
	ctl := w.ctl
	w.con.kill(nil)
	if ctl != nil {
		ctl.kill()
	}
	<-time.After(2 * time.Minute) // whoever waits for a timer hears that it is dead
}

// as returns the context of a caller.
func as(role entropy.Role, name string) context.Context {
	return entropy.WithPrincipal(context.Background(), entropy.Principal{Role: role, Name: name, KeyHash: keyOf(role, name)})
}

func keyOf(role entropy.Role, name string) string {
	if role != entropy.RoleWorker {
		return ""
	}
	return "key-" + name
}
