package entropytest

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"reflect"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// memoryTTL is the lease TTL that [Memory] tells; it keeps no lease timer.
const memoryTTL = 15 * time.Second

// memoryWorker is what Memory knows of a worker.
type memoryWorker struct {
	worker     *entropy.Worker
	claims     map[uint64][]claimed // by claim_seq, of this incarnation
	beat       *time.Time
	seq        uint64
	held       []entropy.Held
	directives entropy.Directives
}

type claimed struct {
	job        entropy.JobID
	assignment entropy.AssignmentID
}

func (w *memoryWorker) info() entropy.WorkerInfo {
	info := entropy.WorkerInfo{Worker: *w.worker.Clone(), LastHeartbeat: w.beat, HeartbeatSeq: w.seq}
	for _, h := range w.held {
		if h.Spooled {
			info.Spooled++
		} else {
			info.Running++
		}
	}
	return info
}

// mark appends events of a worker. The caller holds the lock.
func (m *Memory) mark(w *memoryWorker, events []entropy.WorkerEvent) error {
	for _, e := range events {
		next := w.worker.Clone()
		if err := next.Apply(e); err != nil {
			return err
		}
		env, err := e.Envelope()
		if err != nil {
			return err
		}
		m.append(env, entropy.Entity(entropy.KindWorker, string(next.ID)), next.Version)
		w.worker = next
	}
	m.bell()
	return nil
}

// caller returns the worker that makes the call, if its incarnation is the newest.
func (m *Memory) caller(ctx context.Context, incarnation uint64) (*memoryWorker, error) {
	w := m.workers[entropy.WorkerID(entropy.PrincipalFrom(ctx).Name)]
	if w == nil || w.worker.Incarnation != incarnation {
		return nil, entropy.Errorf(entropy.CodeStale, "incarnation %d is not the newest of this worker", incarnation).WithHint("register again")
	}
	return w, nil
}

// Register implements [entropy.WorkerService].
func (m *Memory) Register(ctx context.Context, r entropy.Registration) (entropy.Registered, error) {
	id := entropy.WorkerID(entropy.PrincipalFrom(ctx).Name)
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.workers[id]
	if w == nil {
		w = &memoryWorker{worker: &entropy.Worker{ID: id}}
	}
	events, _, err := w.worker.Register(r, time.Now())
	if err != nil {
		return entropy.Registered{}, err
	}
	if len(events) > 0 {
		w.claims, w.seq, w.beat, w.held = map[uint64][]claimed{}, 0, nil, r.Inventory
		if err := m.mark(w, events); err != nil {
			return entropy.Registered{}, err
		}
		m.workers[id] = w
	}
	reply := entropy.Registered{Epoch: memoryEpoch, ClusterID: "memory", WorkerID: id, Incarnation: w.worker.Incarnation,
		LeaseTTL: entropy.Duration(memoryTTL), Heartbeat: entropy.Duration(memoryTTL / 3)}
	for _, h := range r.Inventory {
		reply.Held = append(reply.Held, entropy.HeldVerdict{AssignmentID: h.AssignmentID, Verdict: m.judge(id, w.worker.Incarnation, h)})
	}
	return reply, nil
}

func (m *Memory) judge(id entropy.WorkerID, incarnation uint64, h entropy.Held) entropy.Verdict {
	if h.Spooled {
		return entropy.VerdictReport
	}
	j := m.jobs[h.JobID]
	if j == nil {
		return entropy.VerdictStop
	}
	d, err := m.decide(j, entropy.Reattach{AssignmentID: h.AssignmentID, WorkerID: id, Incarnation: incarnation, TTL: memoryTTL})
	if err != nil {
		return entropy.VerdictStop
	}
	return d.Verdict
}

// Claim implements [entropy.WorkerService].
func (m *Memory) Claim(ctx context.Context, c entropy.ClaimRequest) (entropy.ClaimReply, error) {
	reply := entropy.ClaimReply{Epoch: memoryEpoch}
	var failed error
	err := m.until(ctx, c.Wait.D(), func() bool {
		w, err := m.caller(ctx, c.Incarnation)
		if err != nil {
			failed = err
			return true
		}
		if _, repeat := w.claims[c.ClaimSeq]; !repeat {
			if got := m.assign(w, c); len(got) > 0 {
				w.claims[c.ClaimSeq] = got
			}
		}
		for _, a := range w.claims[c.ClaimSeq] {
			reply.Assignments = append(reply.Assignments, m.assignment(a))
		}
		return len(reply.Assignments) > 0
	})
	return reply, cmp.Or(failed, err)
}

