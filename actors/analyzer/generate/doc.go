// Package generate makes streams of events with known faults, for what no
// public data set covers: entities of one kind run cases of a few steps, by a
// daily and weekly rhythm, and overlays bend them for a while. The same Config
// gives the same bytes. Every event that an overlay touched, and every one it
// took away, is labeled.
package generate
