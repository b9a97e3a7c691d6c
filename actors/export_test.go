package actors

import (
	"context"

	"github.com/entropy-fabric/entropy/actors/scheduler"
)

// QueueDepth returns how many entries the scheduler holds.
func (s *System) QueueDepth() int {
	v, err := s.scheduler.Ask(context.Background(), scheduler.Depth{}).Await(context.Background())
	if err != nil {
		return -1
	}
	return v.(int)
}

// Sessions returns how many workers have an actor.
func (s *System) Sessions() int {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	return len(s.sessions.refs)
}
