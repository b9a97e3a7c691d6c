package entropy

import "time"

// PairRequest asks to be let in without a token; see cluster/identity for the
// protocol. Nothing in it is secret.
type PairRequest struct {
	Worker   WorkerID `json:"worker"`
	Hostname string   `json:"hostname"` // for people
	KeyHash  string   `json:"key_hash"` // SHA-256 of the worker's own key, hex
	// Commitment is the SHA-256 of a nonce that the worker reveals when it has the
	// control plane's.
	Commitment string `json:"commitment"`
}

// PairOffer is the control plane's part of a code.
type PairOffer struct {
	ID    string `json:"id"`    // of the pairing
	Nonce string `json:"nonce"` // 64 hex digits
}

// PairReveal is what the worker's commitment was of.
type PairReveal struct {
	Nonce string `json:"nonce"`
}

// PairState says whether an admin has confirmed a pairing.
type PairState struct {
	Confirmed bool `json:"confirmed"`
	// Proof shows that whoever confirmed it read the code from the worker's screen.
	Proof string `json:"proof,omitempty"`
}

// Pairing is a worker that waits to be let in without a token. All but Address and
// Check is its own word.
type Pairing struct {
	Worker   WorkerID `json:"worker"`
	Hostname string   `json:"hostname"`
	Address  string   `json:"address"` // where it calls from
	// Check is how the code on the worker's screen begins, if nobody stands between
	// the two.
	Check     string    `json:"check"`
	StartedAt time.Time `json:"started_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Confirmed bool      `json:"confirmed"`
}

// PairingList is the list of pairings, oldest first.
type PairingList struct {
	Pairings []Pairing `json:"pairings"`
}

// PairConfirm lets in the worker whose screen shows a code.
type PairConfirm struct {
	Code string `json:"code"`
}
