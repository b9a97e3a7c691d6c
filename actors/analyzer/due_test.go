package analyzer

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

func berlin(t *testing.T) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skipf("not checked: there are no time zones here: %v", err)
	}
	return zone
}

// daily returns the runs of a job on the days that run says, at a minute of the day by
// the clock on the wall of a zone, scattered by sigma minutes.
func daily(r *stat.Rand, name string, from time.Time, days int, minute, sigma float64, run func(time.Weekday) bool) []Observation {
	var all []Observation
	for d := range days {
		day := from.AddDate(0, 0, d)
		seconds := int(60 * (minute + sigma*r.Normal()))
		if run(day.Weekday()) {
			all = append(all, Observation{Entity: "job:" + name, Step: "ran", At: time.Date(day.Year(), day.Month(), day.Day(), 0, 0, seconds, 0, from.Location())})
		}
	}
	return all
}

func workdays(d time.Weekday) bool { return d != time.Saturday && d != time.Sunday }
func everyDay(time.Weekday) bool   { return true }

// proves E-4: what runs on working days is due at its time by the clock on the wall,
// over summer time and weekends; when it does not run on a Tuesday that is said within
// the hour, late and missing once each, which its gaps, with weekends in them, would
// say that night.
func TestDueOnWorkdays(t *testing.T) {
	zone := berlin(t)
	a, r := New(Config{Zone: zone}), stat.NewRand(41)
	start := time.Date(2026, 1, 5, 0, 0, 0, 0, zone)         // a Monday
	all := daily(r, "report", start, 7*26, 540, 4, workdays) // 26 weeks, over 29 March
	if found := feed(a, all); len(found) > 0 {
		t.Fatalf("%d of %d runs: %+v", len(found), len(all), found[0])
	}
	monday := start.AddDate(0, 0, 7*26)
	feed(a, daily(r, "report", monday, 1, 540, 4, workdays))
	tuesday := monday.AddDate(0, 0, 1)
	if found := a.Advance(tuesday.Add(9*time.Hour + 14*time.Minute)); len(found) > 0 {
		t.Errorf("at 9:14: %+v", found)
	}
	found := a.Advance(tuesday.Add(10 * time.Hour))
	if len(found) < 2 || !slices.ContainsFunc(found, func(d Deviation) bool { return d.Channel == Late }) || !slices.ContainsFunc(found, func(d Deviation) bool { return d.Channel == Missing }) {
		t.Fatalf("at 10:00: %+v", found)
	}
	for _, d := range found {
		if !strings.Contains(d.Why[0], "due about 09:0") && !strings.Contains(d.Why[0], "due about 08:5") || !strings.Contains(d.Why[0], "on Tuesdays") {
			t.Errorf("%s", d.Why[0])
		}
	}
	later := a.Advance(tuesday.Add(40 * 24 * time.Hour))
	for _, d := range later {
		if !d.Bounded || d.Channel != Missing {
			t.Errorf("said again: %+v", d)
		}
	}
	if len(later) > 1 || len(found)+len(later) > 3 {
		t.Errorf("one absence is said %d times", len(found)+len(later))
	}
}

// proves E-4: around midnight a run of 23:58 and one of 00:03 are of the same due time.
func TestDueAroundMidnight(t *testing.T) {
	zone := berlin(t)
	a, r := New(Config{Zone: zone}), stat.NewRand(42)
	start := time.Date(2026, 1, 5, 0, 0, 0, 0, zone)
	all := daily(r, "close", start, 170, 1438, 5, everyDay)
	if found := feed(a, all); len(found) > 0 {
		t.Fatalf("%+v", found[0])
	}
	runs := a.Due("job:close", ends(all).Add(time.Hour), 10)
	if len(runs) != 2 || runs[0].Status != "MET" || runs[1].Status != "EXPECTED" {
		t.Fatalf("%+v", runs)
	}
	for _, x := range runs {
		if m := x.DueAt.In(zone).Hour()*60 + x.DueAt.In(zone).Minute(); m < 1430 && m > 5 || x.Window > 3600 || x.Pooled || x.N < 20 {
			t.Errorf("%+v", x)
		}
	}
	if gap := runs[1].DueAt.Sub(runs[0].DueAt); gap < 23*time.Hour || gap > 25*time.Hour {
		t.Errorf("due times are %v apart", gap)
	}
}

