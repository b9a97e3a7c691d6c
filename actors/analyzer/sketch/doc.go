// Package sketch counts values in few bytes: log-spaced buckets of bounded
// relative error, and histograms over them that forget at a given half-life.
// Histograms of the same mapping can be added, so the same sketch can be kept
// per hour by a database and in memory by the analyzer.
package sketch
