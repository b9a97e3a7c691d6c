package actors

import (
	"context"
	"sync"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
	"github.com/entropy-fabric/entropy/actors/fleet"
	"github.com/entropy-fabric/entropy/actors/job"
)

// caller returns the worker that makes a call, by its credential, and its actor.
func (s *System) caller(ctx context.Context) (entropy.WorkerID, es.Ref, error) {
	p := entropy.PrincipalFrom(ctx)
	if p.Role != entropy.RoleWorker {
		return "", es.Ref{}, entropy.Errorf(entropy.CodeForbidden, "only a registered worker may make this call")
	}
	ref, ok := s.known(entropy.WorkerID(p.Name))
	if !ok {
		return "", es.Ref{}, entropy.Errorf(entropy.CodeStale, "worker %s is not registered", p.Name).WithHint("register first")
	}
	return entropy.WorkerID(p.Name), ref, nil
}

// checked is caller, for a call that also names an incarnation.
func (s *System) checked(ctx context.Context, incarnation uint64) (entropy.WorkerID, error) {
	w, ref, err := s.caller(ctx)
	if err != nil {
		return "", err
	}
	if _, err = ref.Ask(ctx, &fleet.Check{Incarnation: incarnation}).Await(ctx); err == nil {
		err = s.heardOnDisk(ctx, w)
	}
	return w, err
}

// Register implements entropy.WorkerService.
func (s *System) Register(ctx context.Context, r entropy.Registration) (entropy.Registered, error) {
	p := entropy.PrincipalFrom(ctx)
	switch {
	case p.Role != entropy.RoleWorker && p.Role != entropy.RoleJoin:
		return entropy.Registered{}, entropy.Errorf(entropy.CodeForbidden, "a %s credential may not register a worker", p.Role)
	case p.KeyHash != "" && p.KeyHash != r.KeyHash:
		return entropy.Registered{}, entropy.Errorf(entropy.CodeForbidden, "key_hash is not that of the key presented")
	}
	if err := entropy.ValidateID("worker name", p.Name); err != nil {
		return entropy.Registered{}, err
	}
	if err := s.writable(); err != nil {
		return entropy.Registered{}, err
	}
	id := entropy.WorkerID(p.Name)
	if _, ok := s.known(id); !ok { // nothing is kept of a worker that was never registered
		if _, _, err := (&entropy.Worker{ID: id}).Register(r, s.cfg.Now()); err != nil {
			return entropy.Registered{}, err
		}
	}
	ref, err := s.session(id, nil, s.listening.Elapsed())
	if err != nil {
		return entropy.Registered{}, err
	}
	reply, err := answer[entropy.Registered](ctx, ref.Ask(ctx, &fleet.Register{Registration: r}))
	reply.Gossip = s.gossip.Load()
	if err == nil {
		err = s.heardOnDisk(ctx, id)
	}
	return reply, err
}

// answer awaits a session's answer of type T.
func answer[T any](ctx context.Context, q es.Question) (out T, err error) {
	v, err := q.Await(ctx)
	if err != nil {
		return out, err
	}
	if p, ok := v.(*T); ok && p != nil {
		out = *p
	}
	return out, nil
}

// Claim implements entropy.WorkerService.
func (s *System) Claim(ctx context.Context, r entropy.ClaimRequest) (entropy.ClaimReply, error) {
	_, ref, err := s.caller(ctx)
	if err != nil {
		return entropy.ClaimReply{}, err
	}
	return answer[entropy.ClaimReply](ctx, ref.Ask(ctx, &fleet.Claim{ClaimRequest: r}))
}

// Heartbeat implements entropy.WorkerService.
func (s *System) Heartbeat(ctx context.Context, h entropy.Heartbeat) (entropy.HeartbeatReply, error) {
	w, ref, err := s.caller(ctx)
	if err != nil {
		return entropy.HeartbeatReply{}, err
	}
	reply, err := answer[entropy.HeartbeatReply](ctx, ref.Ask(ctx, &fleet.Beat{Heartbeat: h}))
	if err == nil {
		err = s.renewed(ctx, w, &reply)
	}
	return reply, err
}

