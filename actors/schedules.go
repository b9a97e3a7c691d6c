package actors

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/action"
	"github.com/entropy-fabric/entropy/actors/clock"
	"github.com/entropy-fabric/entropy/actors/cron"
)

// newClock returns the clock by which jobs and schedules are decided (H-12).
func newClock(ctx context.Context, cfg *Config) (*clock.Clock, error) {
	var newest time.Time
	if at := cfg.Journal.Position(); at.Seq > 0 {
		at.Seq--
		page, err := cfg.Journal.Events(ctx, entropy.EventFilter{After: at, Limit: 1})
		if err != nil {
			return nil, fmt.Errorf("read the newest event: %w", err)
		}
		if len(page.Events) > 0 {
			newest = page.Events[0].TS
		}
	}
	c := clock.New(cfg.Now(), newest)
	if why := c.Alarm(); why != "" {
		cfg.Logger.Warn("the time of day is not believed yet", "why", why)
	}
	return c, nil
}

// watchClock compares the steady time with the wall clock, and tells those who
// wait for a time of day when it was set.
func (s *System) watchClock() {
	settled := s.clock.Settled()
	if s.clock.Observe(s.cfg.Now()) {
		s.waker.Tell(reloadWakes{})
		s.cron.Tell(cron.Look{})
		s.turns.Tell(action.Look{})
	}
	switch now := s.clock.Settled(); {
	case settled && !now:
		s.cfg.Logger.Warn("the time of day is not believed any more", "why", s.clock.Alarm())
	case now && !settled:
		s.cfg.Logger.Info("the wall clock has settled", "now", s.clock.Now())
	}
}

// cronPort connects the cron actor with the jobs.
type cronPort struct{ s *System }

var _ cron.Jobs = cronPort{}

// FiringID implements cron.Jobs.
func (p cronPort) FiringID(s *entropy.Schedule, nominal time.Time) entropy.JobID {
	return derivedID("schedule", s.Name, strconv.FormatUint(s.Born, 10), nominal.UTC().Format(time.RFC3339))
}

// Submit implements cron.Jobs, as the principal "schedule:NAME".
func (p cronPort) Submit(ctx context.Context, s *entropy.Schedule, sub entropy.Submission) error {
	_, err := p.s.submitOne(entropy.WithPrincipal(ctx, entropy.Principal{Role: entropy.KindSchedule, Name: s.Name}), sub)
	return err
}

// State implements cron.Jobs.
func (p cronPort) State(ctx context.Context, id entropy.JobID) (entropy.State, error) {
	at, err := p.s.standings(ctx, []entropy.JobID{id})
	return at[id].State, err
}

func (s *System) submitOne(ctx context.Context, sub entropy.Submission) (entropy.SubmitResult, error) {
	results, err := s.Submit(ctx, []entropy.Submission{sub})
	if err != nil {
		return entropy.SubmitResult{}, err
	}
	if results[0].Error != nil {
		return entropy.SubmitResult{}, results[0].Error
	}
	return results[0], nil
}

// schedule returns a schedule as the journal has it, deleted or not; CodeNotFound.
func (s *System) schedule(ctx context.Context, name string) (*entropy.Schedule, error) {
	if err := entropy.ValidateID("schedule name", name); err != nil {
		return nil, err
	}
	d, err := s.cfg.Journal.Document(ctx, entropy.Entity(entropy.KindSchedule, name))
	if entropy.ErrorCode(err) == entropy.CodeNotFound {
		return nil, noSchedule(name)
	}
	if err != nil {
		return nil, err
	}
	return d.(*entropy.Schedule), nil
}

func noSchedule(name string) error {
	return entropy.Errorf(entropy.CodeNotFound, "there is no schedule %s", name).WithHint("entropy schedule ls lists them")
}

