package harness

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
	"github.com/entropy-fabric/entropy/entropytest"
)

// journal is one life of the journal: its one writer gathers what is pending into
// a batch, and a crash loses what is not durable. It is what a System is given.
type journal struct {
	entropytest.Queries
	w     *world
	plane *plane
	disk  *disk
	taps  []func([]entropy.Change)

	pending  []*appending
	writing  []*appending
	flushing bool
	readOnly bool
	failed   error // why nothing is taken any more
	fatal    chan struct{}
}

var _ actors.Journal = (*journal)(nil)

// appending is one append on its way.
type appending struct {
	changes  []entropy.Change
	liveness *actors.Liveness // instead of changes
	done     chan struct{}
	stored   bool
	pos      entropy.Position
	err      error
}

func newJournal(w *world, p *plane) *journal {
	j := &journal{w: w, plane: p, disk: w.disk, fatal: make(chan struct{})}
	j.Each = func(f func(*entropy.Job) error) error { return j.eachIf(func(*entropy.Job) bool { return true }, f) }
	return j
}

// Append waits until the batch that its changes went into is durable.
func (j *journal) Append(_ context.Context, changes ...entropy.Change) (entropy.Position, error) {
	w := j.w
	wait := w.con.enter(j.plane)
	if !w.con.alive(j.plane) {
		return entropy.Position{}, gone()
	}
	if j.failed != nil {
		return entropy.Position{}, j.failed
	}
	// What is new may come from outside of any actor.
	if kind, _ := entropy.SplitEntity(changes[0].Entity); kind == entropy.KindJob && changes[0].Expected > 0 && w.chaos && w.chance(w.shape.panics) {
		w.tally[ActorCrashed]++
		panic("a fault of the harness: the actor crashes before its append")
	}
	a := &appending{changes: changes, done: make(chan struct{})}
	j.pending = append(j.pending, a)
	j.flush()
	if w.mutant == ReplyBeforeCommit {
		return entropy.Position{Epoch: 1}, nil
	}
	<-a.done
	if !wait() {
		return entropy.Position{}, gone()
	}
	return a.pos, a.err
}

// gone is what the goroutines of a dead control plane are told; nobody hears them.
func gone() error { return entropy.Errorf(entropy.CodeUnknown, "the control plane has crashed") }

// flush writes what is pending by the time the writer comes to it, as one batch.
func (j *journal) flush() {
	w := j.w
	if j.flushing || len(j.pending) == 0 {
		return
	}
	j.flushing = true
	w.after(j.plane, w.between(0, w.shape.fsync/4), func() {
		j.writing, j.pending = j.pending, nil
		took := w.between(50*time.Microsecond, w.shape.fsync)
		if w.chaos && w.chance(w.shape.slowSync) {
			took += w.between(0, 2*time.Second)
			w.tally[SlowCommit]++
		}
		w.after(j.plane, took, j.finish)
	})
}

// finish ends the batch being written, one way or another.
func (j *journal) finish() {
	batch := j.writing
	j.writing = nil
	switch ioError := j.w.takeIOError(); {
	case j.failed != nil:
		release(batch, j.failed)
	case ioError != noError:
		j.breakDown(batch, ioError)
	case j.disk.full:
		j.w.tally[DiskFull]++
		j.w.note("journal: no room for %d appends", len(batch))
		j.readOnly = true
		release(batch, entropy.Errorf(entropy.CodeDiskFull, "the disk is full; nothing was recorded"))
	default:
		j.readOnly = false
		j.commit(batch)
		j.inform(batch)
		release(batch, nil)
	}
	j.flushing = false
	j.flush()
}

// breakDown ends the journal: whether the batch is durable nobody can know.
func (j *journal) breakDown(batch []*appending, how ioError) {
	w := j.w
	w.tally[OutcomeUnknown]++
	w.note("journal: an I/O error, durable: %t", how == afterWrite)
	if how == afterWrite {
		j.commit(batch)
	}
	j.failed = entropy.Errorf(entropy.CodeUnavailable, "the journal has failed")
	close(j.fatal)
	release(batch, entropy.Errorf(entropy.CodeUnknown, "the commit failed; it may or may not have happened"))
	ctl := w.ctl
	w.after(nil, w.between(0, 100*time.Millisecond), func() { // the process exits
		if w.ctl == ctl {
			w.crashControl(w.between(100*time.Millisecond, 2*time.Second))
		}
	})
}

