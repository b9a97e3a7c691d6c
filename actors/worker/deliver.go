package worker

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
)

const (
	// senders is how many completion calls may be under way, so that one batch
	// is on its way while another is being committed.
	senders = 4
	// uploaders is how many results may be uploading artifacts and logs.
	uploaders = 8
	// maxTracked bounds the results in memory; the rest waits in the spool.
	maxTracked = 20_000
	// maxReuploads is how often a staged artifact may turn out wrong.
	maxReuploads = 3
)

// result is an exit on its way to a decision.
type result struct {
	ex        executor
	exit      spool.Exit
	replayed  bool     // the control plane or the agent was away since it ended
	reuploads int      // how often its artifacts were asked for again
	missing   []string // hashes to upload; nil means all
	wait      *backoff // between tries that were answered with "retry"
}

// outbox holds the results between the spool and their decision.
type outbox struct {
	ready   *queue[*result] // to be completed
	uploads *queue[*result] // to be uploaded first
	room    chan struct{}   // a token for each tracked result

	mu      sync.Mutex
	tracked map[entropy.AssignmentID]*result
	parked  map[entropy.AssignmentID]*result
	replays map[entropy.AssignmentID]bool
	owed    map[entropy.AssignmentID]bool // results of before this session that it has no answer to
	paid    chan struct{}                 // closed when owed is empty
}

func newOutbox() *outbox {
	return &outbox{ready: newQueue[*result](), uploads: newQueue[*result](), room: make(chan struct{}, maxTracked),
		tracked: map[entropy.AssignmentID]*result{}, parked: map[entropy.AssignmentID]*result{},
		replays: map[entropy.AssignmentID]bool{}}
}

// expectReplay notes that a result was in the spool before this agent.
func (o *outbox) expectReplay(id entropy.AssignmentID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.replays[id] = true
}

// add takes a result in; it replaces one of the same assignment.
func (o *outbox) add(ctx context.Context, r *result) {
	select {
	case o.room <- struct{}{}:
	case <-ctx.Done():
		return
	}
	id := r.exit.ID()
	o.mu.Lock()
	if o.tracked[id] != nil {
		<-o.room // the one it replaces had a token
	}
	o.tracked[id] = r
	r.replayed = r.replayed || o.replays[id]
	delete(o.replays, id)
	o.mu.Unlock()
	o.route(r)
}

// owe starts a session that has results of before it to deliver.
func (o *outbox) owe(held []entropy.Held) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owed, o.paid = map[entropy.AssignmentID]bool{}, make(chan struct{})
	for _, h := range held {
		if h.Spooled {
			o.owed[h.AssignmentID] = true
		}
	}
	o.settle()
}

// settle notes that results need not be waited for. The caller holds mu.
func (o *outbox) settle(ids ...entropy.AssignmentID) {
	if o.owed == nil {
		return
	}
	for _, id := range ids {
		delete(o.owed, id)
	}
	if len(o.owed) == 0 {
		o.owed = nil
		close(o.paid)
	}
}

// settled returns a channel that is closed when nothing of before the session is owed.
func (o *outbox) settled() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.paid
}

// route puts a result where it is worked on next.
func (o *outbox) route(r *result) {
	if len(r.exit.Files) > 0 || r.exit.Stdout > 0 || r.exit.Stderr > 0 || r.exit.Checkpoint {
		o.uploads.put(r)
		return
	}
	o.ready.put(r)
}

// current reports whether r was not replaced meanwhile.
func (o *outbox) current(r *result) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tracked[r.exit.ID()] == r
}

func (o *outbox) has(id entropy.AssignmentID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tracked[id] != nil
}

// remove forgets results that were decided or replaced.
func (o *outbox) remove(rs []*result) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range rs {
		if id := r.exit.ID(); o.tracked[id] == r {
			o.settle(id)
			delete(o.tracked, id)
			delete(o.parked, id)
			<-o.room
		}
	}
}

// park keeps a result that the fabric does not know until the next registration.
func (o *outbox) park(r *result) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.parked[r.exit.ID()] = r
	o.settle(r.exit.ID())
}

// unpark offers the parked results again: the fabric that did not know them may
// have been restored since.
func (o *outbox) unpark() {
	o.mu.Lock()
	again := make([]*result, 0, len(o.parked))
	for id, r := range o.parked {
		delete(o.parked, id)
		again = append(again, r)
	}
	o.mu.Unlock()
	for _, r := range again {
		o.route(r)
	}
}

func (o *outbox) counts() (tracked, parked int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.tracked), len(o.parked)
}

// pump takes exits from an executor's spool into the outbox, in order.
func (n *Node) pump(ctx context.Context, ex executor) {
	after, wait := uint64(0), newBackoff()
	for ctx.Err() == nil {
		exits, err := ex.exits(ctx, after, 500)
		if err != nil {
			if ctx.Err() == nil {
				n.log.Warn("results cannot be read from the executor", slog.Any("error", err))
			}
			wait.pause(ctx)
			continue
		}
		wait = newBackoff()
		ids := make([]entropy.AssignmentID, len(exits))
		for i := range exits {
			ids[i] = exits[i].ID()
		}
		n.slots.release(ids...)
		for i := range exits {
			n.out.add(ctx, &result{ex: ex, exit: exits[i]})
			after = exits[i].Completion.CompletionSeq
		}
	}
}

// send reports results that are ready, as many as there are in one call.
func (s *session) send() {
	wait := newBackoff()
	for {
		batch := s.n.out.ready.take(s.ctx, entropy.MaxBatch)
		if len(batch) == 0 {
			return
		}
		batch = slices.DeleteFunc(batch, func(r *result) bool { return !s.n.out.current(r) })
		if rest := s.complete(batch); len(rest) > 0 {
			wait.pause(s.ctx)
			s.n.out.ready.put(rest...)
			continue
		}
		wait = newBackoff()
	}
}

