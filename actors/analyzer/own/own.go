// Package own turns the fabric's own events into observations of what stays: the
// journal speaks of this job and that action, each of which happens once; what can
// be learned is how jobs of a name, a queue, a worker, a command or an executor
// behave. It is pure.
//
//	jobs:<name>        what happens to the jobs of a name, in order, and how long each step took;
//	                   step "attempt": how attempts end
//	queue:<name>       step "wait": how long jobs wait for a worker
//	worker:<name>      step "attempt": how attempts end there; step "ack": how long it takes to begin;
//	                   and its own life: registered, lost, returned, …
//	action:<command>   what happens to the actions of a command, in order
//	executor:<name>    by command: how long its attempts take, and how they end
//	schedule:<name>    step "fired", which recurs
package own

import (
	"encoding/json"
	"path"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer"
)

// The kinds of the entities that are observed and are not the journal's.
const (
	Jobs     = "jobs"     // the jobs of a name
	Queue    = "queue"    //
	Executor = "executor" //
)

// Attempt is the step under which it is counted how attempts end.
const Attempt = "attempt"

// Mapper maps events of the journal, in their order, to observations. What an event
// does not say it remembers from those before it; of jobs and actions beyond Limit
// it forgets those that it has not heard of longest, and then says less of them.
// The zero value is ready. It is owned by one goroutine.
type Mapper struct {
	// Limit is how many jobs and actions are remembered, at least, each; 0 means 100,000.
	Limit int

	jobs    remembered[*job]
	actions remembered[*action]
}

// job is what is remembered of an open job.
type job struct {
	name, queue, worker        string
	assignment                 string
	pending, assigned, started time.Time
	running                    bool
}

// action is what is remembered of an open action.
type action struct {
	executor string
	accepted time.Time
}

// Observations returns what an event says. The observations are valid for good.
func (m *Mapper) Observations(e *entropy.Event) []analyzer.Observation {
	if m.jobs.limit == 0 {
		m.jobs.limit = m.Limit
		if m.jobs.limit <= 0 {
			m.jobs.limit = 100_000
		}
		m.actions.limit = m.jobs.limit
	}
	kind, id := entropy.SplitEntity(e.EntityID)
	var all []analyzer.Observation
	switch kind {
	case entropy.KindJob:
		all = m.job(e, id)
	case entropy.KindAction:
		all = m.action(e, id)
	case entropy.KindWorker:
		all = []analyzer.Observation{{Entity: e.EntityID, Step: tail(e.Type), Case: "life/" + id}}
	case entropy.KindSchedule:
		if e.Type == entropy.ScheduleFired {
			all = []analyzer.Observation{{Entity: e.EntityID, Step: "fired"}}
		}
	}
	for i := range all {
		all[i].At, all[i].Source = e.TS, e.Source.System
	}
	return all
}

// tail returns what stands behind the dot of an event's type.
func tail(typ string) string { return typ[strings.LastIndexByte(typ, '.')+1:] }

// unordered are the events of jobs that say nothing of their order: wishes of
// people, and what is only on record.
var unordered = map[string]bool{
	entropy.JobHeld: true, entropy.JobUnheld: true, entropy.JobReprioritized: true, entropy.JobCancelRequested: true, entropy.JobPreemptRequested: true,
	entropy.JobCheckpointed: true, entropy.JobCheckpointRefused: true, entropy.JobEvidence: true, entropy.JobUnblocked: true, entropy.JobLateFailure: true,
}

// jobAttrs is what is read of a job's event.
type jobAttrs struct {
	Spec *struct {
		Name, Handler, Image, Queue string
		Command                     []string
	} `json:"spec"`
	State        entropy.State  `json:"state"`
	AssignmentID string         `json:"assignment_id"`
	WorkerID     string         `json:"worker_id"`
	Reason       entropy.Reason `json:"reason"`
	Cause        entropy.Cause  `json:"cause"`
}

