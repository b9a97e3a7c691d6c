package harness

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
)

// disk is what a control plane finds again after a crash: what is durable.
type disk struct {
	log    [][]byte         // the events in their envelopes, seq = index + 1
	heads  map[string]*head // by entity id
	order  []string         // entity ids, oldest first
	ops    map[string]entropy.OperationRecord
	claims map[entropy.WorkerID]claimSet

	liveness actors.Liveness // as of the last save
	full     bool            // no room now

	ioError ioError // of the next commit
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

func newDisk() *disk {
	return &disk{heads: make(map[string]*head), ops: make(map[string]entropy.OperationRecord), claims: make(map[entropy.WorkerID]claimSet)}
}

// conflict says why a change contradicts what is durable, or nil.
func (d *disk) conflict(ch *entropy.Change) error {
	var have uint64
	if h := d.heads[ch.Entity]; h != nil {
		have = h.version
	}
	if have != ch.Expected {
		return entropy.Errorf(entropy.CodeConflict, "%s is at version %d, not %d", ch.Entity, have, ch.Expected)
	}
	if op := ch.Operation; op != nil {
		if _, known := d.ops[op.Principal+" "+op.ID]; known {
			return entropy.Errorf(entropy.CodeConflict, "operation %s of %s was carried out before", op.ID, op.Principal)
		}
	}
	return nil
}

// store makes a change durable and returns its events as they are on the disk.
func (d *disk) store(ch *entropy.Change) (written [][]byte) {
	h := d.heads[ch.Entity]
	if h == nil {
		h = &head{}
		d.heads[ch.Entity] = h
		d.order = append(d.order, ch.Entity)
	}
	for i := range ch.Events {
		e := &ch.Events[i]
		h.version++
		e.Seq, e.EntityID, e.Version = uint64(len(d.log)+1), ch.Entity, h.version
		b := must(json.Marshal(e))
		d.log = append(d.log, b)
		written = append(written, b)
		d.rememberClaim(e)
	}
	if op := ch.Operation; op != nil {
		d.ops[op.Principal+" "+op.ID] = *op
	}
	switch s := ch.State.(type) {
	case *entropy.Worker:
		h.record = must(s.EncodeRecord())
	case entropy.Document:
		h.record = must(json.Marshal(s))
	case *entropy.Job:
		h.record = must(s.EncodeRecord())
		if h.spec == nil {
			h.spec = must(s.EncodeSpec())
		}
	}
	return written
}

func (d *disk) rememberClaim(e *entropy.Event) {
	if e.Type != entropy.JobAssigned {
		return
	}
	a := must(entropy.DecodeJobEvent(*e)).Attrs
	_, id := entropy.SplitEntity(e.EntityID)
	item := entropy.Held{JobID: entropy.JobID(id), AssignmentID: a.AssignmentID}
	switch set := d.claims[a.WorkerID]; {
	case set.incarnation == a.Incarnation && set.seq == a.ClaimSeq:
		set.items = append(slices.Clone(set.items), item)
		d.claims[a.WorkerID] = set
	case a.Incarnation > set.incarnation || a.Incarnation == set.incarnation && a.ClaimSeq > set.seq:
		d.claims[a.WorkerID] = claimSet{a.Incarnation, a.ClaimSeq, []entropy.Held{item}}
	}
}

// job reads a job back, nil if there is none.
func (d *disk) job(id entropy.JobID) *entropy.Job {
	h := d.heads[entropy.Entity(entropy.KindJob, string(id))]
	if h == nil {
		return nil
	}
	return must(entropy.DecodeJob(h.record, h.spec))
}

// saveLiveness takes the place of the save before. A stale one takes no note of
// those that were heard before.
func (d *disk) saveLiveness(l actors.Liveness, stale bool) {
	if stale {
		maps.Copy(l.Heard, d.liveness.Heard)
	}
	d.liveness = l
}

// document reads a document back, nil if there is none.
func (d *disk) document(entity string) entropy.Document {
	h := d.heads[entity]
	if h == nil {
		return nil
	}
	doc := entropy.NewDocument(entity)
	if err := json.Unmarshal(h.record, doc); err != nil {
		panic(err)
	}
	return doc
}

// tear drops the newest event, and what was made of it.
func (d *disk) tear() {
	if len(d.log) == 0 {
		return
	}
	last := len(d.log) - 1
	var e entropy.Event
	if err := json.Unmarshal(d.log[last], &e); err != nil {
		panic(err)
	}
	d.log = d.log[:last]
	if e.Version == 1 {
		delete(d.heads, e.EntityID)
		d.order = slices.DeleteFunc(d.order, func(o string) bool { return o == e.EntityID })
	}
}

// each calls f for every job, oldest first.
func (d *disk) each(f func(*entropy.Job) error) error {
	for _, entity := range slices.Clone(d.order) {
		if kind, id := entropy.SplitEntity(entity); kind == entropy.KindJob {
			if err := f(d.job(entropy.JobID(id))); err != nil {
				return err
			}
		}
	}
	return nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
