// Package detect decides whether a window of observations still comes from the
// distribution that is normal for it: four tests, an effect that must be large
// enough to matter, a bound on false discoveries over all series, and an
// explanation in words and numbers.
package detect
