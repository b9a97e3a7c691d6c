//go:build race

package trial

// raceEnabled reports that the race detector is on, under which the tests are
// many times slower.
const raceEnabled = true
