//go:build race

package live

// raceEnabled says whether the race detector watches.
const raceEnabled = true
