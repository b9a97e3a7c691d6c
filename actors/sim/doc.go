// Package sim runs whole histories of a small fabric in virtual time: clients,
// a control plane, its journal, workers with their spools, and a network that
// loses, repeats and delays. One seed decides everything, so a history that
// breaks a promise can be seen again, event by event.
//
// What is real is the pure core: every decision about a job or a worker is made by
// Decide and Apply of package entropy, and every choice of who gets what by the
// scheduler's planner (in every fourth history by the simplest planner there is
// instead, see [NewReference]). In every fourth history all events and records pass
// through their JSON. What is modeled is what surrounds the core: when a commit
// becomes durable, which message arrives, who crashes. The model keeps to the rules
// of the real actors: one command at a time per job, reply only after commit,
// leases counted in listening time, waits in durations that no wall clock moves.
//
// A history has two phases. In the first, faults happen at a mix of rates and sizes
// drawn from the seed (1 to 20 workers, 2 to 300 jobs). Then everything heals, and
// the fabric must come to rest: every job ended, every spool empty. All the while a
// checker that shares no code with the machines follows the journal and what was
// acknowledged to whom, and what was executed where; its promises are [Invariants].
//
// The faults: messages lost, repeated, late by seconds, or sent by another worker as
// its own; links cut one way or both, flapping, one after the other, half of them at
// once; gossip that calls the dead and the living dead; crashes of the control plane,
// of agents, of hosts, of everything; a control plane that is stopped and goes on;
// suspended hosts, whose boot time runs on; a wall clock that is set by up to an
// hour; commits that fail, fail though they were written, find no room, or are slow;
// spools that cannot be written.
//
// That the checker sees what it should is shown by the [Mutant] switches: each
// takes one protection away, and must be caught. That a run of many histories has
// shown something is counted in [HardStates].
//
// # What is not modeled
//
// Artifacts, logs and checkpoints; cron; arrays, which are jobs like any other once
// they are there; actions and analytics (INV-15, INV-16).
package sim
