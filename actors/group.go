package actors

import (
	"context"

	"github.com/entropy-fabric/entropy"
)

// submitGroup accepts or refuses submissions as a whole: all that is new goes into
// the journal in one append. The jobs' actors are not asked: a job that is new has
// none, and one that is made at the same moment elsewhere is a conflict in the
// journal, after which this looks again.
func (s *System) submitGroup(ctx context.Context, subs []entropy.Submission) ([]entropy.SubmitResult, error) {
	principal := entropy.PrincipalFrom(ctx).String()
	own := make([]entropy.Submission, len(subs))
	keys := make([]string, len(subs))
	for i := range subs {
		id, _, err := s.submissionID(&subs[i], principal)
		if err != nil {
			return nil, err
		}
		if err := s.graceFits(&subs[i].Spec); err != nil {
			return nil, err
		}
		if missing := s.missingInputs(&subs[i].Spec); missing != "" {
			return nil, inputNotStored(missing)
		}
		own[i], keys[i] = subs[i], subs[i].IdempotencyKey
		own[i].ID, own[i].Spec = id, cloneSpec(&subs[i].Spec)
	}
	g, err := entropy.NewGroup(own, principal, s.cfg.Now())
	if err != nil {
		return nil, err
	}
	created, err := s.acceptGroup(ctx, g, keys)
	if err != nil {
		return nil, err
	}
	results := make([]entropy.SubmitResult, len(subs))
	for i := range results {
		results[i] = entropy.SubmitResult{ID: own[i].ID, Created: created[own[i].ID]}
	}
	return results, nil
}

// acceptGroup makes what is new of a group, and returns the IDs of its jobs and
// arrays. Keys are the idempotency keys by GroupJob.From.
func (s *System) acceptGroup(ctx context.Context, g *entropy.Group, keys []string) (created map[entropy.JobID]bool, err error) {
	for tries := 0; ; tries++ {
		a := &acceptance{s: s, group: g, keys: keys, principal: entropy.PrincipalFrom(ctx).String(), known: make(map[entropy.JobID]bool), created: make(map[entropy.JobID]bool)}
		if err := a.plan(ctx); err != nil {
			return nil, err
		}
		if len(a.changes) == 0 {
			return a.created, nil
		}
		_, err := s.cfg.Journal.Append(ctx, a.changes...)
		if err == nil {
			return a.created, nil
		}
		// A conflict means that at least one more of them exists now.
		if entropy.ErrorCode(err) != entropy.CodeConflict || tries > len(g.Jobs)+len(g.Arrays) {
			return nil, err
		}
	}
}

// acceptance is one attempt at accepting a group.
type acceptance struct {
	s         *System
	group     *entropy.Group
	keys      []string
	principal string

	known   map[entropy.JobID]bool // jobs and arrays of the group that exist already, as they are
	at      map[entropy.JobID]entropy.Standing
	created map[entropy.JobID]bool
	changes []entropy.Change
}

// plan looks what exists and lays out the changes that make the rest.
func (a *acceptance) plan(ctx context.Context) error {
	if err := a.lookAtArrays(ctx); err != nil {
		return err
	}
	if err := a.lookAtJobs(ctx); err != nil {
		return err
	}
	if err := a.lookUpstream(ctx); err != nil {
		return err
	}
	for _, arr := range a.group.Arrays {
		if a.known[arr.ID] {
			continue
		}
		ch, err := arr.Change()
		if err != nil {
			return err
		}
		a.changes = append(a.changes, ch)
		a.created[arr.ID] = true
	}
	return a.addJobs()
}

// lookAtArrays finds out which arrays are repeats.
func (a *acceptance) lookAtArrays(ctx context.Context) error {
	for _, arr := range a.group.Arrays {
		old, err := a.s.array(ctx, arr.ID)
		switch {
		case err != nil:
			return err
		case old == nil:
		case old.SpecHash != arr.SpecHash:
			return entropy.Errorf(entropy.CodeConflict, "array %s exists already with another content", arr.ID).
				WithHint("choose another ID, or submit exactly the same array again")
		default:
			a.known[arr.ID] = true
		}
	}
	return nil
}