func (m *Mapper) job(e *entropy.Event, id string) []analyzer.Observation {
	var attrs jobAttrs
	if len(e.Attrs) > 0 && json.Unmarshal(e.Attrs, &attrs) != nil {
		return nil
	}
	j := m.jobs.get(id)
	if j == nil {
		j = new(job)
		m.jobs.put(id, j)
	}
	j.learn(&attrs)
	if unordered[e.Type] {
		return nil
	}
	all := j.happened(e, &attrs, id)
	if j.name != "" { // one that was forgotten, or began before the ledger: its name is not known any more
		all = append(all, analyzer.Observation{Entity: entropy.Entity(Jobs, j.name), Step: tail(e.Type), Case: "job/" + id, Last: terminal[e.Type]})
	}
	if terminal[e.Type] {
		m.jobs.remove(id)
	}
	return all
}

var terminal = map[string]bool{entropy.JobSucceeded: true, entropy.JobFailed: true, entropy.JobCanceled: true,
	entropy.ActionSucceededType: true, entropy.ActionFailedType: true, entropy.ActionCanceledType: true}

// learn keeps what an event says of its job.
func (j *job) learn(attrs *jobAttrs) {
	if s := attrs.Spec; s != nil {
		j.name, j.queue = nameOf(s.Name, s.Handler, s.Image, s.Command), s.Queue
		if j.queue == "" {
			j.queue = "default"
		}
	}
	if attrs.WorkerID != "" {
		j.worker = attrs.WorkerID
	}
	if attrs.AssignmentID != "" {
		j.assignment = attrs.AssignmentID
	}
}

// happened moves a job on and returns what its event says of others.
func (j *job) happened(e *entropy.Event, attrs *jobAttrs, id string) (all []analyzer.Observation) {
	worker := entropy.Entity(entropy.KindWorker, j.worker)
	one := func(entity, step string, from time.Time) {
		o := analyzer.Observation{Entity: entity, Step: step, Case: entity + "/" + step + "/" + id + "/" + j.assignment, Alone: true}
		if !from.IsZero() {
			o.Timed, o.Latency = true, e.TS.Sub(from)
			all = append(all, o)
		}
	}
	switch e.Type {
	case entropy.JobSubmitted:
		if attrs.State == entropy.Pending {
			j.pending = e.TS
		}
	case entropy.JobEligible, entropy.JobRequeued:
		j.pending = e.TS
	case entropy.JobAssigned:
		if j.queue != "" {
			one(entropy.Entity(Queue, j.queue), "wait", j.pending)
		}
		j.assigned, j.started, j.running = e.TS, time.Time{}, false
	case entropy.JobStarted:
		if j.worker != "" {
			one(worker, "ack", j.assigned)
		}
		j.started, j.running = e.TS, true
	case entropy.JobReattached:
		j.running = true
	case entropy.JobPreempted, entropy.JobReleased:
		j.pending, j.running = e.TS, false
	case entropy.JobSucceeded:
		return append(all, j.ended(e.TS, worker, id, "succeeded")...)
	case entropy.JobAttemptFailed, entropy.JobFailed:
		if j.running {
			return append(all, j.ended(e.TS, worker, id, string(attrs.Reason))...)
		}
	case entropy.JobLost:
		if j.running && attrs.Cause != entropy.CauseOutage {
			return append(all, j.ended(e.TS, worker, id, "lost")...)
		}
	}
	return all
}

// ended says how an attempt ended: of the jobs of its name, how long it took too;
// of the worker, which has all kinds of jobs, only how.
func (j *job) ended(at time.Time, worker, id, outcome string) (all []analyzer.Observation) {
	j.running = false
	if outcome == "" {
		outcome = "failed"
	}
	o := analyzer.Observation{Step: Attempt, Outcome: outcome, Alone: true}
	if j.worker != "" {
		o.Entity, o.Case = worker, worker+"/"+Attempt+"/"+id+"/"+j.assignment
		all = append(all, o)
	}
	if j.name != "" {
		o.Entity, o.Case = entropy.Entity(Jobs, j.name), Jobs+"/"+Attempt+"/"+id+"/"+j.assignment
		if !j.started.IsZero() {
			o.Timed, o.Latency = true, at.Sub(j.started)
		}
		all = append(all, o)
	}
	return all
}

