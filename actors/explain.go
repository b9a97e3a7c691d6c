package actors

import (
	"context"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/scheduler"
)

// Explain implements entropy.Service: what the job's own state says, and for a
// queued job what the scheduler knows.
func (s *System) Explain(ctx context.Context, id entropy.JobID) (entropy.Explanation, error) {
	j, err := s.existing(ctx, id)
	if err != nil {
		return entropy.Explanation{}, err
	}
	x := j.Explain(s.clock.Now())
	if j.State != entropy.Pending || j.Held {
		return x, nil
	}
	v, err := s.scheduler.Ask(ctx, scheduler.Explain{ID: id}).Await(ctx)
	if err != nil {
		return entropy.Explanation{}, err
	}
	why := v.(*scheduler.Explained)
	x.Never = why.Never
	x.Causes = append(x.Causes, why.Hurdles...)
	if len(x.Causes) > 0 {
		x.Summary = x.Causes[0].Text
	}
	return x, nil
}