// commit makes a batch durable. A member that contradicts what is recorded is
// refused alone.
func (j *journal) commit(batch []*appending) {
	w := j.w
	appends := 0
	for _, a := range batch {
		if a.liveness != nil {
			j.disk.saveLiveness(*a.liveness, w.mutant == LivenessStale)
			continue
		}
		if appends++; appends == 2 {
			w.tally[GroupCommit]++
		}
		for i := range a.changes {
			if a.err = j.disk.conflict(&a.changes[i]); a.err != nil {
				break
			}
		}
		if a.err != nil {
			w.tally[CommitConflict]++
			w.note("journal: refused %s: %v", a.changes[0].Entity, a.err)
			continue
		}
		a.stored = true
		for i := range a.changes {
			for _, b := range j.disk.store(&a.changes[i]) {
				w.check.journaled(b)
			}
			w.check.projected(a.changes[i].Entity)
		}
		a.pos = j.position()
	}
}

// inform calls the taps with what was committed, in order.
func (j *journal) inform(batch []*appending) {
	var changes []entropy.Change
	for _, a := range batch {
		if a.stored {
			changes = append(changes, a.changes...)
		}
	}
	if len(changes) == 0 {
		return
	}
	for _, f := range j.taps {
		f(changes)
	}
}

// release lets the callers of a batch go. Those without an error of their own get err.
func release(batch []*appending, err error) {
	for _, a := range batch {
		if a.err == nil {
			a.err = err
		}
		close(a.done)
	}
}

// crash loses what is pending. The batch being written is durable or not, as
// chance will have it; nobody is told either way. The plane is dead by now.
func (j *journal) crash() {
	w := j.w
	switch {
	case len(j.writing) > 0 && j.failed == nil && !j.disk.full && w.chance(.5):
		j.commit(j.writing)
		w.tally[CrashBeforeReply]++
	case len(j.writing)+len(j.pending) > 0:
		w.tally[CrashBeforeCommit]++
	}
	if w.mutant == TornRecovery {
		j.disk.tear()
	}
	release(j.writing, gone())
	release(j.pending, gone())
	j.writing, j.pending = nil, nil
}

// reading lets others run before a read, sometimes. It reports whether there is
// anybody left to read for.
func (j *journal) reading() bool {
	if !j.w.con.alive(j.plane) {
		return false
	}
	if j.w.chance(j.w.shape.read) {
		return j.w.con.enter(j.plane)()
	}
	return true
}

func (j *journal) position() entropy.Position {
	if !j.w.con.alive(j.plane) {
		return entropy.Position{Epoch: 1}
	}
	return entropy.Position{Epoch: 1, Seq: uint64(len(j.disk.log))}
}

// Tap, Job and the methods below are what actors.Journal says of them.
func (j *journal) Tap(f func([]entropy.Change)) { j.taps = append(j.taps, f) }

func (j *journal) Job(_ context.Context, id entropy.JobID) (*entropy.Job, error) {
	if !j.reading() {
		return nil, gone()
	}
	if job := j.disk.job(id); job != nil {
		return job, nil
	}
	return nil, entropy.Errorf(entropy.CodeNotFound, "there is no job %s", id)
}

func (j *journal) Jobs(context.Context, entropy.JobFilter) (page entropy.JobPage, err error) {
	if !j.reading() {
		return page, gone()
	}
	return page, j.disk.each(func(job *entropy.Job) error {
		page.Jobs = append(page.Jobs, job)
		return nil
	})
}

func (j *journal) Events(_ context.Context, f entropy.EventFilter) (entropy.EventPage, error) {
	if !j.reading() {
		return entropy.EventPage{}, gone()
	}
	page := entropy.EventPage{Next: j.position()}
	if f.Latest {
		return page, nil
	}
	limit := f.Limit
	if limit == 0 {
		limit = 1000
	}
	for i := int(f.After.Seq); i < len(j.disk.log); i++ {
		if len(page.Events) == limit {
			page.Next.Seq = uint64(i)
			break
		}
		var e entropy.Event
		if err := json.Unmarshal(j.disk.log[i], &e); err != nil {
			return page, err
		}
		if (f.Entity == "" || f.Entity == e.EntityID) && (f.Type == "" || f.Type == e.Type || strings.HasSuffix(f.Type, ".") && strings.HasPrefix(e.Type, f.Type)) {
			page.Events = append(page.Events, e)
		}
	}
	return page, nil
}

func (j *journal) Counts(context.Context) (map[entropy.State]int64, error) {
	counts := make(map[entropy.State]int64)
	if !j.reading() {
		return nil, gone()
	}
	return counts, j.disk.each(func(job *entropy.Job) error {
		counts[job.State]++
		return nil
	})
}

