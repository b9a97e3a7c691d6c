package harness

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
	"github.com/entropy-fabric/entropy/actors/job"
)

func (w *world) host(id entropy.WorkerID) *host {
	for _, h := range w.hosts {
		if h.id == id {
			return h
		}
	}
	return nil
}

// beats is what one life of the control plane has heard of a worker.
type beats struct {
	arrived          map[uint64]uint64 // the newest sequence number that came, by incarnation
	incarnation, seq uint64            // of the newest that counted
	told             uint64            // of the mutant that hides how old a heartbeat is

	renewing map[entropy.AssignmentID][]*renewal // on their way to the job
	promised map[uint64][]*renewal               // by the heartbeat's number
}

func (c *control) heard(id entropy.WorkerID) *beats {
	m := c.beats[id]
	if m == nil {
		m = &beats{arrived: make(map[uint64]uint64), renewing: make(map[entropy.AssignmentID][]*renewal), promised: make(map[uint64][]*renewal)}
		c.beats[id] = m
	}
	return m
}

// newest returns the newest number of a heartbeat that came, of any incarnation: a
// registration leaves what is shown of it as it is.
func (m *beats) newest() (seq uint64) {
	for _, n := range m.arrived {
		seq = max(seq, n)
	}
	return seq
}

// heartbeat has the control plane take a heartbeat, and checks that nothing
// newer than what was sent counts.
func (w *world) heartbeat(ctx context.Context, s *actors.System, h *host, b entropy.Heartbeat) (any, error) {
	c := w.ctl
	m := c.heard(h.id)
	m.arrived[b.Incarnation] = max(m.arrived[b.Incarnation], b.Seq)
	if w.mutant == StaleHeartbeat {
		m.told++
		b.Seq = m.told
	}
	nth := number(b.Incarnation, b.Seq)
	v, err := s.Heartbeat(ctx, b)
	if err != nil || w.ctl != c {
		return v, err
	}
	for _, r := range m.promised[nth] {
		r.promised, r.less = true, v.Deduct.D()
	}
	all, err := s.Workers(ctx)
	for _, info := range all {
		if info.ID == h.id && info.HeartbeatSeq > m.newest() {
			w.fail("INV-9", "%s: heartbeat %d counts, the newest that was sent is %d", h.id, info.HeartbeatSeq, m.newest())
		}
	}
	return v, err
}

// number names a heartbeat of a worker.
func number(incarnation, seq uint64) uint64 { return incarnation<<32 | seq }

// beat follows what a worker's actor makes of a heartbeat: only one that is newer
// than all before it renews leases.
func (c *control) beat(id entropy.WorkerID, b *entropy.Heartbeat) {
	k, m := c.w.check, c.heard(id)
	if b.Incarnation != k.worker(id).incarnation {
		return
	}
	if b.Incarnation == m.incarnation && b.Seq <= m.seq {
		c.w.tally[StaleBeatDropped]++
		return
	}
	m.incarnation, m.seq = b.Incarnation, b.Seq
	for _, held := range b.Held {
		if a := k.assignment(held.JobID, held.AssignmentID); a != nil && a.worker == id {
			r, nth := &renewal{at: c.w.now()}, number(b.Incarnation, b.Seq)
			m.renewing[a.id] = append(m.renewing[a.id], r)
			m.promised[nth] = append(m.promised[nth], r)
		}
	}
}

// renew follows what a job's actor makes of a heartbeat. One that waits behind the
// end of the lease comes too late: the job then takes the worker back.
func (c *control) renew(r *job.Renew) {
	m, k := c.heard(r.WorkerID), c.w.check
	waiting := m.renewing[r.AssignmentID]
	if len(waiting) == 0 {
		return
	}
	m.renewing[r.AssignmentID] = waiting[1:]
	if live := k.job(r.JobID).live; live != nil && live.id == r.AssignmentID {
		live.renewals = append(live.renewals, waiting[0])
	}
}

// claim has the control plane answer a claim, and checks the answer against those
// given before.
func (w *world) claim(ctx context.Context, s *actors.System, h *host, r entropy.ClaimRequest) (any, error) {
	c, asked := w.ctl, r.ClaimSeq
	if w.mutant == ClaimAgain {
		r.ClaimSeq = uint64(w.con.turns) // rises, and is never the same
	}
	v, err := s.Claim(ctx, r)
	if err != nil || w.ctl != c || len(v.Assignments) == 0 {
		return v, err
	}
	g := w.check.grant(claimKey{h.id, r.Incarnation, asked})
	if g.answered != nil {
		w.tally[ClaimReplayed]++
	} else {
		for _, a := range v.Assignments {
			g.answered = append(g.answered, a.AssignmentID)
		}
	}
	same := len(g.answered) == len(v.Assignments)
	for _, a := range v.Assignments {
		same = same && slices.Contains(g.answered, a.AssignmentID)
	}
	if !same {
		w.fail("INV-8", "%s: claim (%d, %d) was answered with %v and then with %v", h.id, r.Incarnation, asked, g.answered, v.Assignments)
	}
	return v, nil
}

