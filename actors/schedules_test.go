package actors_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entropy-fabric/entropy"
)

// The bubble's time begins at midnight UTC, 2000-01-01: a Saturday.

func nightly(name, cron string) entropy.ScheduleSpec {
	return entropy.ScheduleSpec{Name: name, Cron: cron, Job: entropy.JobSpec{Command: []string{"true"}}}
}

func (l *lab) schedule(spec entropy.ScheduleSpec) entropy.ScheduleInfo {
	l.t.Helper()
	info, err := l.sys.CreateSchedule(context.Background(), spec, entropy.Operation{})
	if err != nil {
		l.t.Fatal(err)
	}
	return info
}

func (l *lab) set(name string, mode entropy.ScheduleMode) entropy.ScheduleInfo {
	l.t.Helper()
	info, err := l.sys.SetSchedule(context.Background(), name, mode, entropy.Operation{})
	if err != nil {
		l.t.Fatal(err)
	}
	return info
}

func (l *lab) info(name string) entropy.ScheduleInfo {
	l.t.Helper()
	info, err := l.sys.Schedule(context.Background(), name, 3)
	if err != nil {
		l.t.Fatal(err)
	}
	return info
}

// firings returns the nominal times of the jobs of a schedule, in order. Two jobs
// of one nominal time fail the test.
func (l *lab) firings(name string) []string {
	l.t.Helper()
	synctest.Wait()
	l.journal.mu.Lock()
	defer l.journal.mu.Unlock()
	var at []string
	for _, j := range l.journal.jobs {
		if j.Spec.Labels[entropy.LabelSchedule] == name {
			at = append(at, j.Spec.Env[entropy.EnvScheduledAt])
		}
	}
	slices.Sort(at)
	if n := len(at); len(slices.Compact(slices.Clone(at))) != n {
		l.t.Fatalf("a nominal time has two jobs: %v", at)
	}
	return at
}

// wantFirings compares the nominal times of a schedule's jobs, less what they all
// begin with.
func (l *lab) wantFirings(name, prefix, want string) {
	l.t.Helper()
	var got []string
	for _, at := range l.firings(name) {
		got = append(got, strings.TrimSuffix(strings.TrimPrefix(at, prefix), ":00Z"))
	}
	if strings.Join(got, " ") != want {
		l.t.Fatalf("%s fired at %v, want %s", name, got, want)
	}
}

// recorded returns the types of a schedule's events.
func (l *lab) recorded(name string) (types []string) {
	synctest.Wait()
	page, err := l.sys.Events(context.Background(), entropy.EventFilter{Entity: entropy.Entity(entropy.KindSchedule, name)})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, e := range page.Events {
		types = append(types, strings.TrimPrefix(e.Type, "schedule."))
	}
	return types
}

// proves J-10, H-12: a schedule fires at its times, each once, and its jobs say
// which schedule and which time they are of
func TestScheduleFires(t *testing.T) {
	inLab(t, func(l *lab) {
		spec := nightly("tick", "*/20 * * * *")
		spec.Job.Env, spec.Job.Labels = map[string]string{"A": "b"}, map[string]string{"team": "x"}
		if info := l.schedule(spec); len(info.Next) != 1 || info.Next[0].Minute() != 20 || info.Born != 1 {
			t.Fatalf("%+v", info)
		}
		l.pass(time.Hour + time.Second)
		l.wantFirings("tick", "2000-01-01T", "00:20 00:40 01:00")
		info := l.info("tick")
		if info.Fired != 3 || info.Skipped != 0 || !info.Mark.Equal(*info.LastFired) || info.LastFired.Hour() != 1 || len(info.Next) != 3 {
			t.Errorf("%+v", info)
		}
		j := l.job(info.LastJob)
		if j.Spec.Env["A"] != "b" || j.Spec.Env[entropy.EnvSchedule] != "tick" || j.Spec.Labels["team"] != "x" || j.CreatedAt.Sub(info.Mark) > time.Second {
			t.Errorf("%+v created at %s", j.Spec, j.CreatedAt)
		}
		var principal string
		for _, e := range l.journal.events {
			if e.EntityID == entropy.Entity(entropy.KindJob, string(info.LastJob)) {
				principal += string(e.Attrs)
			}
		}
		if !strings.Contains(principal, `"schedule:tick"`) {
			t.Errorf("submitted by %s", principal)
		}
		l.crash()
		l.pass(20 * time.Minute)
		l.wantFirings("tick", "2000-01-01T", "00:20 00:40 01:00 01:20")
	})
}

