package worker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/boottime"
	"github.com/entropy-fabric/entropy/actors/worker/deadline"
	"github.com/entropy-fabric/entropy/actors/worker/supervisor"
)

// claims asks for work while there are free slots, one claim at a time, until
// ctx or the session ends.
func (s *session) claims(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	s.deliverFirst(ctx)
	for seq := uint64(1); ; seq++ {
		want := s.n.slots.awaitFree(ctx, func() bool { return !s.n.draining() })
		if want == 0 || !s.n.awaitSpace(ctx) {
			return
		}
		reply, ok := s.claim(ctx, seq, min(want, entropy.MaxBatch))
		if !ok {
			return
		}
		s.n.counters.claimed.Add(int64(len(reply.Assignments)))
		fresh, busy := s.n.slots.reserve(reply.Assignments)
		s.take(fresh)
		for _, a := range busy {
			s.work.Go(func() { s.takeWhenFree(a) })
		}
	}
}

// deliverFirst waits until what was done before the session is delivered, or has
// taken too long.
func (s *session) deliverFirst(ctx context.Context) {
	t := time.NewTimer(deliverFirst)
	defer t.Stop()
	select {
	case <-s.n.out.settled():
	case <-t.C:
	case <-ctx.Done():
	}
}

// claim makes one claim. If its answer is lost it is repeated as it was, so that
// the set that was meant for it is not lost with it.
func (s *session) claim(ctx context.Context, seq uint64, want int) (entropy.ClaimReply, bool) {
	req := entropy.ClaimRequest{Incarnation: s.reg.Incarnation, ClaimSeq: seq, Want: want, Wait: entropy.Duration(longPoll)}
	wait := newBackoff()
	for ctx.Err() == nil {
		cctx, cancel := context.WithTimeout(ctx, longPoll+pollSlack)
		reply, err := s.n.conf.Service.Claim(cctx, req)
		cancel()
		if err == nil {
			s.n.touched()
			return reply, true
		}
		if ctx.Err() != nil {
			break
		}
		s.failed(err)
		s.n.trouble("claim failed", err)
		wait.pause(ctx)
	}
	return entropy.ClaimReply{}, false
}

// take brings claimed assignments to their start, in the background. Those
// with inputs go each for itself: their transfer holds up nobody else.
func (s *session) take(as []entropy.Assignment) {
	plain := make([]entropy.Assignment, 0, len(as)) // an assignment is large: growing would copy it over and over
	var refused []entropy.Refusal
	space := s.n.hasSpace()
	for i := range as {
		a := &as[i]
		if err := s.n.preflight(a, space); err != nil {
			refused = append(refused, refusal(a, err, s.n.draining() || entropy.ErrorCode(err) == entropy.CodeDiskFull))
			continue
		}
		if len(a.Spec.Inputs) == 0 && len(a.Checkpoints) == 0 {
			plain = append(plain, *a)
			continue
		}
		s.work.Go(func() { s.takeWithInputs(*a) })
	}
	if len(refused) > 0 {
		s.work.Go(func() { s.refuse(refused) })
	}
	if len(plain) > 0 {
		s.work.Go(func() { s.begin(plain) })
	}
}

// takeWhenFree takes an assignment once the attempts that still own its GPUs are
// gone. If they are not in good time before its ACK is due, it is given back.
func (s *session) takeWhenFree(a entropy.Assignment) {
	ctx, cancel := context.WithTimeout(s.ctx, acceptBudget(&a))
	defer cancel()
	if s.n.slots.awaitGPUs(ctx, &a) {
		s.take([]entropy.Assignment{a})
		return
	}
	s.refuse([]entropy.Refusal{refusal(&a, entropy.Errorf(entropy.CodeUnavailable, "a GPU of its is still in use by an attempt that is ending"), true)})
}

// acceptBudget is how long an assignment may wait here before it is ACKed.
func acceptBudget(a *entropy.Assignment) time.Duration {
	if a.AckTimeout > 0 {
		return a.AckTimeout.D() / 2
	}
	return 5 * time.Second
}

func refusal(a *entropy.Assignment, err error, transient bool) entropy.Refusal {
	return entropy.Refusal{JobID: a.JobID, AssignmentID: a.AssignmentID, Message: cut(err.Error()), Transient: transient}
}

// preflight says why an assignment cannot run here, before it is ACKed. Space
// is whether the disk has room.
func (n *Node) preflight(a *entropy.Assignment, space bool) error {
	if err := entropy.ValidateID("assignment", string(a.AssignmentID)); err != nil {
		return err
	}
	if n.draining() {
		return entropy.Errorf(entropy.CodeUnavailable, "the worker is draining")
	}
	if !space {
		return n.diskFull()
	}
	ex := n.executorFor(a)
	if ex == nil {
		return entropy.Errorf(entropy.CodeInvalid, "this worker does not run jobs of this kind")
	}
	return ex.check(a)
}

// refuse gives assignments back. It is repeated until it is answered; without an
// answer the fabric takes them back by itself.
func (s *session) refuse(items []entropy.Refusal) {
	s.n.counters.refused.Add(int64(len(items)))
	wait := newBackoff()
	for s.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
		_, err := s.n.conf.Service.Refuse(ctx, entropy.RefuseRequest{Incarnation: s.reg.Incarnation, Items: items})
		cancel()
		if err == nil {
			break
		}
		s.failed(err)
		if !unreachable(err) {
			s.n.log.Warn("a refusal was not taken", slog.Any("error", err))
			break
		}
		wait.pause(s.ctx)
	}
	for _, r := range items {
		s.n.log.Info("assignment refused", slog.String("job_id", string(r.JobID)), slog.String("why", r.Message))
		s.n.slots.release(r.AssignmentID)
	}
}

