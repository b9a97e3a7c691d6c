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
	Reason       string            `json:"reason"` // of the drain, quarantine or loss, for people
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

// Offers reports whether the worker can run the job at all: its labels match and
// it has the handler.
func (w *Worker) Offers(s *JobSpec) bool {
	if s.Handler != "" && !slices.Contains(w.Handlers, s.Handler) {
		return false
	}
	return s.Matches(w.Labels)
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
}
