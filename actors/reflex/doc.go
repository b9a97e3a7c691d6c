// Package reflex turns surprise into action: it gives what the analyzer finds to the
// rules ([rule.Engine]), records what they decide in the ledger, and asks for the
// actions. What it knows it has from the ledger, so that a restart loses nothing.
//
// It needs whoever follows the ledger to hand it the rows, and may be asked from any
// goroutine.
package reflex