// begin ACKs assignments and starts those whose ACK was answered well.
func (s *session) begin(as []entropy.Assignment) {
	s.start(s.ack(as), "")
}

// ack accepts assignments and returns those that the fabric agreed to. The
// trust in their leases counts from before the first try.
func (s *session) ack(as []entropy.Assignment) []entropy.Assignment {
	items := make([]entropy.Held, len(as))
	for i := range as {
		items[i] = entropy.Held{JobID: as[i].JobID, AssignmentID: as[i].AssignmentID}
	}
	sent := boottime.Now()
	results := s.sendAck(items)
	agreed := make([]entropy.Assignment, 0, len(as))
	for i := range as {
		a := &as[i]
		switch {
		case results == nil:
			s.n.slots.release(a.AssignmentID)
		case results[i].Error != nil:
			s.n.log.Info("assignment was taken back before it began", slog.String("job_id", string(a.JobID)), slog.String("why", results[i].Error.Message))
			s.n.slots.release(a.AssignmentID)
		default:
			s.n.slots.acked(a.AssignmentID, deadline.Trust(sent, s.ttl(a)))
			agreed = append(agreed, *a)
		}
	}
	return agreed
}

func (s *session) ttl(a *entropy.Assignment) time.Duration {
	if a.TTL > 0 {
		return a.TTL.D()
	}
	return s.reg.LeaseTTL.D()
}

// sendAck repeats an ACK until it is answered. Nil means that it was not, and
// that nothing may start.
func (s *session) sendAck(items []entropy.Held) []entropy.ItemResult {
	wait := newBackoff()
	for s.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
		results, err := s.n.conf.Service.Ack(ctx, entropy.AckRequest{Incarnation: s.reg.Incarnation, Items: items})
		cancel()
		if err == nil && len(results) == len(items) {
			s.n.touched()
			return results
		}
		if err == nil {
			err = fmt.Errorf("%d answers to %d ACKs", len(results), len(items))
		}
		if s.ctx.Err() == nil {
			s.failed(err)
			s.n.trouble("ACK failed", err)
		}
		if !unreachable(err) {
			return nil
		}
		wait.pause(s.ctx)
	}
	return nil
}

// start hands ACKed assignments to their executors. Why says why they cannot
// run after all; then they are only recorded, and reported as a worker error.
// The end of the session does not interrupt it: the fabric counts on them.
func (s *session) start(as []entropy.Assignment, why string) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	for _, ex := range s.n.executors() {
		var items []supervisor.StartItem
		var ids []entropy.AssignmentID
		for i := range as {
			a := &as[i]
			if s.n.executorFor(a) != ex {
				continue
			}
			if items == nil {
				items, ids = make([]supervisor.StartItem, 0, len(as)-i), make([]entropy.AssignmentID, 0, len(as)-i)
			}
			items = append(items, supervisor.StartItem{Assignment: *a, Trust: s.n.slots.trust(a.AssignmentID), MaxLog: s.n.conf.MaxLog, Note: s.n.beginCheckpoints(a), Broken: why})
			ids = append(ids, a.AssignmentID)
		}
		if len(items) > 0 {
			s.startOn(ctx, ex, items, ids)
		}
	}
}

func (s *session) startOn(ctx context.Context, ex executor, items []supervisor.StartItem, ids []entropy.AssignmentID) {
	errs, err := ex.start(ctx, items)
	if err != nil {
		// Not named by the next heartbeat, their leases end and they run elsewhere.
		s.n.log.Error("acknowledged assignments could not be started", slog.Any("error", err), slog.Int("count", len(ids)))
		s.n.slots.release(ids...)
		return
	}
	var broken []entropy.AssignmentID
	for i, err := range errs {
		if err != nil {
			s.n.log.Error("an acknowledged assignment could not be started", slog.Any("error", err), slog.String("assignment_id", string(ids[i])))
			broken = append(broken, ids[i])
		}
	}
	s.n.slots.settle(ids, ex)
	if len(broken) > 0 {
		s.n.slots.release(broken...)
	}
	if stops := s.n.wanted.stops(ids); len(stops) > 0 { // directed while they were on their way
		s.n.stop(stops)
	}
}

// takeWithInputs fetches an assignment's inputs and the checkpoint that it resumes
// from first. What cannot be fetched is given back; what takes longer than the fabric waits for an ACK is ACKed
// meanwhile.
func (s *session) takeWithInputs(a entropy.Assignment) {
	fetched := make(chan error, 1)
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	go func() { fetched <- s.n.prepare(ctx, &a) }()
	timer := time.NewTimer(acceptBudget(&a))
	defer timer.Stop()
	select {
	case err := <-fetched:
		if err != nil {
			s.n.dropDir(&a)
			s.refuse([]entropy.Refusal{refusal(&a, err, entropy.ErrorCode(err) != entropy.CodeInvalid)})
			return
		}
		s.begin([]entropy.Assignment{a})
	case <-timer.C:
		agreed := s.ack([]entropy.Assignment{a})
		if len(agreed) == 0 {
			cancel()
			if err := <-fetched; err != nil {
				s.n.log.Debug("fetching inputs was given up", slog.String("job_id", string(a.JobID)), slog.Any("error", err))
			}
			s.n.dropDir(&a)
			return
		}
		if err := <-fetched; err != nil {
			s.start(agreed, "its inputs could not be fetched: "+err.Error())
			return
		}
		s.start(agreed, "")
	}
}