// complete reports a batch and acts on the answers. It returns those results
// that must be reported again.
func (s *session) complete(batch []*result) (again []*result) {
	if len(batch) == 0 {
		return nil
	}
	items := make([]entropy.Completion, len(batch))
	byID := make(map[entropy.AssignmentID]*result, len(batch))
	for i, r := range batch {
		items[i] = r.exit.Completion
		byID[r.exit.ID()] = r
	}
	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	replies, err := s.n.conf.Service.Complete(ctx, entropy.CompleteRequest{Incarnation: s.reg.Incarnation, Items: items})
	var decided []*result
	var verdicts []entropy.Verdict
	for _, reply := range replies {
		r := byID[reply.AssignmentID]
		if r == nil {
			continue
		}
		delete(byID, reply.AssignmentID)
		if final(reply.Verdict) {
			decided, verdicts = append(decided, r), append(verdicts, reply.Verdict)
			continue
		}
		s.undecided(r, reply)
	}
	again = s.decide(decided, verdicts)
	for _, r := range byID { // not answered
		r.replayed = true
		again = append(again, r)
	}
	if err != nil {
		return s.incomplete(again, err)
	}
	s.n.touched()
	return again
}

func final(v entropy.Verdict) bool {
	return v == entropy.VerdictAccepted || v == entropy.VerdictSuperseded || v == entropy.VerdictRefused
}

// incomplete deals with a failed call. If the fabric rejects the request as
// such, one of the results is to blame: it is found by halves and parked.
func (s *session) incomplete(rest []*result, err error) []*result {
	if s.ctx.Err() == nil {
		s.failed(err)
		s.n.trouble("results could not be reported; they stay in the spool", err)
	}
	switch entropy.ErrorCode(err) {
	case entropy.CodeInvalid, entropy.CodeTooLarge:
	default:
		return rest
	}
	if len(rest) == 1 {
		s.n.log.Error("the fabric cannot take a result; it is parked", slog.String("assignment_id", string(rest[0].exit.ID())))
		s.n.out.park(rest[0])
		return nil
	}
	half := len(rest) / 2
	return append(s.complete(rest[:half]), s.complete(rest[half:])...)
}

// decide makes decisions durable in the spools. It returns the results of a
// spool that could not be told: their decision is asked for again.
func (s *session) decide(rs []*result, verdicts []entropy.Verdict) (again []*result) {
	for _, ex := range s.n.executors() {
		var ds []spool.Decision
		var mine []*result
		for i, r := range rs {
			if r.ex == ex {
				ds = append(ds, spool.Decision{AssignmentID: r.exit.ID(), Verdict: verdicts[i]})
				mine = append(mine, r)
			}
		}
		if len(mine) == 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), callTimeout)
		err := ex.decide(ctx, ds)
		cancel()
		if err != nil {
			s.n.log.Error("decisions did not reach the spool", slog.Any("error", err))
			again = append(again, mine...)
			continue
		}
		s.count(mine, ds)
		s.n.logs.forget(ds)
		s.n.saves.forget(ds)
		s.n.out.remove(mine)
	}
	return again
}

func (s *session) count(rs []*result, ds []spool.Decision) {
	for i, r := range rs {
		s.n.counters.delivered.Add(1)
		switch {
		case ds[i].Verdict == entropy.VerdictSuperseded:
			s.n.counters.superseded.Add(1)
		case ds[i].Verdict == entropy.VerdictAccepted && r.replayed:
			s.n.counters.replayed.Add(1)
		}
	}
}

// undecided deals with an answer that does not let the spool forget.
func (s *session) undecided(r *result, reply entropy.CompletionReply) {
	log := s.n.log.With(slog.String("assignment_id", string(r.exit.ID())), slog.String("job_id", string(r.exit.Completion.JobID)))
	switch reply.Verdict {
	case entropy.VerdictNotFound:
		log.Warn("the fabric does not know this assignment; its result is parked", slog.String("message", reply.Message))
		s.n.out.park(r)
	case entropy.VerdictReupload:
		s.reupload(r, reply.Missing, reply.Message)
	default: // retry, and whatever a newer fabric may say
		if r.wait == nil {
			r.wait = newBackoff()
		}
		go func() {
			r.wait.pause(s.ctx)
			s.n.out.ready.put(r)
		}()
	}
}

// reupload sends artifacts again, or gives the attempt up when that has not
// helped often enough.
func (s *session) reupload(r *result, missing []string, why string) {
	if r.reuploads++; r.reuploads > maxReuploads {
		s.giveUp(r, "its artifacts could not be stored: "+why)
		return
	}
	s.n.log.Warn("artifacts are uploaded again", slog.String("assignment_id", string(r.exit.ID())), slog.String("why", why))
	r.missing = missing
	s.n.out.uploads.put(r)
}

// giveUp turns a success into a failed attempt, in the spool first. The new
// exit comes back through the pump.
func (s *session) giveUp(r *result, why string) {
	x := r.exit
	x.Files = nil
	c := &x.Completion
	c.Outcome, c.Reason, c.Message, c.Artifacts, c.Result = entropy.OutcomeFailed, entropy.ReasonArtifact, cut(why), nil, nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), callTimeout)
	defer cancel()
	if err := r.ex.amend(ctx, x); err != nil {
		s.n.log.Error("the spool did not take a changed result", slog.Any("error", err))
		go func() {
			newBackoff().pause(s.ctx)
			s.n.out.uploads.put(r)
		}()
	}
}
