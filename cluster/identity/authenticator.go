package identity

import (
	"context"
	"crypto/subtle"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Config of an [Authenticator]. The zero value works.
type Config struct {
	// Now tells the time, for tokens that expire; nil means time.Now.
	Now func() time.Time
	// ClusterID and CAPin are what an [entropy.Ticket] shown as a credential must
	// say, where it says anything: a damaged one, or one of another cluster, is
	// refused although its secret is good. "" means anything.
	ClusterID, CAPin string
}

// Authenticator knows every live token and worker key and says who makes a
// request. It is safe for concurrent use. It holds hashes only.
type Authenticator struct {
	now  func() time.Time
	conf Config

	mu     sync.RWMutex
	tokens map[string]entropy.Token    // by id
	keys   map[entropy.WorkerID]string // hash by worker
	ended  map[entropy.WorkerID]string // hash of a key that was revoked, by worker
	guards map[*guard]struct{}
}

// NewAuthenticator returns an authenticator that knows nobody.
func NewAuthenticator(conf Config) *Authenticator {
	if conf.Now == nil {
		conf.Now = time.Now
	}
	return &Authenticator{now: conf.Now, conf: conf, tokens: map[string]entropy.Token{}, keys: map[entropy.WorkerID]string{}, ended: map[entropy.WorkerID]string{}, guards: map[*guard]struct{}{}}
}

// Set replaces all tokens. Requests held open by a token that is gone or revoked
// end; see [Authenticator.Guard].
func (a *Authenticator) Set(tokens []entropy.Token) {
	m := make(map[string]entropy.Token, len(tokens))
	for _, t := range tokens {
		m[t.ID] = t
	}
	a.mu.Lock()
	a.tokens = m
	a.mu.Unlock()
	a.recheck()
}

// Add adds a token, or replaces the one with its ID: a revoked one takes effect
// on the next request and ends those held open.
func (a *Authenticator) Add(t entropy.Token) {
	a.mu.Lock()
	_, known := a.tokens[t.ID]
	a.tokens[t.ID] = t
	a.mu.Unlock()
	if known {
		a.recheck()
	}
}

// SetWorkerKey makes keyHash the hash of the worker's key; "" forgets the worker. A
// key that was revoked stays so: a registration may have been under way.
func (a *Authenticator) SetWorkerKey(id entropy.WorkerID, keyHash string) {
	a.mu.Lock()
	old := a.keys[id]
	switch {
	case keyHash == "":
		delete(a.keys, id)
	case a.ended[id] != keyHash:
		a.keys[id] = keyHash
	}
	a.mu.Unlock()
	if old != "" && old != keyHash {
		a.recheck()
	}
}

// RevokeWorkerKey ends the worker's key with this hash, and the requests that it
// holds open.
func (a *Authenticator) RevokeWorkerKey(id entropy.WorkerID, keyHash string) {
	a.mu.Lock()
	delete(a.keys, id)
	a.ended[id] = keyHash
	a.mu.Unlock()
	a.recheck()
}

// errUnauthorized is one constant for every reason, so that an answer tells
// nothing about which credentials exist.
var errUnauthorized = entropy.Errorf(entropy.CodeUnauthorized, "a valid credential is required").
	WithHint("set ENTROPY_TOKEN_FILE or pass --token-file; the first admin token is in DIR/admin.token of the control plane")

// Authenticate returns who makes the request, from its Authorization header and,
// beside a join token, its [entropy.HeaderWorkerKey]. Nothing else in the request
// counts. The error is always the same [entropy.CodeUnauthorized], except for who
// holds a token that was good once: that is told what became of it.
//
// A join token with a worker's key is {join, the worker's name, the key's hash};
// without one it is {join, the token's id, ""}.
func (a *Authenticator) Authenticate(r *http.Request) (entropy.Principal, error) {
	p, _, err := a.Identify(r)
	return p, err
}

// Identify is Authenticate that also returns when the credential expires; the
// zero time means never.
func (a *Authenticator) Identify(r *http.Request) (entropy.Principal, time.Time, error) {
	c, ok := bearer(r)
	if !ok || !a.ours(c) {
		return entropy.Principal{}, time.Time{}, errUnauthorized
	}
	if c.Role == entropy.RoleWorker {
		if err := a.validKey(c); err != nil {
			return entropy.Principal{}, time.Time{}, err
		}
		return entropy.Principal{Role: c.Role, Name: c.ID, KeyHash: c.Hash}, time.Time{}, nil
	}
	expires, err := a.validToken(c)
	if err != nil {
		return entropy.Principal{}, time.Time{}, err
	}
	p := entropy.Principal{Role: c.Role, Name: c.ID}
	if keys := r.Header[entropy.HeaderWorkerKey]; c.Role == entropy.RoleJoin && len(keys) > 0 {
		key, err := Parse(keys[0])
		if err != nil || len(keys) > 1 || key.Role != entropy.RoleWorker {
			return entropy.Principal{}, time.Time{}, errUnauthorized
		}
		p.Name, p.KeyHash = key.ID, key.Hash
	}
	return p, expires, nil
}

// ours reports whether what a ticket says beside its credential is right.
func (a *Authenticator) ours(c Credential) bool {
	return (c.Cluster == "" || a.conf.ClusterID == "" || c.Cluster == a.conf.ClusterID) &&
		(c.CAPin == "" || a.conf.CAPin == "" || c.CAPin == a.conf.CAPin)
}

// bearer reads the one credential of the Authorization header.
func bearer(r *http.Request) (Credential, bool) {
	values := r.Header["Authorization"]
	const scheme = "bearer "
	if len(values) != 1 || len(values[0]) <= len(scheme) || len(values[0]) > len(scheme)+MaxLength ||
		!strings.EqualFold(values[0][:len(scheme)], scheme) {
		return Credential{}, false
	}
	c, err := Parse(values[0][len(scheme):])
	return c, err == nil
}

// nobody is what a credential of an unknown id is compared with, so that knowing
// an id and not knowing it take the same time.
var nobody = Hash("")

func (a *Authenticator) validKey(c Credential) error {
	a.mu.RLock()
	want, known := a.keys[entropy.WorkerID(c.ID)]
	was, ended := a.ended[entropy.WorkerID(c.ID)]
	a.mu.RUnlock()
	if !known {
		want = nobody
	}
	if !ended {
		was = nobody
	}
	same := subtle.ConstantTimeCompare([]byte(want), []byte(c.Hash)) == 1
	gone := subtle.ConstantTimeCompare([]byte(was), []byte(c.Hash)) == 1
	switch {
	case ended && gone:
		return entropy.Errorf(entropy.CodeUnauthorized, "the key of worker %s was revoked", c.ID).
			WithHint("to let the machine in again, run entropy worker reset-identity there, and join with a new token and another --name")
	case !same || !known:
		return errUnauthorized
	}
	return nil
}

// validToken judges a token by the control plane's clock alone. That a join token
// is used up is not judged here: the workers that used it may come again.
func (a *Authenticator) validToken(c Credential) (expires time.Time, err error) {
	a.mu.RLock()
	t, known := a.tokens[c.ID]
	a.mu.RUnlock()
	if !known {
		t.Hash = nobody
	}
	former := entropy.FormerSecret{Hash: nobody}
	if t.Former != nil {
		former = *t.Former
	}
	same := subtle.ConstantTimeCompare([]byte(t.Hash), []byte(c.Hash)) == 1
	old := subtle.ConstantTimeCompare([]byte(former.Hash), []byte(c.Hash)) == 1
	if t.ExpiresAt != nil {
		expires = *t.ExpiresAt
	}
	if old && (expires.IsZero() || former.Until.Before(expires)) {
		expires = former.Until
	}
	switch {
	case !same && !old || !known || t.Role != c.Role:
		return expires, errUnauthorized
	case t.Revoked:
		return expires, entropy.Errorf(entropy.CodeUnauthorized, "this %s token has been revoked", t.Role).
			WithHint("get another from an admin: entropy token create --role %s", t.Role)
	case old && !a.now().Before(former.Until):
		return expires, entropy.Errorf(entropy.CodeUnauthorized, "this %s token was rotated: this secret of it ended at %s", t.Role, former.Until.UTC().Format(time.RFC3339)).
			WithHint("use the secret that replaced it; if nobody has that, get another token from an admin: entropy token create --role %s", t.Role)
	case !expires.IsZero() && !a.now().Before(expires):
		return expires, entropy.Errorf(entropy.CodeUnauthorized, "this %s token expired at %s", t.Role, expires.UTC().Format(time.RFC3339)).
			WithHint("get another from an admin: entropy token create --role %s", t.Role)
	}
	return expires, nil
}

// TokenID returns the id of the token that the request shows; "" when it shows
// none, or a worker's key. It says nothing about whether the token is good.
func (a *Authenticator) TokenID(r *http.Request) string {
	if c, ok := bearer(r); ok && c.Role != entropy.RoleWorker {
		return c.ID
	}
	return ""
}

// guard is a request that is held open while its credential is valid.
type guard struct {
	request *http.Request
	cancel  context.CancelCauseFunc

	mu    sync.Mutex
	ended bool
	timer *time.Timer // fires when the credential expires; nil: it does not
}

// check ends the request if its credential is no longer valid, and else sees to it
// that it ends when the credential will: a rotation sets a time where there was none.
func (g *guard) check(a *Authenticator) {
	_, expires, err := a.Identify(g.request)
	if err != nil {
		g.cancel(err)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	if !expires.IsZero() && !g.ended {
		g.timer = time.AfterFunc(expires.Sub(a.now()), func() { g.cancel(errUnauthorized) })
	}
}

func (g *guard) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	if g.timer != nil {
		g.timer.Stop()
	}
}

// Guard returns a context that is canceled, with a [entropy.CodeUnauthorized]
// cause, as soon as the credential in r is revoked, replaced or expires. The
// caller calls stop when the request is over.
func (a *Authenticator) Guard(ctx context.Context, r *http.Request) (guarded context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	g := &guard{request: r, cancel: cancel}
	a.mu.Lock()
	a.guards[g] = struct{}{}
	a.mu.Unlock()

	g.check(a) // after it was enlisted: a revocation in between is not missed
	return ctx, func() {
		g.end()
		a.mu.Lock()
		delete(a.guards, g)
		a.mu.Unlock()
		cancel(nil)
	}
}

// recheck ends the guarded requests whose credential is no longer valid, or will
// not be for as long as it was.
func (a *Authenticator) recheck() {
	a.mu.RLock()
	open := make([]*guard, 0, len(a.guards))
	for g := range a.guards {
		open = append(open, g)
	}
	a.mu.RUnlock()
	for _, g := range open {
		g.check(a)
	}
}
