package entropy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
)

// ScheduleSpec is what a caller asks to be submitted again and again. It never
// changes once created: delete the schedule and create it anew.
type ScheduleSpec struct {
	Name string `json:"name"`           // unique among the schedules; see ValidateID
	Cron string `json:"cron"`           // when: five fields, as in "0 3 * * 1-5", or @daily and the like; see ParseCron
	Zone string `json:"zone,omitempty"` // of the IANA time zone database; "" means UTC

	CatchUp    CatchUp `json:"catch_up,omitempty"`     // none, last or all; "" means none
	CatchUpMax int     `json:"catch_up_max,omitempty"` // of all: how many, the newest; 0 means 10, at most 1000
	Overlap    Overlap `json:"overlap,omitempty"`      // allow or skip; "" means allow

	Job   JobSpec    `json:"job"`
	Array *ArraySpec `json:"array,omitempty"` // each firing is an array of jobs like Job
	Hold  bool       `json:"hold,omitempty"`  // each job begins held
}

// CatchUp says what becomes of nominal times that passed while nothing could be
// submitted: the control plane was down, its disk full, or its clock unsettled.
type CatchUp string

// The ways to catch up.
const (
	CatchUpNone CatchUp = "none" // they are skipped; the newest is fired if it is at most Punctual ago
	CatchUpLast CatchUp = "last" // the newest is fired
	CatchUpAll  CatchUp = "all"  // the newest CatchUpMax are fired, the oldest of them first
)

// Overlap says what becomes of a firing while the job of the one before it has
// not ended.
type Overlap string

// The ways to deal with an overlap.
const (
	OverlapAllow Overlap = "allow" // it is submitted all the same
	OverlapSkip  Overlap = "skip"  // it is skipped
)

// Limits and defaults of schedules.
const (
	MaxSchedules    = 1000
	MaxScheduleSize = 256 << 10 // bytes of a ScheduleSpec's JSON
	MaxCatchUp      = 1000
	DefaultCatchUp  = 10
	MaxUpcoming     = 1000 // nominal times that one call tells ahead

	// Punctual is how late a firing may be that is not a matter of catching up.
	Punctual = 2 * time.Minute
)

// What a schedule adds to its jobs.
const (
	LabelSchedule  = "schedule"             // a label: the schedule's name
	EnvSchedule    = "ENTROPY_SCHEDULE"     // a variable: the same
	EnvScheduledAt = "ENTROPY_SCHEDULED_AT" // a variable: the nominal time, RFC 3339 in UTC; not when it was fired by hand
)

// Schedule submits a job at the times of a [Timetable]. It is a [Document]: the
// fold of its events. A firing is identified by the schedule's Name and Born and
// by its nominal time in UTC, from which the ID of its job is derived, so that it
// never makes two jobs.
type Schedule struct {
	ScheduleSpec
	Version   uint64    `json:"version"`
	Born      uint64    `json:"born"` // version of the event that created it: tells it from a deleted one of its name
	CreatedAt time.Time `json:"created_at"`
	Principal string    `json:"principal,omitempty"` // who created it
	Paused    bool      `json:"paused,omitempty"`
	Deleted   bool      `json:"deleted,omitempty"`
	Reason    string    `json:"reason,omitempty"` // of the pause or the deletion, for people
	// Mark is the high-water mark: what becomes of every nominal time up to it is
	// on record.
	Mark      time.Time  `json:"mark"`
	LastFired *time.Time `json:"last_fired"` // nominal; nil: never
	LastJob   JobID      `json:"last_job,omitempty"`
	Fired     int64      `json:"fired"`   // firings so far, those by hand included
	Skipped   int64      `json:"skipped"` // nominal times that were not fired
}

// ScheduleMode is what SetSchedule sets.
type ScheduleMode string

// The modes of a schedule.
const (
	SchedulePause  ScheduleMode = "pause"  // it fires nothing; what falls into the pause is not caught up
	ScheduleResume ScheduleMode = "resume" // it fires again, from now on
	ScheduleDelete ScheduleMode = "delete" // it is gone; its jobs stay
)

// ScheduleInfo is a schedule and its next nominal times.
type ScheduleInfo struct {
	Schedule
	Next []time.Time `json:"next"` // in UTC; none while it is paused
}

// ScheduleService is the part of [Service] that is about schedules.
type ScheduleService interface {
	// CreateSchedule begins to submit a job at the times of a cron expression, from
	// now on. Repeating it with the same spec is harmless. CodeInvalid;
	// CodeConflict when there is another schedule of this name; CodeTooLarge when
	// there are MaxSchedules.
	CreateSchedule(ctx context.Context, spec ScheduleSpec, op Operation) (ScheduleInfo, error)
	// Schedules lists every schedule by name, each with its next nominal time.
	Schedules(ctx context.Context) ([]ScheduleInfo, error)
	// Schedule returns one schedule with its next nominal times, at most
	// MaxUpcoming. CodeNotFound.
	Schedule(ctx context.Context, name string, next int) (ScheduleInfo, error)
	// SetSchedule pauses, resumes or deletes a schedule. Repeating it is harmless
	// but for a deletion, which is CodeNotFound without the same op.ID. CodeNotFound.
	SetSchedule(ctx context.Context, name string, mode ScheduleMode, op Operation) (ScheduleInfo, error)
	// FireSchedule submits the schedule's job now, paused or not, beside its
	// nominal times. The job's ID is derived from op.ID. CodeNotFound.
	FireSchedule(ctx context.Context, name string, op Operation) (SubmitResult, error)
}

