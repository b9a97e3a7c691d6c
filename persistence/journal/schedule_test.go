package journal

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves H-12, P-2: a schedule with its high-water mark is read back as it was
// left, also after a restart, and a replay gives the same; of two marks made from
// the same state the second is a conflict
func TestSchedules(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, Config{Path: path})
	spec := entropy.ScheduleSpec{Name: "nightly", Cron: "30 2 * * *", Zone: "Europe/Berlin", CatchUp: entropy.CatchUpAll, CatchUpMax: 3,
		Job: entropy.JobSpec{Command: []string{"true"}, Env: map[string]string{"A": "b"}}}
	var s *entropy.Schedule
	var last entropy.Change
	at := epoch0
	step := func(events []entropy.Event, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		next, err := s.Next(events)
		if err != nil {
			t.Fatal(err)
		}
		last = entropy.Change{Entity: "schedule:nightly", Events: events, State: next}
		if s != nil {
			last.Expected, last.Before = s.Version, s
		}
		must(t, j, last)
		s, at = next, at.Add(time.Hour)
	}
	step(spec.Create(nil, "admin:t", entropy.Operation{}, at))
	step(s.Set(entropy.SchedulePause, "admin:t", entropy.Operation{Reason: "moving"}, at))
	step(s.Set(entropy.ScheduleResume, "admin:t", entropy.Operation{}, at))
	step(s.Skip(entropy.Missed{Count: 2, First: at.Add(-time.Hour), Last: at}, "down", at))
	step(s.Fire(at, "j1", at.Add(time.Second)))
	step(s.FireByHand("j2", "admin:t", entropy.Operation{ID: "op"}, at))
	_, err := j.Append(bg, last)
	wantCode(t, err, entropy.CodeConflict)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, Config{Path: path})
	got, err := j.Document(bg, "schedule:nightly")
	if err != nil || asJSON(got) != asJSON(s) || got.(*entropy.Schedule).Skipped != 2 || got.(*entropy.Schedule).Fired != 2 {
		t.Errorf("read %s, want %s (%v)", asJSON(got), asJSON(s), err)
	}
	report, err := j.Verify(bg, nil)
	if err != nil || !report.OK() || report.Documents != 1 {
		t.Errorf("%v, %v", report, err)
	}
}
