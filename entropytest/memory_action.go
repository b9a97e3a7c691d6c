package entropytest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/entropy-fabric/entropy"
)

// memoryActions is the part of [Memory] that is about actions. There are no
// executors: an action waits until it expires.
type memoryActions struct {
	all     map[entropy.ActionID]*entropy.Action
	order   []entropy.ActionID // oldest first
	keys    map[string]entropy.ActionID
	letters map[string]*entropy.DeadLetter
}

func newMemoryActions() memoryActions {
	return memoryActions{all: map[entropy.ActionID]*entropy.Action{}, keys: map[string]entropy.ActionID{}, letters: map[string]*entropy.DeadLetter{}}
}

// followAction carries out what was decided about an action. The caller holds the lock.
func (m *Memory) followAction(id entropy.ActionID, events []entropy.Event) (*entropy.Action, error) {
	old := m.actions.all[id]
	if len(events) == 0 {
		return old, nil
	}
	next, err := old.Next(events)
	if err != nil {
		return nil, err
	}
	if old == nil {
		m.actions.order = append(m.actions.order, id)
	}
	for i, e := range events {
		m.append(e, entropy.Entity(entropy.KindAction, string(id)), next.Version-uint64(len(events)-1-i))
	}
	m.actions.all[id] = next
	if d := next.DeadLetter(); d != nil && m.actions.letters[d.ID] == nil {
		added, err := d.Add(time.Now())
		if err != nil {
			return nil, err
		}
		if _, err := m.followLetter(d.ID, added); err != nil {
			return nil, err
		}
	}
	m.bell()
	return next, nil
}

// followLetter carries out what was decided about a dead letter. The caller holds the lock.
func (m *Memory) followLetter(id string, events []entropy.Event) (*entropy.DeadLetter, error) {
	old := m.actions.letters[id]
	if len(events) == 0 {
		return old, nil
	}
	next, err := old.Next(events)
	if err != nil {
		return nil, err
	}
	for i, e := range events {
		m.append(e, entropy.Entity(entropy.KindDeadLetter, id), next.Version-uint64(len(events)-1-i))
	}
	m.actions.letters[id] = next
	return next, nil
}

