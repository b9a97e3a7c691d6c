package api_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/api"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/entropytest"
)

// world is a server on loopback with one admin token, one join token and a key
// per worker.
type world struct {
	t           testing.TB
	url         string
	server      *api.Server
	auth        *identity.Authenticator
	admin, join string
	adminToken  entropy.Token
	stop        func() error // ends Serve and returns its error
	log         *logBuffer

	mu   sync.Mutex
	keys map[entropy.WorkerID]string
}

// logBuffer collects log lines.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(t testing.TB, service entropy.Service, worker entropy.WorkerService, change func(*api.Config)) *world {
	t.Helper()
	w := &world{t: t, auth: identity.NewAuthenticator(identity.Config{}), keys: map[entropy.WorkerID]string{}, log: &logBuffer{}}
	var joinToken entropy.Token
	w.admin, w.adminToken = newToken(t, entropy.RoleAdmin)
	w.join, joinToken = newToken(t, entropy.RoleJoin)
	w.auth.Set([]entropy.Token{w.adminToken, joinToken})
	conf := api.Config{Service: service, Worker: worker, Auth: w.auth, Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelInfo}))}
	if change != nil {
		change(&conf)
	}
	var err error
	if w.server, err = api.New(conf); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.url = "http://" + ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(ctx, ln) }()
	w.stop = sync.OnceValue(func() error { cancel(); return <-served })
	t.Cleanup(func() { w.stop() })
	return w
}

func newToken(t testing.TB, role entropy.Role) (string, entropy.Token) {
	t.Helper()
	secret, tok, err := identity.New(role)
	if err != nil {
		t.Fatal(err)
	}
	return secret, tok
}

// key returns the key of a worker, made at first.
func (w *world) key(name entropy.WorkerID) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keys[name] == "" {
		k, err := identity.NewWorkerKey(name)
		if err != nil {
			w.t.Fatal(err)
		}
		w.keys[name] = k
	}
	return w.keys[name]
}

func (w *world) client(conf entropy.ClientConfig) *entropy.Client {
	w.t.Helper()
	conf.Server = w.url
	c, err := entropy.NewClient(conf)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.CloseIdle)
	return c
}

func (w *world) adminClient() *entropy.Client {
	return w.client(entropy.ClientConfig{Token: w.admin})
}

func (w *world) workerClient(name entropy.WorkerID) *entropy.Client {
	return w.client(entropy.ClientConfig{Token: w.join, WorkerKey: w.key(name)})
}

func (w *world) fabric() entropytest.Fabric {
	return entropytest.Fabric{
		Service: w.adminClient(),
		Worker:  func(name entropy.WorkerID) entropy.WorkerService { return w.workerClient(name) },
		KeyHash: func(name entropy.WorkerID) string { return identity.Hash(w.key(name)) },
	}
}

// knowWorker makes the worker known without a registration.
func (w *world) knowWorker(name entropy.WorkerID) string {
	w.auth.SetWorkerKey(name, identity.Hash(w.key(name)))
	return w.key(name)
}

// request is one raw request.
type request struct {
	method, path, token, body string
	header                    map[string]string
	host                      string
}

func (w *world) do(q request) (*http.Response, string) {
	w.t.Helper()
	req, err := http.NewRequest(q.method, w.url+q.path, strings.NewReader(q.body))
	if err != nil {
		w.t.Fatal(err)
	}
	if q.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if q.token != "" {
		req.Header.Set("Authorization", "Bearer "+q.token)
	}
	for k, v := range q.header {
		req.Header.Set(k, v)
	}
	if q.host != "" {
		req.Host = q.host
	}
	resp, err := testClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, string(b)
}

// testClient follows no redirects and keeps no connections.
var testClient = &http.Client{
	Timeout:       20 * time.Second,
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// want fails unless the answer has the status and its body holds every text.
func (w *world) want(q request, status int, texts ...string) (*http.Response, string) {
	w.t.Helper()
	resp, body := w.do(q)
	if resp.StatusCode != status {
		w.t.Errorf("%s %s: status %d, want %d: %.300s", q.method, q.path, resp.StatusCode, status, body)
	}
	for _, text := range texts {
		if !strings.Contains(body, text) {
			w.t.Errorf("%s %s: %.300q lacks %q", q.method, q.path, body, text)
		}
	}
	return resp, body
}

// memoryWorld is a world over a fabric in memory.
func memoryWorld(t testing.TB) (*world, *entropytest.Memory) {
	m := entropytest.NewMemory()
	return newWorld(t, m, m, nil), m
}
