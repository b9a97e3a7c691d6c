package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

const scheduleLong = `Submit a job again and again, at the times of a cron expression.

A schedule keeps its time zone. A time that a clock change leaves out (in spring)
fires once, at the first instant after it; one that comes twice (in autumn) fires
once, the first time. An expression that names no hour, as in "*/10 * * * *",
follows the clock through both. Each nominal time makes one job, whatever crashes.`

const scheduleCreateLong = `Create a schedule. CRON has five fields: minute, hour, day of month, month and day
of week, as in "0 3 * * 1-5" for 03:00 from Monday to Friday; months and weekdays
may be named (jan, mon); or it is @hourly, @daily, @weekly, @monthly or @yearly.

--catch-up says what becomes of times that passed while the control plane was down
or its clock could not be trusted: none skips them, last fires the newest, all fires
the newest --catch-up-max. --overlap skip leaves a firing out while the job of the
one before has not ended.

The other flags say what the job is, as those of entropy submit. Each job has the
label schedule=NAME and finds ENTROPY_SCHEDULE and ENTROPY_SCHEDULED_AT, its nominal
time, in its environment.`

func (a *app) scheduleCommand() *cobra.Command {
	return a.group(&cobra.Command{Use: "schedule", Short: "Submit a job again and again, by the clock", Long: scheduleLong},
		a.scheduleCreateCommand(), a.scheduleListCommand(), a.scheduleShowCommand(), a.scheduleNextCommand(), a.scheduleFireCommand(),
		a.scheduleModeCommand("pause NAME", "Keep a schedule from firing; what it misses is not caught up", entropy.SchedulePause),
		a.scheduleModeCommand("resume NAME", "Let a paused schedule fire again, from now on", entropy.ScheduleResume),
		a.scheduleModeCommand("delete NAME", "Delete a schedule; its jobs stay", entropy.ScheduleDelete))
}

// scheduleFlags are the flags of schedule create beside those of a job.
type scheduleFlags struct {
	cron, zone, catchUp, overlap string
	catchUpMax                   int
}

func (a *app) scheduleCreateCommand() *cobra.Command {
	var f scheduleFlags
	var job submitFlags
	c := &cobra.Command{Use: "create NAME --cron CRON [flags] -- ARGV…", Short: "Create a schedule", Long: scheduleCreateLong,
		Example: `  entropy schedule create nightly --cron "0 3 * * 1-5" --zone Europe/Berlin -- ./backup
  entropy schedule create poll --cron "*/10 * * * *" --overlap skip --run-timeout 5m -- ./poll
  entropy schedule create report --cron @monthly --catch-up last --mem 4G -- ./report`}
	s := c.Flags()
	job.register(s)
	for _, name := range []string{"id", "idempotency-key", "not-before"} {
		_ = s.MarkHidden(name) // they name one job, and are refused below
	}
	s.StringVar(&f.cron, "cron", "", "when: a cron expression, `CRON`")
	s.StringVar(&f.zone, "zone", "UTC", "the `ZONE` whose clock it follows, as in Europe/Berlin")
	s.StringVar(&f.catchUp, "catch-up", string(entropy.CatchUpNone), "`WHICH` of the times that were missed fire late: none, last or all")
	s.IntVar(&f.catchUpMax, "catch-up-max", 0, "of all: at most `N`, the newest (default 10)")
	s.StringVar(&f.overlap, "overlap", string(entropy.OverlapAllow), "`WHAT` becomes of a firing while the job before runs: allow or skip")
	return a.command(c, func(ctx context.Context, args []string) error {
		switch dash := c.ArgsLenAtDash(); {
		case len(args) == 0 || dash == 0:
			return usagef("the schedule's name is missing")
		case dash > 1 || dash < 0 && len(args) > 1:
			return usagef("%q is one argument too many", args[1]).WithHint("write the command after --, as in entropy schedule create %s --cron @daily -- echo hi", args[0])
		case f.cron == "":
			return usagef("--cron is missing").WithHint(`say when, as in --cron "0 3 * * *"`)
		case job.id != "" || job.key != "" || job.notBefore != "":
			return usagef("--id, --idempotency-key and --not-before name one job, and a schedule makes many")
		}
		return a.createSchedule(ctx, args[0], &f, &job, args[1:])
	})
}