// changeSchedule has the cron actor change a schedule, once per operation.
func (s *System) changeSchedule(ctx context.Context, name, verb string, op entropy.Operation,
	decide func(old *entropy.Schedule, principal string, now time.Time) ([]entropy.Event, error)) (entropy.ScheduleInfo, error) {
	record, done, err := s.operation(ctx, op, verb, entropy.Entity(entropy.KindSchedule, name))
	if err != nil {
		return entropy.ScheduleInfo{}, err
	}
	asItIs := func() (entropy.ScheduleInfo, error) {
		now, err := s.schedule(ctx, name)
		if err != nil {
			return entropy.ScheduleInfo{}, err
		}
		return now.Info(s.clock.Now(), 1), nil
	}
	if done {
		return asItIs()
	}
	principal := entropy.PrincipalFrom(ctx).String()
	v, err := s.cron.Ask(ctx, &cron.Change{Name: name, Operation: record, Decide: func(old *entropy.Schedule, now time.Time) ([]entropy.Event, error) {
		return decide(old, principal, now)
	}}).Await(ctx)
	if err != nil {
		if s.repeated(ctx, record, err) == nil {
			return asItIs()
		}
		return entropy.ScheduleInfo{}, err
	}
	return v.(*entropy.Schedule).Info(s.clock.Now(), 1), nil
}

// CreateSchedule implements entropy.Service.
func (s *System) CreateSchedule(ctx context.Context, spec entropy.ScheduleSpec, op entropy.Operation) (entropy.ScheduleInfo, error) {
	if err := spec.Validate(); err != nil {
		return entropy.ScheduleInfo{}, err
	}
	if missing := s.missingInputs(&spec.Job); missing != "" {
		return entropy.ScheduleInfo{}, inputNotStored(missing)
	}
	return s.changeSchedule(ctx, spec.Name, "create", op, func(old *entropy.Schedule, principal string, now time.Time) ([]entropy.Event, error) {
		return spec.Create(old, principal, op, now)
	})
}

// Schedules implements entropy.Service.
func (s *System) Schedules(ctx context.Context) ([]entropy.ScheduleInfo, error) {
	all := []entropy.ScheduleInfo{}
	now := s.clock.Now()
	err := s.cfg.Journal.Documents(ctx, entropy.KindSchedule, func(d entropy.Document) error {
		if one := d.(*entropy.Schedule); !one.Deleted {
			all = append(all, one.Info(now, 1))
		}
		return nil
	})
	return all, err
}

// Schedule implements entropy.Service.
func (s *System) Schedule(ctx context.Context, name string, next int) (entropy.ScheduleInfo, error) {
	now, err := s.schedule(ctx, name)
	switch {
	case err != nil:
		return entropy.ScheduleInfo{}, err
	case now.Deleted:
		return entropy.ScheduleInfo{}, noSchedule(name)
	case next < 0 || next > entropy.MaxUpcoming:
		return entropy.ScheduleInfo{}, entropy.Errorf(entropy.CodeInvalid, "%d next times were asked for; it must lie between 0 and %d", next, entropy.MaxUpcoming)
	}
	return now.Info(s.clock.Now(), next), nil
}

// SetSchedule implements entropy.Service.
func (s *System) SetSchedule(ctx context.Context, name string, mode entropy.ScheduleMode, op entropy.Operation) (entropy.ScheduleInfo, error) {
	if err := entropy.ValidateID("schedule name", name); err != nil {
		return entropy.ScheduleInfo{}, err
	}
	return s.changeSchedule(ctx, name, string(mode), op, func(old *entropy.Schedule, principal string, now time.Time) ([]entropy.Event, error) {
		if old == nil || old.Deleted {
			return nil, noSchedule(name)
		}
		return old.Set(mode, principal, op, now)
	})
}

// FireSchedule implements entropy.Service. The job is submitted before the firing
// is recorded: a repeat of the operation finds it by its ID.
func (s *System) FireSchedule(ctx context.Context, name string, op entropy.Operation) (entropy.SubmitResult, error) {
	now, err := s.Schedule(ctx, name, 0)
	if err != nil {
		return entropy.SubmitResult{}, err
	}
	id := entropy.JobID(entropy.NewID())
	if op.ID != "" {
		if err := entropy.ValidateID("operation id", op.ID); err != nil {
			return entropy.SubmitResult{}, err
		}
		id = derivedID("fire", entropy.PrincipalFrom(ctx).String(), name, strconv.FormatUint(now.Born, 10), op.ID)
	}
	result, err := s.submitOne(ctx, now.Submission(id, nil))
	if err != nil {
		return result, err
	}
	_, err = s.changeSchedule(ctx, name, "fire", op, func(old *entropy.Schedule, principal string, at time.Time) ([]entropy.Event, error) {
		if old == nil || old.Deleted {
			return nil, noSchedule(name)
		}
		return old.FireByHand(id, principal, op, at)
	})
	return result, err
}
