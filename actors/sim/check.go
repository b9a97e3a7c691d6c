package sim

import (
	"bytes"
	"slices"
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

	executed  map[completionKey]entropy.AssignmentID
	grants    map[claimKey]*grant
	executing []*execution // one entry per run that may not be over
	done      map[string]bool
	startedAt time.Duration // of the control plane's present life
	open      int           // jobs that have not ended

	listenSum  time.Duration // time in which the control plane could hear
	listenFrom time.Duration
	hears      bool
}

// jobModel is what the checker knows of a job.
type jobModel struct {
	id          entropy.JobID
	version     uint64
	submitted   bool
	spec        entropy.JobSpec
	fold        *entropy.Job // by the real Apply, from the journal
	assignments []*assignmentModel
	live        *assignmentModel
	lastAcked   *assignmentModel
	acks        int
	failures    int
	losses      int
	cancelAsked bool
	held        bool
	ended       string // the terminal event

	eventAt     time.Duration // of the newest event
	stuckSince  time.Duration // since when it could go on and does not; 0: it does
	backoff     time.Duration // how long it is to wait, since backoffFrom
	backoffFrom time.Duration
	queuedFrom  time.Duration
}

// assignmentModel is what the checker knows of an assignment.
type assignmentModel struct {
	id         entropy.AssignmentID
	worker     entropy.WorkerID
	attempt    int
	acked      bool
	reattached bool
	counted    string
	decided    bool // its completion was
	starts     int
	renewedAt  time.Duration // listening time
	resources  entropy.Resources
	gpus       []entropy.GPUShare
}

type workerModel struct {
	version     uint64
	incarnation uint64
	fold        *entropy.Worker
	beatOf      *control // the life of the control plane that beat and seq belong to
	beatInc     uint64
	beatSeq     uint64
}

// execution is a run, where it runs.
type execution struct {
	run *run
	wk  *worker
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
		executed: make(map[completionKey]entropy.AssignmentID), grants: make(map[claimKey]*grant), done: make(map[string]bool)}
}

