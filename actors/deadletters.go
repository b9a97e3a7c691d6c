package actors

import (
	"context"
	"errors"

	"github.com/entropy-fabric/entropy"
)

// Dead letters have no actor: they change once in their life, and of two who change
// the same version the second is a conflict in the journal, after which this looks
// again.

// ErrDeadLettersFull says that no more messages are kept that could not be understood.
var ErrDeadLettersFull = entropy.Errorf(entropy.CodeOverloaded, "there are %d messages that could not be understood; more are not taken on", maxUnprocessable).
	WithHint("entropy dlq ls lists them; drop what nobody needs")

// deadLetter records a message that could not be processed. The same message is
// recorded once.
func (s *System) deadLetter(ctx context.Context, subject string, raw []byte, why error) error {
	d := entropy.NewDeadLetter(subject, raw, why)
	entity := entropy.Entity(entropy.KindDeadLetter, d.ID)
	if _, err := s.cfg.Journal.Document(ctx, entity); entropy.ErrorCode(err) != entropy.CodeNotFound {
		return err
	}
	if s.backlog.letters.Load() >= maxUnprocessable {
		return ErrDeadLettersFull
	}
	events, err := d.Add(s.clock.Now())
	if err != nil {
		return err
	}
	next, err := (*entropy.DeadLetter)(nil).Next(events)
	if err != nil {
		return err
	}
	_, err = s.cfg.Journal.Append(ctx, entropy.Change{Entity: entity, Events: events, State: next})
	if entropy.ErrorCode(err) == entropy.CodeConflict {
		return nil // it was recorded just now
	}
	return err
}

// TakeDeadLetter records a message that whoever carries it has given up: it made its
// handler fail again and again. The same message is recorded once, however often this
// is called. [ErrDeadLettersFull] when there are too many.
func (s *System) TakeDeadLetter(ctx context.Context, subject string, raw []byte, reason string) error {
	if err := s.writable(); err != nil {
		return err
	}
	return s.deadLetter(ctx, subject, raw, entropy.Errorf(entropy.CodeInternal, "%s", reason))
}

// errEnough ends a walk over dead letters.
var errEnough = errors.New("enough")

// DeadLetters implements entropy.Service.
func (s *System) DeadLetters(ctx context.Context, f entropy.DeadLetterFilter) (entropy.DeadLetterPage, error) {
	if f.Limit < 0 {
		return entropy.DeadLetterPage{}, entropy.Errorf(entropy.CodeInvalid, "the limit of the listing is negative")
	}
	letters := []*entropy.DeadLetter{}
	err := s.cfg.Journal.Documents(ctx, entropy.KindDeadLetter, func(doc entropy.Document) error {
		d := *doc.(*entropy.DeadLetter)
		if !f.Selects(&d) {
			return nil
		}
		if d.Raw = nil; len(letters) > entropy.MaxBatch {
			return errEnough
		}
		letters = append(letters, &d)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return entropy.DeadLetterPage{}, err
	}
	return page(letters, f.Limit), nil
}

// DeadLetter implements entropy.Service.
func (s *System) DeadLetter(ctx context.Context, id string) (*entropy.DeadLetter, error) {
	if err := entropy.ValidateID("dead letter", id); err != nil {
		return nil, err
	}
	d, err := s.cfg.Journal.Document(ctx, entropy.Entity(entropy.KindDeadLetter, id))
	if entropy.ErrorCode(err) == entropy.CodeNotFound {
		return nil, entropy.Errorf(entropy.CodeNotFound, "there is no dead letter %s", id).WithHint("entropy dlq ls lists them")
	}
	if err != nil {
		return nil, err
	}
	return d.(*entropy.DeadLetter), nil
}

// changeDeadLetter carries out a change of a dead letter.
func (s *System) changeDeadLetter(ctx context.Context, id string, decide func(*entropy.DeadLetter) ([]entropy.Event, error)) (*entropy.DeadLetter, error) {
	for again := false; ; again = true {
		d, err := s.DeadLetter(ctx, id)
		if err != nil {
			return nil, err
		}
		events, err := decide(d)
		if err != nil || len(events) == 0 {
			return d, err
		}
		next, err := d.Next(events)
		if err != nil {
			return nil, err
		}
		_, err = s.cfg.Journal.Append(ctx, entropy.Change{Entity: entropy.Entity(entropy.KindDeadLetter, id), Expected: d.Version, Before: d, Events: events, State: next})
		if err == nil {
			return next, nil
		}
		if entropy.ErrorCode(err) != entropy.CodeConflict || again {
			return nil, err
		}
	}
}

// DropDeadLetter implements entropy.Service.
func (s *System) DropDeadLetter(ctx context.Context, id string, op entropy.Operation) (*entropy.DeadLetter, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	return s.changeDeadLetter(ctx, id, func(d *entropy.DeadLetter) ([]entropy.Event, error) {
		return d.Drop(entropy.PrincipalFrom(ctx).String(), op, s.clock.Now())
	})
}

// ReplayDeadLetter implements entropy.Service. The action is asked for before the
// replay is recorded: a repeat finds it by its ID.
func (s *System) ReplayDeadLetter(ctx context.Context, id string, op entropy.Operation) (entropy.ActionResult, error) {
	d, err := s.DeadLetter(ctx, id)
	if err != nil {
		return entropy.ActionResult{}, err
	}
	var a *entropy.Action
	if d.Action != "" {
		if a, err = s.action(ctx, d.Action); err != nil {
			return entropy.ActionResult{}, err
		}
	}
	if _, err := d.Replayed("", "", op, s.clock.Now()); err != nil {
		return entropy.ActionResult{}, err
	}
	r, err := d.ReplayRequest(a)
	if err != nil {
		return entropy.ActionResult{}, err
	}
	result, err := s.RequestAction(ctx, r)
	if err != nil {
		return result, err
	}
	_, err = s.changeDeadLetter(ctx, id, func(d *entropy.DeadLetter) ([]entropy.Event, error) {
		return d.Replayed(result.Action.ID, entropy.PrincipalFrom(ctx).String(), op, s.clock.Now())
	})
	return result, err
}
