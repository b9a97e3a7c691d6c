//go:build race

package sim

// raceEnabled reports that the race detector is on, under which histories are
// many times slower.
const raceEnabled = true
