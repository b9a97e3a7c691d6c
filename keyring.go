package entropy

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// KeyStage is how far a rotation of the cluster's keys is.
type KeyStage string

// The stages, in order.
const (
	KeysSettled   KeyStage = "settled"   // no rotation: one key
	KeysInstalled KeyStage = "installed" // the fresh key is accepted, the old one is used
	KeysUsed      KeyStage = "used"      // the fresh key is used, the old one is still accepted
)

// KeyRotation is the state of the keys that the cluster's members share: those of
// gossip and of the search for the control plane. It names no key.
type KeyRotation struct {
	Stage   KeyStage `json:"stage"`
	Version uint64   `json:"version"` // of the keyring; each step raises it by one
	// StartedBy and StartedAt are of the newest rotation; nothing was ever rotated
	// while StartedAt is nil.
	StartedBy string     `json:"started_by"`
	StartedAt *time.Time `json:"started_at"`
	// Waiting are the live workers that have not confirmed the stage yet. Until is
	// when the rotation goes on without them; nil when it is settled.
	Waiting []WorkerID `json:"waiting"`
	Until   *time.Time `json:"until"`
	// Behind are the workers that were alive and that the newest rotation went on
	// without. Their leases are as good as ever; their gossip is refused until they
	// have fetched the key, which they do as soon as they reach the control plane.
	Behind []WorkerID `json:"behind"`
}

// The types of the keyring's events.
const (
	KeyRotationStarted = "keyring.rotation_started"
	KeysRotated        = "keyring.rotated"
)

// The keyring's entity kind; its one entity is KeyringID.
const (
	KindKeyring = "keyring"
	KeyringID   = "cluster"
)

// KeyringRecord is what the journal has of the cluster's keyring: its rotations,
// and no key. It implements [Document].
type KeyringRecord struct {
	Version   uint64     `json:"version"`
	Rotating  bool       `json:"rotating,omitempty"`
	From      uint64     `json:"from"` // the keyring's version when the newest rotation began
	StartedBy string     `json:"started_by"`
	StartedAt time.Time  `json:"started_at"`
	Behind    []WorkerID `json:"behind,omitempty"` // see KeyRotation
}

// keyringAttrs is what the keyring's events carry.
type keyringAttrs struct {
	Keyring   uint64     `json:"keyring"` // its version
	Principal string     `json:"principal,omitempty"`
	Behind    []WorkerID `json:"behind,omitempty"`
}

// Start returns the change that records the beginning of a rotation of a keyring
// of this version.
func (k *KeyringRecord) Start(keyring uint64, principal string, now time.Time) (Change, error) {
	return k.change(KeyRotationStarted, keyringAttrs{Keyring: keyring, Principal: principal}, now)
}

// Finish returns the change that records the end of the rotation.
func (k *KeyringRecord) Finish(keyring uint64, behind []WorkerID, now time.Time) (Change, error) {
	return k.change(KeysRotated, keyringAttrs{Keyring: keyring, Behind: behind}, now)
}

func (k *KeyringRecord) change(event string, a keyringAttrs, now time.Time) (Change, error) {
	attrs, err := json.Marshal(&a)
	if err != nil {
		return Change{}, fmt.Errorf("encode %s: %w", event, err)
	}
	e := Event{ID: NewID(), TS: now.UTC().Truncate(time.Millisecond), Type: event, Source: fabricSource, Attrs: attrs, Schema: TokenSchema}
	next := *k
	if err := next.Apply(e); err != nil {
		return Change{}, err
	}
	id, _ := k.Entity()
	return Change{Entity: id, Expected: k.Version, Events: []Event{e}, Before: k, State: &next}, nil
}

// Entity implements [Document]: there is one keyring.
func (k *KeyringRecord) Entity() (id string, version uint64) {
	return Entity(KindKeyring, KeyringID), k.Version
}

// Apply makes k the record after e. On an error k is as it was.
func (k *KeyringRecord) Apply(e Event) error {
	var a keyringAttrs
	if err := json.Unmarshal(e.Attrs, &a); err != nil {
		return fmt.Errorf("decode %s: %w", e.Type, err)
	}
	next := *k
	switch e.Type {
	case KeyRotationStarted:
		next = KeyringRecord{Version: k.Version, Rotating: true, From: a.Keyring, StartedBy: a.Principal, StartedAt: e.TS}
	case KeysRotated:
		next.Rotating, next.Behind = false, slices.Clone(a.Behind)
	default:
		return fmt.Errorf("keyring: event %s is unknown", e.Type)
	}
	if next.Rotating == k.Rotating {
		return fmt.Errorf("keyring: event %s while rotating is %v", e.Type, k.Rotating)
	}
	next.Version++
	*k = next
	return nil
}
