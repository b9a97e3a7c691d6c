package entropy_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// cronExprs are expressions for the comparison with the slow and obvious.
var cronExprs = []string{
	"* * * * *", "*/7 * * * *", "17 * * * *", "0 0 * * *", "30 2 * * *", "*/15 2 * * *", "0,30 1-3 * * *", "59 23 * * *", "0 */2 * * *",
	"5-50/15 0-5/2 * * mon-fri", "0 3 13 * fri", "0 0 29 2 *", "15 2 */10 * *", "0 12 31 * *", "20 4 * feb,OCT sun", "45 1,2 1-7 * 7", "0 2 */3 * 1-5",
	"10/20 22 * * sat", "@hourly", "@daily", "@weekly", "@monthly", "30 0-23 * * *",
}

// named reports whether a value is in a field of an expression, part by part.
func named(field string, v, low, top int) bool {
	for i, n := range []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} {
		field = strings.ReplaceAll(strings.ToLower(field), n, strconv.Itoa(i))
	}
	for i, n := range []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"} {
		field = strings.ReplaceAll(field, n, strconv.Itoa(i+1))
	}
	for part := range strings.SplitSeq(field, ",") {
		span, step, stepped := strings.Cut(part, "/")
		from, to := low, top
		if span != "*" {
			a, b, isRange := strings.Cut(span, "-")
			from, _ = strconv.Atoi(a)
			if to = from; isRange {
				to, _ = strconv.Atoi(b)
			} else if stepped {
				to = top
			}
		}
		n := 1
		if stepped {
			n, _ = strconv.Atoi(step)
		}
		if v >= from && v <= to && (v-from)%n == 0 {
			return true
		}
	}
	return false
}

