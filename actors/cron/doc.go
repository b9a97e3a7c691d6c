// Package cron submits the jobs of schedules when their times come (J-10, H-12).
// One actor holds all schedules: it decides what changes them and writes it to the
// journal; nobody else does. When a schedule fires is [entropy.Timetable]'s.
//
// A firing is submitted first and recorded after: who crashes in between submits
// it again and finds the job, because its ID is derived from the schedule and the
// nominal time. What is skipped is recorded before the next is submitted, so that
// of all nominal times past the mark only the first can have a job already.
package cron
