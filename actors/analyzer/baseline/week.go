package baseline

import "time"

// Hours is the number of hours of a week.
const Hours = 168

// HourOfWeek returns the hour of the week of at by the clock on the wall of
// its location, 0 to 167 from midnight between Sunday and Monday. Because it
// is the wall's clock, a change to summer time moves nothing.
func HourOfWeek(at time.Time) int {
	return (int(at.Weekday())+6)%7*24 + at.Hour()
}
