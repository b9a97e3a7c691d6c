package entropy

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A group is a batch of submissions that is accepted or refused as a whole: one
// that asks for it, makes an array, or waits for other jobs. This file is its pure
// part: what the jobs are, and how they hang together.

// Grouped reports whether subs must be accepted or refused as a whole.
func Grouped(subs []Submission) bool {
	for i := range subs {
		if s := &subs[i]; s.Atomic || s.Array != nil || len(s.Spec.After) > 0 {
			return true
		}
	}
	return false
}

// GroupJob is one job of a [Group].
type GroupJob struct {
	ID   JobID
	Hash string // of its spec
	Spec JobSpec
	Hold bool
	From int // index of its submission
}

// Group is a batch that is accepted or refused as a whole, with its arrays laid out.
type Group struct {
	Jobs   []GroupJob
	Arrays []*Array          // in the order of the submissions
	ids    map[JobID]bool    // of jobs and arrays
	after  map[JobID][]JobID // by submission: those of the group it waits for
}

// NewGroup checks submissions, each with its ID, and lays out their arrays. It
// shares the specs with subs. Any error is about the whole: nothing of it can be
// accepted.
func NewGroup(subs []Submission, principal string, now time.Time) (*Group, error) {
	g := &Group{ids: make(map[JobID]bool), after: make(map[JobID][]JobID)}
	size := 0
	for i := range subs {
		n, err := g.add(&subs[i], i, principal, now)
		if err != nil {
			return nil, inGroup(err, &subs[i], i, len(subs))
		}
		if size += n; size > MaxGroupSize {
			return nil, Errorf(CodeTooLarge, "the jobs of the call have specs of over %d MiB together", MaxGroupSize>>20).
				WithHint("ship large data with --input, or submit in several calls")
		}
	}
	return g, g.checkCycles(subs)
}

// inGroup says which submission of several an error is about.
func inGroup(err error, s *Submission, i, n int) error {
	if n == 1 {
		return err
	}
	e := *AsError(err)
	e.Message = "jobs[" + strconv.Itoa(i) + "] (" + orDefault(s.Spec.Name, string(s.ID)) + "): " + e.Message
	return &e
}

// add lays out one submission and returns the size of its specs.
func (g *Group) add(s *Submission, from int, principal string, now time.Time) (size int, err error) {
	if s.Spec.Array != nil {
		return 0, Errorf(CodeInvalid, "spec.array is set by the fabric").WithHint(`submit an array as {"array": {"first": 0, "last": 9}, "spec": …}`)
	}
	if err := s.Spec.Validate(); err != nil {
		return 0, err
	}
	if s.Array == nil {
		hash, err := s.Spec.SpecHash()
		if err != nil {
			return 0, err
		}
		return specSize(&s.Spec), g.AddJob(GroupJob{ID: s.ID, Hash: hash, Spec: s.Spec, Hold: s.Hold, From: from})
	}
	if err := s.Array.Validate(); err != nil {
		return 0, err
	}
	hash, err := hashArray(&s.Spec, s.Array)
	if err != nil {
		return 0, err
	}
	first, last := MemberRange(s.Array)
	a := &Array{ID: s.ID, Version: 1, Spec: s.Spec, SpecHash: hash, Count: s.Array.Len(), First: first, Last: last, Principal: principal,
		CreatedAt: now.UTC().Truncate(time.Millisecond)}
	return g.addMembers(s, a, from)
}

// MemberRange returns the lowest and the highest index of an array's members.
func MemberRange(a *ArraySpec) (first, last int) {
	first, _ = a.value(0)
	last, _ = a.value(a.Len() - 1)
	return first, last
}

func (g *Group) addMembers(s *Submission, a *Array, from int) (size int, err error) {
	if err := g.addID(a.ID); err != nil {
		return 0, err
	}
	g.Arrays = append(g.Arrays, a)
	each := specSize(&s.Spec)
	if each*a.Count > MaxGroupSize {
		return 0, Errorf(CodeTooLarge, "%d members with specs of %d bytes are more than %d MiB together", a.Count, each, MaxGroupSize>>20).
			WithHint("ship large data with --input")
	}
	for i := range a.Count {
		id, spec := s.Array.member(s.ID, &s.Spec, i)
		if err := firstError(ValidateID("member", string(id)), spec.Validate()); err != nil {
			return 0, err
		}
		hash, err := spec.SpecHash()
		if err != nil {
			return 0, err
		}
		if err := g.AddJob(GroupJob{ID: id, Hash: hash, Spec: spec, Hold: s.Hold, From: from}); err != nil {
			return 0, err
		}
		size += each + len(spec.Env[EnvLine])
	}
	return size, nil
}

// AddArray adds an array whose members the caller made itself, from a template.
func (g *Group) AddArray(a *Array, members []GroupJob) error {
	if err := g.addID(a.ID); err != nil {
		return err
	}
	g.Arrays = append(g.Arrays, a)
	for _, m := range members {
		if err := g.AddJob(m); err != nil {
			return err
		}
	}
	return nil
}

// AddJob adds a job that the caller made itself, its spec validated before.
func (g *Group) AddJob(j GroupJob) error {
	if len(g.Jobs) == MaxGroup {
		return Errorf(CodeTooLarge, "the call makes more than %d jobs", MaxGroup).WithHint("submit in several calls")
	}
	g.Jobs = append(g.Jobs, j)
	return g.addID(j.ID)
}