// Timetable returns when the schedule fires. CodeInvalid.
func (s *ScheduleSpec) Timetable() (*Timetable, error) { return NewTimetable(s.Cron, s.Zone) }

// Validate reports everything that is wrong with s, in one [Error].
func (s *ScheduleSpec) Validate() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	add := func(err error) {
		if err != nil {
			problems = append(problems, err)
		}
	}
	add(ValidateID("schedule name", s.Name))
	_, err := s.Timetable()
	add(err)
	switch s.CatchUp {
	case "", CatchUpNone, CatchUpLast, CatchUpAll:
	default:
		bad("catch_up is %q; it is none, last or all", cut(string(s.CatchUp)))
	}
	if s.CatchUpMax < 0 || s.CatchUpMax > MaxCatchUp {
		bad("catch_up_max is %d; it must lie between 0 and %d", s.CatchUpMax, MaxCatchUp)
	} else if s.CatchUpMax > 0 && s.CatchUp != CatchUpAll {
		bad("catch_up_max needs catch_up all")
	}
	if s.Overlap != "" && s.Overlap != OverlapAllow && s.Overlap != OverlapSkip {
		bad("overlap is %q; it is allow or skip", cut(string(s.Overlap)))
	}
	s.validateJob(bad)
	if len(problems) == 0 {
		add(s.validateFiring())
	}
	if len(problems) == 0 {
		return nil
	}
	return Errorf(CodeInvalid, "schedule: %s", strings.ReplaceAll(errors.Join(problems...).Error(), "\n", "; "))
}

func (s *ScheduleSpec) validateJob(bad report) {
	if s.Job.NotBefore != nil || s.Job.NotAfter != nil {
		bad("job.not_before and job.not_after name one moment, and a schedule has many")
	}
	if s.Job.RetryOf != "" || s.Job.Array != nil {
		bad("job.retry_of and job.array are set by the fabric")
	}
	if _, taken := s.Job.Labels[LabelSchedule]; taken {
		bad("the label %s is set by the schedule", LabelSchedule)
	}
	for _, k := range []string{EnvSchedule, EnvScheduledAt} {
		if _, taken := s.Job.Env[k]; taken {
			bad("the variable %s is set by the schedule", k)
		}
	}
	if b, err := json.Marshal(s); err != nil {
		bad("it is not valid JSON: %v", err)
	} else if len(b) > MaxScheduleSize {
		bad("it has %d bytes, at most %d are allowed; ship large data with --input", len(b), MaxScheduleSize)
	}
}

// validateFiring lays out one firing, as the submission of one would.
func (s *ScheduleSpec) validateFiring() error {
	when := time.Unix(0, 0).UTC()
	sub := (&Schedule{ScheduleSpec: *s}).Submission(JobID(NewID()), &when)
	if err := sub.Spec.Validate(); err != nil {
		return err
	}
	if sub.Array == nil {
		return nil
	}
	_, err := NewGroup([]Submission{sub}, "", when)
	return err
}

// Submission returns what a firing submits, under the ID that the caller has
// derived from it. Nominal is nil when it is fired by hand.
func (s *Schedule) Submission(id JobID, nominal *time.Time) Submission {
	sub := Submission{ID: id, Spec: s.Job, Array: s.Array, Hold: s.Hold}
	sub.Spec.Labels, sub.Spec.Env = maps.Clone(s.Job.Labels), maps.Clone(s.Job.Env)
	if sub.Spec.Labels == nil {
		sub.Spec.Labels = make(map[string]string, 1)
	}
	if sub.Spec.Env == nil {
		sub.Spec.Env = make(map[string]string, 2)
	}
	sub.Spec.Labels[LabelSchedule], sub.Spec.Env[EnvSchedule] = s.Name, s.Name
	if nominal != nil {
		sub.Spec.Env[EnvScheduledAt] = nominal.UTC().Format(time.RFC3339)
	}
	return sub
}

// Info returns the schedule with its first n nominal times after now and the mark.
func (s *Schedule) Info(now time.Time, n int) ScheduleInfo {
	info := ScheduleInfo{Schedule: *s, Next: []time.Time{}}
	t, err := s.Timetable()
	if err != nil || s.Paused || s.Deleted {
		return info // an error: the zone has left the database since
	}
	if s.Mark.After(now) {
		now = s.Mark
	}
	info.Next = t.Upcoming(now, min(n, MaxUpcoming))
	return info
}

// Missed are nominal times in a row that are not fired: how many, counted up to
// 10,000, with the first and the last of them.
type Missed struct {
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// Due returns the nominal times after the mark and up to now that are to be fired,
// oldest first, and those before them that were missed. A schedule that is paused
// or deleted has none.
func (s *Schedule) Due(t *Timetable, now time.Time) (fire []time.Time, missed Missed) {
	if s.Paused || s.Deleted {
		return nil, missed
	}
	n := 1
	if s.CatchUp == CatchUpAll {
		n = cmp.Or(s.CatchUpMax, DefaultCatchUp)
	}
	fire = t.newest(s.Mark, now, n)
	if len(fire) == 0 {
		return nil, missed
	}
	if newest := fire[len(fire)-1]; cmp.Or(s.CatchUp, CatchUpNone) == CatchUpNone && now.Sub(newest) > Punctual {
		missed.Count, missed.First = t.before(s.Mark, newest.Add(1))
		missed.Last = newest
		return nil, missed
	}
	if missed.Count, missed.First = t.before(s.Mark, fire[0]); missed.Count > 0 {
		missed.Last = t.newest(s.Mark, fire[0].Add(-1), 1)[0]
	}
	return fire, missed
}
