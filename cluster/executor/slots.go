package executor

import (
	"context"
	"sync"
)

// slots counts how many handlers may begin.
type slots struct {
	mu    sync.Mutex
	free  int
	freed chan struct{} // closed when one becomes free
}

func newSlots(n int) *slots { return &slots{free: n, freed: make(chan struct{})} }

// take takes a slot if one is free.
func (s *slots) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free == 0 {
		return false
	}
	s.free--
	return true
}

func (s *slots) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	close(s.freed)
	s.freed = make(chan struct{})
}

// wait blocks until a slot is free, which another may take first, or ctx ends.
func (s *slots) wait(ctx context.Context) error {
	for {
		s.mu.Lock()
		free, freed := s.free, s.freed
		s.mu.Unlock()
		if free > 0 {
			return nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
