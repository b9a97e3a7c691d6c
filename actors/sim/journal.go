package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// disk is what the control plane finds again after a crash, and how well it works.
type disk struct {
	seq    uint64           // of the newest event of the journal
	heads  map[string]*head // by entity id
	order  []string         // entity ids, oldest first
	claims map[entropy.WorkerID]claimSet
	lastTS time.Time

	operations map[string]bool // that are done

	listening time.Duration // as of the last save
	heard     map[entropy.WorkerID]time.Duration

	failNext    bool // the next commit fails
	failWritten bool // though it is written
	fullUntil   time.Duration
	slowUntil   time.Duration
}

// head is an entity's projection, written with its events. In a history of bytes
// that is its record; else the state itself, which nobody changes any more.
type head struct {
	version uint64
	job     *entropy.Job
	worker  *entropy.Worker
	record  []byte
	spec    []byte // of a job
}

// claimSet is the newest claim of a worker that was granted anything.
type claimSet struct {
	incarnation, seq uint64
	items            []entropy.Held
}

func newDisk() disk {
	return disk{heads: make(map[string]*head), claims: make(map[entropy.WorkerID]claimSet), heard: make(map[entropy.WorkerID]time.Duration),
		operations: make(map[string]bool)}
}

// journal is the one writer of a control plane. What was appended is pending
// until a flush has made it durable; a crash loses what is pending.
type journal struct {
	c       *control
	pending []*change
	writing []*change
	written bool // writing is on disk
}

// change is one entity's part of an append.
type change struct {
	entity    string
	principal string // who asked for it
	jobEvents []entropy.JobEvent
	job       *entropy.Job // the state after the events: one of the two
	wkEvents  []entropy.WorkerEvent
	worker    *entropy.Worker
	done      func()      // run after the commit, in the order of appends
	failed    func(error) // run when nothing was recorded
}

func (j *journal) append(ch *change) {
	j.pending = append(j.pending, ch)
	j.flush()
}

// flush writes all that is pending as one batch, unless a flush is under way.
func (j *journal) flush() {
	if len(j.writing) > 0 || len(j.pending) == 0 {
		return
	}
	w := j.c.w
	j.writing, j.pending, j.written = j.pending, nil, false
	took := w.between(100*time.Microsecond, w.shape.fsync)
	if w.chaos && w.chance(w.shape.slowSync) || w.now < w.disk.slowUntil {
		took += w.between(0, time.Second)
	}
	w.after(took, j.commit)
}

// commit ends a flush: everything is durable, or nothing, or nobody knows.
func (j *journal) commit() {
	w := j.c.w
	switch {
	case j.c.dead:
		return
	case w.now < w.disk.fullUntil: // rolled back, and confirmed
		w.tally[DiskFull]++
		j.c.guard(j.rollback)()
		return
	case w.disk.failNext:
		j.fail()
		return
	}
	j.write(j.writing)
	j.c.guard(j.settle)()
}

// settle tells everybody in the order of the appends, once a batch is durable.
func (j *journal) settle() {
	batch := j.writing
	j.writing = nil
	for _, ch := range batch {
		ch.done()
		if j.c.dead {
			return
		}
	}
	j.flush()
}

// rollback tells everybody that nothing was recorded: the disk is full (H-3).
func (j *journal) rollback() {
	batch := j.writing
	j.writing = nil
	full := entropy.Errorf(entropy.CodeDiskFull, "the control plane's disk is full")
	for _, ch := range batch {
		ch.failed(full)
	}
	j.flush()
}

// fail is a commit whose outcome is unknown (H-3): nobody is told that it
// happened or that it did not, and the process ends.
func (j *journal) fail() {
	w := j.c.w
	w.disk.failNext = false
	w.tally[CommitUnknown]++
	w.happens('u', "commit fails")
	if w.disk.failWritten {
		j.write(j.writing)
		w.tally[CommitUnknownWritten]++
	}
	if w.mutant(RetryUnknown) {
		j.write(j.writing)
		j.c.guard(j.settle)()
		return
	}
	if !j.written {
		j.writing = nil
	}
	j.c.guard(func() { w.crashControl(w.between(100*time.Millisecond, 2*time.Second)) })()
}

