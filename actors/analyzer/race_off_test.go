//go:build !race

package analyzer

// raceEnabled reports that the race detector is on, under which the search is
// many times slower.
const raceEnabled = false
