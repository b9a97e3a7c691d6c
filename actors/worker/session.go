package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/boottime"
	"github.com/entropy-fabric/entropy/actors/worker/deadline"
)

const (
	// longPoll is how long a claim or a request for directives waits.
	longPoll = 30 * time.Second
	// pollSlack is what a long poll may take on top of that.
	pollSlack = 15 * time.Second
	// callTimeout bounds every other call.
	callTimeout = 30 * time.Second
	// refusedPatience is how long a first registration is repeated while the
	// fabric takes this worker for another that is alive: it may be this one
	// before a reboot, whose lease has not ended yet.
	refusedPatience = 45 * time.Second
	// deliverFirst bounds how long a worker that comes back asks for no work while
	// results of before are on their way: what it has done already might be given
	// to it once more.
	deliverFirst = 5 * time.Second
)

// errStale ends a session: the fabric wants the worker to register again.
var errStale = errors.New("the session is stale")

// backoff spaces repeated tries: it doubles up to a limit, and each pause is
// drawn from its upper half, so that workers do not return together.
type backoff struct{ next, limit time.Duration }

func newBackoff() *backoff { return &backoff{next: 50 * time.Millisecond, limit: 5 * time.Second} }

// pause waits and reports false if ctx ended.
func (b *backoff) pause(ctx context.Context) bool {
	d := b.next/2 + rand.N(b.next/2+1)
	b.next = min(2*b.next, b.limit)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// unreachable reports whether err says that the control plane may be well and
// only not there: the same call may be repeated.
func unreachable(err error) bool {
	switch entropy.ErrorCode(err) {
	case entropy.CodeUnavailable, entropy.CodeUnknown, entropy.CodeOverloaded, entropy.CodeDiskFull:
		return true
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// wishes is what the fabric wants of the node now.
type wishes struct {
	incarnation *atomic.Uint64
	state       *wishState
}

type wishState struct {
	mu    sync.Mutex
	drain bool
	known uint64
	stop  map[entropy.AssignmentID]entropy.Reason
}

func newWishes() wishes { return wishes{new(atomic.Uint64), &wishState{}} }

func (w wishes) draining() bool {
	w.state.mu.Lock()
	defer w.state.mu.Unlock()
	return w.state.drain
}

// reset forgets what an earlier incarnation was told, but whether to drain.
func (w wishes) reset(incarnation uint64) {
	w.incarnation.Store(incarnation)
	w.state.mu.Lock()
	defer w.state.mu.Unlock()
	w.state.known, w.state.stop = 0, nil
}

// set replaces the wishes and reports whether drain was lifted.
func (w wishes) set(d entropy.Directives) (resumed bool) {
	w.state.mu.Lock()
	defer w.state.mu.Unlock()
	resumed = w.state.drain && !d.Drain
	w.state.drain, w.state.known = d.Drain, d.Version
	w.state.stop = make(map[entropy.AssignmentID]entropy.Reason, len(d.Stop))
	for _, s := range d.Stop {
		w.state.stop[s.AssignmentID] = s.Reason
	}
	return resumed
}

// stops returns the stop directives among ids.
func (w wishes) stops(ids []entropy.AssignmentID) []entropy.StopDirective {
	w.state.mu.Lock()
	defer w.state.mu.Unlock()
	var list []entropy.StopDirective
	for _, id := range ids {
		if r, ok := w.state.stop[id]; ok {
			list = append(list, entropy.StopDirective{AssignmentID: id, Reason: r})
		}
	}
	return list
}

func (w wishes) version() uint64 {
	w.state.mu.Lock()
	defer w.state.mu.Unlock()
	return w.state.known
}

// session is one registration and what goes on under it.
type session struct {
	n   *Node
	reg entropy.Registered
	ctx context.Context // ends with the session
	end context.CancelCauseFunc

	work sync.WaitGroup // assignments on their way to their start
}

// sessions registers again and again until life ends, or the fabric refuses the
// node at its first registration. Claims stop when ctx ends.
func (n *Node) sessions(ctx, life context.Context) error {
	for first := true; life.Err() == nil; first = false {
		reg, err := n.register(life, first)
		if err != nil {
			return err
		}
		sctx, end := context.WithCancelCause(life)
		s := &session{n: n, reg: reg, ctx: sctx, end: end}
		s.run(ctx)
		s.leave(life)
		end(nil)
	}
	return nil
}

// register introduces the node until it is answered. An error means that it
// never will be taken.
func (n *Node) register(life context.Context, first bool) (entropy.Registered, error) {
	wait, began := newBackoff(), time.Now()
	var r *entropy.Registration
	for life.Err() == nil {
		if r == nil {
			held, err := n.inventory(life)
			if err != nil {
				n.log.Error("the executor does not answer; the worker cannot register", slog.Any("error", err))
				wait.pause(life)
				continue
			}
			d := n.describe()
			d.Inventory = held
			r = &d
		}
		ctx, cancel := context.WithTimeout(life, callTimeout)
		reg, err := n.conf.Service.Register(ctx, *r)
		cancel()
		if err == nil {
			n.out.owe(r.Inventory)
			n.registered(reg)
			return reg, nil
		}
		n.trouble("registration failed", err)
		if !unreachable(err) {
			if first && hopeless(err, time.Since(began)) {
				return entropy.Registered{}, fmt.Errorf("register worker %s: %w", n.conf.Name, err)
			}
			wait.limit = 30 * time.Second
			r = nil // it was answered: the next try is another one, with a new nonce
		}
		wait.pause(life)
	}
	return entropy.Registered{}, nil
}

// hopeless reports whether a refused first registration should not be repeated.
func hopeless(err error, after time.Duration) bool {
	switch entropy.ErrorCode(err) {
	case entropy.CodeInvalid, entropy.CodeUnauthorized, entropy.CodeForbidden, entropy.CodeNotFound, entropy.CodeTooLarge:
		return true
	case entropy.CodeConflict:
		return after > refusedPatience
	}
	return false
}

// registered acts on the verdicts about what the node held.
func (n *Node) registered(reg entropy.Registered) {
	n.touched()
	n.wanted.reset(reg.Incarnation)
	n.out.unpark()
	var stops []entropy.StopDirective
	for _, v := range reg.Held {
		if v.Verdict == entropy.VerdictStop {
			stops = append(stops, entropy.StopDirective{AssignmentID: v.AssignmentID, Reason: entropy.ReasonSuperseded})
		}
	}
	n.stop(stops)
	n.log.Info("registered", slog.String("worker_id", string(reg.WorkerID)), slog.Uint64("incarnation", reg.Incarnation),
		slog.Duration("lease_ttl", reg.LeaseTTL.D()), slog.Int("held", len(reg.Held)), slog.Int("to_stop", len(stops)))
}

// stop passes stop directives on to whoever runs the assignments.
func (n *Node) stop(stops []entropy.StopDirective) {
	if len(stops) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	for _, ex := range n.executors() {
		if err := ex.stop(ctx, stops); err != nil {
			n.log.Error("the executor could not be asked to stop assignments", slog.Any("error", err))
		}
	}
}

// inventory returns everything the node holds, as its executors say.
func (n *Node) inventory(ctx context.Context) ([]entropy.Held, error) {
	all := n.slots.waiting()
	for _, ex := range n.executors() {
		expected := n.slots.runningOn(ex)
		held, err := ex.held(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, held...)
		n.reconcile(expected, held)
	}
	return all, nil
}

// reconcile frees the slots of assignments that were running and are no more.
func (n *Node) reconcile(expected map[entropy.AssignmentID]entropy.JobID, held []entropy.Held) {
	running := make(map[entropy.AssignmentID]bool, len(held))
	for _, h := range held {
		running[h.AssignmentID] = !h.Spooled
	}
	for id := range expected {
		if !running[id] {
			n.slots.release(id)
		}
	}
}

// run carries on until the session is stale or life ends.
func (s *session) run(claiming context.Context) {
	var wg sync.WaitGroup
	wg.Go(s.heartbeats)
	wg.Go(s.directives)
	wg.Go(func() { s.claims(claiming) })
	wg.Go(s.shipLogs)
	wg.Go(s.saveCheckpoints)
	wg.Go(s.watchRuntime)
	for range senders {
		wg.Go(s.send)
	}
	for range uploaders {
		wg.Go(s.upload)
	}
	wg.Wait()
	s.work.Wait()
}

// failed looks at the error of a call: a stale one ends the session.
func (s *session) failed(err error) {
	if entropy.ErrorCode(err) == entropy.CodeStale {
		s.n.log.Info("the control plane asks the worker to register again")
		s.end(errStale)
	}
}

// leave says goodbye when the node, and not only the session, ends.
func (s *session) leave(life context.Context) {
	if life.Err() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(life), 3*time.Second)
	defer cancel()
	if err := s.n.conf.Service.Leave(ctx, entropy.LeaveRequest{Incarnation: s.reg.Incarnation}); err != nil {
		s.n.log.Warn("the goodbye did not arrive; the leases run to their end", slog.Any("error", err))
	}
}

// heartbeats renews the leases of what the executors hold, every interval.
func (s *session) heartbeats() {
	interval := s.reg.Heartbeat.D()
	if interval <= 0 {
		interval = s.reg.LeaseTTL.D() / 3
	}
	interval = max(interval, 10*time.Millisecond)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for seq := uint64(1); ; seq++ {
		if err := s.beat(seq, max(interval, time.Second)); err != nil && s.ctx.Err() == nil {
			s.n.trouble("no heartbeat", err)
			s.failed(err)
		}
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
	}
}

// beat sends one heartbeat, if the executors answer within the patience.
func (s *session) beat(seq uint64, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	held, err := s.n.inventory(ctx)
	if err != nil {
		if s.ctx.Err() == nil {
			s.n.counters.withheld.Add(1)
			s.n.log.Error("the executor does not answer, so there is no heartbeat", slog.Any("error", err))
		}
		return nil
	}
	sent := boottime.Now()
	reply, err := s.n.conf.Service.Heartbeat(ctx, entropy.Heartbeat{Incarnation: s.reg.Incarnation, Seq: seq, Held: held, SlotsFree: s.n.slots.free()})
	if err != nil {
		return err
	}
	s.n.touched()
	s.renew(ctx, held, reply.Directives, deadline.Trust(sent, s.reg.LeaseTTL.D())-max(0, reply.Deduct.D()))
	s.obey(reply.Directives)
	return nil
}

// renew moves the end of trust of what the heartbeat named and the fabric did
// not ask to stop.
func (s *session) renew(ctx context.Context, held []entropy.Held, d entropy.Directives, trust time.Duration) {
	stop := make(map[entropy.AssignmentID]bool, len(d.Stop))
	for _, x := range d.Stop {
		stop[x.AssignmentID] = true
	}
	ids := make([]entropy.AssignmentID, 0, len(held))
	for _, h := range held {
		if !h.Spooled && !stop[h.AssignmentID] {
			ids = append(ids, h.AssignmentID)
		}
	}
	if len(ids) == 0 {
		return
	}
	s.n.slots.renew(ids, trust)
	for _, ex := range s.n.executors() {
		if err := ex.renew(ctx, ids, trust); err != nil {
			s.n.log.Error("a renewal did not reach the executor", slog.Any("error", err))
		}
	}
}

// directives waits for the fabric's wishes to change and obeys them at once.
func (s *session) directives() {
	wait := newBackoff()
	for s.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(s.ctx, longPoll+pollSlack)
		d, err := s.n.conf.Service.Directives(ctx, entropy.DirectivesRequest{Incarnation: s.reg.Incarnation, Known: s.n.wanted.version(), Wait: entropy.Duration(longPoll)})
		cancel()
		if err != nil {
			s.failed(err)
			s.n.trouble("directives cannot be read", err)
			wait.pause(s.ctx)
			continue
		}
		wait = newBackoff()
		s.n.touched()
		s.obey(d)
	}
}

// obey carries out directives. Doing so twice is harmless.
func (s *session) obey(d entropy.Directives) {
	if s.n.wanted.set(d) {
		s.n.slots.signal()
	}
	s.n.stop(d.Stop)
}
