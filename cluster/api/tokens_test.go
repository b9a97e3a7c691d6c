package api_test

import (
	"context"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/api"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/entropytest"
)

// fakeTokens remembers what it is asked, and lets one worker in.
type fakeTokens struct {
	mu     sync.Mutex
	asked  []any
	joined api.Joining
}

func (f *fakeTokens) note(v any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, v)
}

func (f *fakeTokens) Create(ctx context.Context, s entropy.TokenSpec) (entropy.CreatedToken, error) {
	f.note(s)
	return entropy.CreatedToken{TokenInfo: entropy.TokenInfo{ID: "t1", Role: s.Role, CreatedBy: entropy.PrincipalFrom(ctx).String()}, Token: "ent1.c.-.s"}, nil
}

func (f *fakeTokens) List(context.Context) ([]entropy.TokenInfo, error) {
	return []entropy.TokenInfo{{ID: "t1"}}, nil
}

func (f *fakeTokens) Revoke(_ context.Context, id string) (entropy.TokenInfo, error) {
	f.note(id)
	return entropy.TokenInfo{ID: id, State: entropy.TokenIsRevoked}, nil
}

func (f *fakeTokens) Rotate(_ context.Context, id string, r entropy.TokenRotation) (entropy.CreatedToken, error) {
	f.note(id + " for " + r.Overlap.D().String())
	return entropy.CreatedToken{TokenInfo: entropy.TokenInfo{ID: id}, Token: "ent1.c.-.s2"}, nil
}

func (f *fakeTokens) RevokeWorker(_ context.Context, id entropy.WorkerID) (entropy.RevokedWorker, error) {
	f.note(id)
	return entropy.RevokedWorker{WorkerID: id}, nil
}

func (f *fakeTokens) Join(_ context.Context, who api.Joining) (entropy.Joined, error) {
	f.note(who)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.joined.Worker != "" && f.joined.KeyHash != who.KeyHash {
		return entropy.Joined{}, entropy.Errorf(entropy.CodeConflict, "the seat is taken")
	}
	f.joined = who
	return entropy.Joined{ClusterID: "c", WorkerID: who.Worker}, nil
}

func (f *fakeTokens) calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

func tokenWorld(t *testing.T) (*world, *fakeTokens) {
	f, m := &fakeTokens{}, entropytest.NewMemory()
	return newWorld(t, m, m, func(c *api.Config) { c.Tokens = f }), f
}

// proves C-1, S-2: who joins is said by the credentials alone, and nobody
// registers past the one who lets workers in
func TestJoinRoute(t *testing.T) {
	w, f := tokenWorld(t)
	joined, err := w.workerClient("w1").Join(t.Context(), entropy.JoinRequest{Hostname: "h1"})
	if err != nil || joined.WorkerID != "w1" {
		t.Fatal(joined, err)
	}
	first, err := identity.Parse(w.join)
	if err != nil || f.joined != (api.Joining{Token: first.ID, Worker: "w1", KeyHash: identity.Hash(w.key("w1")), Hostname: "h1"}) {
		t.Errorf("%+v %v", f.joined, err)
	}
	w.knowWorker("w1")
	if _, err := w.client(entropy.ClientConfig{WorkerKey: w.key("w1")}).Join(t.Context(), entropy.JoinRequest{}); err != nil || f.joined.Token != "" || f.joined.Worker != "w1" {
		t.Errorf("by its key alone: %+v %v", f.joined, err)
	}
	_, err = w.workerClient("w2").Register(t.Context(), entropy.Registration{Nonce: "n", BootID: "b", SpoolID: "s", Slots: 1, KeyHash: identity.Hash(w.key("w2"))})
	if entropy.ErrorCode(err) != entropy.CodeConflict {
		t.Errorf("a registration that is not let in: %v", err)
	}
	gone := newWorld(t, entropytest.NewMemory(), entropytest.NewMemory(), nil)
	if _, err := gone.workerClient("w1").Join(t.Context(), entropy.JoinRequest{}); entropy.ErrorCode(err) != entropy.CodeNotFound {
		t.Errorf("where nobody lets in: %v", err)
	}
}

