// Package analyzer learns what is normal from a stream of events and says what
// surprises it. It is pure: it knows no clock, no input and no output, starts
// no goroutine and draws no random number. Time is an argument, and the same
// events give the same answers.
//
// An Analyzer keeps a series per (entity, step): how long the step takes, by
// hour of the week; when it starts; how long until the next step and until the
// same one again. Per kind of entity it keeps in which order steps follow each
// other. An event costs a constant number of map accesses and bucket updates,
// plus the logarithm of the open waits. Memory is bounded by Config: the
// series that was quiet longest is forgotten first, and counted.
//
// The parts are packages of their own: stat (estimators, tests), sketch
// (histograms), baseline (what is normal), detect (has it changed?), sequence
// (order of steps), series (numeric streams). score and generate measure them.
package analyzer