// Directives implements entropy.WorkerService.
func (s *System) Directives(ctx context.Context, q entropy.DirectivesRequest) (entropy.Directives, error) {
	_, ref, err := s.caller(ctx)
	if err != nil {
		return entropy.Directives{}, err
	}
	return answer[entropy.Directives](ctx, ref.Ask(ctx, &fleet.Poll{DirectivesRequest: q}))
}

// Leave implements entropy.WorkerService.
func (s *System) Leave(ctx context.Context, r entropy.LeaveRequest) error {
	_, ref, err := s.caller(ctx)
	if err == nil {
		_, err = ref.Ask(ctx, &fleet.Leave{LeaveRequest: r}).Await(ctx)
	}
	return err
}

// Ack implements entropy.WorkerService.
func (s *System) Ack(ctx context.Context, r entropy.AckRequest) ([]entropy.ItemResult, error) {
	w, err := s.checked(ctx, r.Incarnation)
	if err != nil {
		return nil, err
	}
	return s.each(ctx, len(r.Items), func(i int) (entropy.JobID, entropy.AssignmentID, entropy.JobCommand) {
		h := r.Items[i]
		return h.JobID, h.AssignmentID, entropy.Ack{AssignmentID: h.AssignmentID, WorkerID: w}
	})
}

// Refuse implements entropy.WorkerService.
func (s *System) Refuse(ctx context.Context, r entropy.RefuseRequest) ([]entropy.ItemResult, error) {
	w, err := s.checked(ctx, r.Incarnation)
	if err != nil {
		return nil, err
	}
	return s.each(ctx, len(r.Items), func(i int) (entropy.JobID, entropy.AssignmentID, entropy.JobCommand) {
		x := r.Items[i]
		cause := entropy.CauseRefused
		if x.Transient {
			cause = entropy.CauseTransient
		}
		return x.JobID, x.AssignmentID, entropy.Release{AssignmentID: x.AssignmentID, WorkerID: w, Cause: cause, Message: x.Message}
	})
}

// each asks one command per item of a batch and gathers the results in order.
func (s *System) each(ctx context.Context, n int, item func(int) (entropy.JobID, entropy.AssignmentID, entropy.JobCommand)) ([]entropy.ItemResult, error) {
	if n > entropy.MaxBatch {
		return nil, entropy.Errorf(entropy.CodeTooLarge, "%d items in one call, at most %d are allowed", n, entropy.MaxBatch)
	}
	results := make([]entropy.ItemResult, n)
	questions := make([]es.Question, n)
	asked := make([]bool, n)
	for i := range n {
		id, a, cmd := item(i)
		results[i].AssignmentID = a
		if err := entropy.ValidateID("job id", string(id)); err != nil {
			results[i].Error = entropy.AsError(err)
			continue
		}
		questions[i], asked[i] = s.jobs.Ask(ctx, string(id), &job.Command{Cmd: cmd}), true
	}
	for i := range n {
		if asked[i] {
			_, err := await(ctx, questions[i])
			results[i].Error = entropy.AsError(err)
		}
	}
	return results, nil
}

