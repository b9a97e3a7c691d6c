// Package es is the ground the fabric's actors stand on: it wraps protoactor-go
// and hosts event-sourced entities. It is the only package that knows protoactor.
//
// An [Actor] receives one message at a time. An entity is an actor that is
// addressed by its id: [Shards] brings it to life at its first message and lets
// it go when it is idle, so that what merely waits costs no memory.
//
// The loop of an event-sourced entity is decide, append, apply, reply. The append
// blocks the actor's goroutine until the events are on disk; messages that
// arrive meanwhile wait in the mailbox. Nothing is replied before it is durable.
//
// What this package does not do: it awaits no future inside an actor, it sends
// nothing between processes, it stores nothing itself.
package es