// wakeActions lets time pass for every action and returns when the next needs that.
func (m *Memory) wakeActions() (next time.Time) {
	for _, id := range m.actions.order {
		a := m.actions.all[id]
		if events, err := a.Wake(time.Time{}, time.Now()); err == nil && len(events) > 0 {
			a, _ = m.followAction(id, events)
		}
		if at := a.WakeAt(time.Time{}); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// RequestAction implements [entropy.Service].
func (m *Memory) RequestAction(ctx context.Context, r entropy.ActionRequest) (entropy.ActionResult, error) {
	q, err := r.Read(time.Now())
	if err != nil {
		return entropy.ActionResult{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	id := q.ID
	if used, ok := m.actions.keys[q.Key()]; ok && q.Key() != "" {
		id = used
	}
	events, err := q.Create(m.actions.all[id], m.policy.Command(q.Spec.Command), entropy.PrincipalFrom(ctx).String(), time.Now())
	if err != nil {
		return entropy.ActionResult{}, err
	}
	m.actions.keys[q.Key()] = id
	a, err := m.followAction(id, events)
	if err != nil {
		return entropy.ActionResult{}, err
	}
	return entropy.ActionResult{Action: entropy.ActionInfo{Action: *a}, Duplicate: len(events) == 0}, nil
}

// Action implements [entropy.Service].
func (m *Memory) Action(_ context.Context, id entropy.ActionID) (entropy.ActionInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wakeActions()
	a := m.actions.all[id]
	if a == nil {
		return entropy.ActionInfo{}, notFound("action", string(id))
	}
	return entropy.ActionInfo{Action: *a}, nil
}

// Actions implements [entropy.Service].
func (m *Memory) Actions(_ context.Context, f entropy.ActionFilter) (entropy.ActionPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*entropy.Action, 0, len(m.actions.order))
	for _, id := range m.actions.order {
		all = append(all, m.actions.all[id].Summary())
	}
	return SelectActions(all, f)
}

// SelectActions is a page of actions, the oldest first, as a journal lists them.
func SelectActions(all []*entropy.Action, f entropy.ActionFilter) (entropy.ActionPage, error) {
	before := len(all)
	if f.Cursor != "" {
		n, err := strconv.Atoi(f.Cursor)
		if err != nil || n < 0 || n > len(all) {
			return entropy.ActionPage{}, entropy.Errorf(entropy.CodeInvalid, "the cursor of the listing is invalid")
		}
		before = n
	}
	page := entropy.ActionPage{Actions: []*entropy.Action{}}
	for i := before - 1; i >= 0; i-- {
		if !f.Selects(all[i]) {
			continue
		}
		if len(page.Actions) == min(cmp.Or(f.Limit, 100), entropy.MaxBatch) {
			page.Next = strconv.Itoa(i + 1)
			break
		}
		page.Actions = append(page.Actions, all[i])
	}
	return page, nil
}

// WaitAction implements [entropy.Service].
func (m *Memory) WaitAction(ctx context.Context, id entropy.ActionID, limit time.Duration) (info entropy.ActionInfo, err error) {
	waited := m.until(ctx, limit, func() bool {
		a := m.actions.all[id]
		if a == nil {
			err = notFound("action", string(id))
			return true
		}
		info.Action = *a
		return a.State.Terminal()
	})
	if err == nil && waited != nil {
		err = entropy.Errorf(entropy.CodeUnavailable, "the wait was given up: %v", waited)
	}
	return info, err
}

// SetAction implements [entropy.Service].
func (m *Memory) SetAction(ctx context.Context, id entropy.ActionID, verb entropy.ActionVerb, op entropy.Operation) (entropy.ActionInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.actions.all[id]
	if a == nil {
		return entropy.ActionInfo{}, notFound("action", string(id))
	}
	events, err := a.Set(verb, entropy.PrincipalFrom(ctx).String(), op, time.Now())
	if err == nil {
		a, err = m.followAction(id, events)
	}
	if err != nil {
		return entropy.ActionInfo{}, err
	}
	return entropy.ActionInfo{Action: *a}, nil
}

// DeadLetters implements [entropy.Service].
func (m *Memory) DeadLetters(_ context.Context, f entropy.DeadLetterFilter) (entropy.DeadLetterPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wakeActions()
	page := entropy.DeadLetterPage{Letters: []*entropy.DeadLetter{}}
	for _, id := range slices.Sorted(maps.Keys(m.actions.letters)) {
		d := *m.actions.letters[id]
		if !f.Selects(&d) {
			continue
		}
		if n := len(page.Letters); n == min(cmp.Or(f.Limit, 100), entropy.MaxBatch) {
			page.Next = page.Letters[n-1].ID
			break
		}
		d.Raw = nil
		page.Letters = append(page.Letters, &d)
	}
	return page, nil
}

// DeadLetter implements [entropy.Service].
func (m *Memory) DeadLetter(_ context.Context, id string) (*entropy.DeadLetter, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.actions.letters[id]; d != nil {
		return d, nil
	}
	return nil, notFound("dead letter", id)
}

// ReplayDeadLetter implements [entropy.Service].
func (m *Memory) ReplayDeadLetter(ctx context.Context, id string, op entropy.Operation) (entropy.ActionResult, error) {
	d, err := m.DeadLetter(ctx, id)
	if err != nil {
		return entropy.ActionResult{}, err
	}
	principal := entropy.PrincipalFrom(ctx).String()
	if _, err := d.Replayed("", principal, op, time.Now()); err != nil {
		return entropy.ActionResult{}, err
	}
	info, err := m.Action(ctx, d.Action)
	if err != nil {
		return entropy.ActionResult{}, err
	}
	r, err := d.ReplayRequest(&info.Action)
	if err != nil {
		return entropy.ActionResult{}, err
	}
	result, err := m.RequestAction(ctx, r)
	if err != nil {
		return result, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	events, err := m.actions.letters[id].Replayed(result.Action.ID, principal, op, time.Now())
	if err == nil {
		_, err = m.followLetter(id, events)
	}
	return result, err
}

// DropDeadLetter implements [entropy.Service].
func (m *Memory) DropDeadLetter(ctx context.Context, id string, op entropy.Operation) (*entropy.DeadLetter, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.actions.letters[id]
	if d == nil {
		return nil, notFound("dead letter", id)
	}
	events, err := d.Drop(entropy.PrincipalFrom(ctx).String(), op, time.Now())
	if err != nil {
		return nil, err
	}
	return m.followLetter(id, events)
}
