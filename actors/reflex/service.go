package reflex

import (
	"context"
	"log/slog"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/rule"
)

var _ entropy.RuleService = (*Reflex)(nil)

// begun says why there is no answer yet; the caller holds the lock.
func (r *Reflex) begun() error {
	if r.ready {
		return nil
	}
	return entropy.Errorf(entropy.CodeUnavailable, "the rules are reading the ledger").WithHint("try again in a moment")
}

// Rules implements [entropy.RuleService].
func (r *Reflex) Rules(context.Context) (entropy.RuleReport, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.begun(); err != nil {
		return entropy.RuleReport{}, err
	}
	rep := r.engine.Report(r.cfg.Now())
	rep.File, rep.LoadedAt, rep.Problem, rep.CaughtUp = r.cfg.File, r.loaded, r.problem, r.caughtUp
	return rep, nil
}

// Suggestions implements [entropy.RuleService].
func (r *Reflex) Suggestions(_ context.Context, f entropy.SuggestionFilter) ([]entropy.Suggestion, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.begun(); err != nil {
		return nil, err
	}
	switch f.State {
	case "", entropy.SuggestionOpen, entropy.SuggestionRequested, entropy.SuggestionDismissed, entropy.SuggestionExpired, entropy.SuggestionRefused:
	default:
		return nil, entropy.Errorf(entropy.CodeInvalid, "%.60q is not a state of a suggestion", f.State).WithHint("the states are open, requested, dismissed, expired and refused")
	}
	if f.Limit < 0 || f.Limit > entropy.MaxBatch {
		return nil, entropy.Errorf(entropy.CodeInvalid, "limit is %d; it must lie between 1 and %d", f.Limit, entropy.MaxBatch)
	}
	return r.engine.Suggestions(f, r.cfg.Now()), nil
}

// AcceptSuggestion implements [entropy.RuleService].
func (r *Reflex) AcceptSuggestion(ctx context.Context, id string) (entropy.Suggestion, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.begun(); err != nil {
		return entropy.Suggestion{}, err
	}
	_, orders, err := r.engine.Accept(id, entropy.PrincipalFrom(ctx).String(), r.cfg.Now())
	if err != nil {
		return entropy.Suggestion{}, err
	}
	for _, o := range orders {
		if err := r.record(ctx, &o.Event); err != nil {
			r.waiting = append(r.waiting, o) // it is decided: what is not recorded yet will be
			return entropy.Suggestion{}, err
		}
		// It is asked for in the caller's name, so that another approves it where the
		// command's policy wants that.
		refused, err := r.ask(ctx, o.Ask)
		if err != nil {
			if refused == nil {
				refused = []rule.Order{o}
			}
			r.waiting = append(r.waiting, refused...)
			return entropy.Suggestion{}, err
		}
	}
	s, _ := r.engine.Suggestion(id, r.cfg.Now())
	return s, nil
}

// DismissSuggestion implements [entropy.RuleService].
func (r *Reflex) DismissSuggestion(ctx context.Context, id string) (entropy.Suggestion, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.begun(); err != nil {
		return entropy.Suggestion{}, err
	}
	_, orders, err := r.engine.Dismiss(id, entropy.PrincipalFrom(ctx).String(), r.cfg.Now())
	if err != nil {
		return entropy.Suggestion{}, err
	}
	if err := r.decided(ctx, orders); err != nil {
		return entropy.Suggestion{}, err
	}
	s, _ := r.engine.Suggestion(id, r.cfg.Now())
	return s, nil
}

// ResetRule implements [entropy.RuleService].
func (r *Reflex) ResetRule(ctx context.Context, name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.begun(); err != nil {
		return err
	}
	by := entropy.PrincipalFrom(ctx).String()
	orders, err := r.engine.Reset(name, by, r.cfg.Now())
	if err != nil {
		return err
	}
	r.cfg.Logger.Info("a rule is trusted again", slog.String("rule", name), slog.String("by", by))
	return r.decided(ctx, orders)
}

// decided records what a person decided, after what waits already.
func (r *Reflex) decided(ctx context.Context, orders []rule.Order) error {
	r.waiting = append(r.waiting, orders...)
	return r.perform(ctx)
}