// proves H-12: after a downtime over many nominal times each way to catch up does
// what it says, and the journal says what was skipped
func TestScheduleDowntime(t *testing.T) {
	for _, c := range []struct {
		catchUp entropy.CatchUp
		most    int
		down    time.Duration
		want    string
		skipped int64
	}{
		{"none", 0, 95 * time.Minute, "00:10", 9},
		{"none", 0, 91 * time.Minute, "00:10 01:40", 8},
		{"last", 0, 95 * time.Minute, "00:10 01:40", 8},
		{"all", 0, 45 * time.Minute, "00:10 00:20 00:30 00:40 00:50", 0},
		{"all", 3, 95 * time.Minute, "00:10 01:20 01:30 01:40", 6},
	} {
		t.Run(fmt.Sprintf("%s %d after %s", c.catchUp, c.most, c.down), func(t *testing.T) {
			inLab(t, func(l *lab) {
				spec := nightly("s", "*/10 * * * *")
				spec.CatchUp, spec.CatchUpMax = c.catchUp, c.most
				l.schedule(spec)
				l.pass(10*time.Minute + time.Second)
				l.sys.Close()
				l.journal = l.journal.restart()
				l.pass(c.down)
				l.start()
				l.pass(time.Second)
				l.wantFirings("s", "2000-01-01T", c.want)
				if info := l.info("s"); info.Skipped != c.skipped || info.Fired != int64(len(strings.Fields(c.want))) {
					t.Errorf("fired %d, skipped %d", info.Fired, info.Skipped)
				}
				l.pass(10 * time.Minute) // and on it goes
				if n := len(l.firings("s")); n != len(strings.Fields(c.want))+1 {
					t.Errorf("%d firings, want one more", n)
				}
			})
		})
	}
}

// proves H-12: a crash between the submission and the mark makes no second job,
// however long the downtime and whatever is caught up
func TestScheduleCrashBeforeMark(t *testing.T) {
	for _, down := range []time.Duration{0, 30 * time.Second, 45 * time.Minute} {
		for _, catchUp := range []entropy.CatchUp{"none", "last", "all"} {
			t.Run(fmt.Sprint(catchUp, " ", down), func(t *testing.T) {
				inLab(t, func(l *lab) {
					spec := nightly("s", "*/10 * * * *")
					spec.CatchUp, spec.Overlap = catchUp, entropy.OverlapAllow
					l.schedule(spec)
					l.journal.set(func(ch entropy.Change) error {
						if strings.HasPrefix(ch.Entity, entropy.KindSchedule) {
							return entropy.Errorf(entropy.CodeUnavailable, "no room for marks")
						}
						return nil
					})
					l.pass(10*time.Minute + 20*time.Second) // several tries to record it
					if info := l.info("s"); len(l.firings("s")) != 1 || info.Fired != 0 {
						t.Fatalf("fired %d, %v", info.Fired, l.firings("s"))
					}
					l.sys.Close()
					l.journal = l.journal.restart()
					l.pass(down)
					l.start()
					l.pass(time.Second)
					l.journal.set(nil)
					l.pass(10 * time.Second)
					if jobs, info := l.firings("s"), l.info("s"); info.Fired != int64(len(jobs)) || jobs[0] != "2000-01-01T00:10:00Z" {
						t.Errorf("%d recorded, jobs %v", info.Fired, jobs)
					}
				})
			})
		}
	}
}

// proves H-12, J-5: an append whose outcome is unknown makes no second job
func TestScheduleUnknownOutcome(t *testing.T) {
	inLab(t, func(l *lab) {
		l.schedule(nightly("s", "*/10 * * * *"))
		lies := 2
		l.journal.mu.Lock()
		l.journal.lie = func(ch entropy.Change) error {
			if strings.HasPrefix(ch.Entity, entropy.KindSchedule) && lies > 0 {
				lies--
				return entropy.Errorf(entropy.CodeUnknown, "who knows")
			}
			return nil
		}
		l.journal.mu.Unlock()
		l.pass(31 * time.Minute)
		l.wantFirings("s", "2000-01-01T", "00:10 00:20 00:30")
		if info := l.info("s"); info.Fired != 3 || lies != 0 {
			t.Errorf("%d recorded", info.Fired)
		}
	})
}

