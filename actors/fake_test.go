package actors_test

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
	"github.com/entropy-fabric/entropy/entropytest"
)

// memory is a journal without a disk: what a real one does, at once. Its fields
// below fail may be set to make it misbehave.
type memory struct {
	entropytest.Queries
	mu       sync.Mutex
	taps     []func([]entropy.Change)
	jobs     map[entropy.JobID]*entropy.Job
	workers  map[entropy.WorkerID]*entropy.Worker
	docs     map[string]entropy.Document
	ops      map[string]*entropy.OperationRecord
	claims   map[entropy.WorkerID]claim
	events   []entropy.Event
	liveness actors.Liveness
	fatal    chan struct{}

	fail     func(entropy.Change) error // nil: no failure
	lie      func(entropy.Change) error // as fail, but the change is stored all the same
	readOnly bool
	hold     chan struct{} // not nil: appends wait until it is closed

	unreadable error // what reading the queue gives
}

type claim struct {
	incarnation, seq uint64
	items            []entropy.Held
}

func newMemory() *memory {
	m := &memory{jobs: map[entropy.JobID]*entropy.Job{}, workers: map[entropy.WorkerID]*entropy.Worker{}, docs: map[string]entropy.Document{},
		ops: map[string]*entropy.OperationRecord{}, claims: map[entropy.WorkerID]claim{}, fatal: make(chan struct{})}
	return m.answering()
}

// answering gives m its queries.
func (m *memory) answering() *memory {
	m.Each = func(f func(*entropy.Job) error) error { return m.each(f, func(*entropy.Job) bool { return true }) }
	return m
}

// restart returns a journal with the same content and no taps.
func (m *memory) restart() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := &memory{jobs: maps.Clone(m.jobs), workers: maps.Clone(m.workers), docs: maps.Clone(m.docs), ops: maps.Clone(m.ops), claims: maps.Clone(m.claims),
		events: slices.Clone(m.events), liveness: m.liveness, fatal: make(chan struct{})}
	return next.answering()
}