func (a *app) createSchedule(ctx context.Context, name string, f *scheduleFlags, job *submitFlags, argv []string) error {
	sub, err := job.submission(argv, a.now())
	if err != nil {
		return err
	}
	if err := job.graph.apply(a, &sub); err != nil {
		return err
	}
	files, err := gatherInputs(ctx, job.input)
	if err != nil {
		return err
	}
	sub.Spec.Inputs = files.inputs()
	spec := entropy.ScheduleSpec{Name: name, Cron: f.cron, Zone: f.zone, CatchUp: entropy.CatchUp(f.catchUp), CatchUpMax: f.catchUpMax,
		Overlap: entropy.Overlap(f.overlap), Job: sub.Spec, Array: sub.Array, Hold: sub.Hold}
	if err := spec.Validate(); err != nil {
		return err
	}
	service, err := a.connect()
	if err != nil {
		return err
	}
	p := &patience{a: a, limit: sendPatience}
	if err := files.upload(ctx, service, p); err != nil {
		return err
	}
	op := entropy.Operation{ID: entropy.NewID()}
	var info entropy.ScheduleInfo
	err = p.do(ctx, func() (err error) {
		info, err = service.CreateSchedule(ctx, spec, op)
		return err
	})
	if err != nil {
		return err
	}
	return a.one(info, func() error { return a.printf("%s  next %s\n", info.Name, nextOf(&info)) })
}

// nextOf is when a schedule fires next, as its own zone and the rest of the world
// have it.
func nextOf(info *entropy.ScheduleInfo) string {
	if len(info.Next) == 0 {
		return "-"
	}
	return inZone(info, info.Next[0])
}

func inZone(info *entropy.ScheduleInfo, at time.Time) string {
	t, err := info.Timetable()
	if err != nil || t.Zone() == time.UTC {
		return at.UTC().Format(time.RFC3339)
	}
	return at.In(t.Zone()).Format("Mon 2006-01-02 15:04 MST") + " = " + at.UTC().Format(time.RFC3339)
}

func scheduleState(s *entropy.Schedule) string {
	if s.Paused {
		return "paused" + inBrackets(s.Reason)
	}
	return "active"
}

func (a *app) scheduleListCommand() *cobra.Command {
	c := &cobra.Command{Use: "ls", Short: "List the schedules", Args: argument(0, 0, "")}
	return a.command(c, func(ctx context.Context, _ []string) error {
		service, err := a.connect()
		if err != nil {
			return err
		}
		all, err := service.Schedules(ctx)
		if err != nil {
			return err
		}
		return list(a, all, func(all []entropy.ScheduleInfo) *table {
			t := new(table)
			t.row("NAME", "CRON", "ZONE", "STATE", "NEXT", "FIRED", "SKIPPED", "LAST JOB")
			for i := range all {
				s := &all[i]
				next := "-"
				if len(s.Next) > 0 {
					next = s.Next[0].Format(time.RFC3339)
				}
				t.row(s.Name, s.Cron, zoneOf(s), scheduleState(&s.Schedule), next, itoa(int(s.Fired)), itoa(int(s.Skipped)), dash(string(s.LastJob)))
			}
			return t
		})
	})
}

func zoneOf(s *entropy.ScheduleInfo) string {
	if s.Zone == "" {
		return "UTC"
	}
	return s.Zone
}

func (a *app) scheduleShowCommand() *cobra.Command {
	c := &cobra.Command{Use: "show NAME", Short: "Show one schedule", Args: argument(1, 1, "a schedule's name")}
	return a.command(c, func(ctx context.Context, args []string) error {
		info, err := a.schedule(ctx, args[0], 3)
		if err != nil {
			return err
		}
		return a.one(info, func() error { return scheduleTable(&info).write(a.stdout) })
	})
}

// schedule asks for one schedule and its next times.
func (a *app) schedule(ctx context.Context, name string, next int) (entropy.ScheduleInfo, error) {
	if err := entropy.ValidateID("schedule name", name); err != nil {
		return entropy.ScheduleInfo{}, err
	}
	service, err := a.connect()
	if err != nil {
		return entropy.ScheduleInfo{}, err
	}
	return service.Schedule(ctx, name, next)
}

