package entropy_test

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/entropy-fabric/entropy"
)

// lives is how many lives are lived by default, or how many of those under -race.
func lives(n int) int {
	if raceEnabled {
		return n / 5
	}
	return n
}

// proves J-1, J-2, J-3, J-4, J-6, J-7, P-2
func TestJobProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRandomJob(rapidChooser{t})
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			r.step(t)
			if r.pick(4) == 0 {
				r.reload(t)
			}
		}
		r.replay(t)
	})
}

// The same over more lives than rapid takes, from fixed seeds.
// proves J-1, J-2, J-3, J-4, J-6, J-7, P-2
func TestJobPropertiesSeeded(t *testing.T) {
	seen := make(map[string]int)
	for seed := range uint64(lives(800)) {
		r := newRandomJob(seededChooser{rand.New(rand.NewPCG(seed, 2))})
		r.seen = func(e entropy.JobEvent) { seen[e.Type]++ }
		for range 60 {
			r.step(t)
			if r.pick(4) == 0 {
				r.reload(t)
			}
		}
		r.replay(t)
	}
	for _, typ := range entropy.JobEventTypes {
		if seen[typ] < 5 && !raceEnabled {
			t.Errorf("%s happened %d times in 800 lives", typ, seen[typ])
		}
	}
}

// The same over long lives, where attempts are forgotten.
// proves J-4, J-6 beyond MaxAttemptsKept
func TestJobPropertiesLongLives(t *testing.T) {
	forgotten, returned := 0, 0
	for seed := range uint64(lives(25)) {
		r := newRandomJob(seededChooser{rand.New(rand.NewPCG(seed, 1))})
		r.patient = true
		r.spec.NotAfter, r.spec.QueueTimeout = nil, 0
		r.spec.Retry = entropy.RetryPolicy{MaxAttempts: 1000, MaxLosses: 1000}
		r.hash = must(r.spec.SpecHash())
		r.seen = func(e entropy.JobEvent) {
			if j := r.job; e.Attrs.AssignmentID == j.LastAcked && (e.Type == entropy.JobReattached || e.Attrs.Late) && j.Attempt > entropy.MaxAttemptsKept {
				returned++
			}
		}
		for range 250 {
			r.step(t)
		}
		r.replay(t)
		if r.job.Attempt > entropy.MaxAttemptsKept {
			forgotten++
		}
	}
	if forgotten < lives(25)/3 || returned < lives(25)/10 {
		t.Errorf("only %d jobs outlived their record of attempts, %d came back after that", forgotten, returned)
	}
}
