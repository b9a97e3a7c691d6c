package fleet

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

// Registry holds what everybody may know of the workers. It is safe for
// concurrent use and no method blocks.
type Registry struct {
	mu        sync.RWMutex
	workers   map[entropy.WorkerID]*seat
	reboots   map[entropy.WorkerID]time.Time
	silentIn  time.Duration
	probation atomic.Int64 // how many workers are on probation
}

// seat is a worker's place in the registry.
type seat struct {
	worker  *entropy.Worker // shared: nobody may change it
	session es.Ref
	heard   time.Duration // listening time of the last heartbeat; < 0: not since the start
	before  time.Duration // the same, as it was known at the start
	beat    *time.Time
	seq     uint64
	running int
	spooled int
	dead    bool // gossip says so; see Witness
}

// NewRegistry returns an empty registry. A worker that was not heard for
// silentIn counts as silent in [Registry.Outage].
func NewRegistry(silentIn time.Duration) *Registry {
	return &Registry{workers: make(map[entropy.WorkerID]*seat), reboots: make(map[entropy.WorkerID]time.Time), silentIn: silentIn}
}

func (r *Registry) seat(id entropy.WorkerID) *seat {
	s := r.workers[id]
	if s == nil {
		s = &seat{heard: -1}
		r.workers[id] = s
	}
	return s
}

// set records a worker's state after an event.
func (r *Registry) set(w *entropy.Worker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seat(w.ID)
	if s.worker != nil && s.worker.Probation > 0 {
		r.probation.Add(-1)
	}
	if s.worker = w; w.Probation > 0 {
		r.probation.Add(1)
	}
}

// Judge tells a worker on probation that a job ended well with it, or why not.
func (r *Registry) Judge(id entropy.WorkerID, good bool, why string) {
	if r.probation.Load() == 0 {
		return
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if s := r.workers[id]; s != nil && s.worker != nil && s.worker.Probation > 0 {
		s.session.Tell(&Judge{Good: good, Why: why})
	}
}

// attach records the actor of a worker.
func (r *Registry) attach(id entropy.WorkerID, session es.Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seat(id).session = session
}

// beat records a heartbeat.
func (r *Registry) beat(id entropy.WorkerID, h *entropy.Heartbeat, heard time.Duration, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seat(id)
	s.heard, s.beat, s.seq, s.running, s.spooled = heard, &now, h.Seq, 0, 0
	for _, x := range h.Held {
		if x.Spooled {
			s.spooled++
		} else {
			s.running++
		}
	}
}

// greet records that a worker was heard, by its registration.
func (r *Registry) greet(id entropy.WorkerID, heard time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seat(id).heard = heard
}

// Remember records when a worker was last heard before the start.
func (r *Registry) Remember(id entropy.WorkerID, heard time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seat(id).before = heard
}

// Heard returns the listening time of every worker's last heartbeat, be it of
// before the start.
func (r *Registry) Heard() map[entropy.WorkerID]time.Duration {
	r.mu.RLock()
	defer r.mu.RUnlock()
	m := make(map[entropy.WorkerID]time.Duration, len(r.workers))
	for id, s := range r.workers {
		if s.worker != nil {
			m[id] = max(s.heard, s.before)
		}
	}
	return m
}

// Eligible returns how many schedulable workers could run the spec.
func (r *Registry) Eligible(spec *entropy.JobSpec) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	n := 0
	for _, s := range r.workers {
		if s.worker != nil && s.worker.Schedulable() && s.worker.Offers(spec) {
			n++
		}
	}
	return n
}

// NobodyLeft reports whether every worker that could run the job, whether it is
// here now or not, is excluded from it; also counts as excluded.
func (r *Registry) NobodyLeft(j *entropy.Job, also entropy.WorkerID) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for id, s := range r.workers {
		if s.worker != nil && s.worker.State != entropy.WorkerLeft && s.worker.Offers(&j.Spec) && id != also && !j.Excludes(id) {
			return false
		}
	}
	return true
}

// Stop asks a worker to end an assignment.
func (r *Registry) Stop(w entropy.WorkerID, d entropy.StopDirective) {
	r.session(w).Tell(stopAssignment{d})
}

func (r *Registry) session(w entropy.WorkerID) es.Ref {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if s := r.workers[w]; s != nil {
		return s.session
	}
	return es.Ref{}
}

// List returns every worker by name.
func (r *Registry) List() []entropy.WorkerInfo {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []entropy.WorkerInfo
	for _, s := range r.workers {
		if s.worker != nil {
			all = append(all, s.info())
		}
	}
	slices.SortFunc(all, func(a, b entropy.WorkerInfo) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return all
}

// Info returns one worker.
func (r *Registry) Info(id entropy.WorkerID) (entropy.WorkerInfo, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s := r.workers[id]
	if s == nil || s.worker == nil {
		return entropy.WorkerInfo{}, false
	}
	return s.info(), true
}

func (s *seat) info() entropy.WorkerInfo {
	return entropy.WorkerInfo{Worker: *s.worker, LastHeartbeat: s.beat, HeartbeatSeq: s.seq, Running: s.running, Spooled: s.spooled}
}

// outageWindow is how close together reboots count as one outage.
const outageWindow = 2 * time.Minute

// Outage records that a worker's host has booted again and reports whether that
// is part of an outage: at least half of a fleet of two or more has booted within
// two minutes or is silent now. Losses by an outage spend no job's budget.
func (r *Registry) Outage(w entropy.WorkerID, listening time.Duration, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reboots[w] = now
	down, all := 0, 0
	for id, s := range r.workers {
		if s.worker == nil || s.worker.State == entropy.WorkerLeft {
			continue
		}
		all++
		at, rebooted := r.reboots[id]
		if rebooted && now.Sub(at) <= outageWindow || s.heard < 0 || listening-s.heard > r.silentIn {
			down++
		}
	}
	return all >= 2 && 2*down >= all
}
