package actors

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/action"
	"github.com/entropy-fabric/entropy/actors/es"
)

// spawnActions starts what actions need: the directory of their actors, and who
// gives them their turns when there is anybody to issue orders to.
func (s *System) spawnActions() (err error) {
	cfg := &action.Config{Journal: s.cfg.Journal, Orders: s.cfg.Orders, Rule: s.commandPolicy, Now: s.clock.Now, Settled: s.clock.Settled,
		Progress: func(id entropy.ActionID, p *entropy.ActionProgress) { s.progress.Store(id, p) }, Logger: s.cfg.Logger}
	s.actions, err = es.SpawnShards(s.host, es.ShardsConfig{Kind: entropy.KindAction, Count: s.cfg.Shards, MaxResident: s.cfg.MaxResident,
		New: func(id string) es.Actor { return action.New(cfg, entropy.ActionID(id)) }})
	if err != nil || s.cfg.Orders == nil {
		return err
	}
	s.turns, err = s.host.Spawn("action-turns", func() es.Actor {
		return action.NewDispatcher(action.DispatcherConfig{Load: s.eachOpenAction, Rule: s.commandPolicy, Now: s.clock.Now, Logger: s.cfg.Logger,
			Turn: func(id entropy.ActionID) { s.actions.Tell(string(id), action.Turn{}) }})
	})
	return err
}

func (s *System) commandPolicy(name string) entropy.CommandPolicy {
	return s.policy.Load().Command(name)
}

// openStates are those of actions that have not ended.
var openStates = []entropy.ActionState{entropy.ActionRequested, entropy.ActionAwaiting, entropy.ActionAccepted, entropy.ActionStarted, entropy.ActionRetrying}

