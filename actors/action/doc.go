// Package action carries actions through their lives (A-4, A-7, H-6, H-7).
//
// An [Actor] is one action: it decides by the pure machine of [entropy.Action],
// appends, applies and only then answers or has its order issued. It stays in
// memory with one timer until the action has ended: for its TTL, or for the times
// that its executor has to keep.
//
// The [Line] knows every action that waits and says whose turn it is. Actions of one
// entity take their turns one after the other, in the order in which they were
// asked for; a command that may not be issued faster, or whose circuit is broken,
// lets the most urgent go first. It is pure, and [Dispatcher] is its actor.
//
// Nothing here knows how orders travel: see [Orders].
package action
