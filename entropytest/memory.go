package entropytest

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Memory is a fabric in memory: the pure machines of package entropy behind one
// lock. It passes [Service], and is safe for concurrent use. It is made for
// tests: nothing is durable, no lease ever expires by itself, and an assignment
// that is not ACKed waits forever.
type Memory struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
	started time.Time
	jobs    map[entropy.JobID]*entropy.Job
	order   []entropy.JobID // oldest first
	arrays  map[entropy.JobID]*entropy.Array
	keys    map[string]entropy.JobID
	events  []entropy.Event
	workers map[entropy.WorkerID]*memoryWorker
	policy  entropy.Policy
	blobs   map[string][]byte
	staged  map[string][]byte // assignment/hash
	logs    map[string][]byte // assignment/stream

	schedules map[string]*entropy.Schedule // deleted ones too
	actions   memoryActions
}

var (
	_ entropy.Service       = (*Memory)(nil)
	_ entropy.WorkerService = (*Memory)(nil)
)

const memoryEpoch = 1

// NewMemory returns an empty fabric.
func NewMemory() *Memory {
	return &Memory{changed: make(chan struct{}), started: time.Now().UTC(), jobs: map[entropy.JobID]*entropy.Job{},
		arrays: map[entropy.JobID]*entropy.Array{}, keys: map[string]entropy.JobID{}, workers: map[entropy.WorkerID]*memoryWorker{},
		blobs: map[string][]byte{}, staged: map[string][]byte{}, logs: map[string][]byte{},
		schedules: map[string]*entropy.Schedule{}, actions: newMemoryActions()}
}

// Fabric returns m as the suite takes it.
func (m *Memory) Fabric() Fabric {
	return Fabric{Service: m, Worker: func(name entropy.WorkerID) entropy.WorkerService { return entropy.AsWorker(m, Principal(name)) }}
}

func notFound(kind, id string) error {
	return entropy.Errorf(entropy.CodeNotFound, "there is no %s %s", kind, id)
}

