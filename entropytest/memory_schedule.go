package entropytest

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// changeSchedule carries out a change of a schedule. The caller holds the lock.
func (m *Memory) changeSchedule(name string, decide func(old *entropy.Schedule, now time.Time) ([]entropy.Event, error)) (*entropy.Schedule, error) {
	old := m.schedules[name]
	events, err := decide(old, time.Now())
	if err != nil || len(events) == 0 {
		return old, err
	}
	next, err := old.Next(events)
	if err != nil {
		return nil, err
	}
	for i, e := range events {
		m.append(e, entropy.Entity(entropy.KindSchedule, name), next.Version-uint64(len(events)-1-i))
	}
	m.schedules[name] = next
	m.bell()
	return next, nil
}

// CreateSchedule implements [entropy.Service]. Nothing here fires by itself.
func (m *Memory) CreateSchedule(ctx context.Context, spec entropy.ScheduleSpec, op entropy.Operation) (entropy.ScheduleInfo, error) {
	if err := spec.Validate(); err != nil {
		return entropy.ScheduleInfo{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.changeSchedule(spec.Name, func(old *entropy.Schedule, now time.Time) ([]entropy.Event, error) {
		return spec.Create(old, entropy.PrincipalFrom(ctx).String(), op, now)
	})
	if err != nil {
		return entropy.ScheduleInfo{}, err
	}
	return s.Info(time.Now(), 1), nil
}

// Schedules implements [entropy.Service].
func (m *Memory) Schedules(context.Context) ([]entropy.ScheduleInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := []entropy.ScheduleInfo{}
	for _, name := range slices.Sorted(maps.Keys(m.schedules)) {
		if s := m.schedules[name]; !s.Deleted {
			all = append(all, s.Info(time.Now(), 1))
		}
	}
	return all, nil
}

// Schedule implements [entropy.Service].
func (m *Memory) Schedule(_ context.Context, name string, next int) (entropy.ScheduleInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.schedules[name]
	if s == nil || s.Deleted {
		return entropy.ScheduleInfo{}, notFound("schedule", name)
	}
	if next < 0 || next > entropy.MaxUpcoming {
		return entropy.ScheduleInfo{}, entropy.Errorf(entropy.CodeInvalid, "%d next times were asked for", next)
	}
	return s.Info(time.Now(), next), nil
}

// SetSchedule implements [entropy.Service].
func (m *Memory) SetSchedule(ctx context.Context, name string, mode entropy.ScheduleMode, op entropy.Operation) (entropy.ScheduleInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.changeSchedule(name, func(old *entropy.Schedule, now time.Time) ([]entropy.Event, error) {
		if old == nil || old.Deleted {
			return nil, notFound("schedule", name)
		}
		return old.Set(mode, entropy.PrincipalFrom(ctx).String(), op, now)
	})
	if err != nil {
		return entropy.ScheduleInfo{}, err
	}
	return s.Info(time.Now(), 1), nil
}

// FireSchedule implements [entropy.Service].
func (m *Memory) FireSchedule(ctx context.Context, name string, op entropy.Operation) (entropy.SubmitResult, error) {
	s, err := m.Schedule(ctx, name, 0)
	if err != nil {
		return entropy.SubmitResult{}, err
	}
	id := entropy.JobID(entropy.NewID())
	if op.ID != "" {
		id = entropy.JobID("fire-" + hash([]byte(name + " " + op.ID))[:40])
	}
	results, err := m.Submit(ctx, []entropy.Submission{s.Submission(id, nil)})
	if err != nil {
		return entropy.SubmitResult{}, err
	}
	if e := results[0].Error; e != nil {
		return entropy.SubmitResult{}, e
	}
	if !results[0].Created {
		return results[0], nil // it was recorded then
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err = m.changeSchedule(name, func(old *entropy.Schedule, now time.Time) ([]entropy.Event, error) {
		return old.FireByHand(id, entropy.PrincipalFrom(ctx).String(), op, now)
	})
	return results[0], err
}
