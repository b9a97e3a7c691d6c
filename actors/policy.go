package actors

import (
	"context"
	"fmt"

	"github.com/entropy-fabric/entropy"
)

// loadPolicy reads the policy as the journal has it.
func (s *System) loadPolicy(ctx context.Context) error {
	entity, _ := new(entropy.Policy).Entity()
	d, err := s.cfg.Journal.Document(ctx, entity)
	switch {
	case entropy.ErrorCode(err) == entropy.CodeNotFound:
		d = new(entropy.Policy)
	case err != nil:
		return fmt.Errorf("load the policy: %w", err)
	}
	s.followPolicy(d.(*entropy.Policy))
	return nil
}

// Policy implements entropy.Service.
func (s *System) Policy(context.Context) (entropy.Policy, error) { return *s.policy.Load(), nil }

// SetPolicy implements entropy.Service. Two who change the same version meet in
// the journal: the second is a conflict.
func (s *System) SetPolicy(ctx context.Context, p entropy.Policy, op entropy.Operation) (entropy.Policy, error) {
	if err := p.Validate(); err != nil {
		return entropy.Policy{}, err
	}
	now := s.policy.Load()
	entity, version := now.Entity()
	record, done, err := s.operation(ctx, op, "policy", entity)
	if err != nil || done {
		return *s.policy.Load(), err
	}
	if p.Version != version {
		return entropy.Policy{}, entropy.Errorf(entropy.CodeConflict, "the policy was changed meanwhile: it has version %d, yours is made from %d", version, p.Version).
			WithHint("read it again with entropy policy show, and change that")
	}
	event, next, err := now.Change(p, entropy.PrincipalFrom(ctx).String(), op, s.cfg.Now())
	if err != nil {
		return entropy.Policy{}, err
	}
	change := entropy.Change{Entity: entity, Expected: version, Events: []entropy.Event{event}, Before: now, State: next, Operation: record}
	if _, err := s.cfg.Journal.Append(ctx, change); err != nil {
		return entropy.Policy{}, err
	}
	return *next, nil
}

// followPolicy is told of a committed change, in commit order.
func (s *System) followPolicy(p *entropy.Policy) {
	s.policy.Store(p)
	s.retries.setPolicy(p)
}
