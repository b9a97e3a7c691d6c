package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// fabric is a small, honest control plane in memory: jobs, leases that expire,
// claims that are remembered, completions judged by assignment. Faults are
// injected per operation.
type fabric struct {
	ttl, interval, ackTimeout time.Duration
	deduct                    time.Duration // in every answer to a heartbeat

	mu          sync.Mutex
	changed     chan struct{}
	incarnation uint64
	nonces      map[string]entropy.Registered
	queue       []*fakeJob
	byID        map[entropy.AssignmentID]*fakeJob
	claims      map[[2]uint64]entropy.ClaimReply
	wants       map[[2]uint64]int
	stops       map[entropy.AssignmentID]entropy.Reason
	version     uint64
	blobs       map[string][]byte
	staged      map[string][]byte
	logs        map[string][]byte
	calls       map[string]int
	beats       int
	lastHeld    []entropy.Held
	saved       fakeCheckpoints
	problems    []string
	fault       func(op string, n int) fault
}

// fault is what happens to one call.
type fault int

const (
	fine      fault = iota
	refused         // it does not arrive
	lostReply       // it is carried out and the answer is lost
	stale           // the fabric wants the worker to register again
)

type fakeJob struct {
	spec       entropy.JobSpec
	job        entropy.JobID
	id         entropy.AssignmentID
	attempt    int
	gpus       []entropy.GPUShare
	from       []entropy.Checkpoint
	acked      bool
	expires    time.Time
	lost       bool
	stopped    bool // superseded: its worker was told to stop
	verdict    entropy.Verdict
	answers    []entropy.Verdict // forced, before the verdict
	completion *entropy.Completion
	completes  int
	refusal    *entropy.Refusal
}

func newMemoryFabric() *fabric {
	return &fabric{ttl: 15 * time.Second, interval: 50 * time.Millisecond, ackTimeout: 10 * time.Second, changed: make(chan struct{}), nonces: map[string]entropy.Registered{},
		byID: map[entropy.AssignmentID]*fakeJob{}, claims: map[[2]uint64]entropy.ClaimReply{}, wants: map[[2]uint64]int{}, stops: map[entropy.AssignmentID]entropy.Reason{},
		blobs: map[string][]byte{}, staged: map[string][]byte{}, logs: map[string][]byte{}, calls: map[string]int{}}
}

func newFabric(t *testing.T) *fabric {
	f := newMemoryFabric()
	t.Cleanup(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, p := range f.problems {
			t.Error(p)
		}
	})
	return f
}

func (f *fabric) problem(format string, args ...any) {
	f.problems = append(f.problems, fmt.Sprintf(format, args...))
}

func (f *fabric) bump() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// enter applies the fault of a call. The caller does not hold mu.
func (f *fabric) enter(op string) (fault, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[op]++
	f.bump()
	if f.fault == nil {
		return fine, nil
	}
	switch x := f.fault(op, f.calls[op]); x {
	case refused:
		return x, entropy.Errorf(entropy.CodeUnavailable, "the fabric is down")
	case stale:
		return x, entropy.Errorf(entropy.CodeStale, "register again")
	default:
		return x, nil
	}
}

var errLost = entropy.Errorf(entropy.CodeUnknown, "the answer was lost")

func answer[T any](x fault, v T) (T, error) {
	if x == lostReply {
		var zero T
		return zero, errLost
	}
	return v, nil
}

// submit queues a job as attempt 1 of an assignment of the same name.
func (f *fabric) submit(id string, spec entropy.JobSpec) *fakeJob { return f.submitWith(id, spec) }

func (f *fabric) submitWith(id string, spec entropy.JobSpec, gpus ...entropy.GPUShare) *fakeJob {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := &fakeJob{spec: spec, gpus: gpus, job: entropy.JobID("job-" + id), id: entropy.AssignmentID(id), attempt: 1}
	f.queue = append(f.queue, j)
	f.bump()
	return j
}

// await blocks until ok holds of the fabric's state.
func (f *fabric) await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		f.mu.Lock()
		done, changed := ok(), f.changed
		f.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

func (f *fabric) awaitDone(t testing.TB, js ...*fakeJob) {
	t.Helper()
	f.await(t, "the jobs' completions", func() bool {
		return !slices.ContainsFunc(js, func(j *fakeJob) bool { return j.verdict == "" })
	})
}

func (f *fabric) do(g func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g()
	f.bump()
}

