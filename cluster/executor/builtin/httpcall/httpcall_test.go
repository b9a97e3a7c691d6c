package httpcall_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/httpcall"
	"github.com/entropy-fabric/entropy/cluster/executor/executortest"
)

const token = "s3cr3t-t0ken"

// handlers registers http_call for a test server.
func handlers(t *testing.T, srv *httptest.Server, change func(*httpcall.Config)) executortest.Handlers {
	t.Helper()
	t.Setenv("HTTP_TEST_TOKEN", token)
	conf := httpcall.Config{Private: true, MaxResponse: 1 << 10, Hosts: []httpcall.Host{{Host: srv.Listener.Addr().String(), Plain: true,
		Methods: []string{"GET", "POST"}, Paths: []string{"/v1"},
		Headers: map[string]builtin.Value{"Authorization": {Prefix: "Bearer ", Secret: "env:HTTP_TEST_TOKEN"}}}}}
	if change != nil {
		change(&conf)
	}
	h := executortest.Handlers{}
	if err := httpcall.Register(h, conf); err != nil {
		t.Fatal(err)
	}
	return h
}

// proves A-6: the request carries the secret and the action's ID, the result has
// the answer and not the secret, even if the server quotes it.
func TestCall(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.Header.Get("Idempotency-Key") != "act-1" || r.Header.Get("X-Who") != "me" {
			t.Errorf("headers: %v", r.Header)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"saw":%s,"auth":%q}`, b, r.Header.Get("Authorization"))
	}))
	defer srv.Close()
	res, err := handlers(t, srv, nil).Call(t.Context(), "http_call",
		`{"method":"POST","url":"`+srv.URL+`/v1/things?a=b","headers":{"x-who":"me"},"json":{"n":1}}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(res["json"]); got != "map[auth:Bearer [secret] saw:map[n:1]]" || res["status"] != 200.0 {
		t.Errorf("got %v", res)
	}
}

// proves A-6: what the settings do not allow is refused before anything is sent.
func TestNotAllowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was called") }))
	defer other.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/away":
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		case "/v1/aside":
			http.Redirect(w, r, "/v2/admin", http.StatusTemporaryRedirect)
		default:
			t.Errorf("%s was called", r.URL)
		}
	}))
	defer srv.Close()
	h := handlers(t, srv, nil)
	for name, args := range map[string]string{
		"host":        `{"url":"` + other.URL + `/v1"}`,
		"method":      `{"method":"DELETE","url":"` + srv.URL + `/v1/x"}`,
		"path":        `{"url":"` + srv.URL + `/v2/x"}`,
		"dots":        `{"url":"` + srv.URL + `/v1/../v2/x"}`,
		"escape":      `{"url":"` + srv.URL + `/v1/..%2fv2/x"}`,
		"segment":     `{"url":"` + srv.URL + `/v1x"}`,
		"scheme":      `{"url":"ftp://` + srv.Listener.Addr().String() + `/v1"}`,
		"credentials": `{"url":"http://u:p@` + srv.Listener.Addr().String() + `/v1"}`,
		"header":      `{"url":"` + srv.URL + `/v1/x","headers":{"authorization":"mine"}}`,
		"size":        `{"method":"POST","url":"` + srv.URL + `/v1/x","text":"` + strings.Repeat("x", 70<<10) + `"}`,
		"redirect":    `{"method":"POST","url":"` + srv.URL + `/v1/away"}`,
		"redirected":  `{"method":"POST","url":"` + srv.URL + `/v1/aside"}`,
	} {
		_, err := h.Call(t.Context(), "http_call", args)
		if kind, final := executortest.KindOf(err); err == nil || kind != builtin.KindNotAllowed || !final {
			t.Errorf("%s: %v (%s)", name, err, kind)
		}
	}
	if _, err := h.Call(t.Context(), "http_call", `{"url":"/v1"}`); err == nil {
		t.Error("a relative URL was called")
	}
	// A name may resolve to anything: the guard looks at the address.
	guarded := handlers(t, srv, func(c *httpcall.Config) { c.Private = false })
	_, err := guarded.Call(t.Context(), "http_call", `{"url":"`+srv.URL+`/v1/x"}`)
	if kind, final := executortest.KindOf(err); kind != builtin.KindNotAllowed || !final {
		t.Errorf("a private address: %v (%s)", err, kind)
	}
}

