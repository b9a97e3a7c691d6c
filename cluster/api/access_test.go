package api_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/api"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/entropytest"
)

// concrete fills the wildcards of a pattern.
func concrete(pattern string) string {
	return strings.NewReplacer("{id}", "j1", "{name...}", "a/b.txt", "{name}", "w9", "{mode}", "drain", "{sha256}", strings.Repeat("ab", 32),
		"{assignment}", "a1", "{stream}", "stdout").Replace(pattern)
}

// proves S-1, attacks 2 and 3: every route × every role, deny by default
func TestRouteRoleMatrix(t *testing.T) {
	w, _ := memoryWorld(t)
	tokens := map[string]string{"nobody": "", "admin": w.admin, "join": w.join, "worker": w.knowWorker("w1")}
	seen := 0
	for _, rt := range w.server.Routes() {
		for role, token := range tokens {
			seen++
			resp, _ := w.do(request{method: rt.Method, path: concrete(rt.Pattern), token: token})
			switch got := resp.StatusCode; {
			case rt.Public || rt.Admits(entropy.Role(role)):
				if got == 401 || got == 403 && rt.Pattern != "/v1/worker/register" {
					t.Errorf("%s %s as %s: %d, want it admitted", rt.Method, rt.Pattern, role, got)
				}
			case role == "nobody":
				if got != 401 {
					t.Errorf("%s %s as nobody: %d, want 401", rt.Method, rt.Pattern, got)
				}
			case got != 403:
				t.Errorf("%s %s as %s: %d, want 403", rt.Method, rt.Pattern, role, got)
			}
		}
		worker := strings.HasPrefix(rt.Pattern, "/v1/worker/")
		if rt.Admits(entropy.RoleAdmin) && !rt.Public && worker || rt.Admits(entropy.RoleWorker) && !rt.Public && !worker {
			t.Errorf("%s %s is open to the wrong role", rt.Method, rt.Pattern)
		}
		if rt.Admits(entropy.RoleJoin) && !rt.Public && rt.Pattern != "/v1/worker/register" && rt.Pattern != "/v1/worker/join" {
			t.Errorf("%s %s is open to a join token", rt.Method, rt.Pattern)
		}
	}
	if n := strings.Count(w.log.String(), "code=forbidden"); n < 30 || n > 70 {
		t.Errorf("%d forbidden calls are in the log: each at first, and no flood", n)
	}
	if seen < 120 {
		t.Errorf("only %d pairs were tried", seen)
	}
}

// proves S-2, attacks 1 and 7: one constant answer to every bad credential
func TestBadCredentials(t *testing.T) {
	w, _ := memoryWorld(t)
	a := w.admin
	flip := func(i int) string {
		b := []byte(a)
		b[i] ^= 1
		return string(b)
	}
	other, _ := newToken(t, entropy.RoleAdmin) // well-formed, unknown
	forged, err := identity.NewWorkerKey("w1")
	if err != nil {
		t.Fatal(err)
	}
	w.knowWorker("w1")
	var first string
	for name, header := range map[string][]string{
		"none": nil, "empty": {""}, "bearer": {"Bearer "}, "no scheme": {a}, "basic": {"Basic " + a}, "long": {"Bearer " + strings.Repeat("x", 10<<10)},
		"first byte": {"Bearer " + flip(0)}, "role": {"Bearer " + flip(5)}, "secret": {"Bearer " + flip(40)}, "sum": {"Bearer " + flip(len(a)-1)},
		"truncated": {"Bearer " + a[:len(a)-1]}, "trailing": {"Bearer " + a + " x"}, "unknown": {"Bearer " + other}, "forged key": {"Bearer " + forged},
		"twice": {"Bearer " + a, "Bearer " + a}, "jwt": {"Bearer eyJhbGciOiJub25lIn0.e30."},
	} {
		req, err := http.NewRequest("GET", w.url+"/v1/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header["Authorization"] = header
		resp, err := testClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(b)
		}
		if resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") == "" || string(b) != first {
			t.Errorf("%s: %d %s", name, resp.StatusCode, b)
		}
		if strings.Contains(string(b), a) {
			t.Errorf("%s: the answer repeats the credential", name)
		}
	}
	if strings.Contains(w.log.String(), a[20:60]) {
		t.Error("the log holds a secret")
	}
	w.want(request{method: "GET", path: "/v1/status", token: a}, 200) // the failures of an address lock nobody out
}

