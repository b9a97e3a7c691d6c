// Package worker is the worker node: it asks the fabric for work, runs it, and
// gives every result back, through crashes of either side.
//
// A [Node] is the agent. It speaks to the control plane only, through
// [entropy.WorkerService], and holds nothing that would be lost with it:
// commands belong to the supervisor process (package supervisor), results wait
// in a spool on disk (package spool). Go handlers run in the agent's process,
// with a spool of their own.
//
// # The parts
//
//   - a session (session.go) is one registration and what goes on under it:
//     heartbeats, claims, directives. It ends when the fabric no longer knows
//     it; the jobs go on, and the node registers again.
//   - acceptance (accept.go) takes assignments from claim to start: preflight,
//     inputs, ACK, and only then the executor.
//   - delivery (deliver.go, upload.go) takes results from the spool to a
//     decision: artifacts, logs, completion.
//   - an executor (executor.go) holds the runs: remote.go speaks to the
//     supervisor, handlers.go runs Go handlers.
//
// # Guarantees
//
//   - Nothing starts before its ACK was answered.
//   - A lease is trusted until the send time of the ACK or heartbeat + TTL −
//     margin, on the boot clock, and the executor enforces it.
//   - A heartbeat names what the executor says it holds; if it does not answer,
//     there is no heartbeat.
//   - A result leaves the spool only when the fabric has accepted, superseded or
//     refused it.
package worker