// proves A-3: what an answer says about another attempt.
func TestStatus(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscanf(r.URL.Path, "/v1/%d", &code)
		if code == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "90")
		}
		w.WriteHeader(code)
	}))
	defer srv.Close()
	h := handlers(t, srv, nil)
	for code, want := range map[int]string{400: "invalid final", 401: "unauthorized final", 404: "not_found final", 409: "conflict final",
		408: "unavailable", 429: "overloaded", 500: "unavailable", 503: "unavailable"} {
		_, err := h.Call(t.Context(), "http_call", fmt.Sprintf(`{"url":"%s/v1/%d"}`, srv.URL, code))
		kind, final := executortest.KindOf(err)
		if final {
			kind += " final"
		}
		if err == nil || kind != want {
			t.Errorf("%d: %v (%s), want %s", code, err, kind, want)
		}
		if code == 429 && executortest.AfterOf(err) != 90*time.Second {
			t.Errorf("retry after %v", executortest.AfterOf(err))
		}
	}
	if _, err := h.Call(t.Context(), "http_call", `{"url":"`+srv.URL+`/v1/404","expect":[404]}`); err != nil {
		t.Errorf("an expected status: %v", err)
	}
}

// proves A-6: a short Retry-After is waited for; a server that does not answer in
// time leaves the outcome unknown, one that is not there was not reached.
func TestPatience(t *testing.T) {
	var calls atomic.Int32
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/hang" {
			io.Copy(io.Discard, r.Body)
			<-hang
			return
		}
		if calls.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer srv.Close()
	defer close(hang)
	h := handlers(t, srv, func(c *httpcall.Config) { c.Timeout = entropy.Duration(time.Second) })
	if _, err := h.Call(t.Context(), "http_call", `{"url":"`+srv.URL+`/v1/x"}`); err != nil || calls.Load() != 2 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
	_, err := h.Call(t.Context(), "http_call", `{"method":"POST","url":"`+srv.URL+`/v1/hang","text":"x"}`)
	if kind, _ := executortest.KindOf(err); kind != builtin.KindOutcomeUnknown {
		t.Errorf("no answer: %v (%s)", err, kind)
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	h = handlers(t, gone, nil)
	_, err = h.Call(t.Context(), "http_call", `{"method":"POST","url":"`+gone.URL+`/v1/x"}`)
	if kind, _ := executortest.KindOf(err); kind != builtin.KindUnavailable {
		t.Errorf("not there: %v (%s)", err, kind)
	}
}

// proves A-7, and that long answers are cut.
func TestDryRunAndLimits(t *testing.T) {
	var calls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		io.WriteString(w, strings.Repeat("y", 5<<10))
	}))
	defer srv.Close()
	h := handlers(t, srv, nil)
	if res, err := h.Call(t.Context(), "http_call", `{"url":"`+srv.URL+`/v1/x"}`, executortest.Dry); err != nil || calls.Load() != 0 {
		t.Errorf("%v, %v, %d calls", res, err, calls.Load())
	}
	if res, err := h.Call(t.Context(), "http_call", `{"url":"`+srv.URL+`/v1/x"}`); err != nil || res["cut"] != true || len(res["text"].(string)) != 1<<10 {
		t.Errorf("%v, %v", res, err)
	}
}

// proves that secrets are given by reference only, and that a reference that
// cannot be read is an error that does not quote it.
func TestSecrets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := builtin.Secret("file:" + file).Read(); err != nil || got != token {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []builtin.Secret{token, "env:", "file:relative", "file:" + builtin.Secret(file) + "-missing", "env:NO_SUCH_VARIABLE_HERE"} {
		if got, err := bad.Read(); err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
	conf := httpcall.Config{Hosts: []httpcall.Host{{Host: "a b"}, {Host: "ok", Headers: map[string]builtin.Value{"X": {Secret: token}}}}}
	if err := httpcall.Register(executortest.Handlers{}, conf); err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("got %v", err)
	}
}
