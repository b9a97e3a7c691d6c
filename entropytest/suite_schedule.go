package entropytest

import (
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

func yearly(name string) entropy.ScheduleSpec {
	return entropy.ScheduleSpec{Name: name, Cron: "0 3 1 1 *", Zone: "Europe/Berlin", CatchUp: entropy.CatchUpAll, CatchUpMax: 3,
		Overlap: entropy.OverlapSkip, Job: command("true")}
}

// proves J-10, J-5: a schedule is created once, listed, and says when it fires
func testSchedules(s *suite) {
	began := time.Now()
	spec := yearly("nightly")
	spec.Job.Labels, spec.Hold = map[string]string{"team": "x"}, true
	made, err := s.Service.CreateSchedule(s.ctx, spec, entropy.Operation{})
	s.must(err)
	if made.Name != "nightly" || made.Zone != "Europe/Berlin" || made.CatchUpMax != 3 || made.Overlap != entropy.OverlapSkip || made.Job.Labels["team"] != "x" ||
		made.Version != 1 || made.Mark.Before(began.Add(-time.Minute)) || len(made.Next) != 1 || !made.Hold {
		s.Fatalf("created %+v", made)
	}
	again, err := s.Service.CreateSchedule(s.ctx, spec, entropy.Operation{})
	s.must(err)
	if again.Version != 1 || !again.CreatedAt.Equal(made.CreatedAt) {
		s.Fatalf("created again %+v", again)
	}
	other := spec
	other.Cron = "@daily"
	_, err = s.Service.CreateSchedule(s.ctx, other, entropy.Operation{})
	s.wantCode(err, entropy.CodeConflict)
	_, err = s.Service.CreateSchedule(s.ctx, yearly("a-first"), entropy.Operation{})
	s.must(err)
	all, err := s.Service.Schedules(s.ctx)
	s.must(err)
	if len(all) != 2 || all[0].Name != "a-first" || all[1].Name != "nightly" || len(all[1].Next) != 1 {
		s.Fatalf("listed %+v", all)
	}
	one, err := s.Service.Schedule(s.ctx, "nightly", 4)
	s.must(err)
	if len(one.Next) != 4 || one.Next[0].Hour() != 2 || one.Next[3].Year() != one.Next[0].Year()+3 || !one.Next[0].After(began) {
		s.Fatalf("fires at %v", one.Next)
	}
	_, err = s.Service.Schedule(s.ctx, "nobody", 1)
	s.wantCode(err, entropy.CodeNotFound)
	_, err = s.Service.Schedule(s.ctx, "nightly", entropy.MaxUpcoming+1)
	s.wantCode(err, entropy.CodeInvalid)
}

// proves J-10: a schedule is paused, resumed and deleted, each once, and each is
// an event
func testScheduleModes(s *suite) {
	_, err := s.Service.CreateSchedule(s.ctx, yearly("s"), entropy.Operation{})
	s.must(err)
	for range 2 { // the second is harmless
		info, err := s.Service.SetSchedule(s.ctx, "s", entropy.SchedulePause, entropy.Operation{Reason: "moving house"})
		s.must(err)
		if !info.Paused || info.Reason != "moving house" || len(info.Next) != 0 {
			s.Fatalf("paused %+v", info)
		}
	}
	info, err := s.Service.SetSchedule(s.ctx, "s", entropy.ScheduleResume, entropy.Operation{})
	s.must(err)
	if info.Paused || info.Reason != "" || len(info.Next) != 1 {
		s.Fatalf("resumed %+v", info)
	}
	_, err = s.Service.SetSchedule(s.ctx, "s", entropy.ScheduleDelete, entropy.Operation{})
	s.must(err)
	for _, mode := range []entropy.ScheduleMode{entropy.SchedulePause, entropy.ScheduleDelete} {
		_, err = s.Service.SetSchedule(s.ctx, "s", mode, entropy.Operation{})
		s.wantCode(err, entropy.CodeNotFound)
	}
	_, err = s.Service.SetSchedule(s.ctx, "s2", "explode", entropy.Operation{})
	s.wantCode(err, entropy.CodeNotFound, entropy.CodeInvalid)
	if all, err := s.Service.Schedules(s.ctx); err != nil || len(all) != 0 {
		s.Fatalf("left %+v %v", all, err)
	}
	var types []string
	for _, e := range s.events("schedule:s") {
		types = append(types, strings.TrimPrefix(e.Type, "schedule."))
	}
	if strings.Join(types, " ") != "created paused resumed deleted" {
		s.Fatalf("events %v", types)
	}
	again, err := s.Service.CreateSchedule(s.ctx, yearly("s"), entropy.Operation{})
	s.must(err)
	if again.Born != 5 || again.Deleted {
		s.Fatalf("created anew %+v", again)
	}
}

// proves J-10: a firing by hand makes one job per operation, which carries the
// schedule's name
func testScheduleFire(s *suite) {
	spec := yearly("s")
	spec.Job.Env = map[string]string{"A": "b"}
	_, err := s.Service.CreateSchedule(s.ctx, spec, entropy.Operation{})
	s.must(err)
	op := entropy.Operation{ID: entropy.NewID()}
	first, err := s.Service.FireSchedule(s.ctx, "s", op)
	s.must(err)
	again, err := s.Service.FireSchedule(s.ctx, "s", op)
	s.must(err)
	if !first.Created || again.Created || again.ID != first.ID {
		s.Fatalf("%+v, then %+v", first, again)
	}
	j := s.job(first.ID)
	if j.Spec.Labels[entropy.LabelSchedule] != "s" || j.Spec.Env[entropy.EnvSchedule] != "s" || j.Spec.Env["A"] != "b" {
		s.Fatalf("its job is %+v", j.Spec)
	}
	info, err := s.Service.Schedule(s.ctx, "s", 0)
	s.must(err)
	if info.Fired != 1 || info.LastJob != first.ID || info.LastFired != nil || len(info.Next) != 0 {
		s.Fatalf("%+v", info)
	}
	page, err := s.Service.Jobs(s.ctx, entropy.JobFilter{Labels: map[string]string{entropy.LabelSchedule: "s"}})
	s.must(err)
	if len(page.Jobs) != 1 {
		s.Fatalf("%d jobs carry its name", len(page.Jobs))
	}
	_, err = s.Service.FireSchedule(s.ctx, "nobody", entropy.Operation{})
	s.wantCode(err, entropy.CodeNotFound)
}

// proves J-10 (bad input): what can never be meant is refused, with what is wrong,
// and leaves nothing behind
func testScheduleRefused(s *suite) {
	for why, change := range map[string]func(*entropy.ScheduleSpec){
		"fields":       func(c *entropy.ScheduleSpec) { c.Cron = "every day" },
		"from 0 to 59": func(c *entropy.ScheduleSpec) { c.Cron = "-5 * * * *" },
		"never fires":  func(c *entropy.ScheduleSpec) { c.Cron = "0 0 30 2 *" },
		"time zone":    func(c *entropy.ScheduleSpec) { c.Zone = "Mars/Olympus" },
		"catch_up_max": func(c *entropy.ScheduleSpec) { c.CatchUpMax = -1 },
		"command":      func(c *entropy.ScheduleSpec) { c.Job.Command = nil },
		"name":         func(c *entropy.ScheduleSpec) { c.Name = "" },
	} {
		spec := yearly("s")
		change(&spec)
		_, err := s.Service.CreateSchedule(s.ctx, spec, entropy.Operation{})
		s.wantCode(err, entropy.CodeInvalid)
		if !strings.Contains(err.Error(), why) {
			s.Fatalf("%v does not name %q", err, why)
		}
	}
	if all, err := s.Service.Schedules(s.ctx); err != nil || len(all) != 0 {
		s.Fatalf("left %+v %v", all, err)
	}
}
