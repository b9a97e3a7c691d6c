package entropy_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

var scheduleNoon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func scheduleSpec(name, cron string) entropy.ScheduleSpec {
	return entropy.ScheduleSpec{Name: name, Cron: cron, Job: entropy.JobSpec{Command: []string{"true"}}}
}

// born returns a schedule that was created at noon.
func born(t *testing.T, spec entropy.ScheduleSpec) *entropy.Schedule {
	t.Helper()
	events, err := spec.Create(nil, "admin:t", entropy.Operation{}, scheduleNoon)
	if err != nil {
		t.Fatal(err)
	}
	s, err := (*entropy.Schedule)(nil).Next(events)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// proves H-12: which nominal times are fired after a downtime, by each way to
// catch up, and that those that are not are counted exactly
func TestDue(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	for _, c := range []struct {
		catchUp entropy.CatchUp
		most    int
		after   time.Duration // from the mark to now
		fire    string        // minutes after the mark
		missed  string        // count first-last
	}{
		{"", 0, 59 * s, "", ""}, {"", 0, m, "1", ""}, {"", 0, m + 59*s, "1", ""},
		{"none", 0, 3*m + 5*s, "3", "2 1-2"}, {"none", 0, 50 * m, "50", "49 1-49"},
		{"last", 0, m, "1", ""}, {"last", 0, 10*m + s, "10", "9 1-9"}, {"last", 0, 30 * 24 * h, "43200", "10000 1-43199"},
		{"all", 0, 5 * m, "1 2 3 4 5", ""}, {"all", 3, 5 * m, "3 4 5", "2 1-2"}, {"all", 0, 30 * m, "21 22 23 24 25 26 27 28 29 30", "20 1-20"},
		{"all", 5, 5 * m, "1 2 3 4 5", ""}, {"all", 2, 400 * 24 * h, "575999 576000", "10000 1-575998"},
	} {
		spec := scheduleSpec("s", "* * * * *")
		spec.CatchUp, spec.CatchUpMax = c.catchUp, c.most
		one := born(t, spec)
		table, err := one.Timetable()
		if err != nil {
			t.Fatal(err)
		}
		fire, missed := one.Due(table, scheduleNoon.Add(c.after))
		var got []string
		for _, at := range fire {
			got = append(got, fmt.Sprint(int(at.Sub(one.Mark)/m)))
		}
		skipped := ""
		if missed.Count > 0 {
			skipped = fmt.Sprintf("%d %d-%d", missed.Count, missed.First.Sub(one.Mark)/m, missed.Last.Sub(one.Mark)/m)
		}
		if strings.Join(got, " ") != c.fire || skipped != c.missed {
			t.Errorf("%s ≤ %d, %s after the mark: fires %v, misses %q; want %q, %q", c.catchUp, c.most, c.after, got, skipped, c.fire, c.missed)
		}
	}
}

// proves H-12: a firing that is too late to be punctual is skipped, unless it is
// to be caught up
func TestDueTooLate(t *testing.T) {
	for _, c := range []struct {
		catchUp entropy.CatchUp
		late    time.Duration
		fires   bool
	}{{"none", entropy.Punctual, true}, {"none", entropy.Punctual + time.Millisecond, false}, {"last", 23 * time.Hour, true}, {"all", 23 * time.Hour, true}} {
		spec := scheduleSpec("s", "0 3 * * *")
		spec.CatchUp = c.catchUp
		one := born(t, spec)
		table, _ := one.Timetable()
		at := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
		fire, missed := one.Due(table, at.Add(c.late))
		if len(fire) == 1 != c.fires || len(fire)+missed.Count != 1 || c.fires && !fire[0].Equal(at) || !c.fires && !missed.Last.Equal(at) {
			t.Errorf("%s, %s late: %v, %+v", c.catchUp, c.late, fire, missed)
		}
	}
}

// proves J-10 (bad input): every way to write a schedule wrong is refused with
// what is wrong
func TestScheduleSpecRefused(t *testing.T) {
	later := scheduleNoon
	for why, change := range map[string]func(*entropy.ScheduleSpec){
		"schedule name":            func(s *entropy.ScheduleSpec) { s.Name = "no/slash" },
		"never fires":              func(s *entropy.ScheduleSpec) { s.Cron = "0 0 30 2 *" },
		"no time zone":             func(s *entropy.ScheduleSpec) { s.Zone = "Nowhere" },
		"catch_up is":              func(s *entropy.ScheduleSpec) { s.CatchUp = "some" },
		"between 0 and":            func(s *entropy.ScheduleSpec) { s.CatchUp, s.CatchUpMax = "all", -1 },
		"and 1000":                 func(s *entropy.ScheduleSpec) { s.CatchUp, s.CatchUpMax = "all", 1001 },
		"needs catch_up all":       func(s *entropy.ScheduleSpec) { s.CatchUp, s.CatchUpMax = "last", 3 },
		"overlap is":               func(s *entropy.ScheduleSpec) { s.Overlap = "queue" },
		"name one moment":          func(s *entropy.ScheduleSpec) { s.Job.NotBefore = &later },
		"a schedule has many":      func(s *entropy.ScheduleSpec) { s.Job.NotAfter = &later },
		"set by the fabric":        func(s *entropy.ScheduleSpec) { s.Job.RetryOf = "j" },
		"set by the schedule":      func(s *entropy.ScheduleSpec) { s.Job.Labels = map[string]string{entropy.LabelSchedule: "s"} },
		"the variable":             func(s *entropy.ScheduleSpec) { s.Job.Env = map[string]string{entropy.EnvScheduledAt: "now"} },
		"there is no command":      func(s *entropy.ScheduleSpec) { s.Job.Command = nil },
		"labels has 65":            func(s *entropy.ScheduleSpec) { s.Job.Labels = manyLabels(entropy.MaxLabels) },
		"bytes, at most":           func(s *entropy.ScheduleSpec) { s.Job.Payload, s.Job.Handler, s.Job.Command = largePayload(), "h", nil },
		"ends before it begins":    func(s *entropy.ScheduleSpec) { s.Array = &entropy.ArraySpec{First: 3, Last: 1} },
		"write it as FIRST-LAST":   func(s *entropy.ScheduleSpec) { s.Array = &entropy.ArraySpec{First: 3, Last: 1} },
		"at most 10000 are allowe": func(s *entropy.ScheduleSpec) { s.Array = &entropy.ArraySpec{Last: 1e9 - 1} },
	} {
		spec := scheduleSpec("s", "@daily")
		change(&spec)
		err := spec.Validate()
		if c := entropy.ErrorCode(err); c != entropy.CodeInvalid || !strings.Contains(err.Error(), why) {
			t.Errorf("want %q: %q %v", why, c, err)
		}
	}
}

func manyLabels(n int) map[string]string {
	m := make(map[string]string, n)
	for i := range n {
		m[fmt.Sprint("k", i)] = "v"
	}
	return m
}

func largePayload() json.RawMessage {
	return json.RawMessage(`"` + strings.Repeat("x", entropy.MaxScheduleSize) + `"`)
}

// proves P-2, H-12: whatever happens to a schedule, the fold of its events is its
// state, byte for byte, and an event that does not follow changes nothing
func TestScheduleReplay(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 12))
	for range 200 {
		var live *entropy.Schedule
		fold := entropy.NewDocument("schedule:s")
		now := scheduleNoon
		for range 30 {
			now = now.Add(time.Duration(rng.Int64N(int64(3 * time.Hour))))
			events, err := someChange(rng, live, now)
			if err != nil {
				t.Fatal(err)
			}
			if live, err = live.Next(events); err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				if err := fold.Apply(e); err != nil {
					t.Fatal(err)
				}
			}
			if got, want := asText(t, fold), asText(t, live); got != want {
				t.Fatalf("folded\n%s\nlive\n%s", got, want)
			}
			for _, e := range []entropy.Event{{Type: "schedule.exploded", Attrs: json.RawMessage(`{}`)}, {Type: entropy.ScheduleFired, Attrs: json.RawMessage(`[`)},
				{Type: entropy.ScheduleSkipped, Attrs: json.RawMessage(`{}`)}, {Type: entropy.ScheduleCreated, Attrs: json.RawMessage(`{}`)}} {
				if err := fold.Apply(e); err == nil || asText(t, fold) != asText(t, live) {
					t.Fatalf("%s was applied: %v", e.Type, err)
				}
			}
		}
	}
}

