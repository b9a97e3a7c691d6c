package entropytest

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/entropy-fabric/entropy"
)

// queries answers from all jobs. The caller holds the lock.
func (m *Memory) queries() Queries {
	return Queries{Each: func(f func(*entropy.Job) error) error {
		for _, id := range m.order {
			if err := f(m.jobs[id]); err != nil {
				return err
			}
		}
		return nil
	}}
}

// seen returns a job, or the job that stands for an array.
func (m *Memory) seen(id entropy.JobID) (*entropy.Job, error) {
	if j := m.jobs[id]; j != nil {
		return j.Clone(), nil
	}
	if a := m.arrays[id]; a != nil {
		t, err := m.queries().Members(context.Background(), id)
		return a.Job(&t), err
	}
	return nil, notFound("job", string(id))
}

func (m *Memory) standing(id entropy.JobID) entropy.Standing {
	j, err := m.seen(id)
	if err != nil {
		return entropy.Standing{}
	}
	s := entropy.Standing{State: j.State}
	if j.Array != nil {
		t, _ := m.queries().Members(context.Background(), id) // it cannot fail
		s.Bad, s.As = t.Bad, t.BadState
	}
	return s
}

// settle tells every waiting job how those stand that it waits for, until nothing
// changes any more.
func (m *Memory) settle() {
	for changed := true; changed; {
		changed = false
		for _, id := range m.order {
			j := m.jobs[id]
			if !j.Blocked {
				continue
			}
			at := make(map[entropy.JobID]entropy.Standing)
			for _, d := range j.Spec.After {
				at[d.Job] = m.standing(d.Job)
			}
			d, _ := m.decide(j, entropy.Settlement(j.Spec.After, at)) // a waiting job refuses no word
			changed = changed || len(d.Events) > 0
		}
	}
}

func (m *Memory) submitGroup(ctx context.Context, subs []entropy.Submission) ([]entropy.SubmitResult, error) {
	principal := entropy.PrincipalFrom(ctx).String()
	own := slices.Clone(subs)
	for i := range own {
		if own[i].ID == "" {
			own[i].ID = entropy.JobID(entropy.NewID())
			if key := own[i].IdempotencyKey; key != "" {
				own[i].ID = entropy.JobID(hash([]byte(principal + key))[:32])
			}
		}
	}
	g, err := entropy.NewGroup(own, principal, time.Now())
	if err != nil {
		return nil, err
	}
	created, err := m.accept(g, principal)
	if err != nil {
		return nil, err
	}
	out := make([]entropy.SubmitResult, len(own))
	for i := range own {
		out[i] = entropy.SubmitResult{ID: own[i].ID, Created: created[own[i].ID]}
	}
	return out, nil
}

// accept makes what is new of a group, or refuses it as a whole.
func (m *Memory) accept(g *entropy.Group, principal string) (created map[entropy.JobID]bool, err error) {
	created = make(map[entropy.JobID]bool)
	conflict := func(id entropy.JobID) error {
		return entropy.Errorf(entropy.CodeConflict, "%s exists already with another content", id)
	}
	for _, a := range g.Arrays {
		old := m.arrays[a.ID]
		if m.jobs[a.ID] != nil || old != nil && old.SpecHash != a.SpecHash {
			return nil, conflict(a.ID)
		}
		created[a.ID] = old == nil
	}
	for i := range g.Jobs {
		j := &g.Jobs[i]
		old := m.jobs[j.ID]
		repeat := j.Spec.Array != nil && !created[j.Spec.Array.Of]
		if old != nil && old.SpecHash != j.Hash && !repeat || old != nil && j.Spec.Array != nil && !repeat || m.arrays[j.ID] != nil {
			return nil, conflict(j.ID)
		}
		created[j.ID] = old == nil
	}
	for _, id := range g.Upstream() {
		if m.standing(id).State == "" {
			return nil, entropy.Errorf(entropy.CodeNotFound, "there is no job %s to wait for", id)
		}
	}
	return created, m.make(g, created, principal)
}

func (m *Memory) make(g *entropy.Group, created map[entropy.JobID]bool, principal string) error {
	for _, a := range g.Arrays {
		if !created[a.ID] {
			continue
		}
		ch, err := a.Change()
		if err != nil {
			return err
		}
		m.append(ch.Events[0], ch.Entity, 1)
		m.arrays[a.ID] = a
	}
	for i := range g.Jobs {
		j := &g.Jobs[i]
		if !created[j.ID] {
			continue
		}
		at := make(map[entropy.JobID]entropy.Standing)
		for _, d := range j.Spec.After {
			if at[d.Job] = m.standing(d.Job); g.Has(d.Job) && created[d.Job] {
				at[d.Job] = entropy.Standing{State: entropy.Pending}
			}
		}
		how := entropy.Settlement(j.Spec.After, at)
		cmd := entropy.Submit{Spec: j.Spec, SpecHash: j.Hash, Principal: principal, Blocked: how.Open > 0 || how.Broken != "", Hold: j.Hold}
		if _, err := m.decide(&entropy.Job{ID: j.ID}, cmd); err != nil {
			return err
		}
		m.order = append(m.order, j.ID)
	}
	return nil
}

