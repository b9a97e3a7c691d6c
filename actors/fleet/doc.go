// Package fleet knows the workers. One actor per worker, the [Session], keeps its
// registration, its heartbeat sequence, its claims and what it should stop; the
// [Registry] holds an immutable copy of each worker for whoever must look without
// asking; [Listening] is the clock that leases are measured by.
//
// A heartbeat never waits for the journal: a session appends outside its turn and
// answers heartbeats meanwhile.
package fleet