func (m *Memory) assign(w *memoryWorker, c entropy.ClaimRequest) []claimed {
	var got []claimed
	if !w.worker.Schedulable() {
		return nil
	}
	order := slices.Clone(m.order)
	slices.SortStableFunc(order, func(a, b entropy.JobID) int { return m.jobs[b].Priority() - m.jobs[a].Priority() })
	for _, id := range order {
		j := m.jobs[id]
		if len(got) >= c.Want || j.State != entropy.Pending || !w.worker.Offers(&j.Spec) {
			continue
		}
		a := claimed{id, entropy.AssignmentID(entropy.NewID())}
		_, err := m.decide(j, entropy.Assign{AssignmentID: a.assignment, WorkerID: w.worker.ID, Incarnation: c.Incarnation, ClaimSeq: c.ClaimSeq, TTL: memoryTTL})
		if err == nil {
			got = append(got, a)
		}
	}
	return got
}

func (m *Memory) assignment(a claimed) entropy.Assignment {
	j := m.jobs[a.job]
	out := entropy.Assignment{JobID: a.job, AssignmentID: a.assignment, TTL: entropy.Duration(memoryTTL),
		AckTimeout: cmp.Or(j.Spec.AckTimeout, entropy.Duration(10*time.Second)), Checkpoints: j.ResumeFrom(), Spec: j.Spec}
	out.Revoked = j.Lease == nil || j.Lease.AssignmentID != a.assignment
	for _, t := range j.Attempts {
		if t.AssignmentID == a.assignment {
			out.Attempt = t.Number
		}
	}
	return out
}

// each decides a command for every item of a batch.
func (m *Memory) each(job entropy.JobID, a entropy.AssignmentID, cmd entropy.JobCommand) entropy.ItemResult {
	j := m.jobs[job]
	if j == nil {
		return entropy.ItemResult{AssignmentID: a, Error: entropy.AsError(notFound("job", string(job)))}
	}
	_, err := m.decide(j, cmd)
	return entropy.ItemResult{AssignmentID: a, Error: entropy.AsError(err)}
}

// Ack implements [entropy.WorkerService].
func (m *Memory) Ack(ctx context.Context, r entropy.AckRequest) ([]entropy.ItemResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, err := m.caller(ctx, r.Incarnation)
	if err != nil {
		return nil, err
	}
	var out []entropy.ItemResult
	for _, h := range r.Items {
		out = append(out, m.each(h.JobID, h.AssignmentID, entropy.Ack{AssignmentID: h.AssignmentID, WorkerID: w.worker.ID}))
	}
	return out, nil
}

// Refuse implements [entropy.WorkerService].
func (m *Memory) Refuse(ctx context.Context, r entropy.RefuseRequest) ([]entropy.ItemResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, err := m.caller(ctx, r.Incarnation)
	if err != nil {
		return nil, err
	}
	var out []entropy.ItemResult
	for _, it := range r.Items {
		cause := entropy.CauseRefused
		if it.Transient {
			cause = entropy.CauseTransient
		}
		cmd := entropy.Release{AssignmentID: it.AssignmentID, WorkerID: w.worker.ID, Cause: cause, Message: it.Message}
		if j := m.jobs[it.JobID]; j != nil && !it.Transient {
			cmd.NobodyLeft = !m.somebodyElse(j, w.worker.ID)
		}
		out = append(out, m.each(it.JobID, it.AssignmentID, cmd))
	}
	return out, nil
}

func (m *Memory) somebodyElse(j *entropy.Job, but entropy.WorkerID) bool {
	for id, w := range m.workers {
		if id != but && w.worker.Offers(&j.Spec) && !j.Excludes(id) {
			return true
		}
	}
	return false
}

// Heartbeat implements [entropy.WorkerService].
func (m *Memory) Heartbeat(ctx context.Context, h entropy.Heartbeat) (entropy.HeartbeatReply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, err := m.caller(ctx, h.Incarnation)
	if err != nil {
		return entropy.HeartbeatReply{}, err
	}
	if h.Seq > w.seq {
		now := time.Now().UTC()
		w.seq, w.beat, w.held = h.Seq, &now, h.Held
	}
	return entropy.HeartbeatReply{Epoch: memoryEpoch, Directives: m.direct(w)}, nil
}

// direct returns what the worker should do now; its version rises when that changes.
func (m *Memory) direct(w *memoryWorker) entropy.Directives {
	next := entropy.Directives{Version: w.directives.Version, Drain: w.worker.Draining || w.worker.Quarantined}
	for _, id := range m.order {
		if j := m.jobs[id]; j.Lease != nil && j.Lease.WorkerID == w.worker.ID && j.CancelRequested {
			next.Stop = append(next.Stop, entropy.StopDirective{AssignmentID: j.Lease.AssignmentID, Reason: entropy.ReasonCancel})
		}
	}
	if !reflect.DeepEqual(next, w.directives) {
		next.Version++
		w.directives = next
	}
	return next
}