func someChange(rng *rand.Rand, s *entropy.Schedule, now time.Time) ([]entropy.Event, error) {
	op := entropy.Operation{ID: entropy.NewID(), Reason: "why not"}
	if s == nil || s.Deleted {
		spec := scheduleSpec("s", "*/5 * * * *")
		return spec.Create(s, "admin:t", op, now)
	}
	switch rng.IntN(8) {
	case 0:
		return s.Set(entropy.SchedulePause, "admin:t", op, now)
	case 1:
		return s.Set(entropy.ScheduleResume, "admin:t", op, now)
	case 2:
		return s.Set(entropy.ScheduleDelete, "admin:t", op, now)
	case 3:
		return s.Rewind(now)
	case 4:
		return s.FireByHand("j", "admin:t", op, now)
	case 5:
		return s.Skip(entropy.Missed{Count: 3, First: now.Add(-time.Hour), Last: now}, "down", now)
	}
	return s.Fire(now.Truncate(time.Minute), "j2", now)
}

func asText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// proves J-5: creating the same again changes nothing, another of the same name is
// a conflict, and one that was deleted makes room for a schedule of its own
func TestScheduleCreateAgain(t *testing.T) {
	spec := scheduleSpec("s", "@daily")
	s := born(t, spec)
	if events, err := spec.Create(s, "admin:t", entropy.Operation{}, scheduleNoon.Add(time.Hour)); err != nil || len(events) != 0 {
		t.Errorf("again: %v %v", events, err)
	}
	other := spec
	other.Cron = "@hourly"
	if _, err := other.Create(s, "admin:t", entropy.Operation{}, scheduleNoon); entropy.ErrorCode(err) != entropy.CodeConflict {
		t.Errorf("another: %v", err)
	}
	events, err := s.Set(entropy.ScheduleDelete, "admin:t", entropy.Operation{}, scheduleNoon)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = s.Next(events); err != nil || !s.Deleted || len(s.Job.Command) != 0 {
		t.Fatalf("deleted: %+v %v", s, err)
	}
	if events, err = other.Create(s, "admin:t", entropy.Operation{}, scheduleNoon); err != nil {
		t.Fatal(err)
	}
	if s, err = s.Next(events); err != nil || s.Deleted || s.Born != 3 || s.Version != 3 || s.Fired != 0 || s.Cron != "@hourly" {
		t.Errorf("anew: %+v %v", s, err)
	}
}

