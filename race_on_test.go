//go:build race

package entropy_test

// raceEnabled reports that the race detector is on, under which tests that live
// many lives take several times as long.
const raceEnabled = true
