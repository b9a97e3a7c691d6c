package entropy

import (
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Cron is a cron expression: which minutes of which days it names. It is parsed
// by [ParseCron] and does not change. The zero value names nothing.
//
// A day matches when its month does and, of day of month and day of week, both do
// if one of the two fields begins with "*", and else any of them: crontab(5).
type Cron struct {
	minutes, hours, days, months, weekdays uint64 // bit n: n matches
	anyDay                                 bool   // day of month or day of week begins with "*"
}

// MaxCron is the longest cron expression accepted, in bytes.
const MaxCron = 256

// everyHour are the hours of an expression that names none.
const everyHour = 1<<24 - 1

// cronField is one of the five fields of an expression.
type cronField struct {
	name     string
	low, top int
	names    string // three letters each, from the value low on
}

var cronFields = [5]cronField{
	{"minute", 0, 59, ""},
	{"hour", 0, 23, ""},
	{"day of month", 1, 31, ""},
	{"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
	{"day of week", 0, 7, "sunmontuewedthufrisat"},
}

var cronNames = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// ParseCron reads an expression of five fields (minute, hour, day of month, month,
// day of week), each "*", a value, a range "a-b", one of these with a step "/n",
// or several separated by commas; or @hourly, @daily, @midnight, @weekly,
// @monthly, @yearly, @annually. Months and weekdays may be named by their first
// three letters; Sunday is 0 and 7; "a/n" means "a-last/n". CodeInvalid also for
// an expression that no day would ever match.
func ParseCron(expr string) (*Cron, error) {
	if len(expr) > MaxCron {
		return nil, Errorf(CodeInvalid, "the cron expression has %d bytes, at most %d are allowed", len(expr), MaxCron)
	}
	text := strings.TrimSpace(expr)
	if strings.HasPrefix(text, "@") {
		plain, ok := cronNames[strings.ToLower(text)]
		if !ok {
			return nil, badCron(expr, "there is no %s", text)
		}
		text = plain
	}
	words := strings.Fields(text)
	if len(words) != len(cronFields) {
		return nil, badCron(expr, "it has %d fields", len(words))
	}
	var set [5]uint64
	for i, w := range words {
		var why string
		if set[i], why = cronFields[i].parse(w); why != "" {
			return nil, badCron(expr, "%s %q: %s", cronFields[i].name, w, why)
		}
	}
	c := &Cron{set[0], set[1], set[2], set[3], set[4], words[2][0] == '*' || words[4][0] == '*'}
	c.weekdays = (c.weekdays | c.weekdays>>7) & (1<<7 - 1) // 7 is Sunday as well
	if words[4][0] == '*' && !c.possible() {
		return nil, Errorf(CodeInvalid, "cron %q never fires: none of its months has such a day", cut(expr)).
			WithHint("the longest February has 29 days; April, June, September and November have 30")
	}
	return c, nil
}

func badCron(expr, format string, args ...any) error {
	return Errorf(CodeInvalid, "cron %q: "+format, append([]any{cut(expr)}, args...)...).
		WithHint(`write MINUTE HOUR DAY MONTH WEEKDAY, as in "0 3 * * 1-5" for 03:00 from Monday to Friday, or @hourly, @daily, @weekly, @monthly, @yearly`)
}

// parse reads one field. Why says what is wrong with it; "" means nothing.
func (f *cronField) parse(text string) (set uint64, why string) {
	for part := range strings.SplitSeq(text, ",") {
		span, stepText, stepped := strings.Cut(part, "/")
		step := 1
		if stepped {
			if step = number(stepText); step < 1 || step > f.top {
				return 0, "the step is not a whole number from 1 to " + strconv.Itoa(f.top)
			}
		}
		low, high := f.low, f.top
		if span != "*" {
			first, last, isRange := strings.Cut(span, "-")
			low = f.value(first)
			switch {
			case isRange:
				high = f.value(last)
			case !stepped:
				high = low
			}
			if low < 0 || high < 0 {
				return 0, "it is not from " + strconv.Itoa(f.low) + " to " + strconv.Itoa(f.top)
			}
			if high < low {
				return 0, "the range ends before it begins; write it as two, separated by a comma"
			}
		}
		if f.top == 7 && !strings.Contains(span, "-") {
			high = max(low, min(high, 6)) // "*" and "a/n" end on Saturday, so that no Sunday counts twice
		}
		for v := low; v <= high; v += step {
			set |= 1 << v
		}
	}
	return set, ""
}

// value reads one value, or returns -1.
func (f *cronField) value(s string) int {
	if len(s) == 3 && f.names != "" {
		if i := strings.Index(f.names, strings.ToLower(s)); i >= 0 && i%3 == 0 {
			return i/3 + f.low
		}
	}
	if n := number(s); n >= f.low && n <= f.top {
		return n
	}
	return -1
}

// number reads decimal digits, or returns -1.
func number(s string) int {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || len(s) > 2 {
		return -1
	}
	return int(n)
}

// possible reports whether some month has one of the days.
func (c *Cron) possible() bool {
	first := bits.TrailingZeros64(c.days)
	for m := 1; m <= 12; m++ {
		longest := time.Date(2000, time.Month(m)+1, 0, 0, 0, 0, 0, time.UTC).Day() // a leap year
		if c.months&(1<<m) != 0 && first <= longest {
			return true
		}
	}
	return false
}

// matchesDay reports whether the expression names any minute of the day of t, as
// t's own location has it.
func (c *Cron) matchesDay(t time.Time) bool {
	day, weekday := c.days&(1<<t.Day()) != 0, c.weekdays&(1<<t.Weekday()) != 0
	if c.anyDay {
		return c.months&(1<<t.Month()) != 0 && day && weekday
	}
	return c.months&(1<<t.Month()) != 0 && (day || weekday)
}

// cronHorizon bounds the search for a day, in years. The rarest that an expression
// can ask for is a 29th of February on one weekday: at most forty years apart.
const cronHorizon = 41

// wall returns the first minute at or after t that the expression names; t and
// the answer are times of day without a zone, kept as UTC. Zero: there is none.
func (c *Cron) wall(t time.Time) time.Time {
	t = t.Add(time.Minute - 1).Truncate(time.Minute)
	year, month, d := t.Date()
	day := time.Date(year, month, d, 0, 0, 0, 0, time.UTC)
	hour, minute := t.Hour(), t.Minute()
	for day.Year() <= year+cronHorizon {
		if c.months&(1<<day.Month()) == 0 {
			day = time.Date(day.Year(), day.Month()+1, 1, 0, 0, 0, 0, time.UTC)
			hour, minute = 0, 0
			continue
		}
		if c.matchesDay(day) {
			if at, ok := c.within(hour, minute); ok {
				return day.Add(at)
			}
		}
		day = day.AddDate(0, 0, 1)
		hour, minute = 0, 0
	}
	return time.Time{}
}

// within returns the first named minute of a day at or after hour:minute.
func (c *Cron) within(hour, minute int) (time.Duration, bool) {
	if c.hours&(1<<hour) != 0 {
		if m := c.minutes >> minute << minute; m != 0 {
			return time.Duration(hour)*time.Hour + time.Duration(bits.TrailingZeros64(m))*time.Minute, true
		}
	}
	h := c.hours >> (hour + 1) << (hour + 1)
	if h == 0 {
		return 0, false
	}
	return time.Duration(bits.TrailingZeros64(h))*time.Hour + time.Duration(bits.TrailingZeros64(c.minutes))*time.Minute, true
}
