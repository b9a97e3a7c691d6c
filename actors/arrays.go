package actors

import (
	"context"
	"slices"

	"github.com/entropy-fabric/entropy"
)

// array returns an array, or nil if there is none of this ID.
func (s *System) array(ctx context.Context, id entropy.JobID) (*entropy.Array, error) {
	d, err := s.cfg.Journal.Document(ctx, entropy.Entity(entropy.KindArray, string(id)))
	switch {
	case entropy.ErrorCode(err) == entropy.CodeNotFound:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return d.(*entropy.Array), nil
}

// notAnArray refuses the ID of an array for a job.
func (s *System) notAnArray(ctx context.Context, id entropy.JobID) error {
	a, err := s.array(ctx, id)
	if err == nil && a != nil {
		err = entropy.Errorf(entropy.CodeConflict, "%s is an array and cannot be a job", id).WithHint("choose another ID")
	}
	return err
}

// seen returns a job, or the job that stands for an array.
func (s *System) seen(ctx context.Context, id entropy.JobID) (*entropy.Job, error) {
	if err := entropy.ValidateID("job id", string(id)); err != nil {
		return nil, err
	}
	j, missing := s.cfg.Journal.Job(ctx, id)
	if entropy.ErrorCode(missing) != entropy.CodeNotFound {
		return j, missing
	}
	a, err := s.array(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case a == nil:
		return nil, missing
	}
	t, err := s.cfg.Journal.Members(ctx, id)
	if err != nil {
		return nil, err
	}
	return a.Job(&t), nil
}

// members calls f with every member of an array in one of the states, the lowest
// index first.
func (s *System) members(ctx context.Context, array entropy.JobID, states []entropy.State) ([]*entropy.Job, error) {
	f := entropy.JobFilter{Array: array, States: states, Limit: entropy.MaxBatch}
	var all []*entropy.Job
	for {
		page, err := s.cfg.Journal.Jobs(ctx, f)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Jobs...)
		if page.Next == "" {
			break
		}
		f.Cursor = page.Next
	}
	slices.SortFunc(all, func(x, y *entropy.Job) int { return x.Spec.Array.Index - y.Spec.Array.Index })
	return all, nil
}

// wishAll has a wish carried out on every member of an array that has not ended.
func (s *System) wishAll(ctx context.Context, w *wish, whole *entropy.Job) (*entropy.Job, error) {
	if whole.State.Terminal() {
		if w.verb == "cancel" && whole.State == entropy.Canceled {
			return whole, nil
		}
		return nil, entropy.Errorf(entropy.CodeConflict, "every member of array %s has already ended", whole.ID).
			WithHint("entropy retry %s runs those again that did not succeed", whole.ID)
	}
	open, err := s.members(ctx, whole.ID, []entropy.State{entropy.Scheduled, entropy.Pending, entropy.Assigned, entropy.Running, entropy.Lost, entropy.Retrying})
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(open))
	s.parallel(len(open), func(i int) {
		part := *w
		part.id, part.op = open[i].ID, partOf(ctx, w.op, open[i].ID)
		_, errs[i] = s.wish(ctx, &part)
	})
	for _, err := range errs {
		if err != nil && entropy.ErrorCode(err) != entropy.CodeConflict { // it ended meanwhile
			return nil, err
		}
	}
	return s.seen(ctx, whole.ID)
}

// partOf returns the part that one job has in an operation on many.
func partOf(ctx context.Context, op entropy.Operation, id entropy.JobID) entropy.Operation {
	if op.ID != "" {
		op.ID = string(derivedID("part", entropy.PrincipalFrom(ctx).String(), op.ID, string(id)))
	}
	return op
}

// retryArray makes a new array of the members that did not succeed, or of all
// when all did.
func (s *System) retryArray(ctx context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	c := s.newCloning(ctx, op)
	if err := c.addArray(ctx, id); err != nil {
		return nil, err
	}
	if err := c.accept(ctx); err != nil {
		return nil, err
	}
	return s.seen(ctx, c.to[id])
}

// retried returns the spec of a job that runs another again.
func retried(old *entropy.Job) entropy.JobSpec {
	spec := old.Spec
	spec.RetryOf = old.ID
	spec.NotBefore, spec.NotAfter = nil, nil // they belong to the old job's time
	spec.Array = nil                         // the array is complete without it
	return spec
}

func notEnded(j *entropy.Job) error {
	return entropy.Errorf(entropy.CodeConflict, "job %s is %s; only an ended job can be retried", j.ID, j.State).WithHint("cancel it first, or wait")
}
