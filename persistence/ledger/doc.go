// Package ledger is the analytical store of events: what the fabric did and what
// came from outside, in the one envelope. The journal is the truth; the ledger is
// what it is looked at with. Its implementations are the packages below it.
package ledger
