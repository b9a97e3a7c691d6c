package identity

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// Pairing is what a worker without a token and a control plane must see alike
// before the one is let in by the other. Somebody in the middle, who speaks TLS
// to both with an authority or a worker's key of his own, makes them differ.
//
// The worker commits to its nonce, the control plane answers with its own, and the
// worker reveals: whoever is in the middle has to choose both of his nonces before
// he knows what either side's digest will be, so that he can only guess (Vaudenay,
// "Secure Communications over Insecure Channels Based on Short Authenticated
// Strings", CRYPTO 2005). The worker shows a code of two halves:
//
//   - Check, 25 bits of the digest. The control plane finds the pairing by it: who
//     is in the middle of one has another check on either side.
//   - A secret, 25 random bits that the worker sends to nobody. A person carries it
//     to the control plane, which answers with [Pairing.Proof]. So the worker knows
//     that the person talked to the control plane that it sees; one that was not
//     told the code has one guess, and the worker ends at a wrong one.
//
// One comparison by one person thus proves both sides.
type Pairing struct {
	ClusterID string
	CAPin     string // of the authority that the worker sees, and that the control plane has
	Worker    entropy.WorkerID
	KeyHash   string // of the worker's key

	WorkerNonce, ControlNonce string // 64 hex digits each
}

// The lengths of a code's parts. A character has 5 bits.
const (
	checkLen  = 5
	secretLen = 5
	codeLen   = checkLen + secretLen + 1 // and one against typing errors
	nonceLen  = 32
)

// letters are Crockford's: none looks like another when it is read aloud or written.
const letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// NewNonce returns a nonce of a pairing, as 64 hex digits.
func NewNonce() string {
	var b [nonceLen]byte
	rand.Read(b[:]) // never fails: crypto/rand documents it
	return hex.EncodeToString(b[:])
}

// Commit returns the commitment to a nonce. It does not depend on who commits: the
// digest does.
func Commit(nonce string) string {
	sum := sha256.Sum256([]byte("entropy/pairing/commit/" + nonce))
	return hex.EncodeToString(sum[:])
}

// Opens reports whether the nonce is what the commitment was made of.
func Opens(commitment, nonce string) bool {
	return IsDigest(nonce) && subtle.ConstantTimeCompare([]byte(Commit(nonce)), []byte(commitment)) == 1
}

// IsDigest reports whether s is 32 bytes in lower-case hex: a nonce, a commitment,
// a key's hash.
func IsDigest(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == nonceLen && strings.ToLower(s) == s
}

// digest hashes every field with its length before it, so that no two pairings
// have the same bytes.
func (p Pairing) digest(purpose string) []byte {
	h := sha256.New()
	for _, s := range []string{"entropy/pairing/" + purpose, p.ClusterID, p.CAPin, string(p.Worker), p.KeyHash, p.WorkerNonce, p.ControlNonce} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	return h.Sum(nil)
}

// Check returns the first half of the code.
func (p Pairing) Check() string { return spell(p.digest("check"), checkLen) }

// Proof returns what a control plane says that was told the code's secret.
func (p Pairing) Proof(secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(p.digest("proof"))
	return hex.EncodeToString(mac.Sum(nil))
}

// Proves reports whether the proof is that of the secret.
func (p Pairing) Proves(secret, proof string) bool {
	return hmac.Equal([]byte(p.Proof(secret)), []byte(proof))
}

// NewCode returns the code for the worker's screen, as in "K7QX2-9MFTB3", and the
// secret in it.
func (p Pairing) NewCode() (code, secret string) {
	var b [secretLen]byte
	rand.Read(b[:])
	check, secret := p.Check(), spell(b[:], secretLen)
	return check + "-" + secret + sumOf(check+secret), secret
}

// spell writes the first n*5 bits of b.
func spell(b []byte, n int) string {
	var out strings.Builder
	for i := range n {
		bit := 5 * i
		pair := uint16(b[bit/8]) << 8
		if bit/8+1 < len(b) {
			pair |= uint16(b[bit/8+1])
		}
		out.WriteByte(letters[pair>>(11-bit%8)&31])
	}
	return out.String()
}

// sumOf returns one letter that tells a typing error.
func sumOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return spell(sum[:], 1)
}

// ParseCode reads a code as people type it: in lower case, with or without the
// dash, with O for 0 and I or L for 1.
func ParseCode(text string) (check, secret string, err error) {
	clean := strings.NewReplacer("-", "", " ", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(text))
	if len(clean) != codeLen || strings.Trim(clean, letters) != "" {
		return "", "", entropy.Errorf(entropy.CodeInvalid, "that is no pairing code: it has %d letters and digits, as in K7QX2-9MFTB3", codeLen).
			WithHint("copy the code that the worker shows")
	}
	check, secret = clean[:checkLen], clean[checkLen:checkLen+secretLen]
	if sumOf(check+secret) != clean[codeLen-1:] {
		return "", "", entropy.Errorf(entropy.CodeInvalid, "the pairing code is mistyped").WithHint("compare it with the worker's screen, letter by letter")
	}
	return check, secret, nil
}
