// Package harness proves the real actors, from seeds. Its tests run a whole
// System, with its job, fleet, scheduler and waker actors on protoactor, in
// virtual time (testing/synctest), beside model workers and clients that speak to
// it over a network that drops, repeats and delays, on a journal that fails and
// crashes. Each turn of an actor runs on its own goroutine until it waits; a
// conductor then draws, from the seed, which of those that could go on does. So a
// turn that waits for the journal lets others run, commits gather what is
// pending, and a seed replays to the last message.
//
// Where package sim simulates the pure core with actors of its own, many times as
// fast, this package holds the actors that ship to the same promises: the
// invariants of the specification, checked from the journal's events and from
// what the model workers truly did.
//
//	go test ./actors/harness                                  the default run
//	go test ./actors/harness -run Harness -seed 42 -histories 1 -v
//
// The package has no code but its tests.
package harness
