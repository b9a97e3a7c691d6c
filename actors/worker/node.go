package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/cache"
)

// Node is a worker node. Make it with [New], then call Run once.
type Node struct {
	conf   Config
	log    *slog.Logger
	exec   *remote   // nil unless Config.Exec
	hands  *handlers // nil without handlers
	cache  *cache.Cache
	slots  *slots
	out    *outbox
	logs   *shipments
	saves  *saves
	wanted wishes

	drained  atomic.Bool  // by Drain
	contact  atomic.Int64 // Unix nanoseconds of the newest answer of the control plane
	away     atomic.Bool  // it did not answer the newest call
	counters struct{ claimed, refused, delivered, replayed, superseded, withheld atomic.Int64 }
}

// Stats is a node at a glance.
type Stats struct {
	Incarnation uint64 // of the newest registration; 0 before the first
	Slots       int
	Running     int   // assignments from their claim to their end
	Spooled     int   // results that wait for a decision, the parked included
	Parked      int   // results that the fabric does not know; they are kept and offered again
	Claimed     int64 // assignments received since the node started
	Refused     int64 // of those, given back
	Delivered   int64 // results decided
	Replayed    int64 // of those, results accepted after the control plane or the agent had been away
	Superseded  int64 // of those, results that came too late
	Withheld    int64 // heartbeats that were not sent because the executor did not answer
	Draining    bool
}

// New checks the configuration and returns a node that does not run yet. It
// touches no disk.
func New(conf Config) (*Node, error) {
	conf, err := conf.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := conf.validate(); err != nil {
		return nil, err
	}
	return &Node{conf: conf, log: conf.Logger, slots: newSlots(conf.Slots), out: newOutbox(), logs: newShipments(), saves: newSaves(), wanted: newWishes()}, nil
}

// Run runs the node until ctx ends, and returns nil then. It returns early with
// an error if the node cannot work: its directory is in use, or the fabric
// refuses it for good.
//
// When ctx ends the node claims no more, ends its Go handlers, delivers what it
// can within Config.Grace, says goodbye and leaves running commands to the
// supervisor, which reports them to the next agent.
func (n *Node) Run(ctx context.Context) error {
	if err := os.MkdirAll(n.conf.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the worker's data directory: %w", err)
	}
	lock, err := lockAgent(n.conf.DataDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := n.open(ctx); err != nil {
		return errors.Join(err, n.close())
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var wg sync.WaitGroup
	for _, ex := range n.executors() {
		wg.Go(func() { n.pump(life, ex) })
	}
	done := make(chan error, 1)
	wg.Go(func() { done <- n.sessions(ctx, life) })
	select {
	case err = <-done:
	case <-ctx.Done():
		n.windDown(life)
	}
	end()
	wg.Wait()
	return errors.Join(err, n.close())
}

func (n *Node) open(ctx context.Context) (err error) {
	if n.cache, err = cache.Open(filepath.Join(n.conf.DataDir, "cache"), n.conf.CacheSize); err != nil {
		return err
	}
	if len(n.conf.Handlers) > 0 {
		if n.hands, err = openHandlers(n.conf); err != nil {
			return err
		}
	}
	if n.conf.Exec {
		if n.exec, err = openRemote(ctx, n.conf); err != nil {
			return err
		}
	}
	n.firstRuntime(ctx)
	for _, ex := range n.executors() {
		if err := n.adopt(ctx, ex); err != nil {
			return err
		}
	}
	return nil
}

// adopt takes over what an executor holds from before this agent.
func (n *Node) adopt(ctx context.Context, ex executor) error {
	held, err := ex.held(ctx)
	if err != nil {
		return err
	}
	if ex == executor(n.exec) {
		n.exec.sweep(held)
	}
	for _, h := range held {
		if h.Spooled {
			n.out.expectReplay(h.AssignmentID)
		} else {
			n.slots.adopt(h, ex)
			n.adoptCheckpoints(h, ex)
		}
	}
	if len(held) > 0 {
		n.log.Info("an earlier agent's assignments are taken over", slog.Int("held", len(held)))
	}
	return nil
}

// windDown prepares the end of the agent while its session still runs.
func (n *Node) windDown(life context.Context) {
	ctx, cancel := context.WithTimeout(life, n.conf.Grace)
	defer cancel()
	n.Drain()
	if n.hands != nil {
		n.hands.shut(ctx)
	}
	n.awaitDelivery(ctx)
}

// awaitDelivery blocks until the handlers' results are decided or parked, or ctx
// ends, or the control plane is not there. Those of commands may wait: their
// spool does not end with this process.
func (n *Node) awaitDelivery(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n.hands != nil && n.connected(time.Now().Add(-longPoll)) {
		running, ended := n.hands.spool.Counts()
		if _, parked := n.out.counts(); running == 0 && ended <= parked {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) close() error {
	var errs []error
	if n.hands != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		n.hands.shut(ctx)
		errs = append(errs, n.hands.close())
	}
	if n.exec != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		errs = append(errs, n.exec.close(ctx))
	}
	return errors.Join(errs...)
}

func (n *Node) executors() []executor {
	var list []executor
	if n.exec != nil {
		list = append(list, n.exec)
	}
	if n.hands != nil {
		list = append(list, n.hands)
	}
	return list
}

// executorFor returns who would run an assignment, or nil.
func (n *Node) executorFor(a *entropy.Assignment) executor {
	switch {
	case a.Spec.Handler != "" && n.hands != nil:
		return n.hands
	case a.Spec.Handler == "" && n.exec != nil:
		return n.exec
	}
	return nil
}

// Drain makes the node claim no more. What runs goes on. There is no way back
// but a new node.
func (n *Node) Drain() {
	n.drained.Store(true)
	n.slots.signal()
}

func (n *Node) draining() bool { return n.drained.Load() || n.wanted.draining() }

// touched notes that the control plane answered just now.
func (n *Node) touched() {
	n.contact.Store(time.Now().UnixNano())
	if n.away.Swap(false) {
		n.log.Info("the control plane answers again")
	}
}

// trouble logs a failed call. While the control plane is away, that is said once.
func (n *Node) trouble(what string, err error) {
	switch {
	case errors.Is(err, context.Canceled): // the node or its session is ending
		n.log.Debug("call given up", slog.String("call", what))
	case !unreachable(err):
		n.log.Warn("call failed", slog.String("call", what), slog.Any("error", err))
	case n.away.CompareAndSwap(false, true):
		n.log.Warn("the control plane cannot be reached; jobs go on, results wait in the spool", slog.String("first", what), slog.Any("error", err))
	default:
		n.log.Debug("call failed", slog.String("call", what), slog.Any("error", err))
	}
}

// connected reports whether the control plane has answered since t.
func (n *Node) connected(t time.Time) bool { return n.contact.Load() > t.UnixNano() }

// Stats returns the node's state. It may be called at any time.
func (n *Node) Stats() Stats {
	spooled, parked := n.out.counts()
	return Stats{Incarnation: n.wanted.incarnation.Load(), Slots: n.conf.Slots, Running: n.slots.used(), Spooled: spooled, Parked: parked,
		Claimed: n.counters.claimed.Load(), Refused: n.counters.refused.Load(), Delivered: n.counters.delivered.Load(),
		Replayed: n.counters.replayed.Load(), Superseded: n.counters.superseded.Load(), Withheld: n.counters.withheld.Load(), Draining: n.draining()}
}
