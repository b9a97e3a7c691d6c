// Package clock is the time of day by which a control plane decides. The wall
// clock of a machine in a lab cannot be trusted: it starts in the year 2000, it is
// set forward by a day, and back. What names a time of day (a schedule, a
// not_before, a deadline) must not act on such a moment.
package clock