// proves J-10: a paused schedule fires nothing, what falls into the pause is not
// caught up, and a deleted one is gone
func TestSchedulePause(t *testing.T) {
	inLab(t, func(l *lab) {
		spec := nightly("s", "*/10 * * * *")
		spec.CatchUp = entropy.CatchUpAll
		l.schedule(spec)
		l.pass(10*time.Minute + time.Second)
		if info := l.set("s", entropy.SchedulePause); !info.Paused || len(info.Next) != 0 {
			t.Errorf("%+v", info)
		}
		l.set("s", entropy.SchedulePause) // harmless
		l.pass(25 * time.Minute)
		l.crash()
		l.pass(5 * time.Minute)
		l.set("s", entropy.ScheduleResume)
		l.pass(10 * time.Minute)
		l.wantFirings("s", "2000-01-01T", "00:10 00:50")
		if got := l.recorded("s"); fmt.Sprint(got) != "[created fired paused resumed fired]" {
			t.Errorf("%v", got)
		}
		l.set("s", entropy.ScheduleDelete)
		l.pass(time.Hour)
		l.wantFirings("s", "2000-01-01T", "00:10 00:50")
		if _, err := l.sys.Schedule(context.Background(), "s", 1); entropy.ErrorCode(err) != entropy.CodeNotFound {
			t.Errorf("deleted: %v", err)
		}
		// A new one of the same name has firings of its own.
		l.schedule(nightly("s", "0 2 * * *"))
		l.pass(20 * time.Minute)
		l.wantFirings("s", "2000-01-01T", "00:10 00:50 02:00")
	})
}

// proves J-10: with overlap skip a firing waits for nobody and makes no second
// job while the one before it has not ended; an array counts as one job
func TestScheduleOverlap(t *testing.T) {
	inLab(t, func(l *lab) {
		spec := nightly("one", "*/10 * * * *")
		spec.Overlap = entropy.OverlapSkip
		l.schedule(spec)
		spec.Name, spec.Array = "many", &entropy.ArraySpec{Last: 2}
		l.schedule(spec)
		l.pass(31 * time.Minute)
		if info := l.info("one"); info.Fired != 1 || info.Skipped != 2 {
			t.Errorf("%+v", info)
		}
		if info := l.info("many"); info.Fired != 1 || info.Skipped != 2 || l.job(info.LastJob).Array == nil {
			t.Errorf("%+v", info)
		}
		for _, name := range []string{"one", "many"} {
			if _, err := l.sys.Cancel(context.Background(), l.info(name).LastJob, entropy.Operation{}); err != nil {
				t.Fatal(err)
			}
		}
		l.pass(10 * time.Minute)
		if info := l.info("one"); info.Fired != 2 || info.Skipped != 2 {
			t.Errorf("%+v", info)
		}
		if info := l.info("many"); info.Fired != 2 {
			t.Errorf("%+v", info)
		}
	})
}

// proves H-12, through the whole system: spring and autumn in Berlin, where a
// 02:30 does not exist and another comes twice
func TestScheduleOverClockChanges(t *testing.T) {
	inLab(t, func(l *lab) {
		spec := nightly("s", "30 2 * * *")
		spec.Zone = "Europe/Berlin"
		l.schedule(spec)
		for _, evening := range []string{"2000-03-25T22:00:00Z", "2000-10-28T22:00:00Z"} {
			l.sys.Close() // so that nothing ticks for half a year
			l.journal = l.journal.restart()
			at, err := time.Parse(time.RFC3339, evening)
			if err != nil {
				t.Fatal(err)
			}
			l.pass(time.Until(at))
			l.start()
			l.pass(4 * time.Hour)
		}
		l.wantFirings("s", "2000-", "03-26T01:00 10-29T00:30")
	})
}

// proves J-10: a firing by hand is beside the nominal times, once per operation,
// paused or not
func TestScheduleFireByHand(t *testing.T) {
	inLab(t, func(l *lab) {
		ctx := context.Background()
		l.schedule(nightly("s", "@daily"))
		l.set("s", entropy.SchedulePause)
		mark := l.info("s").Mark
		op := entropy.Operation{ID: "op-1"}
		first, err := l.sys.FireSchedule(ctx, "s", op)
		if err != nil || !first.Created {
			t.Fatal(first, err)
		}
		again, err := l.sys.FireSchedule(ctx, "s", op)
		if err != nil || again.Created || again.ID != first.ID {
			t.Errorf("%+v %v", again, err)
		}
		other, err := l.sys.FireSchedule(ctx, "s", entropy.Operation{})
		if err != nil || other.ID == first.ID {
			t.Errorf("%+v %v", other, err)
		}
		if info := l.info("s"); info.Fired != 2 || !info.Mark.Equal(mark) || info.LastFired != nil || info.LastJob != other.ID {
			t.Errorf("%+v", info)
		}
		if _, err := l.sys.FireSchedule(ctx, "t", op); entropy.ErrorCode(err) != entropy.CodeNotFound {
			t.Errorf("unknown: %v", err)
		}
	})
}