// proves attack 30 in small: failures are limited, and the table is bounded
func TestFailedAuthenticationBucket(t *testing.T) {
	w, _ := memoryWorld(t)
	statuses := map[int]int{}
	for range 100 {
		resp, _ := w.do(request{method: "GET", path: "/v1/status", token: "guess"})
		statuses[resp.StatusCode]++
	}
	if statuses[401] < 60 || statuses[401] > 80 || statuses[429] != 100-statuses[401] {
		t.Errorf("statuses %v, want 60 times 401, a few for the time passed, and then 429", statuses)
	}
	if n := strings.Count(w.log.String(), "request failed"); n > statuses[401] {
		t.Errorf("%d log lines for 100 guesses", n)
	}

	now := time.Unix(1000, 0)
	take := api.Take(2, time.Second, func() time.Time { return now })
	try := func(address string, want ...bool) {
		t.Helper()
		for i, ok := range want {
			if take(address) != ok {
				t.Errorf("token %d of %s: want %v", i, address, ok)
			}
		}
	}
	try("a", true, true, false) // two at once
	try("b", true)              // each address its own
	now = now.Add(time.Second)
	try("a", true, false) // and one a second comes back
}

// proves S-2, attack 5: a revoked token ends an open stream and an open long poll
func TestRevokeEndsOpenRequests(t *testing.T) {
	w, m := memoryWorld(t)
	if _, err := m.Submit(t.Context(), []entropy.Submission{{ID: "j1", Spec: entropy.JobSpec{Command: []string{"true"}}}}); err != nil {
		t.Fatal(err)
	}
	stream := openStream(t, w, "/v1/events", "")
	defer stream.Close()
	stream.next() // it is open
	polled := make(chan int, 1)
	go func() {
		resp, _ := w.do(request{method: "GET", path: "/v1/jobs/j1/wait?timeout=60s", token: w.admin})
		polled <- resp.StatusCode
	}()
	awaitOpen(t, w, "/v1/jobs/j1/wait?timeout=60s", polled)
	start := time.Now()
	gone := w.adminToken
	gone.Revoked = true
	w.auth.Add(gone)
	if code := <-polled; code != 401 {
		t.Errorf("the long poll got %d, want 401", code)
	}
	if last := stream.drain(); !strings.Contains(last, "unauthorized") {
		t.Errorf("the stream ended with %q", last)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
	w.want(request{method: "GET", path: "/v1/status", token: w.admin}, 401)
}

// proves S-2, attack 6: a token that expires is announced, and then refused
func TestTokenExpires(t *testing.T) {
	w, _ := memoryWorld(t)
	secret, tok := newToken(t, entropy.RoleAdmin)
	soon := time.Now().Add(time.Hour)
	tok.ExpiresAt = &soon
	w.auth.Add(tok)
	resp, _ := w.want(request{method: "GET", path: "/v1/status", token: secret}, 200)
	if got := resp.Header.Get("Entropy-Token-Expires"); got != soon.UTC().Format(time.RFC3339) {
		t.Errorf("expiry header %q", got)
	}
	past := time.Now().Add(-time.Second)
	tok.ExpiresAt = &past
	w.auth.Add(tok)
	w.want(request{method: "GET", path: "/v1/status", token: secret}, 401)
}

// proves S-2, C-1, attack 4: the worker's name and key come from the credential
func TestRegistrationIdentity(t *testing.T) {
	w, _ := memoryWorld(t)
	body := func(hash string) string {
		return `{"nonce":"n1","key_hash":"` + hash + `","boot_id":"b","spool_id":"s","hostname":"h","version":"v","slots":1}`
	}
	key := w.key("w1")
	good := body(identity.Hash(key))
	join := func(header string) map[string]string { return map[string]string{entropy.HeaderWorkerKey: header} }
	const path = "/v1/worker/register"
	w.want(request{method: "POST", path: path, token: w.join, body: good}, 400, entropy.HeaderWorkerKey)
	w.want(request{method: "POST", path: path, token: w.join, body: good, header: join("rubbish")}, 401)
	w.want(request{method: "POST", path: path, token: w.join, body: good, header: join(w.admin)}, 401)
	w.want(request{method: "POST", path: path, token: w.join, body: body(identity.Hash(w.key("w2"))), header: join(key)}, 403, "key_hash")
	w.want(request{method: "POST", path: path, token: key, body: good}, 401) // not yet known
	w.want(request{method: "POST", path: path, token: w.join, body: good, header: join(key)}, 200, `"worker_id":"w1"`, `"incarnation":1`)
	w.want(request{method: "POST", path: path, token: key, body: good}, 200, `"incarnation":1`) // now it needs no join token
	claim := `{"incarnation":1,"claim_seq":1,"want":1}`
	w.want(request{method: "POST", path: "/v1/worker/claim", token: key, body: claim}, 200)
	w.want(request{method: "POST", path: "/v1/worker/claim", token: w.join, body: claim, header: join(key)}, 403) // registering is all it may

	thief, err := identity.NewWorkerKey("w1")
	if err != nil {
		t.Fatal(err)
	}
	w.want(request{method: "POST", path: path, token: w.join, body: body(identity.Hash(thief)), header: join(thief)}, 409, "another key")
	w.want(request{method: "POST", path: "/v1/worker/claim", token: key, body: claim}, 200)
	w.want(request{method: "POST", path: "/v1/worker/claim", token: key, body: `{"incarnation":1,"claim_seq":1,"want":1,"worker_id":"w2"}`}, 400, "worker_id")
}

// proves attack 22: another name for the loopback, a page of another site
func TestHostAndOrigin(t *testing.T) {
	w := newWorld(t, entropytest.NewMemory(), entropytest.NewMemory(), func(c *api.Config) { c.Hosts = []string{"Lab1.example"} })
	for host, want := range map[string]int{"evil.example": 421, "evil.example:7600": 421, "127.0.0.1.evil.example": 421, "localhost:1": 200, "[::1]:7600": 200,
		"127.9.9.9": 200, "lab1.example:7600": 200} {
		resp, body := w.do(request{method: "GET", path: "/healthz", host: host})
		if resp.StatusCode != want {
			t.Errorf("Host %s: %d, want %d: %s", host, resp.StatusCode, want, body)
		}
	}
	post := request{method: "POST", path: "/v1/jobs", token: w.admin, body: `{"spec":{"command":["true"]}}`, header: map[string]string{"Sec-Fetch-Site": "cross-site"}}
	w.want(post, 403, "another site")
	post.header = nil
	resp, _ := w.want(post, 201)
	for key, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox", "Entropy-Api": "v1"} {
		if got := resp.Header.Get(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
}

// proves S-3: plain HTTP stays on loopback unless it is meant
func TestCheckListen(t *testing.T) {
	for _, c := range []struct {
		addr          string
		tls, insecure bool
		ok            bool
	}{
		{"127.0.0.1:7600", false, false, true}, {"localhost:7600", false, false, true}, {"[::1]:7600", false, false, true}, {"127.3.4.5:0", false, false, true},
		{":7600", false, false, false}, {"0.0.0.0:7600", false, false, false}, {"[::]:7600", false, false, false}, {"10.0.0.1:7600", false, false, false},
		{"lab1:7600", false, false, false}, {"127.0.0.1.evil.example:1", false, false, false},
		{":7600", true, false, true}, {"lab1:7600", false, true, true},
		{"7600", false, true, false}, {"", true, true, false}, {"127.0.0.1", false, false, false},
	} {
		err := api.CheckListen(c.addr, c.tls, c.insecure)
		if (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
		if err != nil && (entropy.ErrorCode(err) != entropy.CodeInvalid || entropy.AsError(err).Hint == "") {
			t.Errorf("%+v: %v lacks a code or a hint", c, err)
		}
	}
}

// proves O-1: metrics need a token unless they are opened; health never does
func TestOpenMetrics(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "entropy_up 1\n") })
	for _, open := range []bool{false, true} {
		m := entropytest.NewMemory()
		w := newWorld(t, m, m, func(c *api.Config) { c.Metrics, c.OpenMetrics = handler, open })
		status := 401
		if open {
			status = 200
		}
		w.want(request{method: "GET", path: "/metrics"}, status)
		w.want(request{method: "GET", path: "/metrics", token: w.admin}, 200, "entropy_up 1")
		w.want(request{method: "GET", path: "/healthz"}, 200, "ok")
		w.want(request{method: "GET", path: "/readyz"}, 200, "ready")
	}
	m := entropytest.NewMemory()
	w := newWorld(t, m, m, func(c *api.Config) {
		c.Ready = func() error {
			return entropy.Errorf(entropy.CodeDiskFull, "the disk is full").WithHint("free some space")
		}
	})
	w.want(request{method: "GET", path: "/readyz"}, 503, "the disk is full", "free some space")
}
