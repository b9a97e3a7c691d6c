// Package series watches one stream of numbers, a value at a time: how
// surprising is each, seen from the values before it? Where an entity's steps
// give durations, the analyzer compares whole windows; this is for what comes
// as a bare series, one value per interval, and must be judged at once.
package series
