package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// disk is what the control plane finds again after a crash.
type disk struct {
	log    [][]byte         // the journal: events in their envelopes, seq = index + 1
	heads  map[string]*head // by entity id
	order  []string         // entity ids, oldest first
	claims map[entropy.WorkerID]claimSet

	listening time.Duration // as of the last save
	heard     map[entropy.WorkerID]time.Duration
}

// head is an entity's projection, written with its events.
type head struct {
	version uint64
	record  []byte
	spec    []byte // of a job
}

// claimSet is the newest claim of a worker that was granted anything.
type claimSet struct {
	incarnation, seq uint64
	items            []entropy.Held
}

func newDisk() disk {
	return disk{heads: make(map[string]*head), claims: make(map[entropy.WorkerID]claimSet), heard: make(map[entropy.WorkerID]time.Duration)}
}

// journal is the one writer of a control plane. What was appended is pending
// until a flush has made it durable; a crash loses what is pending.
type journal struct {
	c       *control
	pending []*change
	writing []*change
}

// change is one entity's part of an append.
type change struct {
	entity string
	events []entropy.Event
	job    *entropy.Job // the state after the events: one of the two
	worker *entropy.Worker
	done   func() // run after the commit, in the order of appends
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
	j.writing, j.pending = j.pending, nil
	took := w.between(100*time.Microsecond, w.shape.fsync)
	if w.chaos && w.chance(w.shape.slowSync) {
		took += w.between(0, time.Second)
	}
	w.after(took, func() {
		if j.c.dead {
			return
		}
		batch := j.writing
		j.commit(batch)
		j.c.guard(func() {
			j.writing = nil
			for _, ch := range batch {
				ch.done()
			}
			j.flush()
		})()
	})
}

// commit makes a batch durable.
func (j *journal) commit(batch []*change) {
	w := j.c.w
	for _, ch := range batch {
		h := w.disk.heads[ch.entity]
		if h == nil {
			h = &head{}
			w.disk.heads[ch.entity] = h
			w.disk.order = append(w.disk.order, ch.entity)
		}
		for i := range ch.events {
			e := &ch.events[i]
			h.version++
			e.Seq, e.EntityID, e.Version = uint64(len(w.disk.log)+1), ch.entity, h.version
			e.ID = fmt.Sprintf("e%d", e.Seq) // the envelope's own ID is random
			b := must(json.Marshal(e))
			w.disk.log = append(w.disk.log, b)
			j.rememberClaim(e)
			w.check.journaled(b)
		}
		j.project(h, ch)
		w.check.projected(ch.entity, h)
	}
}

func (j *journal) project(h *head, ch *change) {
	if ch.worker != nil {
		h.record = must(ch.worker.EncodeRecord())
		return
	}
	h.record = must(ch.job.EncodeRecord())
	if h.spec == nil {
		h.spec = must(ch.job.EncodeSpec())
	}
}

func (j *journal) rememberClaim(e *entropy.Event) {
	if e.Type != entropy.JobAssigned {
		return
	}
	a := must(entropy.DecodeJobEvent(*e)).Attrs
	_, id := entropy.SplitEntity(e.EntityID)
	set := j.c.w.disk.claims[a.WorkerID]
	if set.incarnation != a.Incarnation || set.seq != a.ClaimSeq {
		set = claimSet{incarnation: a.Incarnation, seq: a.ClaimSeq}
	}
	set.items = append(slices.Clone(set.items), entropy.Held{JobID: entropy.JobID(id), AssignmentID: a.AssignmentID})
	j.c.w.disk.claims[a.WorkerID] = set
}

// crash loses what is pending. A batch that was being written is on disk or not,
// as chance will have it; nobody is told either way.
func (j *journal) crash() {
	w := j.c.w
	written := len(j.writing) > 0 && len(w.disk.log) > 0 && j.committed()
	switch {
	case written:
		w.tally[CrashBeforeReply]++
	case len(j.writing) > 0 && w.chance(.5):
		j.commit(j.writing)
		w.tally[CrashBeforeReply]++
	case len(j.writing)+len(j.pending) > 0:
		w.tally[CrashBeforeCommit]++
	}
}

// committed reports whether the batch being written is on disk already: the
// process was paused before it could say so.
func (j *journal) committed() bool { return j.writing[0].events[0].Seq > 0 }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
