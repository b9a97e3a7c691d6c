package entropy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Policy is how the fabric chooses among its jobs: one document, journaled whole
// whenever it changes. The zero value means the defaults.
type Policy struct {
	Version uint64 `json:"version"` // number of changes so far

	// AgingStep is the wait that makes up for one step of priority. 0 means one minute.
	AgingStep Duration `json:"aging_step,omitzero"`
	// Gates keep slots for urgent jobs: of all slots of the fleet, Slots may only
	// be taken by jobs submitted with a priority of at least Priority.
	Gates []Gate `json:"gates,omitempty"`
	// Tenants that share the fleet otherwise than with equal weight.
	Tenants map[string]TenantPolicy `json:"tenants,omitempty"`
	// Queues that are paused or limited.
	Queues map[string]QueuePolicy `json:"queues,omitempty"`
	// ReserveAfter is how long the first job of the order waits before a worker is
	// reserved for it: from then on only jobs that end earlier may pass it there.
	// 0 means five minutes.
	ReserveAfter Duration `json:"reserve_after,omitzero"`
	// PreemptPriority lets waiting jobs submitted with at least this priority end
	// preemptible ones. Nil means that nothing is preempted.
	PreemptPriority *int `json:"preempt_priority,omitempty"`
	// MaxRetrying bounds how many jobs on a second or later attempt are queued or
	// running at once, so that an outage does not become a storm of retries. 0
	// means no bound.
	MaxRetrying int `json:"max_retrying,omitempty"`
	// Commands says how the actions of a command may be carried out, by its name;
	// [AnyCommand] stands for those that are not named.
	Commands map[string]CommandPolicy `json:"commands,omitempty"`
}

// Gate reserves slots for urgent jobs.
type Gate struct {
	Slots    int `json:"slots"`
	Priority int `json:"priority"`
}

// TenantPolicy is one tenant's part in the fleet.
type TenantPolicy struct {
	Weight float64 `json:"weight"` // relative; tenants not named have 1
}

// QueuePolicy is the state and the limits of one queue. 0 means no limit.
type QueuePolicy struct {
	Paused      bool   `json:"paused,omitempty"`
	Reason      string `json:"reason,omitempty"`       // of the pause, for people
	MaxRunning  int    `json:"max_running,omitempty"`  // jobs with a live lease
	MaxRetrying int    `json:"max_retrying,omitempty"` // as Policy.MaxRetrying, within the queue
}

// Defaults and limits of [Policy].
const (
	DefaultAgingStep    = time.Minute
	DefaultReserveAfter = 5 * time.Minute
	MaxPolicyEntries    = 1000
	MaxWeight           = 1e6
)

// KindPolicy is the entity kind of the policy; its one entity is PolicyID.
const (
	KindPolicy    = "policy"
	PolicyID      = "scheduling"
	PolicyChanged = "policy.changed"
	PolicySchema  = 1
)

// AgingStepOrDefault returns the wait that makes up for one step of priority.
func (p *Policy) AgingStepOrDefault() time.Duration {
	return orDefaultDuration(p.AgingStep, DefaultAgingStep)
}

// ReserveAfterOrDefault returns how long a job waits before a worker is reserved for it.
func (p *Policy) ReserveAfterOrDefault() time.Duration {
	return orDefaultDuration(p.ReserveAfter, DefaultReserveAfter)
}

// Weight returns the weight of a tenant, more than 0.
func (p *Policy) Weight(tenant string) float64 {
	if t, ok := p.Tenants[tenant]; ok {
		return t.Weight
	}
	return 1
}

// Validate reports everything that is wrong with p, in one [Error].
func (p *Policy) Validate() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if p.AgingStep < 0 || p.AgingStep.D() > 365*24*time.Hour || p.ReserveAfter < 0 || p.MaxRetrying < 0 {
		bad("aging_step, reserve_after and max_retrying must not be negative")
	}
	if max(len(p.Gates), len(p.Tenants), len(p.Queues), len(p.Commands)) > MaxPolicyEntries {
		bad("at most %d gates, tenants, queues and commands are allowed", MaxPolicyEntries)
	}
	for _, g := range p.Gates {
		if g.Slots < 1 || g.Priority < MinPriority || g.Priority > MaxPriority {
			bad("gate of %d slots at priority %d: it needs at least one slot and a priority in %d to %d", g.Slots, g.Priority, MinPriority, MaxPriority)
		}
	}
	if q := p.PreemptPriority; q != nil && (*q < MinPriority || *q > MaxPriority) {
		bad("preempt_priority %d is not in %d to %d", *q, MinPriority, MaxPriority)
	}
	for name, t := range p.Tenants {
		if err := ValidateID("tenant", name); err != nil {
			bad("%w", err)
		}
		if !(t.Weight > 0 && t.Weight <= MaxWeight) {
			bad("tenant %s: weight %v is not more than 0 and at most %v", name, t.Weight, float64(MaxWeight))
		}
	}
	for name, q := range p.Queues {
		if err := ValidateID("queue", name); err != nil {
			bad("%w", err)
		}
		if q.MaxRunning < 0 || q.MaxRetrying < 0 || len(q.Reason) > MaxMessage {
			bad("queue %s: its limits must not be negative", name)
		}
	}
	for name, c := range p.Commands {
		c.validate(name, bad)
	}
	if len(problems) == 0 {
		return nil
	}
	return Errorf(CodeInvalid, "policy: %s", strings.ReplaceAll(errors.Join(problems...).Error(), "\n", "; "))
}

// Change returns the event that replaces p by next, and the policy after it. The
// caller has validated next.
func (p *Policy) Change(next Policy, principal string, op Operation, now time.Time) (Event, *Policy, error) {
	next.Version = p.Version + 1
	attrs, err := json.Marshal(policyAttrs{&next, principal, cut(op.Reason), op.ID})
	if err != nil {
		return Event{}, nil, fmt.Errorf("encode policy: %w", err)
	}
	return Event{ID: NewID(), TS: now.UTC().Truncate(time.Millisecond), Type: PolicyChanged, IdempotencyKey: op.ID,
		Source: fabricSource, Attrs: attrs, Schema: PolicySchema}, &next, nil
}

type policyAttrs struct {
	Policy    *Policy `json:"policy"`
	Principal string  `json:"principal,omitempty"`
	Reason    string  `json:"reason,omitempty"`
	Operation string  `json:"operation_id,omitempty"`
}

// Entity implements [Document]: there is one policy.
func (p *Policy) Entity() (id string, version uint64) { return Entity(KindPolicy, PolicyID), p.Version }

// Apply makes p the policy after e. On an error p is as it was.
func (p *Policy) Apply(e Event) error {
	var a policyAttrs
	if err := json.Unmarshal(e.Attrs, &a); err != nil {
		return fmt.Errorf("decode %s: %w", e.Type, err)
	}
	if e.Type != PolicyChanged || a.Policy == nil || a.Policy.Version != p.Version+1 {
		return fmt.Errorf("policy: event %s does not follow version %d", e.Type, p.Version)
	}
	*p = *a.Policy
	return nil
}
