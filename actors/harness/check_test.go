package harness

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/entropy-fabric/entropy"
)

// checker follows the durable journal with a small model of its own, and holds
// what was acknowledged and what was executed against it.
type checker struct {
	w       *world
	seq     uint64
	jobs    map[entropy.JobID]*jobModel
	order   []*jobModel
	workers map[entropy.WorkerID]*workerModel

	executed map[completionKey]entropy.AssignmentID
	grants   map[claimKey]*grant
	answers  map[entropy.AssignmentID]entropy.Verdict // the first of each completion

	docs     map[string]entropy.Document // by the real Apply
	policy   entropy.Policy
	governed time.Duration // when it last changed

	listened []span        // when the control plane could hear
	trouble  time.Duration // when it last had reason to be late
}

// span is a stretch of time; until is 0 while it lasts.
type span struct{ from, until time.Duration }

// jobModel is what the checker knows of a job.
type jobModel struct {
	id          entropy.JobID
	version     uint64
	submitted   bool
	spec        entropy.JobSpec
	fold        *entropy.Job // by the real Apply, from the journal's bytes
	assignments []*assignmentModel
	live        *assignmentModel
	lastAcked   *assignmentModel
	acks        int
	failures    int
	losses      int
	cancelAsked bool
	ended       string        // the terminal event
	moved       time.Duration // when it last changed
	ticked      time.Duration // when its actor last looked at its lease

	executing map[*run]*host
}

// assignmentModel is what the checker knows of an assignment.
type assignmentModel struct {
	id       entropy.AssignmentID
	worker   entropy.WorkerID
	attempt  int
	acked    bool
	counted  string
	decided  bool // its completion was
	starts   int
	renewals []*renewal
}

// renewal is a message of a worker that renewed a lease.
type renewal struct {
	at       time.Duration // when its worker's actor took it in
	promised bool          // the worker was told: from then on it relies on it
	less     time.Duration // of it, as it was told
}

type workerModel struct {
	version     uint64
	incarnation uint64
	fold        *entropy.Worker
}

// completionKey names what a worker executed, as its spool does.
type completionKey struct {
	spool string
	seq   uint64
}

type claimKey struct {
	worker           entropy.WorkerID
	incarnation, seq uint64
}

// grant is what a claim was given.
type grant struct {
	assigned []entropy.AssignmentID
	answered []entropy.AssignmentID // nil: not yet, or with nothing
}

func newChecker(w *world) *checker {
	return &checker{w: w, jobs: make(map[entropy.JobID]*jobModel), workers: make(map[entropy.WorkerID]*workerModel),
		executed: make(map[completionKey]entropy.AssignmentID), grants: make(map[claimKey]*grant),
		answers: make(map[entropy.AssignmentID]entropy.Verdict), docs: make(map[string]entropy.Document)}
}

func (k *checker) job(id entropy.JobID) *jobModel {
	j := k.jobs[id]
	if j == nil {
		j = &jobModel{id: id, fold: &entropy.Job{ID: id}, executing: make(map[*run]*host)}
		k.jobs[id] = j
		k.order = append(k.order, j)
	}
	return j
}

func (k *checker) worker(id entropy.WorkerID) *workerModel {
	m := k.workers[id]
	if m == nil {
		m = &workerModel{fold: &entropy.Worker{ID: id}}
		k.workers[id] = m
	}
	return m
}

func (k *checker) assignment(j entropy.JobID, id entropy.AssignmentID) *assignmentModel {
	for _, a := range k.job(j).assignments {
		if a.id == id {
			return a
		}
	}
	return nil
}

func (k *checker) grant(key claimKey) *grant {
	g := k.grants[key]
	if g == nil {
		g = &grant{}
		k.grants[key] = g
	}
	return g
}

// promised checks that what somebody was just told is durable.
func (k *checker) promised(what string, durable bool) {
	if !durable {
		k.w.fail("INV-1", "%s was acknowledged and is not in the journal", what)
	}
}

// journaled follows one durable event, from its bytes.
func (k *checker) journaled(b []byte) {
	var e entropy.Event
	if err := json.Unmarshal(b, &e); err != nil {
		k.w.fail("INV-2", "event %d does not read back: %v", k.seq+1, err)
		return
	}
	k.seq++
	if e.Seq != k.seq {
		k.w.fail("INV-2", "event %d follows event %d", e.Seq, k.seq-1)
	}
	switch kind, id := entropy.SplitEntity(e.EntityID); kind {
	case entropy.KindJob:
		k.jobEvent(k.job(entropy.JobID(id)), e)
	case entropy.KindWorker:
		k.workerEvent(k.worker(entropy.WorkerID(id)), e)
	default:
		k.documentEvent(e.EntityID, e)
	}
}

func (k *checker) workerEvent(m *workerModel, e entropy.Event) {
	d, err := entropy.DecodeWorkerEvent(e)
	if err == nil {
		err = m.fold.Apply(d)
	}
	if m.version++; err != nil || e.Version != m.version {
		k.w.fail("INV-2", "%s version %d after %d: %v", e.EntityID, e.Version, m.version-1, err)
		return
	}
	k.w.note("  %d %s v%d %s", e.Seq, e.EntityID, e.Version, e.Type)
	if e.Type == entropy.WorkerRegistered {
		if d.Attrs.Incarnation <= m.incarnation {
			k.w.fail("L-5", "%s: incarnation %d after %d", e.EntityID, d.Attrs.Incarnation, m.incarnation)
		}
		m.incarnation = d.Attrs.Incarnation
	}
}

// projected compares what the journal stores of an entity with the fold of the
// events that it stores.
func (k *checker) projected(entity string) {
	if k.w.broken != nil {
		return
	}
	h := k.w.disk.heads[entity]
	var got []byte
	switch kind, id := entropy.SplitEntity(entity); kind {
	case entropy.KindJob:
		j := k.job(entropy.JobID(id))
		got = must(j.fold.EncodeRecord())
		if spec := must(j.fold.EncodeSpec()); !bytes.Equal(spec, h.spec) {
			k.w.fail("INV-3", "%s: the spec %s replays as %s", entity, h.spec, spec)
		}
	case entropy.KindWorker:
		got = must(k.worker(entropy.WorkerID(id)).fold.EncodeRecord())
	default:
		got = must(json.Marshal(k.docs[entity]))
	}
	if !bytes.Equal(got, h.record) {
		k.w.fail("INV-3", "%s: live %s replays as %s", entity, h.record, got)
	}
}

// listens notes that the control plane can hear from now on, or cannot.
func (k *checker) listens(hears bool) {
	now := k.w.now()
	k.trouble = now
	if n := len(k.listened); n > 0 && k.listened[n-1].until == 0 {
		if hears {
			return
		}
		k.listened[n-1].until = max(now, 1)
	}
	if hears {
		k.listened = append(k.listened, span{from: now})
	}
}

// listening returns how much of the time between a and b the control plane could
// hear in.
func (k *checker) listening(a, b time.Duration) (sum time.Duration) {
	for _, s := range k.listened {
		until := s.until
		if until == 0 {
			until = k.w.now()
		}
		sum += max(0, min(b, until)-max(a, s.from))
	}
	return sum
}

// gaps returns how often the control plane began to hear again between a and b, or
// so shortly before that its clock had not ticked yet.
func (k *checker) gaps(a, b time.Duration) (n int) {
	for _, s := range k.listened[1:] {
		if a-200*time.Millisecond < s.from && s.from <= b {
			n++
		}
	}
	return n
}