func (m *memory) Append(_ context.Context, changes ...entropy.Change) (entropy.Position, error) {
	m.mu.Lock()
	hold := m.hold
	m.mu.Unlock()
	if hold != nil {
		<-hold
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range changes {
		if err := m.check(&changes[i]); err != nil {
			return entropy.Position{}, err
		}
	}
	for i := range changes {
		m.store(&changes[i])
	}
	for _, f := range m.taps {
		f(changes)
	}
	if m.lie != nil {
		if err := m.lie(changes[0]); err != nil {
			return entropy.Position{}, err
		}
	}
	return m.position(), nil
}

// set makes the journal misbehave from now on; nil ends that.
func (m *memory) set(fail func(entropy.Change) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = fail
}

// watch calls f at every append.
func (m *memory) watch(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.taps = append(m.taps, func([]entropy.Change) { f() })
}

func (m *memory) check(ch *entropy.Change) error {
	if m.fail != nil {
		if err := m.fail(*ch); err != nil {
			return err
		}
	}
	if op := ch.Operation; op != nil && m.ops[op.Principal+" "+op.ID] != nil {
		return entropy.Errorf(entropy.CodeConflict, "operation %s was carried out before", op.ID)
	}
	var have uint64
	switch s := ch.State.(type) {
	case *entropy.Job:
		if j := m.jobs[s.ID]; j != nil {
			have = j.Version
		}
	case *entropy.Worker:
		if w := m.workers[s.ID]; w != nil {
			have = w.Version
		}
	case entropy.Document:
		if d := m.docs[ch.Entity]; d != nil {
			_, have = d.Entity()
		}
	}
	if op := ch.Operation; op != nil && m.ops[op.Principal+" "+op.ID] != nil {
		return entropy.Errorf(entropy.CodeConflict, "operation %s was carried out before", op.ID)
	}
	if have != ch.Expected && len(ch.Events) > 0 {
		return entropy.Errorf(entropy.CodeConflict, "%s is at version %d, not %d", ch.Entity, have, ch.Expected)
	}
	return nil
}

func (m *memory) store(ch *entropy.Change) {
	for i := range ch.Events {
		e := &ch.Events[i]
		e.EntityID, e.Version, e.Seq = ch.Entity, ch.Expected+uint64(i)+1, uint64(len(m.events))+1
		m.events = append(m.events, *e)
	}
	if op := ch.Operation; op != nil {
		m.ops[op.Principal+" "+op.ID] = op
	}
	switch s := ch.State.(type) {
	case *entropy.Worker:
		m.workers[s.ID] = s
	case entropy.Document:
		m.docs[ch.Entity] = s
	case *entropy.Job:
		m.jobs[s.ID] = s
		if l := s.Lease; l != nil && ch.Events[len(ch.Events)-1].Type == entropy.JobAssigned {
			c := m.claims[l.WorkerID]
			if c.incarnation != l.Incarnation || c.seq != l.ClaimSeq {
				c = claim{incarnation: l.Incarnation, seq: l.ClaimSeq}
			}
			c.items = append(slices.Clone(c.items), entropy.Held{JobID: s.ID, AssignmentID: l.AssignmentID})
			m.claims[l.WorkerID] = c
		}
	}
}

func (m *memory) position() entropy.Position {
	return entropy.Position{Epoch: 1, Seq: uint64(len(m.events))}
}

func (m *memory) Tap(f func([]entropy.Change)) { m.taps = append(m.taps, f) }

func (m *memory) Job(_ context.Context, id entropy.JobID) (*entropy.Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if j := m.jobs[id]; j != nil {
		return j, nil
	}
	return nil, entropy.Errorf(entropy.CodeNotFound, "there is no job %s", id)
}

func (m *memory) Jobs(_ context.Context, f entropy.JobFilter) (entropy.JobPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var page entropy.JobPage
	for _, j := range m.jobs {
		if len(f.States) == 0 || slices.Contains(f.States, j.State) {
			page.Jobs = append(page.Jobs, j)
		}
	}
	return page, nil
}

func (m *memory) Events(_ context.Context, f entropy.EventFilter) (entropy.EventPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	page := entropy.EventPage{Next: m.position()}
	for _, e := range m.events {
		if e.Seq > f.After.Seq && !f.Latest && (f.Entity == "" || e.EntityID == f.Entity) {
			page.Events = append(page.Events, e)
		}
	}
	return page, nil
}

func (m *memory) Counts(context.Context) (map[entropy.State]int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := make(map[entropy.State]int64)
	for _, j := range m.jobs {
		counts[j.State]++
	}
	return counts, nil
}

func (m *memory) Workers(context.Context) ([]*entropy.Worker, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.workers)), nil
}

func (m *memory) Retried(context.Context) (map[string]int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := make(map[string]int)
	for _, j := range m.jobs {
		if j.Retried() {
			n[j.QueueName()]++
		}
	}
	return n, nil
}

func (m *memory) Document(_ context.Context, entity string) (entropy.Document, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.docs[entity]; d != nil {
		return d, nil
	}
	return nil, entropy.Errorf(entropy.CodeNotFound, "there is no %s", entity)
}