// bell wakes everybody who waits for a change. The caller holds the lock.
func (m *Memory) bell() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// until runs try under the lock until it reports true, limit has passed or ctx
// ends; only the last is an error.
func (m *Memory) until(ctx context.Context, limit time.Duration, try func() bool) error {
	deadline := time.Now().Add(limit)
	for {
		m.mu.Lock()
		next := m.wake()
		done, changed := try(), m.changed
		m.mu.Unlock()
		left := time.Until(deadline)
		if done || left <= 0 {
			return nil
		}
		if !next.IsZero() {
			left = min(left, time.Until(next)+time.Millisecond)
		}
		timer := time.NewTimer(left)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// wake lets time pass for every job and returns when the next needs that.
func (m *Memory) wake() (next time.Time) {
	for _, id := range m.order {
		_, _ = m.decide(m.jobs[id], entropy.Wake{}) // time cannot be refused
		if at := m.jobs[id].WakeAt(); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	m.settle()
	if at := m.wakeActions(); !at.IsZero() && (next.IsZero() || at.Before(next)) {
		next = at
	}
	return next
}

// decide carries out a command on a job. The caller holds the lock.
func (m *Memory) decide(j *entropy.Job, cmd entropy.JobCommand) (entropy.Decision, error) {
	d, err := j.Decide(cmd, time.Now())
	if err != nil || len(d.Events) == 0 {
		return d, err
	}
	next, err := j.Next(d.Events)
	if err != nil {
		return d, err
	}
	for i, e := range d.Events {
		env, err := e.Envelope()
		if err != nil {
			return d, err
		}
		m.append(env, entropy.Entity(entropy.KindJob, string(j.ID)), j.Version+uint64(i)+1)
	}
	m.jobs[j.ID] = next
	m.bell()
	return d, nil
}

func (m *Memory) append(e entropy.Event, entity string, version uint64) {
	e.Seq, e.EntityID, e.Version = uint64(len(m.events))+1, entity, version
	m.events = append(m.events, e)
}

// Submit implements [entropy.Service].
func (m *Memory) Submit(ctx context.Context, subs []entropy.Submission) ([]entropy.SubmitResult, error) {
	if len(subs) > entropy.MaxBatch {
		return nil, entropy.Errorf(entropy.CodeTooLarge, "%d submissions", len(subs))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if entropy.Grouped(subs) {
		return m.submitGroup(ctx, subs)
	}
	out := make([]entropy.SubmitResult, len(subs))
	for i, s := range subs {
		out[i] = m.submit(ctx, s)
	}
	return out, nil
}

func (m *Memory) submit(ctx context.Context, s entropy.Submission) entropy.SubmitResult {
	fail := func(err error) entropy.SubmitResult {
		return entropy.SubmitResult{ID: s.ID, Error: entropy.AsError(err)}
	}
	key := entropy.PrincipalFrom(ctx).String() + "/" + s.IdempotencyKey
	if s.IdempotencyKey != "" && s.ID == "" {
		s.ID = m.keys[key]
	}
	if s.ID == "" {
		s.ID = entropy.JobID(entropy.NewID())
	}
	sum, err := s.Spec.SpecHash()
	if err := cmp.Or(err, entropy.ValidateID("job ID", string(s.ID)), s.Spec.Validate()); err != nil {
		return fail(err)
	}
	if s.Spec.Array != nil {
		return fail(entropy.Errorf(entropy.CodeInvalid, "spec.array is set by the fabric"))
	}
	if m.arrays[s.ID] != nil {
		return fail(entropy.Errorf(entropy.CodeConflict, "%s is an array", s.ID))
	}
	j := m.jobs[s.ID]
	if j == nil {
		j = &entropy.Job{ID: s.ID}
	}
	d, err := m.decide(j, entropy.Submit{Spec: s.Spec, SpecHash: sum, Principal: entropy.PrincipalFrom(ctx).String(), Hold: s.Hold})
	if err != nil {
		return fail(err)
	}
	if !d.Repeat {
		m.order = append(m.order, s.ID)
		m.keys[key] = s.ID
	}
	return entropy.SubmitResult{ID: s.ID, Created: !d.Repeat}
}

// Job implements [entropy.Service].
func (m *Memory) Job(ctx context.Context, id entropy.JobID) (*entropy.Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wake()
	return m.seen(id)
}

// Jobs implements [entropy.Service]. A cursor is how many jobs to pass over.
func (m *Memory) Jobs(ctx context.Context, f entropy.JobFilter) (entropy.JobPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wake()
	skip, err := strconv.Atoi(cmp.Or(f.Cursor, "0"))
	if err != nil || skip < 0 || skip > len(m.order) {
		return entropy.JobPage{}, entropy.Errorf(entropy.CodeInvalid, "%q is not a cursor", f.Cursor)
	}
	var page entropy.JobPage
	for i := len(m.order) - 1 - skip; i >= 0; i-- {
		j := m.jobs[m.order[i]]
		if !f.Selects(j) {
			continue
		}
		if len(page.Jobs) == cmp.Or(f.Limit, 100) {
			page.Next = strconv.Itoa(len(m.order) - 1 - i)
			return page, nil
		}
		c := j.Clone()
		c.Attempts = nil
		page.Jobs = append(page.Jobs, c)
	}
	return page, nil
}

// Wait implements [entropy.Service].
func (m *Memory) Wait(ctx context.Context, ids []entropy.JobID, limit time.Duration) ([]*entropy.Job, error) {
	var done []*entropy.Job
	var missing error
	err := m.until(ctx, limit, func() bool {
		done = done[:0]
		for _, id := range ids {
			j, err := m.seen(id)
			if err != nil {
				missing = err
				return true
			}
			if j.State.Terminal() {
				done = append(done, j)
			}
		}
		return len(done) == len(ids)
	})
	return done, cmp.Or(missing, err)
}

// Events implements [entropy.Service].
func (m *Memory) Events(ctx context.Context, f entropy.EventFilter) (entropy.EventPage, error) {
	var page entropy.EventPage
	m.mu.Lock()
	last := uint64(len(m.events))
	m.mu.Unlock()
	if f.Latest {
		f.After = entropy.Position{Epoch: memoryEpoch, Seq: last}
	}
	if f.After != (entropy.Position{}) && (f.After.Epoch != memoryEpoch || f.After.Seq > last) {
		return page, entropy.Errorf(entropy.CodeConflict, "position %s is not of this journal", f.After).WithHint("start again from the beginning")
	}
	page.Next = entropy.Position{Epoch: memoryEpoch, Seq: f.After.Seq}
	err := m.until(ctx, f.Wait, func() bool {
		for _, e := range m.events[page.Next.Seq:] {
			if len(page.Events) == cmp.Or(f.Limit, 1000) {
				break
			}
			page.Next.Seq = e.Seq
			if (f.Entity == "" || e.EntityID == f.Entity) && matchesType(f.Type, e.Type) {
				page.Events = append(page.Events, e)
			}
		}
		return len(page.Events) > 0
	})
	return page, err
}

func matchesType(want, got string) bool {
	return want == "" || want == got || strings.HasSuffix(want, ".") && strings.HasPrefix(got, want)
}

// Log implements [entropy.Service].
func (m *Memory) Log(ctx context.Context, q entropy.LogQuery) (entropy.LogChunk, error) {
	var chunk entropy.LogChunk
	var missing error
	err := m.until(ctx, q.Wait, func() bool {
		j := m.jobs[q.JobID]
		if j == nil {
			missing = notFound("job", string(q.JobID))
			return true
		}
		a := logAttempt(j, q.Attempt)
		if a == nil {
			if q.Attempt != 0 {
				missing = notFound("attempt", strconv.Itoa(q.Attempt))
			}
			chunk.EOF = j.State.Terminal()
			return missing != nil || chunk.EOF
		}
		data := m.logs[string(a.AssignmentID)+"/"+q.Stream]
		from := q.Offset
		if from < 0 {
			from = max(0, int64(len(data))+from)
		}
		from = min(from, int64(len(data)))
		rest := data[from:]
		rest = rest[:min(len(rest), cmp.Or(q.Limit, 1<<20))]
		chunk = entropy.LogChunk{Data: bytes.Clone(rest), Next: from + int64(len(rest)), Attempt: a.Number}
		chunk.EOF = a.End != "" && chunk.Next == int64(len(data))
		return len(rest) > 0 || chunk.EOF
	})
	return chunk, cmp.Or(missing, err)
}

func logAttempt(j *entropy.Job, number int) *entropy.Attempt {
	for i := len(j.Attempts) - 1; i >= 0; i-- {
		if a := &j.Attempts[i]; a.Number == number || number == 0 && a.StartedAt != nil {
			return a
		}
	}
	return nil
}

// OpenArtifact implements [entropy.Service].
func (m *Memory) OpenArtifact(ctx context.Context, id entropy.JobID, name string) (io.ReadCloser, entropy.Artifact, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if j := m.jobs[id]; j != nil {
		for _, a := range j.Artifacts {
			if a.Name == name {
				return io.NopCloser(bytes.NewReader(m.blobs[a.SHA256])), a, nil
			}
		}
	}
	return nil, entropy.Artifact{}, notFound("artifact", name)
}

// PutBlob implements [entropy.Service].
func (m *Memory) PutBlob(ctx context.Context, sha256 string, size int64, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if int64(len(b)) != size || hash(b) != sha256 {
		return entropy.Errorf(entropy.CodeInvalid, "the content is not that of %s", sha256).WithHint("hash the file again and repeat")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[sha256] = b
	return nil
}

// HasBlobs implements [entropy.Service].
func (m *Memory) HasBlobs(ctx context.Context, sha256 []string) (missing []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range sha256 {
		if _, ok := m.blobs[s]; !ok {
			missing = append(missing, s)
		}
	}
	return missing, nil
}

// Workers implements [entropy.Service].
func (m *Memory) Workers(ctx context.Context) ([]entropy.WorkerInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []entropy.WorkerInfo
	for _, id := range slices.Sorted(maps.Keys(m.workers)) {
		out = append(out, m.workers[id].info())
	}
	return out, nil
}

// SetWorker implements [entropy.Service].
func (m *Memory) SetWorker(ctx context.Context, id entropy.WorkerID, mode entropy.WorkerMode, op entropy.Operation) (entropy.WorkerInfo, error) {
	event := map[entropy.WorkerMode]string{entropy.WorkerDrain: entropy.WorkerDrained, entropy.WorkerResume: entropy.WorkerResumed,
		entropy.WorkerQuarantine: entropy.WorkerWasQuarantined}[mode]
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.workers[id]
	if w == nil {
		return entropy.WorkerInfo{}, notFound("worker", string(id))
	}
	if err := m.mark(w, w.worker.Mark(event, op.Reason, op, time.Now())); err != nil {
		return entropy.WorkerInfo{}, err
	}
	return w.info(), nil
}

// Status implements [entropy.Service].
func (m *Memory) Status(ctx context.Context) (entropy.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := entropy.Status{Version: "memory", ClusterID: "memory", Epoch: memoryEpoch, Seq: uint64(len(m.events)), StartedAt: m.started,
		Jobs: map[entropy.State]int64{}, Workers: map[string]int{}, Relays: []entropy.RelayStatus{}, Alarms: []string{}, Counters: map[string]float64{}}
	for _, j := range m.jobs {
		s.Jobs[j.State]++
	}
	for _, w := range m.workers {
		s.Workers[string(w.worker.State)]++
	}
	return s, nil
}
