package entropy

import (
	"encoding/json"
	"slices"
	"time"
)

// Worker is the state of one worker node: the fold of its events by [Worker.Apply].
type Worker struct {
	ID           WorkerID          `json:"id"`
	Version      uint64            `json:"version"`
	State        WorkerState       `json:"state"`
	Incarnation  uint64            `json:"incarnation"` // of the agent process; assigned here, only rises
	KeyHash      string            `json:"key_hash"`
	Nonce        string            `json:"nonce"`                 // of the newest registration
	PastNonces   []string          `json:"past_nonces,omitempty"` // of those before it, newest last, at most MaxPastNonces
	BootID       string            `json:"boot_id"`
	SpoolID      string            `json:"spool_id"`
	Hostname     string            `json:"hostname"`
	AgentVersion string            `json:"agent_version"`
	Slots        int               `json:"slots"`
	Labels       map[string]string `json:"labels"`
	Resources    Resources         `json:"resources"`
	Handlers     []string          `json:"handlers"`
	Draining     bool              `json:"draining"`
	Quarantined  bool              `json:"quarantined"`
	Probation    int               `json:"probation"` // how many jobs must end well before it is trusted again; 0: it is
	Reason       string            `json:"reason"`    // of the drain, quarantine or loss, for people
	RegisteredAt time.Time         `json:"registered_at"`
	LostAt       *time.Time        `json:"lost_at"`
}

// MaxPastNonces bounds Worker.PastNonces. A registration that was delayed for
// longer than this many newer ones would be taken for a new agent process.
const MaxPastNonces = 8

// Schedulable reports whether the worker may be given work.
func (w *Worker) Schedulable() bool {
	return w.State == WorkerAlive && !w.Draining && !w.Quarantined
}

// Capacity returns how many jobs the worker may run at once: its slots, or one on
// probation.
func (w *Worker) Capacity() int {
	if w.Probation > 0 {
		return min(1, w.Slots)
	}
	return w.Slots
}

// ProbationJobs is how many jobs must end well, one at a time, before a worker
// that was quarantined is trusted again.
const ProbationJobs = 3

// LabelContainer is the label of workers that run container images. Its value is
// the name of their container runtime, as "podman".
const LabelContainer = "container"

// Offers reports whether the worker can run the job at all: it has the handler,
// or a container runtime for the image, and for one of the job's needs it carries
// the labels and has the resources, be they free or not.
func (w *Worker) Offers(s *JobSpec) bool {
	if s.Handler != "" && !slices.Contains(w.Handlers, s.Handler) {
		return false
	}
	if s.Image != "" && w.Labels[LabelContainer] == "" {
		return false
	}
	if len(s.AnyOf) == 0 {
		return s.Matches(w.Labels) && w.Resources.Fits(s.Resources)
	}
	return slices.ContainsFunc(s.Needs(), func(n Need) bool { return n.Matches(w.Labels) && w.Resources.Fits(n.Resources) })
}

// Clone returns a copy of w that shares nothing Apply may change.
func (w *Worker) Clone() *Worker {
	c := *w
	c.PastNonces = slices.Clone(w.PastNonces)
	return &c
}

// EncodeRecord returns the journal's record of w.
func (w *Worker) EncodeRecord() ([]byte, error) { return json.Marshal(w) }

// DecodeWorker rebuilds a worker from its record.
func DecodeWorker(record []byte) (*Worker, error) {
	w := new(Worker)
	return w, json.Unmarshal(record, w)
}

// Token is a credential of a person or a program, as the fabric stores it. It
// holds no secret.
type Token struct {
	ID        string     `json:"id"`
	Version   uint64     `json:"version"`
	Role      Role       `json:"role"`
	Hash      string     `json:"hash"` // SHA-256 of the secret, hex
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	Revoked   bool       `json:"revoked,omitempty"`
	Note      string     `json:"note,omitempty"`       // for people
	CreatedBy string     `json:"created_by,omitempty"` // Principal.String; "" for the first tokens
	MaxUses   int        `json:"max_uses,omitempty"`   // of a join token: how many workers may join; 0 means any number
	Uses      int        `json:"uses,omitempty"`       // how many have
	Refused   int        `json:"refused,omitempty"`    // see TokenRefused
	Beacon    string     `json:"beacon,omitempty"`     // of a join token: its key in discovery, sealed by the control plane for itself

	// Of a token for the bus: see [TokenSpec].
	Name      string   `json:"name,omitempty"`
	Commands  []string `json:"commands,omitempty"`
	PublicKey string   `json:"public_key,omitempty"`

	// Former is the secret that the newest rotation replaced; nil before the first.
	Former *FormerSecret `json:"former,omitempty"`
}

// FormerSecret is a token's secret that was replaced and is good for a while yet.
type FormerSecret struct {
	Hash   string    `json:"hash"`
	Beacon string    `json:"beacon,omitempty"`
	Until  time.Time `json:"until"`
}