func scheduleTable(s *entropy.ScheduleInfo) *table {
	t := new(table)
	t.row("Name", s.Name)
	t.row("State", scheduleState(&s.Schedule))
	t.row("Cron", s.Cron+" in "+zoneOf(s))
	catchUp := string(s.CatchUp)
	if s.CatchUp == entropy.CatchUpAll && s.CatchUpMax > 0 {
		catchUp += ", at most " + itoa(s.CatchUpMax)
	}
	t.row("Catch up", dash(catchUp))
	t.row("Overlap", dash(string(s.Overlap)))
	t.row("Created", stamp(&s.CreatedAt)+" by "+dash(s.Principal))
	t.row("Fired", itoa(int(s.Fired))+", last for "+stamp(s.LastFired))
	t.row("Skipped", itoa(int(s.Skipped)))
	t.row("Last job", dash(string(s.LastJob)))
	work := shellWords(s.Job.Command)
	if s.Job.Handler != "" {
		work = "handler " + s.Job.Handler
	}
	t.row("Command", strings.TrimSpace(s.Job.Image+" "+work))
	for _, at := range s.Next {
		t.row("Next", inZone(s, at))
	}
	return t
}

// nominal is a time at which a schedule fires, as a listing shows it.
type nominal struct {
	At    time.Time `json:"at"`    // UTC
	Local string    `json:"local"` // in the schedule's zone, RFC 3339
}

func (a *app) scheduleNextCommand() *cobra.Command {
	var n int
	c := &cobra.Command{Use: "next NAME", Short: "Show when a schedule fires next", Args: argument(1, 1, "a schedule's name"),
		Example: "  entropy schedule next nightly -n 10"}
	c.Flags().IntVarP(&n, "number", "n", 5, "how many times ahead, up to 1000")
	return a.command(c, func(ctx context.Context, args []string) error {
		if n < 1 || n > entropy.MaxUpcoming {
			return usagef("--number is %d", n).WithHint("it is from 1 to %d", entropy.MaxUpcoming)
		}
		info, err := a.schedule(ctx, args[0], n)
		if err != nil {
			return err
		}
		if info.Paused {
			a.notef("%s is paused; entropy schedule resume %s lets it fire", info.Name, info.Name)
		}
		zone := time.UTC
		if t, err := info.Timetable(); err == nil {
			zone = t.Zone()
		}
		times := make([]nominal, len(info.Next))
		for i, at := range info.Next {
			times[i] = nominal{at, at.In(zone).Format(time.RFC3339)}
		}
		return list(a, times, func(times []nominal) *table {
			t := new(table)
			for _, at := range times {
				t.row(inZone(&info, at.At))
			}
			return t
		})
	})
}

func (a *app) scheduleModeCommand(use, short string, mode entropy.ScheduleMode) *cobra.Command {
	var reason string
	c := &cobra.Command{Use: use, Short: short, Args: argument(1, 1, "a schedule's name")}
	c.Flags().StringVar(&reason, "reason", "", "why, for people; recorded with the event")
	return a.command(c, func(ctx context.Context, args []string) error {
		if err := entropy.ValidateID("schedule name", args[0]); err != nil {
			return err
		}
		service, err := a.connect()
		if err != nil {
			return err
		}
		op := entropy.Operation{ID: entropy.NewID(), Reason: reason}
		var info entropy.ScheduleInfo
		err = (&patience{a: a, limit: sendPatience}).do(ctx, func() (err error) {
			info, err = service.SetSchedule(ctx, args[0], mode, op)
			return err
		})
		if err != nil {
			return err
		}
		return a.one(info, func() error {
			if info.Deleted {
				return a.printf("%s  deleted\n", info.Name)
			}
			return a.printf("%s  %s, next %s\n", info.Name, scheduleState(&info.Schedule), nextOf(&info))
		})
	})
}

func (a *app) scheduleFireCommand() *cobra.Command {
	var reason string
	c := &cobra.Command{Use: "fire NAME", Short: "Submit a schedule's job now, beside its times, and print its ID", Args: argument(1, 1, "a schedule's name")}
	c.Flags().StringVar(&reason, "reason", "", "why, for people; recorded with the event")
	return a.command(c, func(ctx context.Context, args []string) error {
		if err := entropy.ValidateID("schedule name", args[0]); err != nil {
			return err
		}
		service, err := a.connect()
		if err != nil {
			return err
		}
		op := entropy.Operation{ID: entropy.NewID(), Reason: reason}
		var result entropy.SubmitResult
		err = (&patience{a: a, limit: sendPatience}).do(ctx, func() (err error) {
			result, err = service.FireSchedule(ctx, args[0], op)
			return err
		})
		if err != nil {
			return err
		}
		return a.one(result, func() error { return a.printf("%s\n", result.ID) })
	})
}