func (g *Group) addID(id JobID) error {
	if err := ValidateID("job id", string(id)); err != nil {
		return err
	}
	if g.ids[id] {
		return Errorf(CodeInvalid, "the ID %s is given twice", id)
	}
	g.ids[id] = true
	return nil
}

// Has reports whether the group makes a job or an array of this ID.
func (g *Group) Has(id JobID) bool { return g.ids[id] }

// Upstream returns the jobs outside of the group that its jobs wait for, sorted.
func (g *Group) Upstream() []JobID {
	seen := make(map[JobID]bool)
	var last []Dependency // members of an array share theirs
	for i := range g.Jobs {
		after := g.Jobs[i].Spec.After
		if len(after) == 0 || len(last) == len(after) && &last[0] == &after[0] {
			continue
		}
		for _, d := range after {
			if !g.ids[d.Job] {
				seen[d.Job] = true
			}
		}
		last = after
	}
	out := make([]JobID, 0, len(seen))
	for id := range seen {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// checkCycles refuses jobs that wait for each other, or for themselves. Only
// within a group can that be: a job that exists waits for none that does not.
func (g *Group) checkCycles(subs []Submission) error {
	owner := make(map[JobID]JobID, len(g.Jobs)) // of a member: its array
	for i := range g.Jobs {
		j := &g.Jobs[i]
		owner[j.ID] = subs[j.From].ID
	}
	for i := range subs {
		for _, d := range subs[i].Spec.After {
			to := d.Job
			if o, ok := owner[to]; ok {
				to = o
			}
			if g.ids[to] {
				g.after[subs[i].ID] = append(g.after[subs[i].ID], to)
			}
		}
	}
	w := cycleWalk{after: g.after, done: make(map[JobID]bool), on: make(map[JobID]int)}
	for i := range subs {
		if cycle := w.from(subs[i].ID); cycle != nil {
			return Errorf(CodeInvalid, "these jobs wait for each other: %s", cycleText(cycle, subs)).WithHint("remove one of these dependencies")
		}
	}
	return nil
}

// cycleWalk looks for a cycle in depth, with a stack of its own: a chain may be
// as long as a call.
type cycleWalk struct {
	after map[JobID][]JobID
	done  map[JobID]bool
	on    map[JobID]int // position in the path plus one
}

// from returns the first cycle that is reached from a job, or nil.
func (w *cycleWalk) from(start JobID) []JobID {
	type frame struct {
		id   JobID
		next int
	}
	var path []frame
	push := func(id JobID) {
		path = append(path, frame{id: id})
		w.on[id] = len(path)
	}
	if !w.done[start] {
		push(start)
	}
	for len(path) > 0 {
		f := &path[len(path)-1]
		if f.next == len(w.after[f.id]) {
			w.done[f.id] = true
			delete(w.on, f.id)
			path = path[:len(path)-1]
			continue
		}
		to := w.after[f.id][f.next]
		f.next++
		if at := w.on[to]; at > 0 {
			cycle := make([]JobID, 0, len(path)-at+2)
			for _, p := range path[at-1:] {
				cycle = append(cycle, p.id)
			}
			return append(cycle, to)
		}
		if !w.done[to] {
			push(to)
		}
	}
	return nil
}

// cycleText writes a cycle by the names of the jobs, cut in the middle if long.
func cycleText(cycle []JobID, subs []Submission) string {
	names := make(map[JobID]string, len(subs))
	for i := range subs {
		names[subs[i].ID] = orDefault(subs[i].Spec.Name, string(subs[i].ID))
	}
	words := make([]string, 0, len(cycle))
	for i, id := range cycle {
		if i >= 8 && i < len(cycle)-1 {
			if i == 8 {
				words = append(words, "…")
			}
			continue
		}
		words = append(words, names[id])
	}
	return strings.Join(words, " after ")
}

// Standing is how a job, or an array, stands that others wait for. The zero
// Standing is that of one that does not exist.
type Standing struct {
	State State
	Bad   JobID // of an array: a member that ended otherwise than in success
	As    State // how it ended
}

// Settlement returns how the jobs stand that one waits for, each in At.
func Settlement(after []Dependency, at map[JobID]Standing) Settle {
	var s Settle
	for _, d := range after {
		st := at[d.Job]
		switch {
		case d.On == OnEnd:
			if st.State != "" && !st.State.Terminal() {
				s.Open++
			}
		case st.State == "":
			s.broken("job %s, which it waits for, is not known any more", d.Job)
		case st.Bad != "":
			s.broken("%s of array %s, which it waits for, %s", st.Bad, d.Job, ended(st.As))
		case !st.State.Terminal():
			s.Open++
		case st.State != Succeeded:
			s.broken("job %s, which it waits for, %s", d.Job, ended(st.State))
		}
	}
	return s
}

// broken notes why the job can never start; the first reason stays.
func (c *Settle) broken(format string, args ...any) {
	if c.Broken == "" {
		c.Broken = Errorf(CodeConflict, format, args...).Message
	}
}

func ended(s State) string {
	if s == Canceled {
		return "was canceled"
	}
	return string(s)
}

// specSize returns about how many bytes a spec has.
func specSize(s *JobSpec) int {
	b, err := json.Marshal(s)
	if err != nil {
		return 0 // it is validated
	}
	return len(b)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
