package bus

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// HashPassword returns what is stored of a password: its SHA-256 in hex. It is only
// good for random secrets, as the fabric makes them.
func HashPassword(password string) string {
	h := sha256.Sum256([]byte(password))
	return hex.EncodeToString(h[:])
}

// authenticator decides who may connect to the embedded server, and as whom.
type authenticator struct {
	users      Users
	controlKey string // the public nkey of this process
	sources    []string
	logger     *slog.Logger

	// mu is held for reading while somebody is let in, so that who is revoked is
	// either seen among the connections or no longer found.
	mu     sync.RWMutex
	server *server.Server
}

func (a *authenticator) serve(s *server.Server) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.server = s
}

// Check implements server.Authentication.
func (a *authenticator) Check(c server.ClientAuthentication) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	cred, ok := a.identify(c)
	if !ok {
		a.logger.Warn("refused on the bus", "from", c.RemoteAddress(), "user", printable(c.GetOpts().Username))
		return false
	}
	publish, subscribe := Permissions(cred, a.sources...)
	if len(subscribe.Allow) == 0 {
		return false
	}
	c.RegisterUser(&server.User{
		Username: cred.Name, ConnectionDeadline: cred.ExpiresAt,
		Permissions: &server.Permissions{Publish: subjectPermission(publish), Subscribe: subjectPermission(subscribe)},
	})
	return true
}

// subjectPermission always names something that is allowed: a list of nothing would
// allow everything.
func subjectPermission(s Subjects) *server.SubjectPermission {
	if len(s.Allow) == 0 {
		return &server.SubjectPermission{Deny: []string{">"}}
	}
	return &server.SubjectPermission{Allow: s.Allow, Deny: s.Deny}
}

// identify returns whose credential was shown. A key has signed the server's nonce,
// a password has the hash that is stored; a bare name or a token is nothing.
func (a *authenticator) identify(c server.ClientAuthentication) (Credential, bool) {
	o := c.GetOpts()
	if c.Kind() != server.CLIENT {
		return Credential{}, false
	}
	if o.Nkey != "" {
		if !signed(o.Nkey, o.Sig, c.GetNonce()) {
			return Credential{}, false
		}
		if o.Nkey == a.controlKey {
			return Credential{Name: controlName, Role: RoleControl}, true
		}
		cred, ok := a.find(o.Nkey)
		return cred, ok && cred.PublicKey == o.Nkey
	}
	if o.Username == "" || o.Password == "" {
		return Credential{}, false
	}
	cred, ok := a.find(o.Username)
	shown := []byte(HashPassword(o.Password))
	same := subtle.ConstantTimeCompare(shown, []byte(cred.PasswordHash)) | subtle.ConstantTimeCompare(shown, []byte(cred.FormerHash))
	return cred, ok && same == 1 && cred.PasswordHash != "" && cred.Name == o.Username
}

// find returns a credential that is good at this time. The control plane's name is
// its own.
func (a *authenticator) find(id string) (Credential, bool) {
	if a.users == nil || len(id) > 128 {
		return Credential{}, false
	}
	cred, ok := a.users.User(id)
	if !ok || cred.Name == controlName || !cred.ExpiresAt.IsZero() && !time.Now().Before(cred.ExpiresAt) {
		return Credential{}, false
	}
	return cred, true
}

func signed(public, signature string, nonce []byte) bool {
	sig, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		if sig, err = base64.StdEncoding.DecodeString(signature); err != nil {
			return false
		}
	}
	key, err := nkeys.FromPublicKey(public)
	return err == nil && len(nonce) > 0 && nkeys.IsValidPublicUserKey(public) && key.Verify(nonce, sig) == nil
}

// Revoke ends the connections of a credential at once. Users must not find it any
// more when Revoke is called. It returns how many connections there were.
func (b *Bus) Revoke(c Credential) int {
	if b.embedded == nil {
		return 0
	}
	return b.embedded.auth.disconnect(c)
}

func (a *authenticator) disconnect(cred Credential) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server == nil {
		return 0
	}
	const page = 1024
	var ids []uint64
	for offset := 0; ; offset += page {
		conns, err := a.server.Connz(&server.ConnzOptions{Username: true, Offset: offset, Limit: page})
		if err != nil || len(conns.Conns) == 0 {
			break
		}
		for _, c := range conns.Conns {
			if u := c.AuthorizedUser; u != "" && (u == cred.Name || u == cred.PublicKey) {
				ids = append(ids, c.Cid)
			}
		}
	}
	for _, id := range ids {
		if a.server.DisconnectClientByID(id) == nil {
			n++
		}
	}
	return n
}

// printable keeps what strangers send out of the terminal.
func printable(s string) string {
	b := []byte(s[:min(len(s), 64)])
	for i := range b {
		if b[i] < ' ' || b[i] > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
