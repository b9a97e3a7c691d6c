// Package outbox relays what is journaled to the outside: at least once, in order,
// with nothing left out.
//
// The journal is the outbox: an event is there, on disk, in the transaction that
// made it true, so nothing is written twice to be published. A [Relay] reads it from
// where its [Sink] stands and delivers page by page. A sink that is away costs delay
// and nothing else: no event is held in memory for it, and it is asked again after a
// backoff.
//
// Where a sink stands it says itself, at the start, after every failure and from time
// to time. If it has lost what it had, it is filled again from the journal; only when
// it cannot tell is the [Relay]'s own cursor believed. So a cursor that is lost, or
// older than what was delivered, leaves no gap.
package outbox
