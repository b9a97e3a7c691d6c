package sim

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

	listenSum  time.Duration // time in which the control plane could hear
	listenFrom time.Duration
	hears      bool
	renewals   map[entropy.AssignmentID]time.Duration // by that time
}

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
	ended       string // the terminal event

	executing map[*run]*worker
}

// assignmentModel is what the checker knows of an assignment.
type assignmentModel struct {
	id      entropy.AssignmentID
	worker  entropy.WorkerID
	attempt int
	acked   bool
	counted string
	decided bool // its completion was
	starts  int
}

type workerModel struct {
	version     uint64
	incarnation uint64
	fold        *entropy.Worker
	beatOf      *control // the life of the control plane that beat and seq belong to
	beatInc     uint64
	beatSeq     uint64
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
		renewals: make(map[entropy.AssignmentID]time.Duration)}
}

func (k *checker) job(id entropy.JobID) *jobModel {
	j := k.jobs[id]
	if j == nil {
		j = &jobModel{id: id, fold: &entropy.Job{ID: id}, executing: make(map[*run]*worker)}
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

func (k *checker) incarnation(id entropy.WorkerID) uint64 { return k.worker(id).incarnation }

func (k *checker) assignment(j entropy.JobID, id entropy.AssignmentID) *assignmentModel {
	for _, a := range k.job(j).assignments {
		if a.id == id {
			return a
		}
	}
	return nil
}

// promised checks that what somebody was just told is durable.
func (k *checker) promised(what string, durable bool) {
	if !durable {
		k.w.fail("INV-1", "%s was acknowledged and is not in the journal", what)
	}
}

// journaled follows one durable event.
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
	if e.Type == entropy.WorkerRegistered {
		if d.Attrs.Incarnation <= m.incarnation {
			k.w.fail("L-5", "%s: incarnation %d after %d", e.EntityID, d.Attrs.Incarnation, m.incarnation)
		}
		m.incarnation = d.Attrs.Incarnation
	}
}

// projected compares what the journal stores of an entity with the fold of the
// events that it stores.
func (k *checker) projected(entity string, h *head) {
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
	}
	if !bytes.Equal(got, h.record) {
		k.w.fail("INV-3", "%s: live %s replays as %s", entity, h.record, got)
	}
}

// beat checks that the heartbeats that count only rise.
func (k *checker) beat(s *session, h *entropy.Heartbeat) {
	m := k.worker(s.id)
	if m.beatOf != s.c {
		m.beatOf, m.beatInc, m.beatSeq = s.c, 0, 0
	}
	if h.Incarnation != m.incarnation || h.Incarnation < m.beatInc || h.Incarnation == m.beatInc && h.Seq <= m.beatSeq {
		k.w.fail("INV-9", "%s: heartbeat (%d, %d) was applied after (%d, %d); the incarnation is %d", s.id, h.Incarnation, h.Seq, m.beatInc, m.beatSeq, m.incarnation)
	}
	m.beatInc, m.beatSeq = h.Incarnation, h.Seq
}

// claimed checks the answer to a claim against those given before.
func (k *checker) claimed(id entropy.WorkerID, incarnation, seq uint64, items []entropy.Held) {
	if len(items) == 0 {
		return
	}
	g := k.grant(claimKey{id, incarnation, seq})
	if g.answered == nil {
		for _, h := range items {
			g.answered = append(g.answered, h.AssignmentID)
		}
	}
	same := len(g.answered) == len(items)
	for i := range items {
		same = same && g.answered[i] == items[i].AssignmentID
	}
	if !same {
		k.w.fail("INV-8", "%s: claim (%d, %d) was answered with %v and then with %v", id, incarnation, seq, g.answered, items)
	}
}

func (k *checker) grant(key claimKey) *grant {
	g := k.grants[key]
	if g == nil {
		g = &grant{}
		k.grants[key] = g
	}
	return g
}

// listens notes that the control plane can hear from now on, or cannot.
func (k *checker) listens(hears bool) {
	k.listenSum, k.listenFrom, k.hears = k.listened(), k.w.now, hears
}

// listened returns the time in which the control plane could hear.
func (k *checker) listened() time.Duration {
	if !k.hears {
		return k.listenSum
	}
	return k.listenSum + k.w.now - k.listenFrom
}

// renewed notes that an assignment's lease was renewed by a message that came at
// a listening time.
func (k *checker) renewed(id entropy.AssignmentID, at time.Duration) { k.renewals[id] = at }

// decided looks at a decision about a job before it is written.
func (k *checker) decided(j *entropy.Job, cmd entropy.JobCommand, d *entropy.Decision) {
	t := k.w.tally
	switch m := cmd.(type) {
	case entropy.EndLease:
		k.leaseEnds(j, &m)
	case entropy.Complete:
		switch e := &d.Events[len(d.Events)-1]; {
		case d.Verdict == entropy.VerdictSuperseded:
			t[StaleRefused]++
		case e.Type == entropy.JobLateFailure || e.Type == entropy.JobFailed && e.Attrs.Late:
			t[LateFailure]++
		case e.Attrs.Late:
			t[LateAccepted]++
		}
		if m.Reason == entropy.ReasonContract {
			t[StoppedByContract]++
		}
	case entropy.Release:
		if m.NobodyLeft {
			t[RefusedByAll]++
		}
	case entropy.Wake:
		if j.State == entropy.Lost {
			t[NoRetryWaited]++
		}
	}
	first := &d.Events[0]
	if l := j.Lease; l != nil && l.AssignmentID != first.Attrs.AssignmentID && (first.Type == entropy.JobReattached || first.Attrs.Late) {
		t[SuccessorRevoked]++
	}
}

// leaseEnds checks that a lease lasted its TTL of listening time.
func (k *checker) leaseEnds(j *entropy.Job, m *entropy.EndLease) {
	l := j.Lease
	if m.Cause != entropy.CauseLeaseExpired || l == nil {
		return
	}
	const tolerance = 10 * time.Millisecond
	if since := k.listened() - k.renewals[l.AssignmentID]; l.Acked && since < l.TTL.D()-tolerance {
		k.w.fail("L-3", "the lease of %s %s ended %s of listening time after its renewal, its TTL is %s", j.ID, l.AssignmentID, since, l.TTL)
	}
	for r := range k.job(j.ID).executing {
		if r.held.AssignmentID == l.AssignmentID && !r.over {
			k.w.tally[ExpiredAlive]++
		}
	}
}