func (f *fabric) Register(_ context.Context, r entropy.Registration) (entropy.Registered, error) {
	x, err := f.enter("register")
	if err != nil {
		return entropy.Registered{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if reg, ok := f.nonces[r.Nonce]; ok {
		return answer(x, reg)
	}
	f.incarnation++
	reg := entropy.Registered{WorkerID: "w", Incarnation: f.incarnation, LeaseTTL: entropy.Duration(f.ttl), Heartbeat: entropy.Duration(f.interval)}
	held := map[entropy.AssignmentID]bool{}
	for _, h := range r.Inventory {
		held[h.AssignmentID] = true
		v := entropy.HeldVerdict{AssignmentID: h.AssignmentID, Verdict: entropy.VerdictStop}
		switch j := f.byID[h.AssignmentID]; {
		case j == nil, j.stopped:
		case h.Spooled:
			v.Verdict = entropy.VerdictReport
		case j.lost:
			j.lost, j.expires, v.Verdict = false, time.Now().Add(f.ttl), entropy.VerdictReattached
		default:
			j.expires, v.Verdict = time.Now().Add(f.ttl), entropy.VerdictKeep
		}
		reg.Held = append(reg.Held, v)
	}
	for id, j := range f.byID {
		if j.acked && j.verdict == "" && !held[id] {
			j.lost = true
			j.verdict = "forgotten"
		}
	}
	f.nonces[r.Nonce] = reg
	f.bump()
	return answer(x, reg)
}

func (f *fabric) current(incarnation uint64) error {
	if incarnation != f.incarnation {
		return entropy.Errorf(entropy.CodeStale, "incarnation %d is not %d", incarnation, f.incarnation)
	}
	return nil
}

func (f *fabric) Claim(ctx context.Context, c entropy.ClaimRequest) (entropy.ClaimReply, error) {
	x, err := f.enter("claim")
	if err != nil {
		return entropy.ClaimReply{}, err
	}
	key := [2]uint64{c.Incarnation, c.ClaimSeq}
	for {
		f.mu.Lock()
		if err := f.current(c.Incarnation); err != nil {
			f.mu.Unlock()
			return entropy.ClaimReply{}, err
		}
		if w, ok := f.wants[key]; ok && w != c.Want {
			f.problem("claim %v was repeated with want %d after %d", key, c.Want, w)
		}
		f.wants[key] = c.Want
		reply, ok := f.claims[key]
		if !ok && len(f.queue) > 0 {
			n := min(c.Want, len(f.queue))
			for _, j := range f.queue[:n] {
				f.byID[j.id] = j
				reply.Assignments = append(reply.Assignments, entropy.Assignment{JobID: j.job, AssignmentID: j.id, Attempt: j.attempt,
					TTL: entropy.Duration(f.ttl), AckTimeout: entropy.Duration(f.ackTimeout), GPUs: j.gpus, Checkpoints: j.from, Spec: j.spec})
			}
			f.queue = f.queue[n:]
			f.claims[key], ok = reply, true
		}
		changed := f.changed
		f.mu.Unlock()
		if ok {
			return answer(x, reply)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return entropy.ClaimReply{}, ctx.Err()
		}
	}
}

func (f *fabric) Ack(_ context.Context, r entropy.AckRequest) ([]entropy.ItemResult, error) {
	x, err := f.enter("ack")
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.current(r.Incarnation); err != nil {
		return nil, err
	}
	var out []entropy.ItemResult
	for _, it := range r.Items {
		res := entropy.ItemResult{AssignmentID: it.AssignmentID}
		if j := f.byID[it.AssignmentID]; j == nil || j.stopped {
			res.Error = entropy.Errorf(entropy.CodeSuperseded, "taken back")
		} else if !j.acked {
			j.acked, j.expires = true, time.Now().Add(f.ttl)
		}
		out = append(out, res)
	}
	f.bump()
	return answer(x, out)
}

func (f *fabric) Refuse(_ context.Context, r entropy.RefuseRequest) ([]entropy.ItemResult, error) {
	if _, err := f.enter("refuse"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]entropy.ItemResult, len(r.Items))
	for i, it := range r.Items {
		out[i].AssignmentID = it.AssignmentID
		if j := f.byID[it.AssignmentID]; j != nil {
			if j.acked {
				f.problem("%s was refused after its ACK", j.id)
			}
			j.refusal, j.verdict = &r.Items[i], "refusal"
		}
	}
	f.bump()
	return out, nil
}

func (f *fabric) Heartbeat(_ context.Context, h entropy.Heartbeat) (entropy.HeartbeatReply, error) {
	x, err := f.enter("heartbeat")
	if err != nil {
		return entropy.HeartbeatReply{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.current(h.Incarnation); err != nil {
		return entropy.HeartbeatReply{}, err
	}
	f.beats++
	f.lastHeld = h.Held
	for _, held := range h.Held {
		if j := f.byID[held.AssignmentID]; j != nil && j.acked && !j.stopped {
			j.expires, j.lost = time.Now().Add(f.ttl-f.deduct), false
		} else if !held.Spooled {
			f.stops[held.AssignmentID] = entropy.ReasonSuperseded
		}
	}
	f.bump()
	return answer(x, entropy.HeartbeatReply{Directives: f.directives(), Deduct: entropy.Duration(f.deduct)})
}

func (f *fabric) directives() entropy.Directives {
	d := entropy.Directives{Version: f.version}
	for _, id := range slices.Sorted(maps.Keys(f.stops)) {
		d.Stop = append(d.Stop, entropy.StopDirective{AssignmentID: id, Reason: f.stops[id]})
	}
	return d
}

func (f *fabric) stop(id entropy.AssignmentID, r entropy.Reason) {
	f.do(func() { f.stops[id] = r; f.version++ })
}

func (f *fabric) Directives(ctx context.Context, q entropy.DirectivesRequest) (entropy.Directives, error) {
	if _, err := f.enter("directives"); err != nil {
		return entropy.Directives{}, err
	}
	for {
		f.mu.Lock()
		d, err, changed := f.directives(), f.current(q.Incarnation), f.changed
		f.mu.Unlock()
		if err != nil || d.Version != q.Known {
			return d, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return entropy.Directives{}, ctx.Err()
		}
	}
}

func (f *fabric) Complete(_ context.Context, r entropy.CompleteRequest) ([]entropy.CompletionReply, error) {
	x, err := f.enter("complete")
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.current(r.Incarnation); err != nil {
		return nil, err
	}
	out := make([]entropy.CompletionReply, len(r.Items))
	for i := range r.Items {
		out[i] = f.judge(&r.Items[i])
	}
	f.bump()
	return answer(x, out)
}

func (f *fabric) judge(c *entropy.Completion) entropy.CompletionReply {
	reply := entropy.CompletionReply{AssignmentID: c.AssignmentID}
	j := f.byID[c.AssignmentID]
	if j == nil {
		reply.Verdict = entropy.VerdictNotFound
		return reply
	}
	j.completes++
	if c.SpoolID == "" || c.CompletionSeq == 0 {
		f.problem("completion of %s without spool id or number", c.AssignmentID)
	}
	if len(j.answers) > 0 {
		reply.Verdict, j.answers = j.answers[0], j.answers[1:]
		return reply
	}
	for _, a := range c.Artifacts {
		if b := f.staged[string(c.AssignmentID)+"/"+a.SHA256]; int64(len(b)) != a.Size || digest(b) != a.SHA256 {
			reply.Verdict, reply.Missing = entropy.VerdictReupload, append(reply.Missing, a.SHA256)
		}
	}
	if reply.Verdict != "" {
		return reply
	}
	if j.verdict != "" {
		reply.Verdict, reply.Repeat = j.verdict, true
		return reply
	}
	j.verdict, j.completion = entropy.VerdictAccepted, c
	if j.stopped {
		j.verdict = entropy.VerdictSuperseded
	}
	reply.Verdict = j.verdict
	return reply
}

func digest(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func (f *fabric) StageArtifact(_ context.Context, u entropy.ArtifactUpload, r io.Reader) (int64, error) {
	x, err := f.enter("stage")
	if err != nil {
		return 0, err
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key := string(u.AssignmentID) + "/" + u.SHA256
	f.staged[key] = splice(f.staged[key], b, u.Offset)
	if int64(len(f.staged[key])) == u.Size && digest(f.staged[key]) != u.SHA256 {
		delete(f.staged, key)
		return 0, entropy.Errorf(entropy.CodeInvalid, "the content has another hash")
	}
	return answer(x, int64(len(f.staged[key])))
}

// splice places b at an offset, unless that leaves a gap.
func splice(have, b []byte, offset int64) []byte {
	if offset > int64(len(have)) || offset+int64(len(b)) <= int64(len(have)) {
		return have
	}
	return append(have[:offset:offset], b...)
}

func (f *fabric) AppendLog(_ context.Context, u entropy.LogUpload, p []byte) (int64, error) {
	x, err := f.enter("log")
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key := string(u.AssignmentID) + "/" + u.Stream
	f.logs[key] = splice(f.logs[key], bytes.Clone(p), u.Offset)
	f.bump()
	return answer(x, int64(len(f.logs[key])))
}

func (f *fabric) OpenBlob(_ context.Context, hash string) (io.ReadCloser, error) {
	if _, err := f.enter("blob"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.blobs[hash]
	if !ok {
		return nil, entropy.Errorf(entropy.CodeNotFound, "no blob %s", hash)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (f *fabric) Leave(context.Context, entropy.LeaveRequest) error {
	_, err := f.enter("leave")
	return err
}