func (k *checker) job(id entropy.JobID) *jobModel {
	j := k.jobs[id]
	if j == nil {
		j = &jobModel{id: id, fold: &entropy.Job{ID: id}}
		k.jobs[id] = j
		k.order = append(k.order, j)
		k.open++
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
	return k.job(j).assignment(id)
}

func (j *jobModel) assignment(id entropy.AssignmentID) *assignmentModel {
	for _, m := range slices.Backward(j.assignments) {
		if m.id == id {
			return m
		}
	}
	return nil
}

// promised checks that what somebody was just told is durable.
func (k *checker) promised(what string, durable bool) {
	if !durable {
		k.w.fail(Durability, "%s was acknowledged and is not in the journal", what)
	}
}

// granted checks that a wish that was answered is on record.
func (k *checker) granted(j *jobModel, cmd entropy.JobCommand) {
	what := "a wish about " + string(j.id)
	switch cmd.(type) {
	case entropy.Cancel:
		k.promised("the cancellation of "+string(j.id), j.cancelAsked || j.ended == entropy.JobCanceled)
	case entropy.Hold:
		k.promised(what, j.held || j.ended != "")
	case entropy.Unhold:
		k.promised(what, !j.held || j.ended != "")
	}
}

// next checks an event's place in the journal.
func (k *checker) next(at place, version uint64) {
	k.seq++
	if at.seq != k.seq {
		k.w.fail(Contiguity, "event %d follows event %d", at.seq, k.seq-1)
	}
	if at.version != version {
		k.w.fail(Contiguity, "%s has version %d after %d", at.entity, at.version, version-1)
	}
}

func (k *checker) workerWritten(at place, e *entropy.WorkerEvent) {
	_, id := entropy.SplitEntity(at.entity)
	m := k.worker(entropy.WorkerID(id))
	m.version++
	k.next(at, m.version)
	k.w.note("  %d %s v%d %s", at.seq, at.entity, at.version, e.Type)
	if err := m.fold.Apply(*e); err != nil {
		k.w.fail(Determinism, "replay of %s version %d: %v", at.entity, at.version, err)
		return
	}
	if e.Type == entropy.WorkerRegistered {
		if e.Attrs.Incarnation <= m.incarnation {
			k.w.fail(IncarnationRises, "%s: incarnation %d after %d", at.entity, e.Attrs.Incarnation, m.incarnation)
		}
		m.incarnation = e.Attrs.Incarnation
	}
}

// projected compares what the journal stores of an entity with the fold of the
// events that it stores.
func (k *checker) projected(entity string, h *head) {
	switch kind, id := entropy.SplitEntity(entity); kind {
	case entropy.KindJob:
		k.sameJob("the record of "+entity, h.job, k.job(entropy.JobID(id)).fold)
		if h.record == nil {
			return
		}
		fold := k.job(entropy.JobID(id)).fold
		if got, spec := must(fold.EncodeRecord()), must(fold.EncodeSpec()); !bytes.Equal(got, h.record) || !bytes.Equal(spec, h.spec) {
			k.w.fail(Determinism, "%s: live %s %s replays as %s %s", entity, h.record, h.spec, got, spec)
		}
	case entropy.KindWorker:
		fold := k.worker(entropy.WorkerID(id)).fold
		if fold.Version != h.worker.Version || fold.State != h.worker.State || fold.Incarnation != h.worker.Incarnation {
			k.w.fail(Determinism, "the record of %s is not the fold of its events", entity)
		}
	}
}

// sameJob compares a state with the fold of the journal. In a history of bytes
// all of it is compared, elsewhere what decides most.
func (k *checker) sameJob(what string, got, want *entropy.Job) {
	same := got.Version == want.Version && got.State == want.State && got.Attempt == want.Attempt && got.Failures == want.Failures &&
		got.Losses == want.Losses && got.LastAcked == want.LastAcked && (got.Lease == nil) == (want.Lease == nil) &&
		got.Held == want.Held && got.Blocked == want.Blocked && got.CancelRequested == want.CancelRequested &&
		got.PreemptRequested == want.PreemptRequested && len(got.Attempts) == len(want.Attempts)
	if !same {
		k.w.fail(Determinism, "%s is version %d (%s), the journal folds to version %d (%s)", what, got.Version, got.State, want.Version, want.State)
	}
}

// recovered compares what a restart found with what was there.
func (k *checker) recovered(c *control) {
	k.startedAt = k.w.now
	for _, j := range k.order {
		if !j.submitted {
			continue
		}
		a := c.jobs[j.id]
		if a == nil || a.job.Version < j.version {
			k.w.fail(Durability, "a restart has lost events of %s", j.id)
			return
		}
		k.sameJob("after a restart "+string(j.id), a.job, j.fold)
	}
}

// beat checks that the heartbeats that count only rise.
func (k *checker) beat(s *session, h *entropy.Heartbeat) {
	m := k.worker(s.id)
	if m.beatOf != s.c {
		m.beatOf, m.beatInc, m.beatSeq = s.c, 0, 0
	}
	if h.Incarnation != m.incarnation || h.Incarnation < m.beatInc || h.Incarnation == m.beatInc && h.Seq <= m.beatSeq {
		k.w.fail(HeartbeatOrder, "%s: heartbeat (%d, %d) was applied after (%d, %d); the incarnation is %d", s.id, h.Incarnation, h.Seq, m.beatInc, m.beatSeq, m.incarnation)
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
		k.w.fail(ClaimIdempotency, "%s: claim (%d, %d) was answered with %v and then with %v", id, incarnation, seq, g.answered, items)
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

// renewed notes that a lease was renewed by a worker's message that came at a
// listening time.
func (k *checker) renewed(by entropy.WorkerID, h entropy.Held, at time.Duration) {
	m := k.assignment(h.JobID, h.AssignmentID)
	if m == nil {
		return
	}
	if m.worker != by {
		k.w.fail(Authority, "%s renewed the lease %s of %s, which is %s's", by, h.AssignmentID, h.JobID, m.worker)
	}
	m.renewedAt = at
}
