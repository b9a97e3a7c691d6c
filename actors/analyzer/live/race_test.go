package live

import "testing"

// withoutRace leaves a test that has one goroutine and very many events to the run
// without the race detector, which is ten times as fast; make test does both.
func withoutRace(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("it is one goroutine: run without -race")
	}
}
