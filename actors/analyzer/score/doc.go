// Package score computes the scores of published benchmarks from a detector's
// output by the benchmarks' own rules, and reads the benchmarks' files. It
// knows no detector: what is scored is handed in.
package score