func (j *journal) Workers(context.Context) (all []*entropy.Worker, err error) {
	if !j.reading() {
		return nil, gone()
	}
	for _, entity := range j.disk.order {
		if kind, _ := entropy.SplitEntity(entity); kind == entropy.KindWorker {
			all = append(all, must(entropy.DecodeWorker(j.disk.heads[entity].record)))
		}
	}
	return all, nil
}

func (j *journal) Retried(context.Context) (map[string]int, error) {
	n := make(map[string]int)
	return n, j.eachIf((*entropy.Job).Retried, func(job *entropy.Job) error {
		n[job.QueueName()]++
		return nil
	})
}

func (j *journal) Document(_ context.Context, entity string) (entropy.Document, error) {
	if !j.reading() {
		return nil, gone()
	}
	if d := j.disk.document(entity); d != nil {
		return d, nil
	}
	return nil, entropy.Errorf(entropy.CodeNotFound, "there is no %s", entity)
}

func (j *journal) Documents(_ context.Context, kind string, f func(entropy.Document) error) error {
	if !j.reading() {
		return gone()
	}
	for _, entity := range slices.Sorted(slices.Values(j.disk.order)) {
		if k, _ := entropy.SplitEntity(entity); k == kind {
			if err := f(j.disk.document(entity)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (j *journal) Actions(_ context.Context, f entropy.ActionFilter) (entropy.ActionPage, error) {
	if !j.reading() {
		return entropy.ActionPage{}, gone()
	}
	var all []*entropy.Action
	for _, entity := range j.disk.order {
		if kind, _ := entropy.SplitEntity(entity); kind == entropy.KindAction {
			all = append(all, j.disk.document(entity).(*entropy.Action))
		}
	}
	return entropytest.SelectActions(all, f)
}

func (j *journal) Leases(_ context.Context, w entropy.WorkerID) (held []entropy.Held, err error) {
	if !j.reading() {
		return nil, gone()
	}
	return held, j.disk.each(func(job *entropy.Job) error {
		if l := job.Lease; l != nil && l.WorkerID == w {
			held = append(held, entropy.Held{JobID: job.ID, AssignmentID: l.AssignmentID})
		}
		return nil
	})
}

func (j *journal) LastClaim(_ context.Context, w entropy.WorkerID) (incarnation, seq uint64, items []entropy.Held, err error) {
	if !j.reading() {
		return 0, 0, nil, gone()
	}
	if j.w.mutant == ClaimForgotten {
		return 0, 0, nil, nil
	}
	c := j.disk.claims[w]
	return c.incarnation, c.seq, c.items, nil
}

func (j *journal) Operation(_ context.Context, principal, id string) (*entropy.OperationRecord, error) {
	if !j.reading() {
		return nil, gone()
	}
	op, known := j.disk.ops[principal+" "+id]
	if !known {
		return nil, nil
	}
	return &op, nil
}

func (j *journal) eachIf(want func(*entropy.Job) bool, f func(*entropy.Job) error) error {
	if !j.reading() {
		return gone()
	}
	return j.disk.each(func(job *entropy.Job) error {
		if !want(job) {
			return nil
		}
		return f(job)
	})
}

func (j *journal) EachQueued(_ context.Context, f func(*entropy.Job) error) error {
	return j.eachIf(func(job *entropy.Job) bool { return job.State == entropy.Pending }, f)
}

func (j *journal) EachLeased(_ context.Context, f func(*entropy.Job) error) error {
	return j.eachIf(func(job *entropy.Job) bool { return job.Lease != nil }, f)
}

func (j *journal) EachWake(_ context.Context, f func(entropy.JobID, time.Time) error) error {
	return j.eachIf(func(job *entropy.Job) bool { return !job.WakeAt().IsZero() },
		func(job *entropy.Job) error { return f(job.ID, job.WakeAt()) })
}

// SaveLiveness goes with the next batch.
func (j *journal) SaveLiveness(_ context.Context, l actors.Liveness) error {
	wait := j.w.con.enter(j.plane)
	if !j.w.con.alive(j.plane) {
		return gone()
	}
	if j.failed != nil {
		return j.failed
	}
	l.Heard = maps.Clone(l.Heard)
	a := &appending{liveness: &l, done: make(chan struct{})}
	j.pending = append(j.pending, a)
	j.flush()
	<-a.done
	if !wait() {
		return gone()
	}
	return a.err
}

func (j *journal) LoadLiveness(context.Context) (actors.Liveness, error) {
	return j.disk.liveness, nil
}

func (j *journal) ClusterID() string          { return "harness" }
func (j *journal) Position() entropy.Position { return j.position() }
func (j *journal) ReadOnly() bool             { return j.w.con.alive(j.plane) && j.readOnly && j.disk.full }
func (j *journal) Fatal() <-chan struct{}     { return j.fatal }