func (m *memory) Documents(_ context.Context, kind string, f func(entropy.Document) error) error {
	m.mu.Lock()
	docs := maps.Clone(m.docs)
	m.mu.Unlock()
	for _, entity := range slices.Sorted(maps.Keys(docs)) {
		if k, _ := entropy.SplitEntity(entity); k == kind {
			if err := f(docs[entity]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *memory) Actions(_ context.Context, f entropy.ActionFilter) (entropy.ActionPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*entropy.Action
	for i := range m.events {
		if a, ok := m.docs[m.events[i].EntityID].(*entropy.Action); ok && m.events[i].Type == entropy.ActionRequestedType {
			all = append(all, a)
		}
	}
	return entropytest.SelectActions(all, f)
}

func (m *memory) Leases(_ context.Context, w entropy.WorkerID) ([]entropy.Held, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var held []entropy.Held
	for _, j := range m.jobs {
		if j.Lease != nil && j.Lease.WorkerID == w {
			held = append(held, entropy.Held{JobID: j.ID, AssignmentID: j.Lease.AssignmentID})
		}
	}
	return held, nil
}

func (m *memory) LastClaim(_ context.Context, w entropy.WorkerID) (uint64, uint64, []entropy.Held, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.claims[w]
	return c.incarnation, c.seq, c.items, nil
}

func (m *memory) Operation(_ context.Context, principal, id string) (*entropy.OperationRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops[principal+" "+id], nil
}

func (m *memory) each(f func(*entropy.Job) error, want func(*entropy.Job) bool) error {
	m.mu.Lock()
	jobs := slices.Collect(maps.Values(m.jobs))
	m.mu.Unlock()
	for _, j := range jobs {
		if want(j) {
			if err := f(j); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *memory) EachQueued(_ context.Context, f func(*entropy.Job) error) error {
	if m.unreadable != nil {
		return m.unreadable
	}
	return m.each(f, func(j *entropy.Job) bool { return j.State == entropy.Pending })
}

func (m *memory) EachLeased(_ context.Context, f func(*entropy.Job) error) error {
	return m.each(f, func(j *entropy.Job) bool { return j.Lease != nil })
}

func (m *memory) EachWake(_ context.Context, f func(entropy.JobID, time.Time) error) error {
	return m.each(func(j *entropy.Job) error { return f(j.ID, j.WakeAt()) }, func(j *entropy.Job) bool { return !j.WakeAt().IsZero() })
}

func (m *memory) SaveLiveness(_ context.Context, l actors.Liveness) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.readOnly {
		return entropy.Errorf(entropy.CodeDiskFull, "full")
	}
	m.liveness = l
	return nil
}

func (m *memory) LoadLiveness(context.Context) (actors.Liveness, error) { return m.liveness, nil }
func (m *memory) ClusterID() string                                     { return "test" }
func (m *memory) Fatal() <-chan struct{}                                { return m.fatal }

func (m *memory) Position() entropy.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.position()
}

func (m *memory) ReadOnly() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.readOnly
}

// shelf is a store in memory.
type shelf struct {
	mu     sync.Mutex
	blobs  map[string][]byte
	staged map[string][]byte
	logs   map[string][]byte
}

func newShelf() *shelf {
	return &shelf{blobs: map[string][]byte{}, staged: map[string][]byte{}, logs: map[string][]byte{}}
}

func (s *shelf) Put(_ context.Context, hash string, _ int64, r io.Reader) error {
	b, err := io.ReadAll(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[hash] = b
	return err
}

func (s *shelf) Missing(hashes []string) (missing []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range hashes {
		if _, ok := s.blobs[h]; !ok {
			missing = append(missing, h)
		}
	}
	return missing
}

type nopSeekCloser struct{ *bytes.Reader }

func (nopSeekCloser) Close() error { return nil }

func (s *shelf) Open(hash string) (io.ReadSeekCloser, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.blobs[hash]
	if !ok {
		return nil, 0, entropy.Errorf(entropy.CodeNotFound, "no blob %s", hash)
	}
	return nopSeekCloser{bytes.NewReader(b)}, int64(len(b)), nil
}

func (s *shelf) Stage(_ context.Context, a entropy.AssignmentID, hash string, _, _ int64, r io.Reader) (int64, error) {
	b, err := io.ReadAll(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.staged[string(a)+hash] = b
	return int64(len(b)), err
}

func (s *shelf) Publish(_ context.Context, a entropy.AssignmentID, arts []entropy.Artifact) (missing []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, art := range arts {
		if b, ok := s.staged[string(a)+art.SHA256]; ok {
			s.blobs[art.SHA256] = b
		} else if _, ok := s.blobs[art.SHA256]; !ok {
			missing = append(missing, art.SHA256)
		}
	}
	return missing, nil
}

func (s *shelf) Discard(entropy.AssignmentID) {}

func (s *shelf) AppendLog(a entropy.AssignmentID, stream string, offset int64, p []byte) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := string(a) + stream
	if have := int64(len(s.logs[k])); offset <= have && offset+int64(len(p)) > have {
		s.logs[k] = append(s.logs[k], p[have-offset:]...)
	}
	return int64(len(s.logs[k])), nil
}

func (s *shelf) ReadLog(a entropy.AssignmentID, stream string, offset int64, limit int) ([]byte, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.logs[string(a)+stream]
	if offset >= int64(len(b)) {
		return nil, offset, nil
	}
	end := min(int64(len(b)), offset+int64(limit))
	return b[offset:end], end, nil
}

func (s *shelf) LogSize(a entropy.AssignmentID, stream string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.logs[string(a)+stream]))
}
