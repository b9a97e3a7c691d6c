package entropy

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// WorkerTransitions is the lifecycle table of a worker; see [JobTransitions].
var WorkerTransitions = []WorkerTransition{
	{"", WorkerRegistered, WorkerAlive, "incarnation 1"},
	{WorkerAlive, WorkerRegistered, WorkerAlive, "a new agent process: incarnation += 1"},
	{WorkerLost, WorkerRegistered, WorkerAlive, "back, in a new agent process"},
	{WorkerLeft, WorkerRegistered, WorkerAlive, "back after a goodbye"},
	{WorkerAlive, WorkerWentLost, WorkerLost, "silent for a whole lease TTL"},
	{WorkerLost, WorkerReturned, WorkerAlive, "the same agent process is heard again"},
	{WorkerAlive, WorkerDeparted, WorkerLeft, "it said goodbye"},

	{WorkerAlive, WorkerDrained, WorkerAlive, "takes no more work"},
	{WorkerLost, WorkerDrained, WorkerLost, ""},
	{WorkerLeft, WorkerDrained, WorkerLeft, ""},
	{WorkerAlive, WorkerResumed, WorkerAlive, "takes work again"},
	{WorkerLost, WorkerResumed, WorkerLost, ""},
	{WorkerLeft, WorkerResumed, WorkerLeft, ""},
	{WorkerAlive, WorkerWasQuarantined, WorkerAlive, "takes no more work until resumed"},
	{WorkerLost, WorkerWasQuarantined, WorkerLost, ""},
	{WorkerLeft, WorkerWasQuarantined, WorkerLeft, ""},
	{WorkerAlive, WorkerProved, WorkerAlive, "one job fewer of its probation"},
	{WorkerLost, WorkerProved, WorkerLost, ""},
	{WorkerLeft, WorkerProved, WorkerLeft, ""},
}

// WorkerTransition is one row of a worker's lifecycle table.
type WorkerTransition struct {
	From  WorkerState // "" before the worker is known
	Event string
	To    WorkerState
	Note  string
}

// WorkerSchema is the schema number of the worker events written now.
const WorkerSchema = 1

// WorkerEvent is one fact about a worker, decoded.
type WorkerEvent struct {
	Type  string
	TS    time.Time
	Attrs WorkerAttrs
}

// WorkerAttrs is what a worker's events carry.
type WorkerAttrs struct {
	Registration *Registration `json:"registration,omitempty"` // without its inventory
	Incarnation  uint64        `json:"incarnation,omitempty"`
	Reason       string        `json:"reason,omitempty"`
	Probation    int           `json:"probation,omitempty"` // resumed: see Worker.Probation
	Principal    string        `json:"principal,omitempty"`
	Operation    string        `json:"operation_id,omitempty"`
}

// Envelope returns e in the one envelope. The journal adds Seq, EntityID and Version.
func (e *WorkerEvent) Envelope() (Event, error) {
	attrs, err := json.Marshal(&e.Attrs)
	if err != nil {
		return Event{}, fmt.Errorf("encode %s: %w", e.Type, err)
	}
	return Event{ID: NewID(), TS: e.TS, Type: e.Type, IdempotencyKey: e.Attrs.Operation, Source: fabricSource, Attrs: attrs, Schema: WorkerSchema}, nil
}

// DecodeWorkerEvent reads a worker's event from its envelope.
func DecodeWorkerEvent(e Event) (WorkerEvent, error) {
	if e.Schema > WorkerSchema {
		return WorkerEvent{}, Errorf(CodeInvalid, "event %s has schema %d, this program knows up to %d", e.ID, e.Schema, WorkerSchema)
	}
	d := WorkerEvent{Type: e.Type, TS: e.TS}
	if err := json.Unmarshal(e.Attrs, &d.Attrs); err != nil {
		return WorkerEvent{}, fmt.Errorf("decode %s: %w", e.Type, err)
	}
	return d, nil
}

// Apply makes w the state after e. On an error w is as it was.
func (w *Worker) Apply(e WorkerEvent) error {
	next, ok := nextWorkerState(w.State, e.Type)
	if !ok {
		return fmt.Errorf("worker %s: event %s is not allowed in state %q", w.ID, e.Type, w.State)
	}
	if e.Type == WorkerRegistered && (e.Attrs.Registration == nil || e.Attrs.Incarnation <= w.Incarnation) {
		return fmt.Errorf("worker %s: registration with incarnation %d after %d", w.ID, e.Attrs.Incarnation, w.Incarnation)
	}
	w.apply(e)
	w.State = next
	w.Version++
	return nil
}

func nextWorkerState(from WorkerState, event string) (WorkerState, bool) {
	for _, t := range WorkerTransitions {
		if t.From == from && t.Event == event {
			return t.To, true
		}
	}
	return "", false
}

