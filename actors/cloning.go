package actors

import (
	"context"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// cloning makes new jobs of old ones, as one group: first it gathers which, and
// only then, when it is known what stands for each, it makes them.
type cloning struct {
	s         *System
	principal string
	op        entropy.Operation
	units     []unit
	to        map[entropy.JobID]entropy.JobID // what stands for an old job or array
}

// unit is an old job, or an old array with those of its members that run again.
type unit struct {
	job     *entropy.Job
	array   *entropy.Array
	members []*entropy.Job
}

func (u *unit) id() entropy.JobID {
	if u.array != nil {
		return u.array.ID
	}
	return u.job.ID
}

func (s *System) newCloning(ctx context.Context, op entropy.Operation) *cloning {
	return &cloning{s: s, principal: entropy.PrincipalFrom(ctx).String(), op: op, to: make(map[entropy.JobID]entropy.JobID)}
}

// newID returns the ID of what is made of an old job: a repeat of the operation
// makes the same.
func (c *cloning) newID(old entropy.JobID) entropy.JobID {
	if c.op.ID == "" {
		return entropy.JobID(entropy.NewID())
	}
	return derivedID("clone", c.principal, c.op.ID, string(old))
}

// addJob adds a job that has ended.
func (c *cloning) addJob(old *entropy.Job) error {
	if !old.State.Terminal() {
		return notEnded(old)
	}
	c.units = append(c.units, unit{job: old})
	c.to[old.ID] = c.newID(old.ID)
	return nil
}

// addArray adds the members of an array that did not succeed, or all when all did.
func (c *cloning) addArray(ctx context.Context, id entropy.JobID) error {
	a, err := c.s.array(ctx, id)
	if err == nil && a == nil {
		err = entropy.Errorf(entropy.CodeNotFound, "there is no array %s", id)
	}
	if err != nil {
		return err
	}
	t, err := c.s.cfg.Journal.Members(ctx, id)
	if err != nil {
		return err
	}
	whole := a.Job(&t)
	if !whole.State.Terminal() {
		return notEnded(whole)
	}
	states := []entropy.State{entropy.Failed, entropy.Canceled}
	if whole.State == entropy.Succeeded {
		states = nil
	}
	members, err := c.s.members(ctx, id, states)
	if err != nil {
		return err
	}
	c.units = append(c.units, unit{array: a, members: members})
	c.to[id] = c.newID(id)
	for _, m := range members {
		c.to[m.ID] = entropy.MemberID(c.to[id], m.Spec.Array.Index)
	}
	return nil
}

// accept makes the new jobs, all or none.
func (c *cloning) accept(ctx context.Context) error {
	g, err := entropy.NewGroup(nil, c.principal, c.s.clock.Now())
	if err != nil {
		return err
	}
	for i := range c.units {
		if err := c.make(g, &c.units[i]); err != nil {
			return err
		}
	}
	_, err = c.s.acceptGroup(ctx, g, nil)
	return err
}

func (c *cloning) make(g *entropy.Group, u *unit) error {
	if u.array == nil {
		j, err := c.groupJob(u.job, c.rewire(u.job.Spec.After), nil)
		if err != nil {
			return err
		}
		return g.AddJob(j)
	}
	old, id := u.array, c.to[u.array.ID]
	next := &entropy.Array{ID: id, Version: 1, SpecHash: string(derivedID("retry", old.SpecHash, string(old.ID))), Spec: old.Spec, Count: len(u.members),
		First: u.members[0].Spec.Array.Index, Last: u.members[len(u.members)-1].Spec.Array.Index, Principal: c.principal,
		CreatedAt: c.s.cfg.Now().UTC().Truncate(time.Millisecond)}
	next.Spec.RetryOf, next.Spec.NotBefore, next.Spec.NotAfter = old.ID, nil, nil
	next.Spec.After = c.rewire(old.Spec.After)
	jobs := make([]entropy.GroupJob, len(u.members))
	for i, m := range u.members {
		var err error
		if jobs[i], err = c.groupJob(m, next.Spec.After, &entropy.ArrayMember{Of: id, Index: m.Spec.Array.Index}); err != nil {
			return err
		}
	}
	return g.AddArray(next, jobs)
}

func (c *cloning) groupJob(old *entropy.Job, after []entropy.Dependency, member *entropy.ArrayMember) (entropy.GroupJob, error) {
	spec := retried(old)
	spec.After, spec.Array = after, member
	hash, err := spec.SpecHash()
	return entropy.GroupJob{ID: c.to[old.ID], Hash: hash, Spec: spec}, err
}

// rewire returns what a spec waits for, with the new jobs in place of the old.
func (c *cloning) rewire(after []entropy.Dependency) []entropy.Dependency {
	out := slices.Clone(after)
	for i := range out {
		if to, ok := c.to[out[i].Job]; ok {
			out[i].Job = to
		}
	}
	return out
}