// proves S-2: tokens are made, listed and revoked by admins, through the client
func TestTokenRoutes(t *testing.T) {
	w, f := tokenWorld(t)
	c := w.adminClient()
	spec := entropy.TokenSpec{Role: entropy.RoleJoin, Uses: 3, Note: "n", TTL: entropy.Duration(time.Hour)}
	made, err := c.CreateToken(t.Context(), spec)
	if err != nil || made.Token != "ent1.c.-.s" || !reflect.DeepEqual(f.asked[0], spec) || made.CreatedBy != "admin:"+w.adminToken.ID {
		t.Errorf("%+v %v, asked %+v", made, err, f.asked)
	}
	list, err := c.Tokens(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != "t1" {
		t.Errorf("%+v %v", list, err)
	}
	revoked, err := c.RevokeToken(t.Context(), "t1")
	if err != nil || revoked.State != entropy.TokenIsRevoked || f.asked[1] != "t1" {
		t.Errorf("%+v %v", revoked, err)
	}
}

// proves bad input: what is no request for a token, or to join, reaches nobody
func TestTokenBadInput(t *testing.T) {
	w, f := tokenWorld(t)
	key := map[string]string{entropy.HeaderWorkerKey: w.key("w1")}
	for name, c := range map[string]struct {
		q      request
		status int
	}{
		"no body":       {request{method: "POST", path: "/v1/tokens", token: w.admin}, 415},
		"no role":       {request{method: "POST", path: "/v1/tokens", token: w.admin, body: `{}`}, 400},
		"worker token":  {request{method: "POST", path: "/v1/tokens", token: w.admin, body: `{"role":"worker"}`}, 400},
		"unknown field": {request{method: "POST", path: "/v1/tokens", token: w.admin, body: `{"role":"join","admin":true}`}, 400},
		"repeated key":  {request{method: "POST", path: "/v1/tokens", token: w.admin, body: `{"role":"join","role":"admin"}`}, 400},
		"huge uses":     {request{method: "POST", path: "/v1/tokens", token: w.admin, body: `{"role":"join","uses":1e18}`}, 400},
		"long note":     {request{method: "POST", path: "/v1/tokens", token: w.admin, body: `{"role":"join","note":"` + strings.Repeat("x", 300) + `"}`}, 400},
		"large body":    {request{method: "POST", path: "/v1/tokens", token: w.admin, body: `{"note":"` + strings.Repeat("x", 1<<17) + `"}`}, 413},
		"query":         {request{method: "GET", path: "/v1/tokens?role=admin", token: w.admin}, 400},
		"bad id":        {request{method: "POST", path: "/v1/tokens/%20/revoke", token: w.admin}, 400},
		"no key":        {request{method: "POST", path: "/v1/worker/join", token: w.join, body: `{"hostname":"h"}`}, 400},
		"long hostname": {request{method: "POST", path: "/v1/worker/join", token: w.join, header: key, body: `{"hostname":"` + strings.Repeat("h", 256) + `"}`}, 400},
		"a name":        {request{method: "POST", path: "/v1/worker/join", token: w.join, header: key, body: `{"hostname":"h","worker_id":"w9"}`}, 400},
		"bad key":       {request{method: "POST", path: "/v1/worker/join", token: w.join, header: map[string]string{entropy.HeaderWorkerKey: "x"}, body: `{"hostname":"h"}`}, 401},
		"not by admin":  {request{method: "POST", path: "/v1/worker/join", token: w.admin, body: `{"hostname":"h"}`}, 403},
		"not by worker": {request{method: "POST", path: "/v1/tokens", token: w.knowWorker("w8"), body: `{"role":"admin"}`}, 403},
		"not by joiner": {request{method: "POST", path: "/v1/tokens", token: w.join, body: `{"role":"admin"}`}, 403},
	} {
		if resp, body := w.do(c.q); resp.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d: %s", name, resp.StatusCode, c.status, body)
		}
	}
	if n := f.calls(); n != 0 {
		t.Errorf("%d calls went through: %+v", n, f.asked)
	}
}

// proves S-2: a ticket is shown as its credential is, and what it says beside it
// must be right
func TestTicketAsCredential(t *testing.T) {
	m := entropytest.NewMemory()
	auth := identity.NewAuthenticator(identity.Config{ClusterID: "c1", CAPin: strings.Repeat("ab", 32)})
	w := newWorld(t, m, m, func(c *api.Config) { c.Auth = auth })
	auth.Set([]entropy.Token{w.adminToken})
	for name, c := range map[string]struct {
		ticket entropy.Ticket
		status int
	}{
		"right":           {entropy.Ticket{ClusterID: "c1", CAPin: strings.Repeat("ab", 32), Secret: w.admin}, 200},
		"no pin":          {entropy.Ticket{ClusterID: "c1", Secret: w.admin}, 200},
		"another cluster": {entropy.Ticket{ClusterID: "c2", Secret: w.admin}, 401},
		"another pin":     {entropy.Ticket{ClusterID: "c1", CAPin: strings.Repeat("ac", 32), Secret: w.admin}, 401},
		"nested":          {entropy.Ticket{ClusterID: "c1", Secret: entropy.Ticket{ClusterID: "c1", Secret: w.admin}.String()}, 401},
	} {
		if resp, body := w.do(request{method: "GET", path: "/v1/status", token: c.ticket.String()}); resp.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d: %s", name, resp.StatusCode, c.status, body)
		}
	}
}

// proves C-1, S-4: of who has shown no credential, little is read
func TestPairingBodies(t *testing.T) {
	m := entropytest.NewMemory()
	w := newWorld(t, m, m, func(c *api.Config) { c.Pairings = noPairings{} })
	for name, r := range map[string]request{
		"large":   {method: "POST", path: "/v1/pairing", body: `{"worker":"w","hostname":"` + strings.Repeat("h", 5000) + `"}`},
		"unknown": {method: "POST", path: "/v1/pairing", body: `{"worker":"w","role":"admin"}`},
		"query":   {method: "POST", path: "/v1/pairing?x=1", body: `{}`},
	} {
		if resp, _ := w.do(r); resp.StatusCode != 400 && resp.StatusCode != 413 {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
}

// noPairings is asked nothing by the tests that use it.
type noPairings struct{ api.Pairings }