// maxName bounds a name, in bytes.
const maxName = 128

// nameOf returns by what name a job is known: its own, else what it runs.
func nameOf(name, handler, image string, command []string) string {
	switch {
	case name != "":
	case handler != "":
		name = handler
	case len(command) > 0:
		name = path.Base(command[0])
	default:
		name = image
	}
	return name[:min(len(name), maxName)]
}

// actionAttrs is what is read of an action's event.
type actionAttrs struct {
	Command    string                 `json:"command"`
	DryRun     bool                   `json:"dry_run"`
	Executor   string                 `json:"executor"`
	AttemptID  string                 `json:"attempt_id"`
	Outcome    entropy.AttemptOutcome `json:"outcome"`
	Kind       string                 `json:"kind"`
	DurationMS int64                  `json:"duration_ms"`
}

func (m *Mapper) action(e *entropy.Event, id string) (all []analyzer.Observation) {
	var attrs actionAttrs
	if len(e.Attrs) == 0 || json.Unmarshal(e.Attrs, &attrs) != nil || attrs.Command == "" || attrs.DryRun || e.Type == entropy.ActionEvidenceType ||
		e.Type == entropy.ActionCancelRequestedType {
		return nil
	}
	a := m.actions.get(id)
	if a == nil {
		a = new(action)
		m.actions.put(id, a)
	}
	if attrs.Executor != "" {
		a.executor = attrs.Executor
	}
	switch e.Type {
	case entropy.ActionAcceptedType:
		a.accepted = e.TS
	case entropy.ActionSucceededType, entropy.ActionFailedType, entropy.ActionRetryingType:
		all = a.ended(e, &attrs, id)
	}
	all = append(all, analyzer.Observation{Entity: entropy.Entity(entropy.KindAction, attrs.Command), Step: tail(e.Type), Case: "action/" + id, Last: terminal[e.Type]})
	if terminal[e.Type] {
		m.actions.remove(id)
	}
	return all
}

// ended says how an attempt of an executor ended, if one had it.
func (a *action) ended(e *entropy.Event, attrs *actionAttrs, id string) []analyzer.Observation {
	if a.executor == "" || a.accepted.IsZero() {
		return nil
	}
	o := analyzer.Observation{Entity: entropy.Entity(Executor, a.executor), Step: attrs.Command, Case: Executor + "/" + id + "/" + attrs.AttemptID, Alone: true,
		Timed: true, Latency: e.TS.Sub(a.accepted), Outcome: string(entropy.AttemptSucceeded)}
	if e.Type != entropy.ActionSucceededType {
		if o.Outcome = attrs.Kind; o.Outcome == "" {
			o.Outcome = string(entropy.AttemptFailed)
		}
	}
	if attrs.DurationMS > 0 {
		o.Latency = time.Duration(attrs.DurationMS) * time.Millisecond
	}
	a.executor, a.accepted = "", time.Time{}
	return []analyzer.Observation{o}
}

// remembered is a map of bounded size in two generations: what was not asked for
// while a whole generation came is forgotten.
type remembered[T any] struct {
	limit    int
	now, old map[string]T
}

func (r *remembered[T]) get(id string) (v T) {
	if v, ok := r.now[id]; ok {
		return v
	}
	v, ok := r.old[id]
	if ok {
		delete(r.old, id)
		r.put(id, v)
	}
	return v
}

func (r *remembered[T]) put(id string, v T) {
	if len(r.now) >= r.limit {
		r.now, r.old = nil, r.now
	}
	if r.now == nil {
		r.now = make(map[string]T)
	}
	r.now[id] = v
}

func (r *remembered[T]) remove(id string) { delete(r.now, id); delete(r.old, id) }