// Complete implements entropy.WorkerService.
func (s *System) Complete(ctx context.Context, r entropy.CompleteRequest) ([]entropy.CompletionReply, error) {
	if len(r.Items) > entropy.MaxBatch {
		return nil, entropy.Errorf(entropy.CodeTooLarge, "%d completions in one call, at most %d are allowed", len(r.Items), entropy.MaxBatch)
	}
	w, err := s.checked(ctx, r.Incarnation)
	if err != nil {
		return nil, err
	}
	replies := make([]entropy.CompletionReply, len(r.Items))
	questions := make([]es.Question, len(r.Items))
	var files sync.WaitGroup
	for i := range r.Items {
		c := &r.Items[i]
		replies[i].AssignmentID = c.AssignmentID
		if err := checkCompletion(c); err != nil {
			replies[i].Verdict, replies[i].Message = entropy.VerdictRefused, err.Error()
			continue
		}
		ask := func(unpublished bool) {
			questions[i] = s.jobs.Ask(ctx, string(c.JobID), &job.Command{Cmd: entropy.Complete{Completion: *c, WorkerID: w, Unpublished: unpublished}})
		}
		if len(c.Artifacts) == 0 {
			ask(false)
			continue
		}
		files.Go(func() {
			if published := s.publish(ctx, c, &replies[i]); replies[i].Verdict == "" {
				ask(!published)
			}
		})
	}
	files.Wait()
	for i := range r.Items {
		if replies[i].Verdict == "" {
			s.decided(ctx, &r.Items[i], questions[i], &replies[i])
		}
	}
	return replies, nil
}

func checkCompletion(c *entropy.Completion) error {
	if err := entropy.ValidateID("job id", string(c.JobID)); err != nil {
		return err
	}
	if err := entropy.ValidateID("assignment id", string(c.AssignmentID)); err != nil {
		return err
	}
	switch c.Outcome {
	case entropy.OutcomeSucceeded, entropy.OutcomeFailed, entropy.OutcomeStopped:
	default:
		return entropy.Errorf(entropy.CodeInvalid, "outcome %q is not succeeded, failed or stopped", c.Outcome)
	}
	if len(c.Artifacts) > entropy.MaxJobArtifacts || len(c.Result) > entropy.MaxResult {
		return entropy.Errorf(entropy.CodeTooLarge, "a completion has at most %d artifacts and a result of %d bytes", entropy.MaxJobArtifacts, entropy.MaxResult)
	}
	for _, a := range c.Artifacts {
		if !entropy.LocalPath(a.Name) || !entropy.ValidSHA256(a.SHA256) || a.Size < 0 {
			return entropy.Errorf(entropy.CodeInvalid, "artifact %q has no valid name, sha256 or size", a.Name)
		}
	}
	return nil
}

// publish makes a completion's artifacts permanent before it is decided, and
// reports whether it did. One that can no longer be accepted needs no files. A
// verdict set in reply says that the completion must come again: it must not
// succeed without its files.
func (s *System) publish(ctx context.Context, c *entropy.Completion, reply *entropy.CompletionReply) bool {
	switch err := s.mayAccept(ctx, c.JobID, c.AssignmentID); entropy.ErrorCode(err) {
	case "":
	case entropy.CodeSuperseded, entropy.CodeForbidden, entropy.CodeNotFound:
		return false
	default:
		reply.Verdict, reply.Message = entropy.VerdictRetry, err.Error()
		return false
	}
	missing, err := s.cfg.Store.Publish(ctx, c.AssignmentID, c.Artifacts)
	switch {
	case err != nil:
		reply.Verdict, reply.Message = entropy.VerdictRetry, err.Error()
		return false
	case len(missing) > 0:
		reply.Verdict, reply.Missing = entropy.VerdictReupload, missing
		reply.Message = "artifacts are missing or differ"
		return false
	}
	return true
}

func (s *System) decided(ctx context.Context, c *entropy.Completion, q es.Question, reply *entropy.CompletionReply) {
	out, err := await(ctx, q)
	switch entropy.ErrorCode(err) {
	case "":
		reply.Verdict, reply.Repeat, reply.Message = out.Decision.Verdict, out.Decision.Repeat, out.Decision.Message
		s.dropCheckpoints(out.Job)
	case entropy.CodeForbidden, entropy.CodeInvalid:
		reply.Verdict, reply.Message = entropy.VerdictRefused, err.Error()
	default:
		reply.Verdict, reply.Message = entropy.VerdictRetry, err.Error()
	}
	if len(c.Artifacts) > 0 && (reply.Verdict == entropy.VerdictAccepted || reply.Verdict == entropy.VerdictSuperseded) {
		s.cfg.Store.Discard(c.AssignmentID) // what was staged and not published is evidence
	}
}
