// Package planner chooses which queued job goes to which worker. It is pure: no
// clock, no goroutine, no I/O; time is an argument, and equal inputs give equal
// choices. The [Planner] is told every fact (what is queued, what is leased, what
// the workers have) and asked for choices.
//
// The order of choice, for one worker that asks:
//
//  1. Gates: a job below a gate's priority may only be chosen while the gate's
//     slots stay free for more urgent ones.
//  2. Tenants that have jobs waiting, by weighted virtual time (see tenant.go).
//  3. Within a tenant the static key: enqueued_at − priority × aging_step.
//  4. Fit: labels, free slots and resources, GPUs by index, concurrency keys,
//     queue limits.
//
// A job at the head of the order that waits too long for room reserves a worker;
// then only jobs that do not delay it pass it there (backfill; reserve.go). Urgent
// jobs may ask preemptible ones to make room (preempt.go).
package planner
