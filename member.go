package entropy

import "time"

// MemberState is what gossip says of a node.
type MemberState string

// The states of a member.
const (
	MemberAlive  MemberState = "alive"
	MemberFailed MemberState = "failed" // it fell silent; its lease decides what that means
	MemberLeft   MemberState = "left"   // it said goodbye
)

// Member is a node as gossip sees it. It is a hint: what a worker may do is
// decided by its leases, never by its membership.
type Member struct {
	NodeID  string      `json:"node_id"` // of the data directory: survives restarts
	Name    string      `json:"name"`    // the worker's name; of a control plane, the host's
	Role    string      `json:"role"`    // "control" or "worker"
	State   MemberState `json:"state"`
	Address string      `json:"address"` // HOST:PORT it gossips at
	// API is the URL of a control plane's API; "" of a worker.
	API     string `json:"api,omitempty"`
	Version string `json:"version,omitempty"`
	BootID  string `json:"boot_id,omitempty"` // of its machine's kernel
	// Instance is made anew by every start of the node.
	Instance string    `json:"instance"`
	Since    time.Time `json:"since"` // when the state was first seen
	// RTT is the round-trip time of the newest direct probe by the node that was
	// asked; 0 when there was none yet.
	RTT Duration `json:"rtt,omitempty"`
	// Self marks the node that was asked.
	Self bool `json:"self,omitempty"`
}

// Gossip says how the control plane gossips, so that its workers can.
type Gossip struct {
	Address string `json:"address"` // HOST:PORT, UDP and TCP, as the control plane sees itself
	Profile string `json:"profile"` // "lan", "fast" or "wan"
}

// MemberList is the answer to who is a member.
type MemberList struct {
	Now     time.Time `json:"now"` // by the control plane's clock
	Members []Member  `json:"members"`
}
