package identity

import (
	"crypto/hkdf"
	"crypto/sha256"

	"github.com/entropy-fabric/entropy"
)

// Derive returns a 32-byte key for one purpose from a secret of the cluster, by
// HKDF-SHA256 (RFC 5869) without salt and with the purpose as info. Different
// purposes give keys that tell nothing about each other or about the secret, so
// that gossip, beacons and whatever comes later share one file and no key. The
// secret must have at least 16 random bytes; a shorter one is a bug of the
// caller and panics.
func Derive(secret []byte, purpose string) []byte {
	if len(secret) < 16 {
		panic("identity: a secret of fewer than 16 bytes")
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "entropy/"+purpose, 32)
	if err != nil {
		panic(err) // only a length over 255 hashes can fail
	}
	return key
}

// BeaconKey returns the key by which the holder of a token and its control plane
// know each other's questions and answers in discovery. It is derived from the
// secret itself, not from its [Hash], which is on record in the journal. Text is a
// credential or an [entropy.Ticket].
func BeaconKey(text string) ([]byte, error) {
	if _, err := Parse(text); err != nil {
		return nil, err
	}
	if entropy.IsTicket(text) {
		t, err := entropy.ParseTicket(text)
		if err != nil {
			return nil, err
		}
		text = t.Secret
	}
	return Derive([]byte(text), "discovery"), nil
}
