// Package live runs the analyzer in the fabric: it follows the ledger, whose rows are
// all that happened in one order, and writes what it finds back into it.
//
// One goroutine, [Watcher.Run], owns the [analyzer.Analyzer]; who asks something of it
// has it answered there, between two rows. What is learned is kept nowhere else than
// in the ledger: at the start the rows of the last weeks are read again. So that they
// give the same findings, with the same identifiers, time is taken from the rows
// alone: each source has a clock that its events move, and that the wall's moves on
// only at whole marks of [Grid] (clock.go). A finding that is recorded twice is there
// once.
//
// The engine (engine.go) does all of this without a goroutine, a clock or a ledger;
// the watcher gives it rows and marks and records what it says.
package live
