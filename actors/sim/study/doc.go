// Package study runs whole workloads of jobs through a scheduling policy in virtual
// time, for those who study scheduling: traces in, one row per job and a summary
// out. It is the lean sister of the fault simulator: nothing fails but attempts,
// if asked to, so that a million jobs on ten thousand workers take a minute or so.
//
// What is real is the pure core: each job is submitted, assigned, started and ended
// by Decide and Apply of package entropy, and who gets what is chosen by a policy,
// of which the fabric's own planner is one. A queued job is a row, as it is in the
// fabric; only one that has a lease is a state machine in memory.
//
// A job runs on one worker and takes one slot there, and the CPUs and GPUs that its
// row names. A trace of a parallel machine that is one pool of processors is run
// with one worker that has them all.
package study
