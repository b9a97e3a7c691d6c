package harness

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"testing/synctest"
	"time"
)

// conductor lets one goroutine run at a time. Whoever could go on waits at a
// gate; the loop opens one gate, waits until nothing moves, and opens the next.
type conductor struct {
	mu    sync.Mutex
	next  uint64
	gates []*gate       // those that were reached and are shut
	bell  chan struct{} // something may have come to a gate
	rng   *rand.Rand    // used by whoever runs, and by the loop when nobody does
	order order
	lag   float64 // how often the machine takes its time before it goes on
	turns int
	step  func(g *gate) // is told of every gate that opens
	over  bool          // the history has ended: everything is dead
}

// gate is where one wait ends. Gates are numbered where the wait began, by a
// goroutine that ran alone: goroutines that wake at the same instant reach their
// gates in any order.
type gate struct {
	number uint64
	plane  *plane
	open   chan struct{}
}

// plane is a process or a machine: what stops, and dies, as one.
type plane struct {
	name   string
	parent *plane // that it stops and dies with
	dead   bool
	paused bool
}

func (p *plane) isDead() bool { return p != nil && (p.dead || p.parent.isDead()) }

func (p *plane) isPaused() bool { return p != nil && (p.paused || p.parent.isPaused()) }

// order is how the conductor draws among those that could go on.
type order int

const (
	anyOrder    order = iota // each is as likely
	oldestFirst              // mostly who began to wait first
	newestFirst              // mostly who began to wait last
	orders
)

func newConductor(rng *rand.Rand) *conductor {
	return &conductor{bell: make(chan struct{}, 1), rng: rng, step: func(*gate) {}}
}

// enter begins a wait of a goroutine of p. Calling wait ends it, and reports
// whether the plane still lives.
func (c *conductor) enter(p *plane) (wait func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isDead(p) {
		return func() bool { return false }
	}
	c.next++
	g := &gate{number: c.next, plane: p, open: make(chan struct{})}
	return func() bool { return c.pass(g) }
}

// pass waits at a gate until it is opened. The gates of the dead stand open.
func (c *conductor) pass(g *gate) bool {
	c.mu.Lock()
	if c.isDead(g.plane) {
		c.mu.Unlock()
		return false
	}
	c.gates = append(c.gates, g)
	c.mu.Unlock()
	c.ring()
	<-g.open
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.isDead(g.plane)
}

func (c *conductor) ring() {
	select {
	case c.bell <- struct{}{}:
	default:
	}
}

func (c *conductor) isDead(p *plane) bool { return c.over || p.isDead() }

// kill ends a plane, or everything if it is nil. Its goroutines go on without
// order and without effect: all that they still touch is their own.
func (c *conductor) kill(p *plane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p == nil {
		c.over = true
	} else {
		p.dead = true
	}
	c.gates = slices.DeleteFunc(c.gates, func(g *gate) bool {
		if c.isDead(g.plane) {
			close(g.open)
			return true
		}
		return false
	})
}

// alive reports whether p lives.
func (c *conductor) alive(p *plane) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.isDead(p)
}

// pause stops a plane, or lets it go on. Only the running goroutine may call it.
func (c *conductor) pause(p *plane, paused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.paused = paused
}

// run opens gates until done, which is asked when nothing moves. It is called by
// the goroutine that made the bubble.
func (c *conductor) run(done func() bool) {
	for {
		synctest.Wait()
		if done() {
			return
		}
		g := c.pick()
		if g == nil {
			<-c.bell // virtual time passes
			continue
		}
		if c.lag > 0 && c.rng.Float64() < c.lag {
			<-time.After(time.Duration(c.rng.Int64N(int64(3 * time.Millisecond))))
			synctest.Wait()
		}
		c.turns++
		c.step(g)
		close(g.open)
	}
}

// pick draws a gate of a plane that runs, nil if there is none.
func (c *conductor) pick() *gate {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.SortFunc(c.gates, func(a, b *gate) int { return cmp.Compare(a.number, b.number) })
	var runnable []int
	for i, g := range c.gates {
		if !g.plane.isPaused() {
			runnable = append(runnable, i)
		}
	}
	if len(runnable) == 0 {
		return nil
	}
	i := runnable[c.draw(len(runnable))]
	g := c.gates[i]
	c.gates = slices.Delete(c.gates, i, i+1)
	return g
}

func (c *conductor) draw(n int) int {
	if n == 1 {
		return 0
	}
	if c.order != anyOrder && c.rng.IntN(10) > 0 {
		if c.order == oldestFirst {
			return 0
		}
		return n - 1
	}
	return c.rng.IntN(n)
}