// wish carries out a command on a job, or on the open members of an array.
func (m *Memory) wish(id entropy.JobID, cmd entropy.JobCommand) (*entropy.Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wake()
	j, err := m.seen(id)
	if err != nil {
		return nil, err
	}
	if j.Array == nil {
		if _, err := m.decide(m.jobs[id], cmd); err != nil {
			return nil, err
		}
		return m.seen(id)
	}
	if _, cancel := cmd.(entropy.Cancel); j.State.Terminal() && !(cancel && j.State == entropy.Canceled) {
		return nil, entropy.Errorf(entropy.CodeConflict, "every member of array %s has ended", id)
	}
	for _, k := range m.order {
		if member := m.jobs[k]; member.Spec.Array != nil && member.Spec.Array.Of == id && !member.State.Terminal() {
			if _, err := m.decide(member, cmd); err != nil {
				return nil, err
			}
		}
	}
	return m.seen(id)
}

// Cancel implements [entropy.Service].
func (m *Memory) Cancel(_ context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	return m.wish(id, entropy.Cancel{Message: op.Reason, Operation: op.ID})
}

// Hold implements [entropy.Service].
func (m *Memory) Hold(_ context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	return m.wish(id, entropy.Hold{Message: op.Reason, Operation: op.ID})
}

// Release implements [entropy.Service].
func (m *Memory) Release(_ context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	return m.wish(id, entropy.Unhold{Operation: op.ID})
}

// Prioritize implements [entropy.Service].
func (m *Memory) Prioritize(_ context.Context, id entropy.JobID, priority int, op entropy.Operation) (*entropy.Job, error) {
	return m.wish(id, entropy.Reprioritize{Priority: priority, Operation: op.ID})
}

// Bulk implements [entropy.Service].
func (m *Memory) Bulk(ctx context.Context, r entropy.BulkRequest) (entropy.BulkReply, error) {
	if err := r.Validate(); err != nil {
		return entropy.BulkReply{}, err
	}
	reply := entropy.BulkReply{Items: []entropy.BulkItem{}}
	ids := r.IDs
	if len(ids) == 0 {
		f := r.Selected()
		if r.DryRun {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.wake()
			n, err := m.queries().CountJobs(ctx, f)
			reply.Matched = n
			return reply, err
		}
		page, err := m.Jobs(ctx, f)
		if err != nil {
			return reply, err
		}
		reply.Next = page.Next
		for _, j := range page.Jobs {
			ids = append(ids, j.ID)
		}
	}
	reply.Matched = int64(len(ids))
	if r.DryRun {
		return reply, nil
	}
	if r.Verb == entropy.VerbRetry {
		return m.retryAll(ctx, ids, r.Operation, r.Dependents, reply)
	}
	for _, id := range ids {
		j, err := m.bulkItem(ctx, &r, id)
		item := entropy.BulkItem{ID: id, Error: entropy.AsError(err)}
		if err == nil {
			item.State = j.State
		}
		reply.Items = append(reply.Items, item)
	}
	return reply, nil
}

func (m *Memory) bulkItem(ctx context.Context, r *entropy.BulkRequest, id entropy.JobID) (*entropy.Job, error) {
	switch r.Verb {
	case entropy.VerbCancel:
		return m.Cancel(ctx, id, r.Operation)
	case entropy.VerbHold:
		return m.Hold(ctx, id, r.Operation)
	case entropy.VerbRelease:
		return m.Release(ctx, id, r.Operation)
	}
	return m.Prioritize(ctx, id, r.Priority, r.Operation)
}

