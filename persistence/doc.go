// Package persistence owns the data directory of a control plane.
//
// A [Dir] is the right to use one: it holds an exclusive lock for as long as it
// is open, so that two control planes never write one journal (requirement P-6).
// What lies in the directory belongs to the packages below this one: the event
// journal to persistence/journal, inputs, artifacts and logs to
// persistence/artifact.
package persistence