// Directives implements [entropy.WorkerService].
func (m *Memory) Directives(ctx context.Context, q entropy.DirectivesRequest) (entropy.Directives, error) {
	var out entropy.Directives
	var failed error
	err := m.until(ctx, q.Wait.D(), func() bool {
		w, err := m.caller(ctx, q.Incarnation)
		if err != nil {
			failed = err
			return true
		}
		out = m.direct(w)
		return out.Version != q.Known
	})
	return out, cmp.Or(failed, err)
}

// Complete implements [entropy.WorkerService].
func (m *Memory) Complete(ctx context.Context, r entropy.CompleteRequest) ([]entropy.CompletionReply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, err := m.caller(ctx, r.Incarnation)
	if err != nil {
		return nil, err
	}
	var out []entropy.CompletionReply
	for _, c := range r.Items {
		out = append(out, m.complete(w, c))
	}
	return out, nil
}

func (m *Memory) complete(w *memoryWorker, c entropy.Completion) entropy.CompletionReply {
	reply := entropy.CompletionReply{AssignmentID: c.AssignmentID}
	j := m.jobs[c.JobID]
	if j == nil {
		reply.Verdict = entropy.VerdictNotFound
		return reply
	}
	if j.MayAccept(c.AssignmentID, w.worker.ID) == nil {
		for _, a := range c.Artifacts {
			if hash(m.staged[string(c.AssignmentID)+"/"+a.SHA256]) != a.SHA256 {
				reply.Missing = append(reply.Missing, a.SHA256)
			}
		}
		if len(reply.Missing) > 0 {
			reply.Verdict = entropy.VerdictReupload
			return reply
		}
	}
	d, err := m.decide(j, entropy.Complete{Completion: c, WorkerID: w.worker.ID, Eligible: len(m.workers)})
	if err != nil {
		reply.Verdict, reply.Message = entropy.VerdictRefused, err.Error()
		return reply
	}
	if d.Verdict == entropy.VerdictAccepted {
		for _, a := range c.Artifacts {
			m.blobs[a.SHA256] = m.staged[string(c.AssignmentID)+"/"+a.SHA256]
		}
	}
	reply.Verdict, reply.Repeat, reply.Message = d.Verdict, d.Repeat, d.Message
	return reply
}

// mayWrite returns nil while the assignment's output is worth keeping.
func (m *Memory) mayWrite(ctx context.Context, job entropy.JobID, a entropy.AssignmentID) error {
	j := m.jobs[job]
	if j == nil {
		return notFound("job", string(job))
	}
	return j.MayAccept(a, entropy.WorkerID(entropy.PrincipalFrom(ctx).Name))
}

// splice puts piece at an offset of what is stored, unless that leaves a gap.
func splice(stored []byte, offset int64, piece []byte) []byte {
	if end := offset + int64(len(piece)); offset <= int64(len(stored)) && end > int64(len(stored)) {
		return append(stored[:offset:offset], piece...)
	}
	return stored
}

// StageArtifact implements [entropy.WorkerService].
func (m *Memory) StageArtifact(ctx context.Context, u entropy.ArtifactUpload, r io.Reader) (int64, error) {
	piece, err := io.ReadAll(r)
	if err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.mayWrite(ctx, u.JobID, u.AssignmentID); err != nil {
		return 0, err
	}
	key := string(u.AssignmentID) + "/" + u.SHA256
	b := splice(m.staged[key], u.Offset, piece)
	if int64(len(b)) >= u.Size && hash(b) != u.SHA256 {
		delete(m.staged, key)
		return 0, entropy.Errorf(entropy.CodeInvalid, "the staged content is not that of %s", u.SHA256).WithHint("upload it again")
	}
	m.staged[key] = b
	return int64(len(b)), nil
}

// AppendLog implements [entropy.WorkerService].
func (m *Memory) AppendLog(ctx context.Context, u entropy.LogUpload, p []byte) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.mayWrite(ctx, u.JobID, u.AssignmentID); err != nil {
		return 0, err
	}
	key := string(u.AssignmentID) + "/" + u.Stream
	m.logs[key] = splice(m.logs[key], u.Offset, p)
	m.bell()
	return int64(len(m.logs[key])), nil
}

// OpenBlob implements [entropy.WorkerService].
func (m *Memory) OpenBlob(ctx context.Context, sha256 string) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.blobs[sha256]
	if !ok {
		return nil, notFound("blob", sha256)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// Leave implements [entropy.WorkerService].
func (m *Memory) Leave(ctx context.Context, r entropy.LeaveRequest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, err := m.caller(ctx, r.Incarnation)
	if err != nil || !r.Final {
		return err
	}
	return m.mark(w, w.worker.Mark(entropy.WorkerDeparted, "left", entropy.Operation{}, time.Now()))
}
