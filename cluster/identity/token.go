// Package identity decides who makes a call, by credential alone. It makes and
// reads the text of credentials, keeps secrets in files that only their owner
// may read, and authenticates requests against tokens and worker keys.
//
// A credential is the text
//
//	ent_<role>_<id>_<43 characters of base64url>_<8 hex digits of CRC-32C>
//
// The id of a worker's key is the worker's name; of any other it is random. The
// fabric stores [Hash] of the text, never the text. The check sum lets a typing
// error be told from a guess, and refused without a look-up.
//
// # What it does not do
//
// It keeps no journal: the facade loads tokens and keys at start and passes on
// every change. It does not encrypt: off loopback, TLS does.
package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/entropy-fabric/entropy"
)

const (
	prefix       = "ent_"
	secretBytes  = 32
	secretLength = 43 // of 32 bytes in base64url without padding
	sumLength    = 8  // of a CRC-32C in hex

	// MaxLength is the longest credential, in bytes, also as an [entropy.Ticket].
	// Anything longer is refused unread.
	MaxLength = len("ent1.") + entropy.MaxIDLength + 1 + 64 + 1 + len(prefix) + 16 + 1 + entropy.MaxIDLength + 1 + secretLength + 1 + sumLength
)

// Credential is what the text of a credential says. It proves nothing by itself.
type Credential struct {
	Role entropy.Role
	ID   string // of a worker's key: the worker's name; else the token's id
	Hash string // see Hash

	// Cluster and CAPin are what an [entropy.Ticket] says beside the credential;
	// "" for a bare one. They are not part of Hash.
	Cluster, CAPin string
}

// New makes a credential of a role and the [entropy.Token] that the fabric
// stores for it. The caller sets the token's CreatedAt and ExpiresAt. The secret
// cannot be had again.
func New(role entropy.Role) (secret string, tok entropy.Token, err error) {
	var id [8]byte
	rand.Read(id[:]) // never fails: crypto/rand documents it
	secret, err = compose(role, hex.EncodeToString(id[:]))
	if err != nil {
		return "", entropy.Token{}, err
	}
	return secret, entropy.Token{ID: hex.EncodeToString(id[:]), Role: role, Hash: Hash(secret)}, nil
}

// NewWorkerKey makes the credential of a worker with this name.
func NewWorkerKey(name entropy.WorkerID) (secret string, err error) {
	return compose(entropy.RoleWorker, string(name))
}

// NewSecret makes another secret of the token with this id, as [New] made the first.
func NewSecret(role entropy.Role, id string) (secret string, err error) { return compose(role, id) }

func compose(role entropy.Role, id string) (string, error) {
	if !knownRole(role) {
		return "", entropy.Errorf(entropy.CodeInvalid, "there is no role %q", role).WithHint("use admin, worker or join")
	}
	if err := entropy.ValidateID("name", id); err != nil {
		return "", err
	}
	var b [secretBytes]byte
	rand.Read(b[:])
	text := prefix + string(role) + "_" + id + "_" + base64.RawURLEncoding.EncodeToString(b[:])
	return text + "_" + checkSum(text), nil
}

func knownRole(r entropy.Role) bool {
	return r.OnBus() || r == entropy.RoleAdmin || r == entropy.RoleWorker || r == entropy.RoleJoin
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checkSum(text string) string {
	return fmt.Sprintf("%08x", crc32.Checksum([]byte(text), castagnoli))
}

// Hash returns the SHA-256 of a credential's text, in hex: what the fabric
// stores. The text has 256 random bits, so no salt and no slow hash is needed.
func Hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Parse reads the text of a credential, or of an [entropy.Ticket] that holds one.
// It checks the form and the check sum and looks nothing up. Its error says
// nothing about the secret.
func Parse(text string) (Credential, error) {
	fail := func(why string) (Credential, error) {
		return Credential{}, entropy.Errorf(entropy.CodeUnauthorized, "the token %s", why).
			WithHint("copy it again, whole, from the file or the terminal it was written to; `entropy token create` makes another")
	}
	if len(text) > MaxLength {
		return fail("is too long")
	}
	if entropy.IsTicket(text) {
		t, err := entropy.ParseTicket(text)
		if err != nil {
			return fail(strings.TrimPrefix(entropy.AsError(err).Message, "the token "))
		}
		if entropy.IsTicket(t.Secret) {
			return fail("is damaged")
		}
		c, err := Parse(t.Secret)
		c.Cluster, c.CAPin = t.ClusterID, t.CAPin
		return c, err
	}
	if len(text) > len("ent1.") && strings.HasPrefix(text, "ent") && '0' <= text[3] && text[3] <= '9' && text[4] == '.' {
		return fail("is of another release of Entropy than this program")
	}
	body, ok := strings.CutPrefix(text, prefix)
	tail := secretLength + 2 + sumLength // _secret_sum
	if !ok {
		return fail("is not one of Entropy's, which begin with ent")
	}
	if len(body) <= tail {
		return fail("is cut short")
	}
	sum := text[len(text)-sumLength:]
	secret := body[len(body)-tail:]
	if secret[0] != '_' || secret[1+secretLength] != '_' || sum != checkSum(text[:len(text)-sumLength-1]) {
		return fail("is damaged or cut short: its check sum differs")
	}
	role, id, _ := strings.Cut(body[:len(body)-tail], "_")
	if !knownRole(entropy.Role(role)) || entropy.ValidateID("id", id) != nil {
		return fail("names no role and id")
	}
	if _, err := base64.RawURLEncoding.Strict().DecodeString(secret[1 : 1+secretLength]); err != nil {
		return fail("is damaged: its secret is not base64url")
	}
	return Credential{Role: entropy.Role(role), ID: id, Hash: Hash(text)}, nil
}