// lookAtJobs finds out which jobs are repeats, and that no new one takes an ID
// that is in use.
func (a *acceptance) lookAtJobs(ctx context.Context) error {
	g := a.group
	ids := make([]entropy.JobID, 0, len(g.Jobs)+len(g.Arrays))
	for _, arr := range g.Arrays {
		ids = append(ids, arr.ID)
	}
	for i := range g.Jobs {
		ids = append(ids, g.Jobs[i].ID)
	}
	states, err := a.s.cfg.Journal.States(ctx, ids)
	if err != nil {
		return err
	}
	for _, arr := range g.Arrays {
		if _, taken := states[arr.ID]; taken {
			return entropy.Errorf(entropy.CodeConflict, "%s is a job and cannot be an array", arr.ID).WithHint("choose another ID")
		}
	}
	for i := range g.Jobs {
		if err := a.lookAtJob(ctx, &g.Jobs[i], states); err != nil {
			return err
		}
	}
	return nil
}

func (a *acceptance) lookAtJob(ctx context.Context, j *entropy.GroupJob, states map[entropy.JobID]entropy.State) error {
	_, exists := states[j.ID]
	if m := j.Spec.Array; m != nil && a.known[m.Of] {
		a.known[j.ID] = true
		return nil
	} else if m != nil && exists {
		return entropy.Errorf(entropy.CodeConflict, "a member of array %s would be %s, which exists already", m.Of, j.ID).WithHint("choose another ID for the array")
	}
	if !exists {
		if j.Spec.Array != nil || madeJustNow(string(j.ID), a.s.cfg.Now()) {
			return nil
		}
		return a.s.notAnArray(ctx, j.ID)
	}
	old, err := a.s.cfg.Journal.Job(ctx, j.ID)
	if err != nil {
		return err
	}
	if old.SpecHash != j.Hash {
		return entropy.Errorf(entropy.CodeConflict, "job %s exists already with another spec", j.ID).
			WithHint("choose another ID, or submit exactly the same job again")
	}
	a.known[j.ID] = true
	return nil
}

// lookUpstream reads how those stand that the new jobs wait for.
func (a *acceptance) lookUpstream(ctx context.Context) error {
	up := a.group.Upstream()
	for i := range a.group.Jobs {
		if id := a.group.Jobs[i].ID; a.known[id] {
			up = append(up, id)
		}
	}
	for _, arr := range a.group.Arrays {
		if a.known[arr.ID] {
			up = append(up, arr.ID)
		}
	}
	at, err := a.s.standings(ctx, up)
	if err != nil {
		return err
	}
	for _, id := range up {
		if at[id].State == "" {
			return entropy.Errorf(entropy.CodeNotFound, "there is no job %s to wait for; nothing was submitted", id).
				WithHint("name a job that exists, or one that is submitted in the same call")
		}
	}
	a.at = at
	return nil
}

// addJobs lays out the changes of the new jobs.
func (a *acceptance) addJobs() error {
	jobs := a.group.Jobs
	for i := range jobs {
		if id := jobs[i].ID; !a.known[id] {
			a.created[id] = true
		}
	}
	for id := range a.created {
		a.at[id] = entropy.Standing{State: entropy.Pending} // it has not ended
	}
	now := a.s.cfg.Now()
	var key *entropy.Dependency // members of an array share what they wait for
	blocked := false
	for i := range jobs {
		j := &jobs[i]
		if a.known[j.ID] {
			continue
		}
		switch after := j.Spec.After; {
		case len(after) == 0:
			key, blocked = nil, false
		case &after[0] != key:
			how := entropy.Settlement(after, a.at)
			key, blocked = &after[0], how.Open > 0 || how.Broken != ""
		}
		cmd := entropy.Submit{Spec: j.Spec, SpecHash: j.Hash, Principal: a.principal, Blocked: blocked, Hold: j.Hold}
		if j.From < len(a.keys) {
			cmd.Operation = a.keys[j.From]
		}
		job := &entropy.Job{ID: j.ID}
		d, err := job.Decide(cmd, now)
		if err != nil {
			return err
		}
		ch, err := changeOf(job, d.Events)
		if err != nil {
			return err
		}
		a.changes = append(a.changes, ch)
	}
	return nil
}

// changeOf returns what a job contributes to an append.
func changeOf(j *entropy.Job, events []entropy.JobEvent) (ch entropy.Change, err error) {
	next, err := j.Next(events)
	if err != nil {
		return ch, err
	}
	ch = entropy.Change{Entity: entropy.Entity(entropy.KindJob, string(j.ID)), Expected: j.Version, Before: j, State: next, Events: make([]entropy.Event, len(events))}
	for i := range events {
		if ch.Events[i], err = events[i].Envelope(); err != nil {
			return ch, err
		}
	}
	return ch, nil
}
