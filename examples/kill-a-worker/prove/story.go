package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/entropy-fabric/entropy"
)

// story is what the journal says of one job.
type story struct {
	submitted, succeeded int
	otherEnds            int
	afterEnd             int // events that changed it after its end
	attempt              int // the highest so far
	assigned             []entropy.AssignmentID
	lost                 []entropy.AssignmentID
	winner               entropy.AssignmentID
	artifacts            int
}

// tell adds the job's next event.
func (s *story) tell(e *entropy.Event) error {
	var a entropy.JobAttrs
	if len(e.Attrs) > 0 {
		if err := json.Unmarshal(e.Attrs, &a); err != nil {
			return err
		}
	}
	if s.succeeded+s.otherEnds > 0 && e.Type != entropy.JobEvidence {
		s.afterEnd++
	}
	switch e.Type {
	case entropy.JobSubmitted:
		s.submitted++
	case entropy.JobAssigned:
		if a.Attempt <= s.attempt {
			return fmt.Errorf("attempt %d follows attempt %d", a.Attempt, s.attempt)
		}
		s.attempt = a.Attempt
		s.assigned = append(s.assigned, a.AssignmentID)
	case entropy.JobLost:
		s.lost = append(s.lost, s.current(a.AssignmentID))
	case entropy.JobSucceeded:
		s.succeeded++
		s.winner = s.current(a.AssignmentID)
		s.artifacts = len(a.Artifacts)
	case entropy.JobFailed, entropy.JobCanceled:
		s.otherEnds++
	}
	return nil
}

// current returns the assignment an event names, or the newest.
func (s *story) current(named entropy.AssignmentID) entropy.AssignmentID {
	if named == "" && len(s.assigned) > 0 {
		return s.assigned[len(s.assigned)-1]
	}
	return named
}

// whole reports why the story is not that of a job that succeeded exactly once.
func (s *story) whole() error {
	switch {
	case s.submitted != 1:
		return fmt.Errorf("it was submitted %d times", s.submitted)
	case s.succeeded != 1 || s.otherEnds != 0:
		return fmt.Errorf("it succeeded %d times and ended otherwise %d times", s.succeeded, s.otherEnds)
	case s.afterEnd != 0:
		return errors.New("something changed it after its end")
	case !slices.Contains(s.assigned, s.winner):
		return fmt.Errorf("it succeeded under assignment %q, which it was never given", s.winner)
	}
	return nil
}

func (s *story) lostTo(id entropy.AssignmentID) bool { return slices.Contains(s.lost, id) }

// again reports whether the job was assigned again after a loss.
func (s *story) again() bool {
	return len(s.lost) > 0 && s.assigned[len(s.assigned)-1] != s.lost[len(s.lost)-1]
}