// proves H-12 (delays and deadlines): while the clock is unsettled no delay ends
// and no deadline passes, and a backoff ends as ever
func TestWakeUnsettled(t *testing.T) {
	at, before := scheduleNoon, scheduleNoon.Add(-time.Hour)
	for name, c := range map[string]struct {
		job   *entropy.Job
		holds bool
	}{
		"delay":         {&entropy.Job{ID: "j", State: entropy.Scheduled, Spec: entropy.JobSpec{NotBefore: &at}}, true},
		"deadline":      {&entropy.Job{ID: "j", State: entropy.Pending, Spec: entropy.JobSpec{NotAfter: &at}}, true},
		"running":       {&entropy.Job{ID: "j", State: entropy.Running, Spec: entropy.JobSpec{NotAfter: &at}}, true},
		"backoff":       {&entropy.Job{ID: "j", State: entropy.Retrying, RetryAt: &at}, false},
		"queue timeout": {&entropy.Job{ID: "j", State: entropy.Pending, EligibleAt: &before, Spec: entropy.JobSpec{QueueTimeout: entropy.Duration(time.Minute)}}, false},
	} {
		held, err := c.job.Decide(entropy.Wake{Unsettled: true}, at)
		if err != nil {
			t.Fatal(err)
		}
		d, err := c.job.Decide(entropy.Wake{}, at)
		if err != nil {
			t.Fatal(err)
		}
		if acts := len(held.Events) > 0 || held.Stop != ""; acts == c.holds {
			t.Errorf("%s: unsettled, it acts: %t", name, acts)
		}
		if len(d.Events) == 0 && d.Stop == "" {
			t.Errorf("%s: settled, it does not act", name)
		}
	}
}
