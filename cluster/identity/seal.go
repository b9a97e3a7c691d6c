package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"

	"github.com/entropy-fabric/entropy"
)

// SealKeyFile in a control plane's data directory holds the key of its [Sealer], 0600.
const SealKeyFile = "seal.key"

// Sealer keeps small secrets in places that others may read, as the journal's
// events, which may be published. Its key never leaves the control plane. It is
// safe for concurrent use.
type Sealer struct{ aead cipher.AEAD }

// OpenSealer returns the sealer with the key in the file at path, which it makes
// at first.
func OpenSealer(path string) (*Sealer, error) {
	key, err := loadOrCreateSecret(path)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block) // 2^32 secrets are safe with one key
	if err != nil {
		return nil, err
	}
	return &Sealer{aead}, nil
}

// Seal returns the secret encrypted, as text. It opens under the same name only.
func (s *Sealer) Seal(name string, secret []byte) string {
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, secret, []byte(name)))
}

// Open returns the secret that was sealed under the name.
func (s *Sealer) Open(name, sealed string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	if err == nil {
		b, err = s.aead.Open(nil, nil, b, []byte(name))
	}
	if err != nil {
		return nil, entropy.Errorf(entropy.CodeInvalid, "what was sealed for %s cannot be opened: it is damaged, or %s is another than it was", name, SealKeyFile).
			WithHint("restore %s from the same backup as the journal", SealKeyFile)
	}
	return b, nil
}
