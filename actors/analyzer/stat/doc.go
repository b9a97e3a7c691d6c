// Package stat holds the statistics under the entropy layer: entropy with its
// small-sample corrections, divergences between distributions, tails of the
// common distributions, robust location and scale, and the control of false
// discoveries. Everything is a pure function of its arguments; the one
// generator of random numbers is seeded by whoever calls it.
package stat
