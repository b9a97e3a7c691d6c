package entropytest

import (
	"context"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Policy implements [entropy.Service].
func (m *Memory) Policy(context.Context) (entropy.Policy, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.policy, nil
}

// SetPolicy implements [entropy.Service]. Nothing here acts on the policy.
func (m *Memory) SetPolicy(ctx context.Context, p entropy.Policy, op entropy.Operation) (entropy.Policy, error) {
	if err := p.Validate(); err != nil {
		return entropy.Policy{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.Version != m.policy.Version {
		return entropy.Policy{}, entropy.Errorf(entropy.CodeConflict, "the policy has version %d", m.policy.Version)
	}
	_, next, err := m.policy.Change(p, entropy.PrincipalFrom(ctx).String(), op, time.Now())
	if err != nil {
		return entropy.Policy{}, err
	}
	m.policy = *next
	return m.policy, nil
}

// Explain implements [entropy.Service], by the job's own state alone.
func (m *Memory) Explain(_ context.Context, id entropy.JobID) (entropy.Explanation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.jobs[id]
	if j == nil {
		return entropy.Explanation{}, notFound("job", string(id))
	}
	return j.Explain(time.Now()), nil
}
