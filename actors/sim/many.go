package sim

import (
	"context"
	"sync"
	"time"
)

// Summary is what came of many histories. First is in words, whatever the configuration says.
type Summary struct {
	Histories  int
	Violations int
	First      *Report // of the lowest seed that broke a promise; nil when none did
	Steps      int
	Events     int           // journaled
	Virtual    time.Duration // lived through
	Hash       uint64        // of all histories, in whatever order they ran
	Tally      Tally
}

// Many runs n histories with the seeds from cfg.Seed on, parallel at a time, and
// calls each, if not nil, with every report, one at a time, in no fixed order. It
// stops early when ctx is done. Equal arguments give equal summaries.
func Many(ctx context.Context, cfg Config, n, parallel int, each func(Report)) Summary {
	var (
		mu    sync.Mutex
		next  int
		total = Summary{Tally: make(Tally)}
		wg    sync.WaitGroup
	)
	take := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return cfg.Seed + uint64(next-1), next <= n && ctx.Err() == nil
	}
	for range max(parallel, 1) {
		wg.Go(func() {
			for seed, ok := take(); ok; seed, ok = take() {
				one := cfg
				one.Seed = seed
				r := Run(one)
				mu.Lock()
				total.add(&r)
				if each != nil {
					each(r)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if f := total.First; f != nil { // once more, in words
		one := cfg
		one.Seed, one.Trace = f.Seed, true
		again := Run(one)
		total.First = &again
	}
	return total
}

func (s *Summary) add(r *Report) {
	s.Histories++
	s.Steps += r.Steps
	s.Events += r.Events
	s.Virtual += r.Virtual
	s.Hash += r.Hash * (2*r.Seed + 1)
	s.Tally.Add(r.Tally)
	if r.Violation != nil {
		s.Violations++
		if s.First == nil || r.Seed < s.First.Seed {
			s.First = r
		}
	}
}
