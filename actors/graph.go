package actors

import (
	"slices"
	"sync"

	"github.com/entropy-fabric/entropy"
)

// graph is who waits for whom: the jobs that wait for others, and how many
// members of each array have not ended. It is loaded before anything changes and
// follows the commits, in order. What it says is a hint to look: whether a job may
// start is read from the journal. It is safe for concurrent use.
type graph struct {
	mu         sync.Mutex
	waiting    map[entropy.JobID]*waitingJob
	downstream map[entropy.JobID][]entropy.JobID // of a job or an array; those gone are left out when it ends
	arrays     map[entropy.JobID]*openArray      // those that have not ended
}

// openArray is an array with members that have not ended.
type openArray struct {
	open int
	bad  bool // a member ended otherwise than in success, and who waits was told to look
}

// waitingJob is a job that waits for others.
type waitingJob struct {
	after []entropy.Dependency // of its spec
	open  []entropy.JobID      // those of them that are not known to have ended, each once
}

func newGraph() *graph {
	return &graph{waiting: make(map[entropy.JobID]*waitingJob), downstream: make(map[entropy.JobID][]entropy.JobID), arrays: make(map[entropy.JobID]*openArray)}
}

// wait notes a job that waits.
func (g *graph) wait(id entropy.JobID, after []entropy.Dependency) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := &waitingJob{after: after, open: make([]entropy.JobID, 0, len(after))}
	for _, d := range after {
		w.open = append(w.open, d.Job)
	}
	slices.Sort(w.open)
	w.open = slices.Compact(w.open)
	for _, up := range w.open {
		g.downstream[up] = append(g.downstream[up], id)
	}
	g.waiting[id] = w
}

// settled notes that a job waits no longer.
func (g *graph) settled(id entropy.JobID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.waiting, id)
}

// after returns what a job waits for, and whether it does.
func (g *graph) after(id entropy.JobID) ([]entropy.Dependency, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w, ok := g.waiting[id]
	if !ok {
		return nil, false
	}
	return w.after, true
}

// array notes an array with so many members that have not ended.
func (g *graph) array(id entropy.JobID, open int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.arrays[id] = &openArray{open: open}
}

// ended notes the end of a job, and returns the jobs that should look whether they
// may start, and the array that ended with it, "" if none did.
func (g *graph) ended(j *entropy.Job) (look []entropy.JobID, array entropy.JobID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	good := j.State == entropy.Succeeded
	look = g.over(look, j.ID, true, good)
	if j.Spec.Array == nil {
		return look, ""
	}
	of := j.Spec.Array.Of
	a := g.arrays[of]
	if a == nil { // it was not loaded: a fault elsewhere, and no reason to stop here
		return look, ""
	}
	if a.open--; a.open == 0 {
		delete(g.arrays, of)
		return g.over(look, of, true, good), of
	}
	if good || a.bad { // once is enough: many may wait, and many may fail
		return look, ""
	}
	a.bad = true
	return g.over(look, of, false, false), ""
}

// over appends to look those that wait for a job or an array, if they may have
// something to do: it has ended, or part of it has ended badly.
func (g *graph) over(look []entropy.JobID, up entropy.JobID, all, good bool) []entropy.JobID {
	for _, id := range g.downstream[up] {
		w := g.waiting[id]
		if w == nil {
			continue
		}
		if all {
			w.close(up)
		}
		if len(w.open) == 0 || !good && w.needs(up) {
			look = append(look, id)
		}
	}
	if all {
		delete(g.downstream, up)
	}
	return look
}

// close notes that one of those that are waited for has ended.
func (w *waitingJob) close(up entropy.JobID) {
	if i, found := slices.BinarySearch(w.open, up); found {
		w.open = slices.Delete(w.open, i, i+1)
	}
}

// needs reports whether the job waits for the success of another.
func (w *waitingJob) needs(up entropy.JobID) bool {
	return slices.ContainsFunc(w.after, func(d entropy.Dependency) bool { return d.Job == up && d.On != entropy.OnEnd })
}

// prune notes which of those that a job waits for had ended when it was looked at:
// it may have begun to wait after that. It reports whether none is left, because the
// others ended during the look: then it is to be looked at again.
func (g *graph) prune(id entropy.JobID, at map[entropy.JobID]entropy.Standing) (again bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.waiting[id]
	if w == nil {
		return false
	}
	w.open = slices.DeleteFunc(w.open, func(up entropy.JobID) bool { return at[up].State.Terminal() })
	return len(w.open) == 0
}

// all returns every job that waits, sorted.
func (g *graph) all() []entropy.JobID {
	g.mu.Lock()
	defer g.mu.Unlock()
	ids := make([]entropy.JobID, 0, len(g.waiting))
	for id := range g.waiting {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
