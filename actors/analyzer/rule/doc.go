// Package rule decides what is to be done about deviations. It is pure: events of
// the ledger and the time go in, and what is to be recorded and asked for comes out;
// the same events give the same decisions, wherever it is stopped and begun again.
//
// A [Set] is a file of rules, checked and compiled. An [Engine] folds deviations,
// actions and its own earlier decisions, which are events too, and applies the
// rules under guards: against storms, against acting twice on one entity, against
// acting on the effects of its own actions, and against rules that do harm.
package rule
