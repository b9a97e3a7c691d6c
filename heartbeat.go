package entropy

// Heartbeat says that a worker is alive and what its executor holds. It names
// every assignment that is running, or has ended and is not yet decided.
type Heartbeat struct {
	Incarnation uint64 `json:"incarnation"`
	Seq         uint64 `json:"seq"` // rises with each heartbeat of an incarnation
	Held        []Held `json:"held,omitempty"`
	SlotsFree   int    `json:"slots_free"`
	Keyring     uint64 `json:"keyring,omitempty"` // as Registration.Keyring
}

// HeartbeatReply answers a heartbeat.
type HeartbeatReply struct {
	Epoch      uint64     `json:"epoch"`
	Directives Directives `json:"directives"`
	Keyring    uint64     `json:"keyring,omitempty"` // as Registered.Keyring

	// Deduct is what the worker takes off the time for which it trusts the leases
	// that this answer renews. A restart of the control plane could take the worker
	// for silent so much longer than it was, because that it was heard is not on
	// disk: the disk is full. Otherwise it is 0.
	Deduct Duration `json:"deduct,omitempty"`
}

// DirectivesRequest waits for directives to change.
type DirectivesRequest struct {
	Incarnation uint64   `json:"incarnation"`
	Known       uint64   `json:"known"` // Version of the last directives seen
	Wait        Duration `json:"wait"`
}

// Directives is everything the fabric wants a worker to do now. It is a state,
// not a queue: carrying one out twice is harmless.
type Directives struct {
	Version uint64          `json:"version"`
	Stop    []StopDirective `json:"stop,omitempty"`
	Drain   bool            `json:"drain,omitempty"`
}

// StopDirective asks that an assignment's processes be ended: TERM, grace, KILL.
type StopDirective struct {
	AssignmentID AssignmentID `json:"assignment_id"`
	Reason       Reason       `json:"reason"` // cancel, preempt, superseded, deadline
}
