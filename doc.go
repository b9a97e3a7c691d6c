// Package entropy is the vocabulary of the fabric: the words every other
// package uses, the pure state machines behind them, and the client.
//
// It imports the standard library only. Nothing in it reads a clock, touches a
// file or starts a goroutine, except [Client], which speaks HTTP.
//
// # The machines
//
// A [Job] is the fold of its events. [Job.Decide] turns a command into events,
// [Job.Apply] turns one event into the next state, and one table,
// [JobTransitions], says which event may follow which state. A [Worker] is made
// the same way. The caller supplies the time.
//
// # The two interfaces
//
// [Service] is what a person or a program asks of the fabric: submit, look,
// wait, cancel. [WorkerService] is what a worker node asks of it: register,
// claim, acknowledge, heartbeat, complete. Both are implemented by the actor
// system and by [Client], which speaks to it over HTTP.
package entropy
