package entropytest

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/entropy-fabric/entropy"
)

// Queries answers, by looking at every job, what a journal answers from its
// indexes: an in-memory journal of a test embeds it. It is as safe for concurrent
// use as Each is.
type Queries struct {
	// Each calls f for every job until f returns an error, which it returns.
	Each func(f func(*entropy.Job) error) error
}

// all returns the jobs that want selects, oldest first.
func (q Queries) all(want func(*entropy.Job) bool) (jobs []*entropy.Job, err error) {
	err = q.Each(func(j *entropy.Job) error {
		if want(j) {
			jobs = append(jobs, j)
		}
		return nil
	})
	slices.SortFunc(jobs, func(a, b *entropy.Job) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(index(a), index(b)), cmp.Compare(a.ID, b.ID))
	})
	return jobs, err
}

func index(j *entropy.Job) int {
	if j.Spec.Array == nil {
		return 0
	}
	return j.Spec.Array.Index
}

// CountJobs returns how many jobs a filter selects.
func (q Queries) CountJobs(_ context.Context, f entropy.JobFilter) (int64, error) {
	jobs, err := q.all(f.Selects)
	return int64(len(jobs)), err
}

// States returns the state of each of the jobs that exist.
func (q Queries) States(_ context.Context, ids []entropy.JobID) (map[entropy.JobID]entropy.State, error) {
	wanted := make(map[entropy.JobID]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	states := make(map[entropy.JobID]entropy.State)
	err := q.Each(func(j *entropy.Job) error {
		if wanted[j.ID] {
			states[j.ID] = j.State
		}
		return nil
	})
	return states, err
}

// Members returns how the members of an array stand.
func (q Queries) Members(_ context.Context, array entropy.JobID) (entropy.ArrayTally, error) {
	t := entropy.ArrayTally{States: make(map[entropy.State]int64)}
	jobs, err := q.all(func(j *entropy.Job) bool { return j.Spec.Array != nil && j.Spec.Array.Of == array })
	for _, j := range jobs {
		t.States[j.State]++
		if !j.State.Terminal() {
			continue
		}
		if j.FinishedAt.After(t.FinishedAt) {
			t.FinishedAt = *j.FinishedAt
		}
		if t.Bad == "" && j.State != entropy.Succeeded {
			t.Bad, t.BadState = j.ID, j.State
		}
	}
	return t, err
}

// Dependents returns the jobs whose specs name a job or an array in After.
func (q Queries) Dependents(_ context.Context, id entropy.JobID, limit int) (ids []entropy.JobID, err error) {
	jobs, err := q.all(func(j *entropy.Job) bool {
		return slices.ContainsFunc(j.Spec.After, func(d entropy.Dependency) bool { return d.Job == id })
	})
	for _, j := range jobs[:min(limit, len(jobs))] {
		ids = append(ids, j.ID)
	}
	return ids, err
}

// EachBlocked calls f for every job that waits for others.
func (q Queries) EachBlocked(_ context.Context, f func(*entropy.Job) error) error {
	jobs, err := q.all(func(j *entropy.Job) bool { return j.Blocked })
	for i := 0; i < len(jobs) && err == nil; i++ {
		err = f(jobs[i])
	}
	return err
}

// EachOpenArray calls f for every array with members that have not ended.
func (q Queries) EachOpenArray(_ context.Context, f func(id entropy.JobID, open int) error) error {
	open := make(map[entropy.JobID]int)
	err := q.Each(func(j *entropy.Job) error {
		if j.Spec.Array != nil && !j.State.Terminal() {
			open[j.Spec.Array.Of]++
		}
		return nil
	})
	for _, id := range slices.Sorted(maps.Keys(open)) {
		if err == nil {
			err = f(id, open[id])
		}
	}
	return err
}
