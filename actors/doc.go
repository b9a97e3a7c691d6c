// Package actors assembles the control plane's actors into a [System]: one actor
// per job that has something to do, one per worker, one scheduler, one waker. It
// implements entropy.Service and entropy.WorkerService in process.
//
// A call is turned into a message, the job's actor decides, the journal makes the
// decision durable, and only then is the call answered. What must happen in
// memory afterwards (the scheduler's index, counters, those who wait) follows the
// journal's tap, in the order of the commits.
package actors