// complete has the control plane judge completions, and checks that a repeat gets
// the first answer.
func (w *world) complete(ctx context.Context, s *actors.System, h *host, r entropy.CompleteRequest) (any, error) {
	c := w.ctl
	if w.mutant == NoFencing {
		r = w.unfenced(r)
	}
	v, err := s.Complete(ctx, r)
	if err != nil || w.ctl != c {
		return v, err
	}
	for i, reply := range v {
		switch reply.Verdict {
		case entropy.VerdictAccepted, entropy.VerdictSuperseded, entropy.VerdictRefused:
		default:
			continue
		}
		id := r.Items[i].AssignmentID
		first, again := w.check.answers[id]
		if again {
			w.tally[FirstAnswerAgain]++
		}
		if again && first != reply.Verdict {
			w.fail("INV-7", "%s: the completion of %s was answered %s and then %s", h.id, id, first, reply.Verdict)
		}
		w.check.answers[id] = reply.Verdict
		m := w.check.assignment(r.Items[i].JobID, id)
		w.check.promised("the completion of "+string(id), m != nil && m.decided || reply.Verdict == entropy.VerdictRefused)
	}
	return v, nil
}

// unfenced has every completion speak for the assignment that is live.
func (w *world) unfenced(r entropy.CompleteRequest) entropy.CompleteRequest {
	items := append([]entropy.Completion(nil), r.Items...)
	for i := range items {
		if live := w.check.job(items[i].JobID).live; live != nil && live.acked {
			items[i].AssignmentID = live.id
		}
	}
	r.Items = items
	return r
}

// registered checks an answered registration.
func (k *checker) registered(h *host, r *entropy.Registered) {
	k.promised("the registration of "+string(h.id), k.worker(h.id).incarnation >= r.Incarnation)
}

// granted checks an assignment that a worker was told of.
func (k *checker) granted(a *entropy.Assignment) {
	k.promised("the grant of "+string(a.AssignmentID), k.assignment(a.JobID, a.AssignmentID) != nil)
}

// acked checks an answered ACK.
func (k *checker) acked(a *entropy.Assignment) {
	m := k.assignment(a.JobID, a.AssignmentID)
	k.promised("the ACK of "+string(a.AssignmentID), m != nil && m.acked)
}

// starts checks that an execution may start.
func (k *checker) starts(h *host, a *entropy.Assignment) {
	m := k.assignment(a.JobID, a.AssignmentID)
	if m == nil || !m.acked {
		k.w.fail("INV-13", "%s starts %s before its ACK is durable", h.id, a.AssignmentID)
		return
	}
	if m.starts++; m.starts > 1 {
		k.w.fail("INV-13", "%s starts %s again", h.id, a.AssignmentID)
	}
	if len(h.runs) >= h.slots {
		k.w.fail("INV-12", "%s starts %s with all its %d slots taken", h.id, a.AssignmentID, h.slots)
	}
}

// runs notes an execution that has started.
func (k *checker) runs(h *host, r *run) {
	k.job(r.held.JobID).executing[r] = h
	k.overlaps(h)
}

// overlaps checks that no job that must not runs twice at once. What a sleeping
// machine holds does not run; whether it may go on is checked when it wakes.
func (k *checker) overlaps(h *host) {
	for _, r := range h.runs {
		j := k.job(r.held.JobID)
		k.keyHeld(h, r, j)
		for o, other := range j.executing { // the order shows only in the message
			if o.over {
				delete(j.executing, o)
			} else if o != r && j.spec.Disconnect.Worker == entropy.DisconnectStop && !other.plane.paused {
				k.w.fail("J-11", "%s runs %s of %s while %s still runs on %s", h.id, r.held.AssignmentID, j.id, o.held.AssignmentID, other.id)
			}
		}
	}
}

// keyHeld checks that no other job of the same concurrency key runs.
func (k *checker) keyHeld(h *host, r *run, j *jobModel) {
	if j.spec.ConcurrencyKey == "" {
		return
	}
	for _, other := range k.w.hosts {
		for _, o := range other.runs {
			if o != r && o.spec.ConcurrencyKey == j.spec.ConcurrencyKey && !other.plane.paused {
				k.w.fail("H-9", "%s runs on %s while %s, of the same concurrency key, runs on %s", r.held.JobID, h.id, o.held.JobID, other.id)
			}
		}
	}
}

// ends notes what an execution put into its worker's spool.
func (k *checker) ends(c *entropy.Completion) {
	k.executed[completionKey{c.SpoolID, c.CompletionSeq}] = c.AssignmentID
}

// reports checks that a result is on disk before anybody hears of it.
func (k *checker) reports(e *entry) {
	if !e.durable {
		k.w.fail("W-4", "the result of %s was reported before it was on disk", e.completion.AssignmentID)
	}
}

