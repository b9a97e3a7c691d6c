// Package explore visits every state that one job (and one that it waits for) can
// reach on two workers within a number of steps, by the real Decide and Apply of
// package entropy: there is no model of the machine that could differ from it.
//
// What surrounds the machine is as hostile as it can be. A message that was sent
// once may arrive at any later time, any number of times, or never: ACKs,
// completions, refusals, heartbeats, registrations. Workers restart their agent or
// their host, timers fire early or late, people cancel, hold and let go. What the
// arithmetic of leases forbids is left out: the lease of a `stop` job does not
// expire while it runs.
//
// States that differ only in times and in the names of the workers are one. In each
// the safety promises are checked by a shadow that shares no code with the machine,
// and that something can still happen to a job that has not ended.
//
// That a broken promise is found is shown by the [Mutant] switches.
package explore
