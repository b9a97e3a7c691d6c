// Package bus carries events between the control plane and everybody else, over
// NATS JetStream: an embedded server, or one that the user runs.
//
// Subjects and streams are those of docs/BUS.md. What is on the bus is either a
// wish from outside, kept until the control plane has judged it, or a fact from
// the journal, which can be published again at any time: nothing that matters is
// on the bus alone. So the embedded server's directory may be wiped, and a lost
// connection costs delay.
//
// Who may say and hear what is decided from the credential alone, by a list of
// subjects that allows what it names and nothing else; see [Permissions].
//
// A [Bus] is safe for concurrent use.
package bus