// obvious is crontab(5), word by word: whether an expression names a minute.
func obvious(expr string) func(w time.Time) bool {
	plain := map[string]string{"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}
	if p, ok := plain[expr]; ok {
		expr = p
	}
	f := strings.Fields(expr)
	var in [5][60]bool
	for i, r := range [5][2]int{{0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 6}} {
		for v := range in[i] {
			in[i][v] = named(f[i], v, r[0], r[1])
		}
	}
	in[4][0] = in[4][0] || !strings.HasPrefix(f[4], "*") && named(f[4], 7, 0, 7) // 7 is Sunday too
	both := strings.HasPrefix(f[2], "*") || strings.HasPrefix(f[4], "*")
	return func(w time.Time) bool {
		day, weekday := in[2][w.Day()], in[4][w.Weekday()]
		return in[0][w.Minute()] && in[1][w.Hour()] && in[3][w.Month()] && (both && day && weekday || !both && (day || weekday))
	}
}

// wallClock is what a clock at a place shows, kept as UTC.
func wallClock(t time.Time, zone *time.Location) time.Time {
	t = t.In(zone)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

// slowly returns the nominal times in [from, until): it looks at every minute.
func slowly(expr string, zone *time.Location, from, until time.Time) []time.Time {
	hours := strings.Fields(expr + " x x")[1]
	running := hours == "*" || hours == "0-23" || expr == "@hourly"
	names := obvious(expr)
	var times []time.Time
	shown := wallClock(from.Add(-time.Minute), zone) // the latest that the clock has shown so far
	for at := from; at.Before(until); at = at.Add(time.Minute) {
		w := wallClock(at, zone)
		if running {
			if names(w) {
				times = append(times, at)
			}
			continue
		}
		fires := false
		for m := shown.Add(time.Minute); !m.After(w); m = m.Add(time.Minute) { // over a gap: those that it leaves out
			fires = fires || names(m)
			shown = m
		}
		if fires {
			times = append(times, at)
		}
	}
	return times
}

// proves H-12: the next time is that of a scan minute by minute, over gaps and
// folds of several zones, leap days and the ends of months and years
func TestTimetableAgainstScan(t *testing.T) {
	n := 0
	for _, c := range []struct {
		zone, from string
		days       int
	}{
		{"Europe/Berlin", "2026-03-27", 5}, {"Europe/Berlin", "2026-10-23", 5}, {"America/New_York", "2027-03-12", 4}, {"America/New_York", "2027-11-05", 4},
		{"Australia/Lord_Howe", "2026-10-02", 4}, {"Australia/Lord_Howe", "2026-04-03", 4}, // half an hour
		{"Africa/Cairo", "2026-04-22", 4}, {"Africa/Cairo", "2026-10-28", 4}, // at midnight
		{"America/Sao_Paulo", "2018-11-02", 4}, {"America/St_Johns", "2006-10-27", 4}, // a gap at midnight; a minute past it
		{"Pacific/Apia", "2011-12-28", 5}, {"UTC", "2028-02-26", 5}, {"UTC", "2026-12-29", 6}, {"Asia/Kathmandu", "2026-02-26", 4},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		day, err := time.ParseInLocation(time.DateOnly, c.from, zone)
		if err != nil {
			t.Fatal(err)
		}
		from := day.UTC().Truncate(time.Minute)
		until := from.Add(time.Duration(c.days) * 24 * time.Hour)
		for _, expr := range cronExprs {
			table, err := entropy.NewTimetable(expr, c.zone)
			if err != nil {
				t.Fatal(err)
			}
			want := slowly(expr, zone, from, until)
			var got []time.Time
			for at := table.Next(from.Add(-1)); at.Before(until); at = table.Next(at) {
				got = append(got, at)
			}
			if n += len(want); !slices.EqualFunc(got, want, time.Time.Equal) {
				t.Errorf("%q in %s from %s:\n got %d: %v\nwant %d: %v", expr, c.zone, c.from, len(got), difference(got, want), len(want), difference(want, got))
			}
			// From anywhere between two, the later comes next.
			for i, at := range want {
				if i > 0 && !table.Next(want[i-1].Add(at.Sub(want[i-1])/2)).Equal(at) {
					t.Errorf("%q in %s: after the middle before %s comes %s", expr, c.zone, at, table.Next(want[i-1].Add(at.Sub(want[i-1])/2)))
				}
			}
		}
	}
	if n < 100_000 {
		t.Errorf("only %d nominal times were compared", n)
	}
}

func difference(a, b []time.Time) (only []string) {
	for _, t := range a {
		if !slices.ContainsFunc(b, t.Equal) && len(only) < 8 {
			only = append(only, t.Format("01-02T15:04"))
		}
	}
	return only
}

// proves H-12: a gap fires once, at the next valid instant; a fold fires once, at
// its first; what names no hour goes on through both
func TestGapAndFold(t *testing.T) {
	for _, c := range []struct{ cron, zone, after, want string }{
		{"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z 2026-03-30T00:30:00Z"},
		{"*/10 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z 2026-03-30T00:00:00Z"},
		{"0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z 2026-03-30T00:00:00Z"},
		{"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z 2026-10-26T01:30:00Z"},
		{"30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T00:30:00Z 2026-03-29T01:30:00Z"},
		{"30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z 2026-10-25T01:30:00Z 2026-10-25T02:30:00Z"},
		{"0 3 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", "2011-12-30T10:00:00Z 2012-12-29T13:00:00Z"}, // a day that never was
		{"0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"},
		{"0 0 29 2 */7", "UTC", "2088-03-01T00:00:00Z", "2128-02-29T00:00:00Z"}, // only one that is a Sunday
		{"0 0 13 * fri", "UTC", "2026-11-12T00:00:00Z", "2026-11-13T00:00:00Z 2026-11-20T00:00:00Z"},
		{"0 0 1 1 mon", "", "2026-12-28T00:00:00Z", "2027-01-01T00:00:00Z 2027-01-04T00:00:00Z"},
	} {
		table, err := entropy.NewTimetable(c.cron, c.zone)
		if err != nil {
			t.Fatal(err)
		}
		after, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, at := range table.Upcoming(after, strings.Count(c.want, " ")+1) {
			got = append(got, at.Format(time.RFC3339))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q in %s after %s: %v, want %s", c.cron, c.zone, c.after, got, c.want)
		}
	}
}

// proves J-10 (bad input): what cannot be meant is refused and says what is wrong
func TestCronRefused(t *testing.T) {
	for expr, why := range map[string]string{
		"": "0 fields", "* * * *": "4 fields", "* * * * * *": "6 fields", "60 * * * *": "from 0 to 59", "* 24 * * *": "from 0 to 23", "* * 0 * *": "from 1 to 31",
		"* * * 13 *": "from 1 to 12", "* * * * 8": "from 0 to 7", "-5 * * * *": "from 0 to 59", "5-1 * * * *": "ends before it begins", "*/0 * * * *": "the step", "*/-2 * * * *": "the step",
		"*/60 * * * *": "the step", "1,,2 * * * *": "from 0 to 59", "a * * * *": "from 0 to 59", "* * * * mo": "from 0 to 7", "* * * * nmo": "from 0 to 7", "1.5 * * * *": "from 0 to 59",
		"0 0 L * *": "from 1 to 31", "0 0 ? * *": "from 1 to 31", "0 0 * * fri#2": "from 0 to 7", "0 0 30 2 *": "never fires", "0 0 31 4,6,9,11 *": "never fires", "0 0 30-31 feb *": "never fires",
		"@reboot": "there is no @reboot", "@every 1h": "there is no", strings.Repeat("1,", 200) + "1 * * * *": "at most 256", "1-2-3 * * * *": "from 0 to 59", "+1 * * * *": "from 0 to 59", "* * * * 1-": "from 0 to 7",
	} {
		_, err := entropy.NewTimetable(expr, "UTC")
		e := entropy.AsError(err)
		if entropy.ErrorCode(err) != entropy.CodeInvalid || !strings.Contains(e.Message, why) || len(expr) < 200 && e.Hint == "" {
			t.Errorf("%q: %v, want %q", expr, err, why)
		}
	}
	for _, zone := range []string{"Mars/Olympus", "Local", "../../etc/passwd", "/etc/localtime", strings.Repeat("x", 100)} {
		if _, err := entropy.NewTimetable("@daily", zone); entropy.ErrorCode(err) != entropy.CodeInvalid || !strings.Contains(err.Error(), "no time zone") {
			t.Errorf("zone %q: %v", zone, err)
		}
	}
}

// proves J-10: every expression that is accepted fires, and the next time is later
func FuzzCron(f *testing.F) {
	for _, expr := range cronExprs {
		f.Add(expr, int64(1_774_000_000))
	}
	f.Fuzz(func(t *testing.T, expr string, at int64) {
		table, err := entropy.NewTimetable(expr, "Europe/Berlin")
		if err != nil {
			return
		}
		after := time.Unix(at%(1<<33), 0)
		if next := table.Next(after); !next.After(after) {
			t.Fatalf("%q after %s: %s", expr, after, next)
		}
	})
}

// BenchmarkTimetable measures one look ahead: every minute, and the rarest.
func BenchmarkTimetable(b *testing.B) {
	for _, expr := range []string{"* * * * *", "0 3 * * 1-5", "0 0 29 2 */7"} {
		b.Run(fmt.Sprint(expr), func(b *testing.B) {
			table, err := entropy.NewTimetable(expr, "Europe/Berlin")
			if err != nil {
				b.Fatal(err)
			}
			at := time.Date(2088, 3, 1, 0, 0, 0, 0, time.UTC)
			for b.Loop() {
				if table.Next(at).IsZero() {
					b.Fatal("never")
				}
			}
		})
	}
}