func (w *Worker) apply(e WorkerEvent) {
	switch e.Type {
	case WorkerRegistered:
		r := e.Attrs.Registration
		w.Incarnation = e.Attrs.Incarnation
		if w.Nonce != "" {
			w.PastNonces = append(w.PastNonces, w.Nonce)
			w.PastNonces = slices.Clone(w.PastNonces[max(0, len(w.PastNonces)-MaxPastNonces):])
		}
		w.KeyHash, w.Nonce, w.BootID, w.SpoolID = r.KeyHash, r.Nonce, r.BootID, r.SpoolID
		w.Hostname, w.AgentVersion, w.Slots = r.Hostname, r.Version, r.Slots
		w.Labels, w.Resources, w.Handlers = r.Labels, r.Resources, r.Handlers
		w.RegisteredAt, w.LostAt = e.TS, nil
		w.explain("")
	case WorkerWentLost:
		w.LostAt = &e.TS
		w.explain(e.Attrs.Reason)
	case WorkerReturned:
		w.LostAt = nil
		w.explain("")
	case WorkerDeparted:
		w.LostAt = nil
		w.explain(e.Attrs.Reason)
	case WorkerDrained:
		w.Draining, w.Reason = true, e.Attrs.Reason
	case WorkerResumed:
		w.Draining, w.Quarantined, w.Reason, w.Probation = false, false, "", e.Attrs.Probation
	case WorkerWasQuarantined:
		w.Quarantined, w.Reason, w.Probation = true, e.Attrs.Reason, 0
	case WorkerProved:
		w.Probation = max(w.Probation-1, 0)
	}
}

// explain sets the reason, but leaves that of a drain or a quarantine, which
// outlasts every silence.
func (w *Worker) explain(reason string) {
	if !w.Draining && !w.Quarantined {
		w.Reason = reason
	}
}

// Register decides on a registration: the events to append and whether the
// worker's host has booted since the last one.
func (w *Worker) Register(r Registration, now time.Time) (events []WorkerEvent, rebooted bool, err error) {
	if err := r.validate(); err != nil {
		return nil, false, err
	}
	if w.State != "" && w.KeyHash != r.KeyHash {
		return nil, false, Errorf(CodeConflict, "a worker named %s is already known, with another key (host %s)", w.ID, w.Hostname).
			WithHint("give this worker another --name, or copy worker.key from the old data directory if it is the same machine")
	}
	if w.State != "" && w.Nonce == r.Nonce {
		return nil, false, nil // a repeat: the answer was lost on its way
	}
	if slices.Contains(w.PastNonces, r.Nonce) {
		// Delayed on its way: its inventory is out of date and would end what runs.
		return nil, false, Errorf(CodeStale, "worker %s has registered again since this registration was sent", w.ID).WithHint("register anew")
	}
	rebooted = w.State != "" && w.BootID != r.BootID
	r.Inventory = nil
	return []WorkerEvent{{Type: WorkerRegistered, TS: now.UTC().Truncate(time.Millisecond),
		Attrs: WorkerAttrs{Registration: &r, Incarnation: w.Incarnation + 1}}}, rebooted, nil
}

func (r *Registration) validate() error {
	switch {
	case r.Nonce == "" || len(r.Nonce) > MaxIDLength:
		return Errorf(CodeInvalid, "registration: nonce must have 1 to %d bytes", MaxIDLength)
	case r.Slots < 1 || r.Slots > 100_000:
		return Errorf(CodeInvalid, "registration: %d slots; a worker has 1 to 100,000", r.Slots)
	case len(r.Labels) > MaxLabels || len(r.Handlers) > 1000 || len(r.Resources) > MaxLabels:
		return Errorf(CodeInvalid, "registration: too many labels, resources or handlers")
	case r.BootID == "" || r.SpoolID == "":
		return Errorf(CodeInvalid, "registration: boot_id and spool_id are required")
	}
	return nil
}

// Mark decides on a change of state or mode: event is one of the worker's event
// types but a registration. What is already so yields no events.
func (w *Worker) Mark(event, reason string, op Operation, now time.Time) []WorkerEvent {
	if _, ok := nextWorkerState(w.State, event); !ok {
		return nil
	}
	switch {
	case event == WorkerDrained && w.Draining, event == WorkerWasQuarantined && w.Quarantined,
		event == WorkerResumed && !w.Draining && !w.Quarantined && w.Probation == 0:
		return nil
	}
	a := WorkerAttrs{Reason: cut(reason), Operation: op.ID}
	if event == WorkerResumed && w.Quarantined {
		a.Probation = ProbationJobs // resumed once more, it is trusted at once
	}
	return []WorkerEvent{{Type: event, TS: now.UTC().Truncate(time.Millisecond), Attrs: a}}
}

// Judge decides what a worker on probation has shown: a job that ended well
// brings it nearer to being trusted, one that it lost or broke under puts it back
// into quarantine. Why says which.
func (w *Worker) Judge(good bool, why string, now time.Time) []WorkerEvent {
	if w.Probation == 0 {
		return nil
	}
	if good {
		return w.Mark(WorkerProved, "", Operation{}, now)
	}
	return w.Mark(WorkerWasQuarantined, "on probation: "+why, Operation{}, now)
}