// proves H-3 for schedules: what the journal has no room for is not done, and is
// made up for; a firing that can never be accepted is recorded with the reason
func TestScheduleTrouble(t *testing.T) {
	inLab(t, func(l *lab) {
		ctx := context.Background()
		l.schedule(nightly("s", "*/10 * * * *"))
		broken := nightly("broken", "*/10 * * * *")
		broken.Job.After = []entropy.Dependency{{Job: "nobody"}}
		l.schedule(broken)
		full := entropy.Errorf(entropy.CodeDiskFull, "full")
		l.pass(10*time.Minute - time.Second)
		l.journal.set(func(entropy.Change) error { return full })
		l.pass(time.Minute)
		if _, err := l.sys.CreateSchedule(ctx, nightly("t", "@daily"), entropy.Operation{}); entropy.ErrorCode(err) != entropy.CodeDiskFull {
			t.Errorf("%v", err)
		}
		l.journal.set(nil)
		l.pass(10 * time.Second)
		l.wantFirings("s", "2000-01-01T", "00:10")
		if got := l.recorded("broken"); fmt.Sprint(got) != "[created skipped]" {
			t.Errorf("%v", got)
		}
		l.journal.set(func(ch entropy.Change) error { // marks have room, jobs have none
			if strings.HasPrefix(ch.Entity, entropy.KindJob) {
				return full
			}
			return nil
		})
		l.pass(10 * time.Minute)
		l.journal.set(nil)
		l.pass(10 * time.Second)
		l.wantFirings("s", "2000-01-01T", "00:10 00:20")
		var why string
		for _, e := range l.journal.events {
			if e.Type == entropy.ScheduleSkipped {
				why += string(e.Attrs)
			}
		}
		if info := l.info("broken"); info.Skipped != 2 || strings.Count(why, "nobody") != 2 {
			t.Errorf("skipped %d: %s", info.Skipped, why)
		}
		if _, err := l.sys.CreateSchedule(ctx, nightly("t", "0 0 30 2 *"), entropy.Operation{}); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%v", err)
		}
		for i := range entropy.MaxSchedules - 2 {
			l.schedule(nightly(fmt.Sprint("n", i), "@yearly"))
		}
		if _, err := l.sys.CreateSchedule(ctx, nightly("t", "@daily"), entropy.Operation{}); entropy.ErrorCode(err) != entropy.CodeTooLarge {
			t.Errorf("%v", err)
		}
		l.set("n0", entropy.ScheduleDelete)
		l.schedule(nightly("t", "@daily"))
	})
}

// inSteppedLab runs f with a control plane whose wall clock the test sets.
func inSteppedLab(t *testing.T, f func(l *lab, step func(time.Duration))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, journal: newMemory()}
		offset := make(chan time.Duration, 1)
		offset <- 0
		l.now = func() time.Time {
			d := <-offset
			offset <- d
			return time.Now().Add(d)
		}
		l.start()
		defer func() {
			l.sys.Close()
			l.pass(2 * time.Second)
		}()
		f(l, func(d time.Duration) {
			offset <- <-offset + d
			l.pass(time.Second)
		})
	})
}

