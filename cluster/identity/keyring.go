package identity

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/entropy-fabric/entropy"
)

const (
	// secretKeyBytes is the length of a cluster's secret, and of a sealer's.
	secretKeyBytes = 32
	// maxRetired bounds the retired secrets that are kept, the newest of them.
	maxRetired = 8
)

// Keyring holds the secrets that all members of a cluster share, 32 bytes each:
// the first is used, all are accepted. Other keys are derived from them; see
// [Derive].
//
// A rotation takes three steps, each of which raises Version by one and is made
// when every member has taken the one before: the fresh secret is accepted beside
// the old one, it is used, it alone is accepted.
//
// Invariant: a settled keyring has one secret, any other has two.
type Keyring struct {
	Version uint64 // from 1
	Keys    [][]byte
	// Retired are secrets that were used before, newest first. The control plane
	// keeps them for itself, to answer a member that was away and asks where it is.
	Retired [][]byte
}

// Stage returns how far a rotation is.
func (k Keyring) Stage() entropy.KeyStage {
	return []entropy.KeyStage{entropy.KeysSettled, entropy.KeysInstalled, entropy.KeysUsed}[(k.Version-1)%3]
}

// Next returns the keyring after one more step of a rotation; the first step makes
// a fresh secret. K is left as it is.
func (k Keyring) Next() Keyring {
	next := Keyring{Version: k.Version + 1, Retired: k.Retired}
	switch k.Stage() {
	case entropy.KeysSettled:
		fresh := make([]byte, secretKeyBytes)
		rand.Read(fresh) // never fails: crypto/rand documents it
		next.Keys = [][]byte{k.Keys[0], fresh}
	case entropy.KeysInstalled:
		next.Keys = [][]byte{k.Keys[1], k.Keys[0]}
	case entropy.KeysUsed:
		next.Keys = k.Keys[:1]
		retired := append([][]byte{k.Keys[1]}, k.Retired...)
		next.Retired = retired[:min(len(retired), maxRetired)]
	}
	return next
}

// Derive returns the key of one purpose of each secret, in order; see [Derive].
func (k Keyring) Derive(purpose string) [][]byte { return deriveAll(k.Keys, purpose) }

// DeriveRetired is Derive of the retired secrets.
func (k Keyring) DeriveRetired(purpose string) [][]byte { return deriveAll(k.Retired, purpose) }

func deriveAll(secrets [][]byte, purpose string) [][]byte {
	keys := make([][]byte, len(secrets))
	for i, s := range secrets {
		keys[i] = Derive(s, purpose)
	}
	return keys
}

// Shared returns the text of the keyring as members get it, without what is
// retired. A first keyring is its secret alone, as in earlier releases.
func (k Keyring) Shared() string {
	if k.Version == 1 && len(k.Keys) == 1 {
		return encodeSecrets(k.Keys)
	}
	return strconv.FormatUint(k.Version, 10) + "." + encodeSecrets(k.Keys)
}

// text returns the keyring as the control plane keeps it: VERSION.KEYS.RETIRED.
func (k Keyring) text() string {
	if len(k.Retired) == 0 {
		return k.Shared()
	}
	return k.Shared() + "." + encodeSecrets(k.Retired)
}

func encodeSecrets(secrets [][]byte) string {
	texts := make([]string, len(secrets))
	for i, s := range secrets {
		texts[i] = base64.RawURLEncoding.EncodeToString(s)
	}
	return strings.Join(texts, ",")
}

// ParseKeyring reads the text of a keyring.
func ParseKeyring(text string) (Keyring, error) {
	k := Keyring{Version: 1}
	parts := strings.Split(text, ".")
	var err error
	if len(parts) > 1 {
		k.Version, err = strconv.ParseUint(parts[0], 10, 64)
		parts = parts[1:]
	}
	if err == nil {
		k.Keys, err = decodeSecrets(parts[0])
	}
	if err == nil && len(parts) > 1 {
		k.Retired, err = decodeSecrets(parts[1])
	}
	if err != nil || len(parts) > 2 || k.Version == 0 || !k.whole() {
		return Keyring{}, entropy.Errorf(entropy.CodeInvalid, "the cluster's key is damaged").WithHint("restore %s from a backup; a worker gets it again when it joins", ClusterKeyFile)
	}
	return k, nil
}

// whole reports whether the keyring's invariant holds.
func (k Keyring) whole() bool {
	if k.Stage() == entropy.KeysSettled {
		return len(k.Keys) == 1 && len(k.Retired) <= maxRetired
	}
	return len(k.Keys) == 2 && !bytes.Equal(k.Keys[0], k.Keys[1]) && len(k.Retired) <= maxRetired
}

// errSecret is a text that is no secret. It repeats nothing of it.
var errSecret = errors.New("not a secret of 32 bytes")

func decodeSecrets(text string) (secrets [][]byte, err error) {
	for t := range strings.SplitSeq(text, ",") {
		b, err := base64.RawURLEncoding.Strict().DecodeString(t)
		if err != nil || len(b) != secretKeyBytes {
			return nil, errSecret
		}
		secrets = append(secrets, b)
	}
	return secrets, nil
}

// LoadOrCreateKeyring returns the keyring in the file at path, and makes one of a
// single secret at first. Only a control plane makes one.
func LoadOrCreateKeyring(path string) (Keyring, error) {
	k, err := LoadKeyring(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	secret, err := loadOrCreateSecret(path)
	return Keyring{Version: 1, Keys: [][]byte{secret}}, err
}

// LoadKeyring returns the keyring in the file at path; fs.ErrNotExist when there is
// none: a worker that has not joined.
func LoadKeyring(path string) (Keyring, error) {
	text, err := ReadSecretFile(path)
	if err != nil {
		return Keyring{}, err
	}
	return ParseKeyring(text)
}

// SaveKeyring replaces the file durably, retired secrets included.
func SaveKeyring(path string, k Keyring) error { return WriteSecretFile(path, k.text()) }

// loadOrCreateSecret returns the one secret in the file at path, and makes it at
// first.
func loadOrCreateSecret(path string) ([]byte, error) {
	text, err := ReadSecretFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret := make([]byte, secretKeyBytes)
		rand.Read(secret)
		return secret, createSecretFile(path, encodeSecrets([][]byte{secret}))
	}
	if err != nil {
		return nil, err
	}
	secrets, err := decodeSecrets(text)
	if err != nil || len(secrets) != 1 {
		return nil, damaged(path)
	}
	return secrets[0], nil
}
