package identity_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

func newToken(t testing.TB, role entropy.Role) (string, entropy.Token) {
	t.Helper()
	secret, tok, err := identity.New(role)
	if err != nil {
		t.Fatal(err)
	}
	return secret, tok
}

func workerKey(t testing.TB, name entropy.WorkerID) string {
	t.Helper()
	key, err := identity.NewWorkerKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func request(credential, key string) *http.Request {
	r := &http.Request{Header: http.Header{}}
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	if key != "" {
		r.Header.Set(entropy.HeaderWorkerKey, key)
	}
	return r
}

// proves S-2: the form of a credential, and that nothing of the secret is stored
func TestParse(t *testing.T) {
	for _, role := range []entropy.Role{entropy.RoleAdmin, entropy.RoleJoin, entropy.RoleWorker} {
		secret, tok := newToken(t, role)
		c, err := identity.Parse(secret)
		if err != nil || c.Role != role || c.ID != tok.ID || c.Hash != tok.Hash || c.Hash != identity.Hash(secret) || len(c.Hash) != 64 {
			t.Fatalf("%s: %+v %+v %v", secret, c, tok, err)
		}
		if strings.Contains(tok.Hash, secret[len(secret)-52:]) || len(secret) > identity.MaxLength {
			t.Errorf("token %+v", tok)
		}
	}
	for _, name := range []entropy.WorkerID{"w1", "a_b_c", "x-._", entropy.WorkerID(strings.Repeat("n", 64))} {
		key := workerKey(t, name)
		if c, err := identity.Parse(key); err != nil || c.ID != string(name) || c.Role != entropy.RoleWorker {
			t.Errorf("%s: %+v %v", key, c, err)
		}
	}
	if _, err := identity.NewWorkerKey("no spaces"); entropy.ErrorCode(err) != entropy.CodeInvalid {
		t.Errorf("a bad name: %v", err)
	}
	if _, _, err := identity.New("root"); entropy.ErrorCode(err) != entropy.CodeInvalid {
		t.Errorf("a bad role: %v", err)
	}
}

// proves attack 7: every single changed, missing or added byte is noticed
func TestParseDamaged(t *testing.T) {
	secret, _ := newToken(t, entropy.RoleAdmin)
	try := func(s string) {
		t.Helper()
		if _, err := identity.Parse(s); entropy.ErrorCode(err) != entropy.CodeUnauthorized || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for i := range secret {
		try(secret[:i] + string(secret[i]^1) + secret[i+1:])
		try(secret[:i] + secret[i+1:])
		try(secret[:i])
		try(secret[:i] + "A" + secret[i:])
	}
	try("")
	try(strings.Repeat("x", 1<<20))
	try(strings.ToUpper(secret))
}

// proves S-2: who a credential is
func TestAuthenticate(t *testing.T) {
	a := identity.NewAuthenticator(identity.Config{})
	admin, adminTok := newToken(t, entropy.RoleAdmin)
	join, joinTok := newToken(t, entropy.RoleJoin)
	key, stranger := workerKey(t, "w1"), workerKey(t, "w1")
	a.Set([]entropy.Token{adminTok, joinTok})
	a.SetWorkerKey("w1", identity.Hash(key))
	for name, c := range map[string]struct {
		r    *http.Request
		want entropy.Principal
	}{
		"nobody":               {request("", ""), entropy.Principal{}},
		"admin":                {request(admin, ""), entropy.Principal{Role: entropy.RoleAdmin, Name: adminTok.ID}},
		"admin with a key":     {request(admin, key), entropy.Principal{Role: entropy.RoleAdmin, Name: adminTok.ID}},
		"join":                 {request(join, ""), entropy.Principal{Role: entropy.RoleJoin, Name: joinTok.ID}},
		"join with a key":      {request(join, stranger), entropy.Principal{Role: entropy.RoleJoin, Name: "w1", KeyHash: identity.Hash(stranger)}},
		"join with rubbish":    {request(join, "x"), entropy.Principal{}},
		"join with a token":    {request(join, admin), entropy.Principal{}},
		"worker":               {request(key, ""), entropy.Principal{Role: entropy.RoleWorker, Name: "w1", KeyHash: identity.Hash(key)}},
		"another key of w1":    {request(stranger, ""), entropy.Principal{}},
		"unknown worker":       {request(workerKey(t, "w2"), ""), entropy.Principal{}},
		"key only as header":   {request("", key), entropy.Principal{}},
		"lower-case scheme":    {&http.Request{Header: http.Header{"Authorization": {"bearer " + admin}}}, entropy.Principal{Role: entropy.RoleAdmin, Name: adminTok.ID}},
		"two credentials":      {&http.Request{Header: http.Header{"Authorization": {"Bearer " + admin, "Bearer " + admin}}}, entropy.Principal{}},
		"two keys":             {&http.Request{Header: http.Header{"Authorization": {"Bearer " + join}, entropy.HeaderWorkerKey: {key, key}}}, entropy.Principal{}},
		"another scheme":       {&http.Request{Header: http.Header{"Authorization": {"Basic " + admin}}}, entropy.Principal{}},
		"nothing after Bearer": {&http.Request{Header: http.Header{"Authorization": {"Bearer "}}}, entropy.Principal{}},
	} {
		got, err := a.Authenticate(c.r)
		if got != c.want || (err == nil) != (c.want != entropy.Principal{}) {
			t.Errorf("%s: %+v %v, want %+v", name, got, err, c.want)
		}
		if err != nil && entropy.ErrorCode(err) != entropy.CodeUnauthorized {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// proves S-2: revoked, replaced and expired tokens end at once
func TestRevocation(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	a := identity.NewAuthenticator(identity.Config{Now: func() time.Time { return now }})
	secret, tok := newToken(t, entropy.RoleAdmin)
	ok := func(want bool) {
		t.Helper()
		if _, err := a.Authenticate(request(secret, "")); (err == nil) != want {
			t.Fatalf("authenticate: %v, want ok=%v", err, want)
		}
	}
	ok(false)
	a.Add(tok)
	ok(true)
	expires := now.Add(time.Minute)
	tok.ExpiresAt = &expires
	a.Add(tok)
	if _, got, err := a.Identify(request(secret, "")); err != nil || !got.Equal(expires) {
		t.Fatalf("expiry %v %v", got, err)
	}
	now = expires
	ok(false)
	tok.ExpiresAt = nil
	a.Add(tok)
	ok(true)
	tok.Revoked = true
	a.Add(tok)
	ok(false)
	tok.Revoked, tok.Role = false, entropy.RoleJoin // the stored role decides
	a.Add(tok)
	ok(false)
	a.Set(nil)
	ok(false)
}

// proves S-2, attack 5: what is held open by a credential ends with it, and only that
func TestGuard(t *testing.T) {
	a := identity.NewAuthenticator(identity.Config{})
	one, oneTok := newToken(t, entropy.RoleAdmin)
	two, twoTok := newToken(t, entropy.RoleAdmin)
	key := workerKey(t, "w1")
	a.Set([]entropy.Token{oneTok, twoTok})
	a.SetWorkerKey("w1", identity.Hash(key))
	guard := func(credential string) context.Context {
		ctx, stop := a.Guard(t.Context(), request(credential, ""))
		t.Cleanup(stop)
		return ctx
	}
	first, second, worker := guard(one), guard(two), guard(key)
	if ctx := guard("rubbish"); !errors.Is(context.Cause(ctx), ctx.Err()) && entropy.ErrorCode(context.Cause(ctx)) != entropy.CodeUnauthorized {
		t.Errorf("a guard of nobody: %v", context.Cause(ctx))
	}
	oneTok.Revoked = true
	a.Add(oneTok)
	if entropy.ErrorCode(context.Cause(first)) != entropy.CodeUnauthorized {
		t.Errorf("revoked: %v", context.Cause(first))
	}
	if second.Err() != nil || worker.Err() != nil {
		t.Error("another credential's request was ended")
	}
	a.SetWorkerKey("w1", "")
	if worker.Err() == nil {
		t.Error("a forgotten worker's request goes on")
	}
	soon := time.Now().Add(10 * time.Millisecond)
	threeSecret, three := newToken(t, entropy.RoleAdmin)
	three.ExpiresAt = &soon
	a.Add(three)
	select {
	case <-guard(threeSecret).Done():
	case <-time.After(10 * time.Second):
		t.Error("an expired token's request goes on")
	}
	ctx, stop := a.Guard(t.Context(), request(two, ""))
	stop()
	if ctx.Err() == nil {
		t.Error("stop did not end the context")
	}
}

// proves S-2: secrets are 0600, whole, and refused when others may read them
func TestSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.token")
	if _, err := identity.ReadSecretFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	for _, secret := range []string{"one", "two"} {
		if err := identity.WriteSecretFile(path, secret); err != nil {
			t.Fatal(err)
		}
		got, err := identity.ReadSecretFile(path)
		info, serr := os.Stat(path)
		if err != nil || serr != nil || got != secret || info.Mode() != 0o600 {
			t.Fatalf("%q %v %v %v", got, err, info, serr)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v %v", left, err)
	}
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o604, 0o620, 0o602} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := identity.ReadSecretFile(path)
		if entropy.ErrorCode(err) != entropy.CodeForbidden || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	for name, content := range map[string]string{"empty": "", "spaces": " \n", "two lines": "a\nb", "large": strings.Repeat("x", 5000)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := identity.ReadSecretFile(path); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := identity.ReadSecretFile(t.TempDir()); entropy.ErrorCode(err) != entropy.CodeInvalid {
		t.Errorf("a directory: %v", err)
	}
	if err := identity.WriteSecretFile(filepath.Join(t.TempDir(), "no", "where"), "x"); err == nil {
		t.Error("a missing directory was accepted")
	}
}

// proves C-1: a worker makes its key once, and keeps it
func TestWorkerKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "worker.key")
	var wg sync.WaitGroup
	keys := make([]string, 8)
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = identity.LoadOrCreateWorkerKey(path, "w1"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k == "" || k != keys[0] {
			t.Fatalf("eight starts made different keys: %q", keys)
		}
	}
	if c, err := identity.Parse(keys[0]); err != nil || c.ID != "w1" || c.Role != entropy.RoleWorker {
		t.Errorf("%+v %v", c, err)
	}
	_, err := identity.LoadOrCreateWorkerKey(path, "w2")
	if entropy.ErrorCode(err) != entropy.CodeConflict || !strings.Contains(err.Error(), "--name w1") {
		t.Errorf("another name: %v", err)
	}
	if err := identity.WriteSecretFile(path, "rubbish"); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.LoadOrCreateWorkerKey(path, "w1"); entropy.ErrorCode(err) != entropy.CodeInvalid {
		t.Errorf("rubbish: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, []byte("rubbish\n")) {
		t.Errorf("a damaged key was replaced: %q %v", b, err)
	}
}

// proves S-2: a revoked worker's key ends what it holds open, is told what became of
// it, and does not come back with a registration that was under way
func TestRevokedWorkerKey(t *testing.T) {
	a := identity.NewAuthenticator(identity.Config{})
	key := workerKey(t, "w1")
	a.SetWorkerKey("w1", identity.Hash(key))
	ctx, stop := a.Guard(t.Context(), request(key, ""))
	defer stop()
	a.RevokeWorkerKey("w1", identity.Hash(key))
	a.SetWorkerKey("w1", identity.Hash(key))
	_, err := a.Authenticate(request(key, ""))
	for _, err := range []error{err, context.Cause(ctx)} {
		if entropy.ErrorCode(err) != entropy.CodeUnauthorized || !strings.Contains(err.Error(), "was revoked") {
			t.Errorf("%v", err)
		}
	}
	if _, err := a.Authenticate(request(workerKey(t, "w1"), "")); err == nil || strings.Contains(err.Error(), "was revoked") {
		t.Errorf("another key of the name: %v", err)
	}
}

// proves S-2: no text makes the parser panic, and what parses is exactly what was made
func FuzzParse(f *testing.F) {
	secret, _ := newToken(f, entropy.RoleAdmin)
	f.Add(secret)
	f.Add(workerKey(f, "a_b"))
	f.Add("ent_admin__")
	f.Add(entropy.Ticket{ClusterID: "c", CAPin: strings.Repeat("ab", 32), Secret: secret}.String())
	f.Add("2." + strings.Repeat("A", 43) + "," + strings.Repeat("B", 43))
	f.Add("K7QX2-9MFTB3")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := identity.ParseKeyring(s); err == nil && len(k.Keys) == 0 {
			t.Errorf("%q is a keyring without a key", s)
		}
		if check, secret, err := identity.ParseCode(s); err == nil && len(check)+len(secret) != 10 {
			t.Errorf("%q is the code %q %q", s, check, secret)
		}
		c, err := identity.Parse(s)
		if err != nil {
			return
		}
		if t2, err := entropy.ParseTicket(s); err == nil {
			if c.Cluster != t2.ClusterID || c.CAPin != t2.CAPin {
				t.Errorf("%q parsed as %+v", s, c)
			}
			s = t2.Secret
		}
		if c.Hash != identity.Hash(s) || entropy.ValidateID("id", c.ID) != nil || !strings.HasPrefix(s, "ent_"+string(c.Role)+"_"+c.ID+"_") {
			t.Errorf("%q parsed as %+v", s, c)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	a := identity.NewAuthenticator(identity.Config{})
	key := workerKey(b, "w1")
	a.SetWorkerKey("w1", identity.Hash(key))
	r := request(key, "")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(r); err != nil {
			b.Fatal(err)
		}
	}
}