// eachOpenAction calls f with every action that has not ended, the oldest first.
func (s *System) eachOpenAction(f func(*entropy.Action)) error {
	var all []*entropy.Action
	for q := (entropy.ActionFilter{States: openStates, Limit: entropy.MaxBatch}); ; {
		page, err := s.cfg.Journal.Actions(context.Background(), q)
		if err != nil {
			return err
		}
		for _, a := range page.Actions {
			a := *a // without what nobody needs who looks at all of them
			a.Request, a.Spec.Args, a.Spec.OnFailure = nil, nil, nil
			all = append(all, &a)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	for _, a := range slices.Backward(all) {
		f(a)
	}
	return nil
}

// reviveActions arms the timers of the actions that had not ended when the control
// plane stopped, and has orders that nobody has accepted issued again.
func (s *System) reviveActions() error {
	if err := s.eachOpenAction(func(a *entropy.Action) { s.actions.Tell(string(a.ID), action.Revive{}) }); err != nil {
		return fmt.Errorf("load actions: %w", err)
	}
	return nil
}

// ReissueActions has every order that nobody has accepted issued again, under the
// same attempt ids: for when what carries them has lost them.
func (s *System) ReissueActions() error {
	return s.eachOpenAction(func(a *entropy.Action) {
		if l := a.Live(); l != nil && l.Executor == "" {
			s.actions.Tell(string(a.ID), action.Again{})
		}
	})
}

// followAction is told of a committed change, in commit order.
func (s *System) followAction(before, a *entropy.Action) {
	s.backlog.action(before, a)
	if a.State.Terminal() {
		s.progress.Delete(a.ID)
	}
	s.bell.ring(entropy.Entity(entropy.KindAction, string(a.ID)))
}

// RequestAction implements entropy.Service.
func (s *System) RequestAction(ctx context.Context, r entropy.ActionRequest) (entropy.ActionResult, error) {
	q, err := r.Read(s.clock.Now())
	if err != nil {
		return entropy.ActionResult{}, err
	}
	return s.requestAction(ctx, q)
}

func (s *System) requestAction(ctx context.Context, q *entropy.Asked) (entropy.ActionResult, error) {
	if err := s.writable(); err != nil {
		return entropy.ActionResult{}, err
	}
	for tries := 0; ; tries++ {
		record, old, err := s.knownAction(ctx, q)
		if err != nil {
			return entropy.ActionResult{}, err
		}
		if old != nil {
			return entropy.ActionResult{Action: s.actionInfo(old), Duplicate: true}, nil
		}
		if err := s.roomFor(ctx, q.ID); err != nil {
			return entropy.ActionResult{}, err
		}
		v, err := s.actions.Ask(ctx, string(q.ID), &action.Request{Asked: q, Principal: entropy.PrincipalFrom(ctx).String(), Operation: record}).Await(ctx)
		if err == nil {
			out := v.(*action.Outcome)
			return entropy.ActionResult{Action: s.actionInfo(out.Action), Duplicate: out.Unchanged}, nil
		}
		// Somebody may have used the key in between: look again, once.
		if entropy.ErrorCode(err) != entropy.CodeConflict || record == nil || tries > 0 {
			return entropy.ActionResult{}, err
		}
	}
}

// roomFor refuses an action that is new while too many have not ended.
func (s *System) roomFor(ctx context.Context, id entropy.ActionID) error {
	if int(s.backlog.actions.Load()) < s.cfg.MaxActions {
		return nil
	}
	if _, err := s.action(ctx, id); entropy.ErrorCode(err) != entropy.CodeNotFound {
		return err
	}
	return entropy.Errorf(entropy.CodeOverloaded, "%d actions have not ended; more are not taken on", s.cfg.MaxActions).
		WithHint("try again later; entropy actions ls --state requested lists those that wait")
}

// knownAction looks an idempotency key up. It returns the action that has it, or the
// record that is to be written with a new one.
func (s *System) knownAction(ctx context.Context, q *entropy.Asked) (*entropy.OperationRecord, *entropy.Action, error) {
	key := q.Key()
	if key == "" {
		return nil, nil, nil
	}
	record := &entropy.OperationRecord{Principal: entropy.KindAction, ID: key, Digest: q.Digest, Entity: entropy.Entity(entropy.KindAction, string(q.ID))}
	old, err := s.cfg.Journal.Operation(ctx, record.Principal, record.ID)
	if err != nil || old == nil {
		return record, nil, err
	}
	_, id := entropy.SplitEntity(old.Entity)
	if old.Digest != q.Digest {
		return nil, nil, entropy.Errorf(entropy.CodeConflict, "the idempotency_key was used before, with another content, by action %s", id).
			WithHint("give another wish another key")
	}
	a, err := s.action(ctx, entropy.ActionID(id))
	return nil, a, err
}

// action returns an action as the journal has it; CodeNotFound.
func (s *System) action(ctx context.Context, id entropy.ActionID) (*entropy.Action, error) {
	if err := entropy.ValidateID("action id", string(id)); err != nil {
		return nil, err
	}
	d, err := s.cfg.Journal.Document(ctx, entropy.Entity(entropy.KindAction, string(id)))
	if entropy.ErrorCode(err) == entropy.CodeNotFound {
		return nil, action.NotFound(id)
	}
	if err != nil {
		return nil, err
	}
	return d.(*entropy.Action), nil
}

func (s *System) actionInfo(a *entropy.Action) entropy.ActionInfo {
	info := entropy.ActionInfo{Action: *a}
	if p, ok := s.progress.Load(a.ID); ok {
		if p := p.(*entropy.ActionProgress); a.Live() != nil && a.Live().ID == p.AttemptID {
			info.Progress = p
		}
	}
	return info
}

// Action implements entropy.Service.
func (s *System) Action(ctx context.Context, id entropy.ActionID) (entropy.ActionInfo, error) {
	a, err := s.action(ctx, id)
	if err != nil {
		return entropy.ActionInfo{}, err
	}
	return s.actionInfo(a), nil
}

// Actions implements entropy.Service.
func (s *System) Actions(ctx context.Context, f entropy.ActionFilter) (entropy.ActionPage, error) {
	page, err := s.cfg.Journal.Actions(ctx, f)
	for i, a := range page.Actions {
		page.Actions[i] = a.Summary()
	}
	return page, err
}

// WaitAction implements entropy.Service.
func (s *System) WaitAction(ctx context.Context, id entropy.ActionID, limit time.Duration) (entropy.ActionInfo, error) {
	limited, cancel := context.WithTimeout(ctx, max(limit, 0))
	defer cancel()
	for {
		rung, quit := s.bell.listen(entropy.Entity(entropy.KindAction, string(id)))
		a, err := s.action(context.WithoutCancel(ctx), id)
		if err != nil || a.State.Terminal() || limited.Err() != nil {
			quit()
			switch {
			case err != nil:
				return entropy.ActionInfo{}, err
			case ctx.Err() != nil && !a.State.Terminal():
				return entropy.ActionInfo{}, entropy.Errorf(entropy.CodeUnavailable, "the wait was given up: %v", context.Cause(ctx))
			}
			return s.actionInfo(a), nil
		}
		select {
		case <-rung:
		case <-s.done:
			quit()
			return entropy.ActionInfo{}, errStopping()
		case <-limited.Done():
			quit()
		}
	}
}

// SetAction implements entropy.Service.
func (s *System) SetAction(ctx context.Context, id entropy.ActionID, verb entropy.ActionVerb, op entropy.Operation) (entropy.ActionInfo, error) {
	if err := entropy.ValidateID("action id", string(id)); err != nil {
		return entropy.ActionInfo{}, err
	}
	record, done, err := s.operation(ctx, op, string(verb), entropy.Entity(entropy.KindAction, string(id)))
	if err != nil {
		return entropy.ActionInfo{}, err
	}
	if done {
		return s.Action(ctx, id)
	}
	v, err := s.actions.Ask(ctx, string(id), &action.Set{Verb: verb, Principal: entropy.PrincipalFrom(ctx).String(), Op: op, Operation: record}).Await(ctx)
	if err != nil {
		return entropy.ActionInfo{}, err
	}
	return s.actionInfo(v.(*action.Outcome).Action), nil
}

// ReportAction takes what an executor says of an attempt, and returns the verdict
// once it is durable. Executor is the name of the credential that said it. On an
// error the report was not understood, when it is CodeInvalid, CodeTooLarge or
// CodeForbidden; else it may be repeated.
func (s *System) ReportAction(ctx context.Context, executor string, e entropy.Event) (entropy.ActionVerdict, error) {
	typ, r, err := entropy.ReadActionReport(executor, &e)
	if err != nil {
		return entropy.ActionVerdict{}, err
	}
	v, err := s.actions.Ask(ctx, string(r.ActionID), &action.Report{Type: typ, ID: e.ID, Report: r}).Await(ctx)
	if err != nil {
		return entropy.ActionVerdict{}, err
	}
	return v.(entropy.ActionVerdict), nil
}

// TakeActionRequest takes a request off a queue. It returns nil when it needs no
// other delivery: it is recorded, or it is a dead letter now because no repeat would
// change that it is refused.
func (s *System) TakeActionRequest(ctx context.Context, subject string, r entropy.ActionRequest) error {
	_, err := s.RequestAction(ctx, r)
	if code := entropy.ErrorCode(err); !hopeless(err) && code != entropy.CodeForbidden && code != entropy.CodeConflict {
		return err
	}
	return s.deadLetter(ctx, subject, r.Envelope, err)
}

// TakeActionReport takes a report off a queue. A nil verdict without an error means
// that nobody can be answered, and that the report is a dead letter now.
func (s *System) TakeActionReport(ctx context.Context, subject, executor string, raw []byte) (*entropy.ActionVerdict, error) {
	var e entropy.Event
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, s.deadLetter(ctx, subject, raw, entropy.Errorf(entropy.CodeInvalid, "the report is not an envelope: %v", err))
	}
	v, err := s.ReportAction(ctx, executor, e)
	switch {
	case err == nil:
		return &v, nil
	case entropy.ErrorCode(err) == entropy.CodeForbidden: // who speaks for another is told so, and leaves no trace
	case !hopeless(err):
		return nil, err
	default:
		if dead := s.deadLetter(ctx, subject, raw, err); dead != nil || e.ID == "" {
			return nil, dead
		}
	}
	var r entropy.ActionReport
	_ = json.Unmarshal(e.Attrs, &r) // what can be read of it makes the verdict clearer
	return &entropy.ActionVerdict{Report: e.ID, ActionID: r.ActionID, AttemptID: r.AttemptID, Verdict: entropy.ReportRefused, Message: err.Error()}, nil
}

// hopeless reports whether a message can never be understood.
func hopeless(err error) bool {
	switch entropy.ErrorCode(err) {
	case entropy.CodeInvalid, entropy.CodeTooLarge:
		return true
	}
	return false
}

// page cuts a listing of dead letters to its length.
func page(letters []*entropy.DeadLetter, limit int) entropy.DeadLetterPage {
	limit = min(cmp.Or(limit, 100), entropy.MaxBatch)
	if len(letters) <= limit {
		return entropy.DeadLetterPage{Letters: letters}
	}
	return entropy.DeadLetterPage{Letters: letters[:limit], Next: letters[limit-1].ID}
}
