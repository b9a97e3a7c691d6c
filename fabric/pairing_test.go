package fabric_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/fabric"
)

// pairingWorker opens a worker without a token; codes has each code that it shows,
// and opened what came of it.
func pairingWorker(t *testing.T, dir, server string) (codes <-chan fabric.PairingCode, opened <-chan error, run func(context.Context) error) {
	t.Helper()
	shown, end := make(chan fabric.PairingCode, 8), make(chan error, 1)
	var w *fabric.Worker
	go func() {
		var err error
		w, err = fabric.OpenWorker(t.Context(), fabric.WorkerConfig{DataDir: dir, Server: server, Name: "w1", Slots: 1, TrustLAN: true,
			ShowCode: func(c fabric.PairingCode) { shown <- c }, SupervisorCommand: []string{os.Args[0], "supervisor"}, NoDiscovery: true, Gossip: fabric.GossipConfig{Off: true}})
		end <- err
	}()
	return shown, end, func(ctx context.Context) error { return w.Run(ctx) }
}

func await[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(30 * time.Second):
		t.Fatal("no " + what)
	}
	return v
}

// proves C-1: without a token a worker is let in by the code on its screen, and only
// then; who let it in is in the journal; started again it needs no code
func TestPairing(t *testing.T) {
	c, _ := startControl(t, fabric.ControlConfig{TLS: true, TrustLAN: true})
	admin, dir := adminOf(t, c), t.TempDir()
	codes, opened, run := pairingWorker(t, dir, c.URL())
	code := await(t, codes, "code")
	waiting, err := admin.Pairings(t.Context())
	if err != nil || len(waiting) != 1 || waiting[0].Worker != "w1" || waiting[0].Confirmed || !strings.HasPrefix(code.Code, waiting[0].Check+"-") || code.ClusterID != c.ClusterID() {
		t.Fatalf("%+v %v, the worker shows %+v", waiting, err, code)
	}
	for _, wrong := range []string{"00000-000000", "K7QX2-9MFTB3", ""} {
		if _, err := admin.ConfirmPairing(t.Context(), wrong); err == nil || entropy.AsError(err).Hint == "" {
			t.Errorf("the code %q: %v", wrong, err)
		}
	}
	if _, err := identity.LoadMembership(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before it is confirmed, it is a member: %v", err)
	}
	if _, err := admin.ConfirmPairing(t.Context(), strings.ToLower(code.Code)); err != nil {
		t.Fatal(err)
	}
	if err := await(t, opened, "end of the pairing"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	eventually(t, 20*time.Second, func() bool { all, err := admin.Workers(t.Context()); return err == nil && len(all) == 1 },
		func() string { return "it does not register" })
	cancel()
	<-done
	page, err := admin.Events(t.Context(), entropy.EventFilter{Type: entropy.EnrollmentMade})
	if err != nil || len(page.Events) != 1 || !bytes.Contains(page.Events[0].Attrs, []byte(`"paired_by":"admin:`)) {
		t.Errorf("in the journal: %+v %v", page.Events, err)
	}
	codes, opened, _ = pairingWorker(t, dir, c.URL())
	if err := await(t, opened, "second start"); err != nil || len(codes) > 0 {
		t.Errorf("started again: %v, %d codes", err, len(codes))
	}
	stranger := dialTo(t, c.URL(), entropy.ClientConfig{CAPin: mustTicket(t, c).CAPin})
	_, err = stranger.StartPairing(t.Context(), entropy.PairRequest{Worker: "w1", KeyHash: strings.Repeat("ab", 32), Commitment: identity.Commit("x")})
	hinted(t, err, entropy.CodeConflict) // the name is taken
}

// middle is somebody in the middle: towards the worker a control plane with an
// authority of its own that calls itself by the cluster's very id, towards the
// control plane a worker.
type middle struct {
	URL  string
	mu   sync.Mutex
	said bytes.Buffer // what the worker sent
	lie  bool         // say that the pairing was confirmed
}

func inTheMiddle(t *testing.T, c *fabric.Control) *middle {
	t.Helper()
	rogue, err := identity.OpenAuthority(t.TempDir(), c.ClusterID(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &middle{URL: "https://" + ln.Addr().String()}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(b))
		m.mu.Lock()
		r.Header.Write(&m.said)
		m.said.Write(b)
		lie := m.lie
		m.mu.Unlock()
		if lie && r.Method == http.MethodGet {
			w.Header().Set(entropy.HeaderAPI, entropy.APIVersion)
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"confirmed":true,"proof":"`+strings.Repeat("00", 32)+`"}`)
			return
		}
		r.Host = to.Host
		proxy.ServeHTTP(w, r)
	})
	server, done := &http.Server{Handler: handler}, make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(tls.NewListener(ln, identity.NewServerCertificate(rogue, func() []string { return identity.Hosts("127.0.0.1") }, nil).Config()))
	}()
	t.Cleanup(func() { server.Close(); <-done })
	return m
}

// proves C-1, S-5 attack 11: somebody who stands between the two is found out on
// either side. The code that the worker shows lets nobody in; a control plane that
// was not told it cannot make the worker its own; no secret was sent
func TestPairingWithSomebodyInTheMiddle(t *testing.T) {
	c, _ := startControl(t, fabric.ControlConfig{TLS: true, TrustLAN: true})
	admin, m, dir := adminOf(t, c), inTheMiddle(t, c), t.TempDir()
	codes, opened, _ := pairingWorker(t, dir, m.URL)
	code := await(t, codes, "code")
	waiting, err := admin.Pairings(t.Context())
	if err != nil || len(waiting) != 1 || strings.HasPrefix(code.Code, waiting[0].Check) {
		t.Fatalf("%+v %v: both sides show %s", waiting, err, code.Code)
	}
	_, err = admin.ConfirmPairing(t.Context(), code.Code)
	if hinted(t, err, entropy.CodeNotFound); !strings.Contains(err.Error(), "stands between") {
		t.Error(err)
	}
	m.mu.Lock()
	m.lie = true
	m.mu.Unlock()
	err = await(t, opened, "end of the pairing")
	if hinted(t, err, entropy.CodeForbidden); err == nil || !strings.Contains(err.Error(), "was not told the code") {
		t.Error(err)
	}
	if _, err := identity.LoadMembership(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it has become a member: %v", err)
	}
	key, err := identity.LoadOrCreateWorkerKey(dir+"/"+identity.WorkerKeyFile, "w1")
	m.mu.Lock()
	defer m.mu.Unlock()
	if said := m.said.String(); err != nil || strings.Contains(said, key) || strings.Contains(said, "Authorization") || strings.Contains(said, code.Code[6:11]) {
		t.Errorf("a secret was sent: %v %s", err, said)
	}
	if all, err := admin.Events(t.Context(), entropy.EventFilter{Type: entropy.EnrollmentMade}); err != nil || len(all.Events) > 0 {
		t.Errorf("somebody was let in: %+v %v", all, err)
	}
}

// proves I-1: a worker with an admin token, or with none, is told what it needs
func TestWorkerWithoutAJoinToken(t *testing.T) {
	c, _ := startControl(t, fabric.ControlConfig{})
	_, err := fabric.OpenWorker(t.Context(), fabric.WorkerConfig{DataDir: t.TempDir(), Server: c.URL(), Name: "w1", Slots: 1, NoDiscovery: true,
		TokenFile: c.DataDir() + "/" + fabric.AdminTokenFile, SupervisorCommand: []string{os.Args[0], "supervisor"}})
	if hinted(t, err, entropy.CodeInvalid); err == nil || !strings.Contains(err.Error(), "role admin") {
		t.Error(err)
	}
	_, err = fabric.OpenWorker(t.Context(), fabric.WorkerConfig{DataDir: t.TempDir(), Server: "https://lab1:7600", Name: "w1", Slots: 1, NoDiscovery: true,
		SupervisorCommand: []string{os.Args[0], "supervisor"}})
	if hinted(t, err, entropy.CodeInvalid); err == nil || !strings.Contains(err.Error(), "has no token") {
		t.Error(err)
	}
}

// proves C-1: without --trust-lan nobody is let in without a token, and over plain
// HTTP nobody ever is
func TestNoPairing(t *testing.T) {
	c, _ := startControl(t, fabric.ControlConfig{TLS: true})
	_, opened, _ := pairingWorker(t, t.TempDir(), c.URL())
	hinted(t, await(t, opened, "refusal"), entropy.CodeNotFound)
	plain, _ := startControl(t, fabric.ControlConfig{})
	_, opened, _ = pairingWorker(t, t.TempDir(), plain.URL())
	hinted(t, await(t, opened, "refusal of plain HTTP"), entropy.CodeInvalid)
	_, err := fabric.OpenControl(t.Context(), fabric.ControlConfig{DataDir: t.TempDir(), Listen: "0.0.0.0:0", Insecure: true, TrustLAN: true})
	hinted(t, err, entropy.CodeInvalid)
	_, err = adminOf(t, c).Pairings(t.Context())
	hinted(t, err, entropy.CodeNotFound)
}