func (l *lab) alarms() string {
	st, err := l.sys.Status(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	if st.ClockUnsettled != (len(st.Alarms) > 0) {
		l.t.Errorf("unsettled: %t, alarms %q", st.ClockUnsettled, st.Alarms)
	}
	return strings.Join(st.Alarms, "; ")
}

// proves H-12: while the wall clock is unsettled no schedule, delay or deadline
// acts and the status says so; a backoff and a queue timeout go on
func TestUnsettledClock(t *testing.T) {
	inSteppedLab(t, func(l *lab, step func(time.Duration)) {
		spec := nightly("s", "0 * * * *")
		spec.CatchUp = entropy.CatchUpAll
		l.schedule(spec)
		l.pass(30 * time.Minute) // 00:30
		later, deadline := l.now().Add(2*time.Hour), l.now().Add(3*time.Hour)
		delayed := l.submit(entropy.JobSpec{NotBefore: &later})
		mortal := l.submit(entropy.JobSpec{NotAfter: &deadline})
		impatient := l.submit(entropy.JobSpec{QueueTimeout: entropy.Duration(20 * time.Second)})
		step(5 * time.Hour) // 05:30
		if why := l.alarms(); !strings.Contains(why, "forward by 5h0m0s") {
			t.Errorf("alarms %q", why)
		}
		l.pass(30 * time.Second)
		l.want(delayed, entropy.Scheduled)
		l.want(mortal, entropy.Pending)
		l.want(impatient, entropy.Failed)
		l.wantFirings("s", "2000-01-01T", "")
		l.pass(30 * time.Second)
		l.want(delayed, entropy.Pending)
		l.want(mortal, entropy.Failed)
		l.wantFirings("s", "2000-01-01T", "01:00 02:00 03:00 04:00 05:00")
		if why := l.alarms(); why != "" {
			t.Errorf("settled, alarms %q", why)
		}
	})
}

// proves H-12: what comes due by the steady time while the clock is unsettled
// waits until it has settled
func TestUnsettledClockHolds(t *testing.T) {
	inSteppedLab(t, func(l *lab, step func(time.Duration)) {
		l.schedule(nightly("s", "@hourly"))
		l.pass(59*time.Minute + 30*time.Second)
		later, deadline := l.now().Add(40*time.Second), l.now().Add(45*time.Second)
		delayed := l.submit(entropy.JobSpec{NotBefore: &later})
		mortal := l.submit(entropy.JobSpec{NotAfter: &deadline})
		step(-20 * time.Minute) // 00:39:30, set right again below
		l.pass(50 * time.Second)
		l.want(delayed, entropy.Scheduled)
		l.want(mortal, entropy.Pending)
		l.wantFirings("s", "", "")
		step(20 * time.Minute)
		l.pass(55 * time.Second)
		l.wantFirings("s", "", "")
		l.pass(10 * time.Second)
		l.want(delayed, entropy.Pending)
		l.want(mortal, entropy.Failed)
		l.wantFirings("s", "2000-01-01T", "01:00")
	})
}

// proves H-12: a schedule that takes the name of a deleted one has firings of its
// own, even of a nominal time that comes a second time
func TestFiringsOfANamesake(t *testing.T) {
	inSteppedLab(t, func(l *lab, step func(time.Duration)) {
		l.schedule(nightly("s", "30 0 * * *"))
		l.pass(31 * time.Minute)
		first := l.info("s").LastJob
		l.set("s", entropy.ScheduleDelete)
		step(-20 * time.Minute)
		l.pass(time.Minute)
		spec := nightly("s", "30 0 * * *")
		spec.Job.Command = []string{"false"}
		l.schedule(spec)
		l.pass(20 * time.Minute)
		if info := l.info("s"); info.Fired != 1 || info.LastJob == first || l.job(info.LastJob).Spec.Command[0] != "false" {
			t.Errorf("%+v", info)
		}
	})
}

// proves H-12: a wall clock that was far ahead fires what it must once, and once
// it is set back the schedule goes on, without a second job of any nominal time
func TestClockSetBack(t *testing.T) {
	inSteppedLab(t, func(l *lab, step func(time.Duration)) {
		spec := nightly("s", "*/30 * * * *")
		spec.CatchUp = entropy.CatchUpLast
		l.schedule(spec)
		l.pass(31 * time.Minute)
		step(24 * time.Hour)
		l.pass(62 * time.Second) // settled, a day ahead
		l.wantFirings("s", "2000-01-0", "1T00:30 2T00:30")
		step(-24 * time.Hour)
		l.pass(30 * time.Second)
		if why := l.alarms(); !strings.Contains(why, "behind by 24h") {
			t.Errorf("alarms %q", why)
		}
		l.pass(time.Hour)
		l.wantFirings("s", "2000-01-0", "1T00:30 1T01:00 1T01:30 2T00:30")
		l.pass(24 * time.Hour)
		if n := len(l.firings("s")); n != 2+1+48 {
			t.Errorf("%d firings", n)
		}
		if got := l.recorded("s"); got[4] != "rewound" {
			t.Errorf("%v", got[:6])
		}
	})
}

// proves H-12: a control plane whose clock is behind its journal when it starts
// fires nothing until the clock has settled, and does not fire anything twice
func TestStartBehindTheJournal(t *testing.T) {
	inSteppedLab(t, func(l *lab, step func(time.Duration)) {
		l.schedule(nightly("s", "*/10 * * * *"))
		l.pass(30*time.Minute + time.Second)
		l.sys.Close()
		l.journal = l.journal.restart()
		step(-25 * time.Minute) // 00:05
		l.start()
		if why := l.alarms(); !strings.Contains(why, "behind by") {
			t.Errorf("alarms %q", why)
		}
		l.pass(2 * time.Minute)
		if why := l.alarms(); why != "" {
			t.Errorf("alarms %q", why)
		}
		l.pass(20 * time.Minute) // 00:27: 00:10 and 00:20 come again and have their jobs
		l.wantFirings("s", "2000-01-01T", "00:10 00:20 00:30")
		l.pass(15 * time.Minute)
		l.wantFirings("s", "2000-01-01T", "00:10 00:20 00:30 00:40")
	})
}
