package entropy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// KindSchedule is the entity kind of a [Schedule].
const KindSchedule = "schedule"

// The types of a schedule's events.
const (
	ScheduleCreated = "schedule.created"
	SchedulePaused  = "schedule.paused"
	ScheduleResumed = "schedule.resumed"
	ScheduleFired   = "schedule.fired"
	ScheduleSkipped = "schedule.skipped"
	ScheduleRewound = "schedule.rewound" // the clock was far ahead and was set back: the mark follows it
	ScheduleDeleted = "schedule.deleted"
)

// ScheduleSchema is the schema number of the schedule events written now.
const ScheduleSchema = 1

// scheduleAttrs is what the events of a schedule carry.
type scheduleAttrs struct {
	Spec      *ScheduleSpec `json:"spec,omitempty"`
	Nominal   *time.Time    `json:"nominal,omitempty"` // of a firing; absent when it was by hand
	Job       JobID         `json:"job,omitempty"`
	Missed    *Missed       `json:"missed,omitempty"`
	Mark      *time.Time    `json:"mark,omitempty"` // the high-water mark from now on; absent: as it was
	Message   string        `json:"message,omitempty"`
	Principal string        `json:"principal,omitempty"`
	Operation string        `json:"operation_id,omitempty"`
}

// Create returns what creates a schedule; old is the one of its name before, or
// nil. No events mean that it is there already. CodeConflict when another is.
func (s *ScheduleSpec) Create(old *Schedule, principal string, op Operation, now time.Time) ([]Event, error) {
	if old != nil && !old.Deleted {
		if same(s, &old.ScheduleSpec) {
			return nil, nil
		}
		return nil, Errorf(CodeConflict, "there is another schedule %s", s.Name).
			WithHint("choose another name, or delete it first with: entropy schedule delete %s", s.Name)
	}
	mark := stored(now)
	return scheduleEvent(ScheduleCreated, now, scheduleAttrs{Spec: s, Mark: &mark, Principal: principal, Operation: op.ID})
}

// same reports whether two specs mean the same, as far as their JSON tells.
func same(a, b *ScheduleSpec) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// stored cuts a time to what is recorded of it.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// Set returns what sets a mode. No events mean that it is set already.
func (s *Schedule) Set(mode ScheduleMode, principal string, op Operation, now time.Time) ([]Event, error) {
	a := scheduleAttrs{Message: cut(op.Reason), Principal: principal, Operation: op.ID}
	switch {
	case mode == SchedulePause && s.Paused, mode == ScheduleResume && !s.Paused:
		return nil, nil
	case mode == SchedulePause:
		return scheduleEvent(SchedulePaused, now, a)
	case mode == ScheduleDelete:
		return scheduleEvent(ScheduleDeleted, now, a)
	case mode == ScheduleResume:
		if mark := stored(now); mark.After(s.Mark) {
			a.Mark = &mark
		}
		return scheduleEvent(ScheduleResumed, now, a)
	}
	return nil, Errorf(CodeInvalid, "%q is not a mode of a schedule", cut(string(mode))).WithHint("it is pause, resume or delete")
}

// Fire returns what records that the job of a nominal time was submitted.
func (s *Schedule) Fire(nominal time.Time, job JobID, now time.Time) ([]Event, error) {
	return scheduleEvent(ScheduleFired, now, scheduleAttrs{Nominal: &nominal, Mark: &nominal, Job: job})
}

// FireByHand returns what records that a job was submitted beside the nominal times.
func (s *Schedule) FireByHand(job JobID, principal string, op Operation, now time.Time) ([]Event, error) {
	return scheduleEvent(ScheduleFired, now, scheduleAttrs{Job: job, Message: cut(op.Reason), Principal: principal, Operation: op.ID})
}

// Skip returns what records that nominal times are not fired, and why.
func (s *Schedule) Skip(m Missed, why string, now time.Time) ([]Event, error) {
	return scheduleEvent(ScheduleSkipped, now, scheduleAttrs{Missed: &m, Mark: &m.Last, Message: cut(why)})
}

// Rewind returns what sets the mark back to a clock that was far ahead before.
// What was fired up to the old mark is not fired again: its jobs have its IDs.
func (s *Schedule) Rewind(now time.Time) ([]Event, error) {
	mark := stored(now)
	return scheduleEvent(ScheduleRewound, now, scheduleAttrs{Mark: &mark,
		Message: "the clock is " + s.Mark.Sub(mark).Round(time.Second).String() + " behind the last nominal time"})
}

func scheduleEvent(typ string, now time.Time, a scheduleAttrs) ([]Event, error) {
	attrs, err := json.Marshal(&a)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", typ, err)
	}
	return []Event{{ID: NewID(), TS: stored(now), Type: typ, IdempotencyKey: a.Operation, Source: fabricSource, Attrs: attrs, Schema: ScheduleSchema}}, nil
}

// Next returns the schedule after events, leaving s as it is; s may be nil, of a
// schedule that is new.
func (s *Schedule) Next(events []Event) (*Schedule, error) {
	n := new(Schedule)
	if s != nil {
		*n = *s
	}
	for _, e := range events {
		if err := n.Apply(e); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Entity implements [Document].
func (s *Schedule) Entity() (id string, version uint64) {
	return Entity(KindSchedule, s.Name), s.Version
}

// Apply makes s the schedule after e. On an error s is as it was.
func (s *Schedule) Apply(e Event) error {
	var a scheduleAttrs
	if err := json.Unmarshal(e.Attrs, &a); err != nil {
		return fmt.Errorf("decode %s: %w", e.Type, err)
	}
	n := *s
	if alive := n.Version > 0 && !n.Deleted; alive == (e.Type == ScheduleCreated) {
		return fmt.Errorf("schedule %s: event %s at version %d does not follow", s.Name, e.Type, s.Version)
	}
	n.Version++
	switch e.Type {
	case ScheduleCreated:
		if a.Spec == nil {
			return fmt.Errorf("schedule: %s has no spec", e.Type)
		}
		n = Schedule{ScheduleSpec: *a.Spec, Version: n.Version, Born: n.Version, CreatedAt: e.TS, Principal: a.Principal}
	case SchedulePaused:
		n.Paused, n.Reason = true, a.Message
	case ScheduleResumed:
		n.Paused, n.Reason = false, ""
	case ScheduleFired:
		n.Fired++
		n.LastJob = a.Job
		if a.Nominal != nil {
			n.LastFired = a.Nominal
		}
	case ScheduleSkipped:
		if a.Missed == nil {
			return fmt.Errorf("schedule: %s does not say what", e.Type)
		}
		n.Skipped += int64(a.Missed.Count)
	case ScheduleRewound:
	case ScheduleDeleted:
		n.Deleted, n.Reason = true, a.Message
		n.Job, n.Array = JobSpec{}, nil // nobody needs it any more, and it may be large
	default:
		return fmt.Errorf("schedule: there is no event %s", e.Type)
	}
	if a.Mark != nil {
		n.Mark = *a.Mark
	}
	*s = n
	return nil
}
