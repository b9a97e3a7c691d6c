package actors

import (
	"context"

	"github.com/entropy-fabric/entropy"
)

// retryDependents makes new jobs of those named and of the jobs that failed
// because one of them did, directly or through others. The new ones wait for each
// other as the old did. All are accepted, or none.
func (s *System) retryDependents(ctx context.Context, r *entropy.BulkRequest) (entropy.BulkReply, error) {
	c := s.newCloning(ctx, r.Operation)
	for _, id := range r.IDs {
		if err := c.root(ctx, id); err != nil {
			return entropy.BulkReply{}, err
		}
	}
	for i := 0; i < len(c.units); i++ { // it grows as it goes: breadth first
		if err := c.addDependents(ctx, c.units[i]); err != nil {
			return entropy.BulkReply{}, err
		}
	}
	if err := c.accept(ctx); err != nil {
		return entropy.BulkReply{}, err
	}
	reply := entropy.BulkReply{Matched: int64(len(c.units)), Items: make([]entropy.BulkItem, len(c.units))}
	for i := range c.units {
		old := c.units[i].id()
		reply.Items[i] = entropy.BulkItem{ID: old, New: c.to[old]}
	}
	return reply, nil
}

// root adds a job or an array that somebody named.
func (c *cloning) root(ctx context.Context, id entropy.JobID) error {
	if c.to[id] != "" {
		return nil
	}
	old, err := c.s.seen(ctx, id)
	if err != nil {
		return err
	}
	if old.Array != nil {
		return c.addArray(ctx, id)
	}
	if err := c.addJob(old); err != nil || old.Spec.Array == nil {
		return err
	}
	return c.standFor(ctx, old)
}

// standFor lets the new job of a member stand for its whole array, if the others
// have succeeded.
func (c *cloning) standFor(ctx context.Context, old *entropy.Job) error {
	of := old.Spec.Array.Of
	t, err := c.s.cfg.Journal.Members(ctx, of)
	if err != nil {
		return err
	}
	waiting, err := c.s.cfg.Journal.Dependents(ctx, of, 1)
	if err != nil || len(waiting) == 0 {
		return err
	}
	total := int64(0)
	for _, n := range t.States {
		total += n
	}
	if t.States[entropy.Succeeded] != total-1 {
		return entropy.Errorf(entropy.CodeConflict, "jobs wait for all of array %s, and %s is not the only member that did not succeed", of, old.ID).
			WithHint("retry the array: entropy retry --dependents %s", of)
	}
	c.to[of] = c.to[old.ID]
	return nil
}

// addDependents adds those that failed because of a unit.
func (c *cloning) addDependents(ctx context.Context, u unit) error {
	sources := []entropy.JobID{u.id()}
	for _, m := range u.members { // some may wait for one member alone
		sources = append(sources, m.ID)
	}
	if u.job != nil && u.job.Spec.Array != nil && c.to[u.job.Spec.Array.Of] == c.to[u.job.ID] {
		sources = append(sources, u.job.Spec.Array.Of)
	}
	for _, up := range sources {
		ids, err := c.s.cfg.Journal.Dependents(ctx, up, entropy.MaxGroup+1)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := c.addDependent(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// addDependent adds a job that waited, if that is why it failed; of a member of an
// array, the array.
func (c *cloning) addDependent(ctx context.Context, id entropy.JobID) error {
	if c.to[id] != "" {
		return nil
	}
	j, err := c.s.cfg.Journal.Job(ctx, id)
	switch {
	case err != nil:
		return err
	case j.State != entropy.Failed || j.Reason != entropy.ReasonDependency:
		return nil
	case j.Spec.Array == nil:
		return c.addJob(j)
	case c.to[j.Spec.Array.Of] == "":
		return c.addArray(ctx, j.Spec.Array.Of)
	}
	return nil
}