// retryAll retries each of the jobs; with dependents as one group, together with
// those that failed because of them.
func (m *Memory) retryAll(ctx context.Context, ids []entropy.JobID, op entropy.Operation, dependents bool, reply entropy.BulkReply) (entropy.BulkReply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wake()
	principal := entropy.PrincipalFrom(ctx).String()
	if !dependents {
		for _, id := range ids {
			item := entropy.BulkItem{ID: id}
			c := &memoryClones{m: m, op: op, to: make(map[entropy.JobID]entropy.JobID)}
			err := c.add(id)
			if err == nil {
				err = c.accept(principal)
			}
			if item.Error = entropy.AsError(err); err == nil {
				item.New, item.State = c.to[id], m.standing(c.to[id]).State
			}
			reply.Items = append(reply.Items, item)
		}
		return reply, nil
	}
	c := &memoryClones{m: m, op: op, to: make(map[entropy.JobID]entropy.JobID)}
	for _, id := range ids {
		if err := c.add(id); err != nil {
			return reply, err
		}
	}
	if err := c.closure(); err != nil {
		return reply, err
	}
	if err := c.accept(principal); err != nil {
		return reply, err
	}
	for _, id := range c.old {
		reply.Items = append(reply.Items, entropy.BulkItem{ID: id, New: c.to[id]})
	}
	reply.Matched = int64(len(reply.Items))
	return reply, nil
}

// Retry implements [entropy.Service].
func (m *Memory) Retry(ctx context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	reply, err := m.retryAll(ctx, []entropy.JobID{id}, op, false, entropy.BulkReply{})
	if err != nil {
		return nil, err
	}
	if e := reply.Items[0].Error; e != nil {
		return nil, e
	}
	return m.Job(ctx, reply.Items[0].New)
}

// memoryClones are the new jobs of a retry.
type memoryClones struct {
	m   *Memory
	op  entropy.Operation
	old []entropy.JobID                 // jobs and arrays
	to  map[entropy.JobID]entropy.JobID // members included
}

// add takes in an ended job or array.
func (c *memoryClones) add(id entropy.JobID) error {
	j, err := c.m.seen(id)
	if err != nil || c.to[id] != "" {
		return err
	}
	if !j.State.Terminal() {
		return entropy.Errorf(entropy.CodeConflict, "job %s is %s: only a job that has ended can be retried", id, j.State)
	}
	c.old = append(c.old, id)
	c.to[id] = entropy.JobID(entropy.NewID())
	if c.op.ID != "" {
		c.to[id] = entropy.JobID(hash([]byte(c.op.ID + string(id)))[:32])
	}
	for _, k := range c.m.order {
		if a := c.m.jobs[k].Spec.Array; j.Array != nil && a != nil && a.Of == id && (j.State == entropy.Succeeded || c.m.jobs[k].State != entropy.Succeeded) {
			c.to[k] = entropy.MemberID(c.to[id], a.Index)
		}
	}
	return nil
}

// closure takes in those that failed because of one that is in already.
func (c *memoryClones) closure() error {
	for before := -1; before != len(c.old); {
		before = len(c.old)
		for _, id := range c.m.order {
			j := c.m.jobs[id]
			because := slices.ContainsFunc(j.Spec.After, func(d entropy.Dependency) bool { return c.to[d.Job] != "" })
			if !because || j.State != entropy.Failed || j.Reason != entropy.ReasonDependency {
				continue
			}
			if j.Spec.Array != nil {
				id = j.Spec.Array.Of
			}
			if err := c.add(id); err != nil {
				return err
			}
		}
	}
	return nil
}

// accept makes the new jobs.
func (c *memoryClones) accept(principal string) error {
	g, err := entropy.NewGroup(nil, principal, time.Now())
	if err != nil {
		return err
	}
	for _, id := range c.old {
		if a := c.m.arrays[id]; a != nil {
			next := *a
			next.ID, next.SpecHash, next.Spec.RetryOf = c.to[id], "retry of "+a.SpecHash, a.ID
			var members []entropy.GroupJob
			for _, k := range c.m.order {
				if m := c.m.jobs[k].Spec.Array; m != nil && m.Of == id && c.to[k] != "" {
					members = append(members, c.job(c.m.jobs[k], &entropy.ArrayMember{Of: next.ID, Index: m.Index}))
				}
			}
			next.Count = len(members)
			err = g.AddArray(&next, members)
		} else {
			err = g.AddJob(c.job(c.m.jobs[id], nil))
		}
		if err != nil {
			return err
		}
	}
	_, err = c.m.accept(g, principal)
	return err
}

func (c *memoryClones) job(old *entropy.Job, member *entropy.ArrayMember) entropy.GroupJob {
	spec := old.Spec
	spec.RetryOf, spec.Array, spec.NotBefore, spec.NotAfter, spec.After = old.ID, member, nil, nil, slices.Clone(spec.After)
	for i, d := range spec.After {
		if to := c.to[d.Job]; to != "" {
			spec.After[i].Job = to
		}
	}
	sum, err := spec.SpecHash()
	if err != nil {
		sum = strconv.Quote(err.Error()) // it was encoded before
	}
	return entropy.GroupJob{ID: c.to[old.ID], Hash: sum, Spec: spec}
}