// write makes a batch durable.
func (j *journal) write(batch []*change) {
	w := j.c.w
	j.written = true
	for _, ch := range batch {
		h := w.disk.heads[ch.entity]
		if h == nil {
			h = &head{}
			w.disk.heads[ch.entity] = h
			w.disk.order = append(w.disk.order, ch.entity)
		}
		last := len(ch.jobEvents) + len(ch.wkEvents) - 1
		for i := range ch.jobEvents {
			e := ch.jobEvents[i]
			at := j.place(ch, h, e.TS)
			e = throughBytes(w, at, e, (*entropy.JobEvent).Envelope, entropy.DecodeJobEvent)
			j.rememberClaim(ch, &e)
			w.disk.remember(e.Attrs.Operation)
			w.check.jobWritten(at, &e)
		}
		for i := range ch.wkEvents {
			e := ch.wkEvents[i]
			at := j.place(ch, h, e.TS)
			e = throughBytes(w, at, e, (*entropy.WorkerEvent).Envelope, entropy.DecodeWorkerEvent)
			w.disk.remember(e.Attrs.Operation)
			w.check.workerWritten(at, &e)
		}
		if last >= 0 {
			j.project(h, ch)
			w.check.projected(ch.entity, h)
		}
	}
}

// remember keeps the operation that an event carries, in the event's own commit.
func (d *disk) remember(operation string) {
	if operation != "" {
		d.operations[operation] = true
	}
}

// place is where an event stands in the journal.
type place struct {
	seq, version uint64
	entity       string
	principal    string
}

func (j *journal) place(ch *change, h *head, ts time.Time) place {
	d := &j.c.w.disk
	d.seq++
	h.version++
	if ts.After(d.lastTS) {
		d.lastTS = ts
	}
	j.c.w.happens('j', ch.entity)
	return place{d.seq, h.version, ch.entity, ch.principal}
}

// throughBytes writes an event as the journal would and reads it back, in a
// history of bytes.
func throughBytes[E any](w *world, at place, e E, envelope func(*E) (entropy.Event, error), decode func(entropy.Event) (E, error)) E {
	if !w.shape.bytes {
		return e
	}
	env := must(envelope(&e))
	env.Seq, env.EntityID, env.Version, env.ID = at.seq, at.entity, at.version, fmt.Sprint("e", at.seq) // its own ID is random
	b := must(json.Marshal(env))
	w.trace.mixString(string(b))
	var back entropy.Event
	err := json.Unmarshal(b, &back)
	if err == nil {
		e, err = decode(back)
	}
	if err != nil || back.Seq != at.seq || back.Version != at.version || back.EntityID != at.entity {
		w.fail(Contiguity, "event %d does not read back: %s: %v", at.seq, b, err)
	}
	return e
}

func (j *journal) project(h *head, ch *change) {
	before := *h
	h.job, h.worker = ch.job, ch.worker
	if j.c.w.mutant(ProjectionLags) && before.job != nil && ch.job.State == entropy.Retrying {
		h.job = before.job
	}
	if !j.c.w.shape.bytes {
		return
	}
	if h.worker != nil {
		h.record = must(h.worker.EncodeRecord())
		return
	}
	h.record = must(h.job.EncodeRecord())
	if h.spec == nil {
		h.spec = must(h.job.EncodeSpec())
	}
}

func (j *journal) rememberClaim(ch *change, e *entropy.JobEvent) {
	if e.Type != entropy.JobAssigned {
		return
	}
	a := &e.Attrs
	set := j.c.w.disk.claims[a.WorkerID]
	if set.incarnation != a.Incarnation || set.seq != a.ClaimSeq {
		set = claimSet{incarnation: a.Incarnation, seq: a.ClaimSeq}
	}
	set.items = append(slices.Clone(set.items), entropy.Held{JobID: ch.job.ID, AssignmentID: a.AssignmentID})
	j.c.w.disk.claims[a.WorkerID] = set
}

// crash loses what is pending. A batch that was being written is on disk or not,
// as chance will have it; nobody is told either way.
func (j *journal) crash() {
	w := j.c.w
	switch {
	case len(j.writing) > 0 && j.written:
		w.tally[CrashBeforeReply]++
	case len(j.writing) > 0 && w.now >= w.disk.fullUntil && w.chance(.5):
		j.write(j.writing)
		w.tally[CrashBeforeReply]++
	case len(j.writing)+len(j.pending) > 0:
		w.tally[CrashBeforeCommit]++
	}
}

// tear drops the newest event of the journal and the newest entity.
func (d *disk) tear() {
	if len(d.order) == 0 {
		return
	}
	d.seq--
	last := d.order[len(d.order)-1]
	delete(d.heads, last)
	d.order = d.order[:len(d.order)-1]
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
