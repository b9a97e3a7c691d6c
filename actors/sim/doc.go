// Package sim runs whole histories of a small fabric in virtual time: clients,
// a control plane, its journal, workers with their spools, and a network that
// loses, repeats and delays. One seed decides everything, so a history that
// breaks a promise can be seen again, event by event.
//
// What is real is the pure core of package entropy: every decision about a job or
// a worker is made by its Decide and Apply, and every event passes through its
// JSON form. What is modeled is what surrounds it: when a commit becomes durable,
// which message arrives, who crashes. The model keeps to the rules of the real
// actors: one command at a time per job, reply only after commit, leases counted
// in listening time.
//
// A history has two phases. In the first, faults happen at a mix of rates drawn
// from the seed. Then everything heals, and the fabric must come to rest: every
// job ended, every spool empty. All the while a checker that shares no code with
// the machines follows the journal and what was acknowledged to whom.
//
// That the checker sees what it should is shown by the [Mutant] switches: each
// takes one protection away, and must be caught.
//
// # What is not modeled
//
// Disk errors, steps of the wall clock, suspended workers, artifacts and logs.
package sim