// proves E-4: MET, LATE, MISSING and EXPECTED; pooled while a day of the week has fewer
// than twenty; a day it does not run on is not due.
func TestDueRuns(t *testing.T) {
	a, r := New(Config{}), stat.NewRand(43)
	start := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	all := daily(r, "report", start, 7*8, 540, 4, workdays)
	all[len(all)-1].At = all[len(all)-1].At.Add(2 * time.Hour) // on Friday
	feed(a, all)
	saturday := start.AddDate(0, 0, 7*8-2)
	at := func(day int, hour, minute int) time.Time {
		return saturday.AddDate(0, 0, day).Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
	}
	for _, tt := range []struct {
		now  time.Time
		want string
	}{
		{at(0, 9, 30), "LATE EXPECTED"},
		{at(2, 9, 10), "LATE EXPECTED EXPECTED"},
		{at(2, 9, 20), "LATE LATE EXPECTED"},
		{at(2, 12, 0), "LATE MISSING EXPECTED"},
		{at(3, 8, 0), "LATE MISSING EXPECTED"},
		{at(4, 12, 0), "LATE MISSING MISSING MISSING EXPECTED"},
	} {
		var got []string
		for _, x := range a.Due("job:report", tt.now, 100) {
			got = append(got, x.Status)
			if !x.Pooled || x.Weekday == "Saturday" || x.Weekday == "Sunday" || x.Window != 900 {
				t.Errorf("%+v", x)
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("at %v: %s, not %s", tt.now, s, tt.want)
		}
	}
	if n := len(a.Due("", at(4, 12, 0), 3)); n != 3 {
		t.Errorf("%d of at most 3", n)
	}
	if n := len(a.Due("job:nobody", at(4, 12, 0), 3)); n != 0 {
		t.Errorf("%d of nobody", n)
	}
}

// proves E-4: what has no time of the day has no due time.
func TestNoDueTime(t *testing.T) {
	r := stat.NewRand(44)
	for name, next := range map[string]func(i int) time.Duration{
		"any time":       func(int) time.Duration { return time.Duration(float64(30*time.Hour) * r.Exponential()) },
		"twice a day":    func(int) time.Duration { return 12 * time.Hour },
		"each 25 hours":  func(int) time.Duration { return 25 * time.Hour },
		"hourly":         func(int) time.Duration { return time.Hour },
		"a few runs yet": func(i int) time.Duration { return 24 * time.Hour * time.Duration(1+1000*(i/15)) },
	} {
		a, at := New(Config{}), monday
		for i := range 200 {
			a.Observe(Observation{Entity: "job:x", Step: "ran", At: at}, at)
			if at = at.Add(next(i)); name == "a few runs yet" && i == 14 {
				break
			}
		}
		if runs := a.Due("", at, 10); len(runs) > 0 {
			t.Errorf("%s: %+v", name, runs)
		}
	}
}

// proves E-4: of what is always on time, about one in a thousand is called late, also
// where it is sometimes later than others.
func TestDueFalseAlarms(t *testing.T) {
	withoutRace(t)
	r := stat.NewRand(45)
	for name, minute := range map[string]func() float64{
		"normal":      func() float64 { return 540 + 12*r.Normal() },
		"exponential": func() float64 { return 540 + 10*r.Exponential() },
		"lognormal":   func() float64 { return 540 + 10*math.Exp(0.8*r.Normal()) },
	} {
		a, late, runs := New(Config{}), 0, 0
		for job := range 30 {
			for d := range 300 {
				at := monday.AddDate(0, 0, d).Add(time.Duration(minute() * float64(time.Minute)))
				for _, x := range a.Found() {
					if x.Channel == Late {
						late++
					}
				}
				a.AdvanceSource(fmt.Sprint(job), at)
				a.Observe(Observation{Entity: fmt.Sprint("job:", job), Step: "ran", At: at, Source: fmt.Sprint(job)}, at)
				runs++
			}
		}
		if share := float64(late) / float64(runs); share > 0.004 {
			t.Errorf("%s: %d of %d runs are called late", name, late, runs)
		}
		t.Logf("%s: %d of %d runs are called late", name, late, runs)
	}
}