// forgets checks that a spool entry is deleted only once it was decided.
func (k *checker) forgets(c *entropy.Completion) {
	if m := k.assignment(c.JobID, c.AssignmentID); m == nil || !m.decided {
		k.w.fail("INV-10", "the spool entry of %s was deleted and nothing in the journal decides it", c.AssignmentID)
	}
}

// atRest reports whether everything has come to its end.
func (k *checker) atRest() bool {
	if k.w.client.open > 0 || k.w.ctl == nil || k.w.ctl.sys == nil {
		return false
	}
	for _, j := range k.order {
		if j.submitted && j.ended == "" {
			return false
		}
	}
	for _, h := range k.w.hosts {
		if len(h.runs)+len(h.spool) > 0 {
			return false
		}
	}
	return true
}

// progress checks, after the healing, that every job moves on: within two leases
// and three heartbeats of the time at which it could.
func (k *checker) progress() {
	s := &k.w.shape
	if k.w.now() > k.w.healed+k.w.patience() {
		k.stuck()
	}
	if k.w.ctl == nil || k.w.ctl.plane.paused || k.w.shape.steps > 0 {
		return // after a step the wall clock may be mistrusted for a minute
	}
	bound := 2*s.ttl + 3*s.heartbeat + 10*time.Second // beside the fabric's own: pauses of 5 s after a refused write
	for _, j := range k.order {
		if j.submitted && j.ended == "" && !k.waits(j) && k.w.now()-k.due(j) > bound {
			k.w.fail("LIV-1", "%s is %s and has not moved since %s; it could since %s (version %d)", j.id, j.fold.State, j.moved, k.due(j), j.version)
		}
	}
}

// stuck names what has not come to its end.
func (k *checker) stuck() {
	var jobs, spools []string
	for _, j := range k.order {
		if j.submitted && j.ended == "" {
			jobs = append(jobs, fmt.Sprintf("%s (%s, blocked %t, held %t, excluded %v)", j.id, j.fold.State, j.fold.Blocked, j.fold.Held, j.fold.Excluded))
		}
	}
	for _, h := range k.w.hosts {
		if len(h.spool) > 0 {
			spools = append(spools, string(h.id))
		}
	}
	switch {
	case len(jobs) > 0:
		k.w.fail("LIV-1", "long after the healing these jobs have not ended: %s", strings.Join(jobs, "; "))
	case len(spools) > 0:
		k.w.fail("LIV-2", "long after the healing the spools of %q are not empty", spools)
	default:
		k.w.fail("LIV-1", "long after the healing %d calls of clients are not answered", k.w.client.open)
	}
}

// due returns when a job that waits for nothing else should have begun to move.
func (k *checker) due(j *jobModel) time.Duration {
	at := max(j.moved, k.w.healed, k.trouble)
	later := func(t *time.Time) {
		if t != nil {
			at = max(at, t.Sub(k.w.began))
		}
	}
	switch j.fold.State {
	case entropy.Scheduled:
		later(j.spec.NotBefore)
	case entropy.Retrying:
		later(j.fold.RetryAt)
	case entropy.Lost:
		at += j.spec.Retry.LostTimeout.D()
	case entropy.Running:
		at += max(k.w.shape.longestRun, longest*k.w.shape.ttl)
	case entropy.Assigned:
		at += j.spec.AckTimeoutOrDefault()
	case entropy.Pending:
		if !k.room(j) {
			at = k.w.now()
			j.moved = max(j.moved, at) // its wait begins when there is room
		}
	}
	return at
}

// room reports whether a worker that may run the job has a free slot.
func (k *checker) room(j *jobModel) bool {
	for _, h := range k.w.hosts {
		if h.agent != nil && j.spec.Matches(h.labels) && len(h.runs)+len(h.agent.claimed) < h.slots && !j.fold.Excludes(h.id) && !h.agent.drain {
			return true
		}
	}
	return false
}

// patience is how long a healed fabric may take to come to rest: every job may use
// up its attempts one after the other, and the longest backoff and lost timeout.
func (w *world) patience() time.Duration {
	slots := 0
	for _, h := range w.hosts {
		slots += h.slots
	}
	attempts := 6*(w.shape.jobs+4)/slots + 6
	return 5*time.Minute + time.Duration(attempts)*(max(w.shape.longestRun, longest*w.shape.ttl)+10*time.Second)
}

// final checks the whole once more: every job's record, as a restart would find
// it, and the fold of all events.
func (k *checker) final() {
	if int(k.seq) != len(k.w.disk.log) {
		k.w.fail("INV-2", "the journal has %d events, %d were written", len(k.w.disk.log), k.seq)
	}
	for _, j := range k.order {
		if !j.submitted {
			continue
		}
		h := k.w.disk.heads[entropy.Entity(entropy.KindJob, string(j.id))]
		if h == nil {
			k.w.fail("INV-1", "%s is gone", j.id)
			continue
		}
		if fold := string(must(j.fold.EncodeRecord())); fold != string(h.record) {
			k.w.fail("INV-3", "%s: the record %s replays as %s", j.id, h.record, fold)
		}
	}
}
