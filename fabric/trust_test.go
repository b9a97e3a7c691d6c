package fabric_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/fabric"
	"github.com/entropy-fabric/entropy/persistence/journal"
)

// startControl runs a control plane in this process and returns how to stop it.
func startControl(t *testing.T, cfg fabric.ControlConfig) (*fabric.Control, func()) {
	t.Helper()
	if cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	cfg.Logger, cfg.Gossip.Off, cfg.NoDiscovery = slog.New(slog.DiscardHandler), true, true
	c, err := fabric.OpenControl(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return c, stop
}

func dialTo(t *testing.T, server string, conf entropy.ClientConfig) *entropy.Client {
	t.Helper()
	conf.Server = server
	c, err := entropy.NewClient(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

func adminOf(t *testing.T, c *fabric.Control) *entropy.Client {
	return dialTo(t, c.URL(), entropy.ClientConfig{Token: secret(t, c, fabric.AdminTokenFile)})
}

func workerKey(t *testing.T, name entropy.WorkerID) string {
	t.Helper()
	key, err := identity.NewWorkerKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// proves S-3: off loopback TLS is served by the cluster's own authority, and every
// way for a client to know it works: the token's pin, under any address, and ca.pem
func TestTLSOffLoopback(t *testing.T) {
	c, _ := startControl(t, fabric.ControlConfig{Listen: "0.0.0.0:0", NoDiscovery: true})
	if !strings.HasPrefix(c.URL(), "https://") || !c.Secure() {
		t.Fatalf("it is served at %s", c.URL())
	}
	admin := secret(t, c, fabric.AdminTokenFile)
	bare := admin[strings.LastIndex(admin, ".")+1:]
	roots, err := fabric.ReadRoots(filepath.Join(c.DataDir(), identity.CACertFile))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := strings.Replace(c.URL(), "127.0.0.1", "127.0.0.2", 1) // an address that no certificate names
	for name, try := range map[string]struct {
		server string
		conf   entropy.ClientConfig
		ok     bool
	}{
		"the token": {c.URL(), entropy.ClientConfig{Token: admin}, true}, "the token, at another address": {elsewhere, entropy.ClientConfig{Token: admin}, true},
		"ca.pem": {c.URL(), entropy.ClientConfig{Token: bare, RootCAs: roots}, true}, "ca.pem, at another address": {elsewhere, entropy.ClientConfig{Token: bare, RootCAs: roots}, false},
		"nothing": {c.URL(), entropy.ClientConfig{Token: bare}, false}, "plain HTTP": {strings.Replace(c.URL(), "https", "http", 1), entropy.ClientConfig{Token: bare}, false},
	} {
		_, err := dialTo(t, try.server, try.conf).Status(t.Context())
		if (err == nil) != try.ok || err != nil && entropy.AsError(err).Hint == "" {
			t.Errorf("%s: %v, want ok=%v", name, err, try.ok)
		}
	}
	if _, err := entropy.NewClient(entropy.ClientConfig{Server: "http://198.51.100.7:7600", Token: admin}); entropy.ErrorCode(err) != entropy.CodeInvalid || !strings.Contains(err.Error(), "https://") {
		t.Errorf("a pinned token over plain HTTP to another host: %v", err)
	}
}

// proves S-3: plain HTTP off loopback only when it is asked for, and its tokens
// say so; the same data directory may turn to TLS and back
func TestInsecureAndBack(t *testing.T) {
	dir := t.TempDir()
	var before string
	for i, insecure := range []bool{true, false, true} {
		c, stop := startControl(t, fabric.ControlConfig{DataDir: dir, Listen: "0.0.0.0:0", Insecure: insecure, NoDiscovery: true})
		text := secret(t, c, fabric.AdminTokenFile)
		ticket, err := entropy.ParseTicket(text)
		if err != nil || ticket.ClusterID != c.ClusterID() || (ticket.CAPin == "") != insecure || i > 0 && ticket.Secret != before {
			t.Errorf("insecure=%v: %+v %v", insecure, ticket, err)
		}
		before = ticket.Secret
		if _, err := adminOf(t, c).Status(t.Context()); err != nil {
			t.Errorf("insecure=%v: %v", insecure, err)
		}
		stop()
	}
	_, err := fabric.OpenControl(t.Context(), fabric.ControlConfig{DataDir: dir, TLS: true, Insecure: true})
	hinted(t, err, entropy.CodeInvalid)
}

// proves S-2: token files of an earlier release go on working, and are brought up to date
func TestBareTokenFile(t *testing.T) {
	dir := t.TempDir()
	c, stop := startControl(t, fabric.ControlConfig{DataDir: dir})
	whole := secret(t, c, fabric.AdminTokenFile)
	stop()
	bare := whole[strings.LastIndex(whole, ".")+1:]
	if err := identity.WriteSecretFile(filepath.Join(dir, fabric.AdminTokenFile), bare); err != nil {
		t.Fatal(err)
	}
	c, _ = startControl(t, fabric.ControlConfig{DataDir: dir})
	if got := secret(t, c, fabric.AdminTokenFile); got != whole {
		t.Errorf("the file holds %q, want %q", got, whole)
	}
	if _, err := dialTo(t, c.URL(), entropy.ClientConfig{Token: bare}).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// proves C-1, S-5 attack 10: a use is burned and the key registered at once; the
// same key gets the same answer, before and after a restart; nobody gets past the
// uses, and each refusal says what is next and is in the journal
func TestJoinToken(t *testing.T) {
	dir := t.TempDir()
	c, stop := startControl(t, fabric.ControlConfig{DataDir: dir, TLS: true})
	made, err := adminOf(t, c).CreateToken(t.Context(), entropy.TokenSpec{Role: entropy.RoleJoin, Uses: 1, Note: "for one"})
	if err != nil {
		t.Fatal(err)
	}
	join := func(name entropy.WorkerID, key string) (entropy.Joined, error) {
		return dialTo(t, c.URL(), entropy.ClientConfig{Token: made.Token, WorkerKey: key}).Join(t.Context(), entropy.JoinRequest{Hostname: "host of " + string(name)})
	}
	const rivals = 50
	keys, answers, errs := make([]string, rivals), make([]entropy.Joined, rivals), make([]error, rivals)
	var all sync.WaitGroup
	for i := range rivals {
		keys[i] = workerKey(t, "w1")
		all.Go(func() { answers[i], errs[i] = join("w1", keys[i]) })
	}
	all.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case entropy.ErrorCode(err) != entropy.CodeConflict:
			t.Errorf("rival %d: %v", i, err)
		}
	}
	if winner < 0 || answers[winner].ClusterID != c.ClusterID() || answers[winner].CA == "" {
		t.Fatalf("winner %d: %+v", winner, answers)
	}
	_, err = join("w2", workerKey(t, "w2"))
	if hinted(t, err, entropy.CodeForbidden); !strings.Contains(err.Error(), "1 of 1") {
		t.Error(err)
	}
	same := func(when string) {
		t.Helper()
		if again, err := join("w1", keys[winner]); err != nil || again != answers[winner] {
			t.Errorf("%s, the same key again: %+v %v", when, again, err)
		}
	}
	same("at once")
	page, err := adminOf(t, c).Events(t.Context(), entropy.EventFilter{Entity: entropy.Entity(entropy.KindToken, made.ID)})
	counts := map[string]int{}
	for _, e := range page.Events {
		counts[e.Type]++
	}
	if err != nil || counts[entropy.TokenUsed] != 1 || counts[entropy.TokenRefused] != 1 {
		t.Errorf("in the journal: %v %v; want one use, and one refusal a minute", counts, err)
	}
	stop()
	c, stop = startControl(t, fabric.ControlConfig{DataDir: dir, TLS: true})
	same("after a restart")
	if _, err := adminOf(t, c).RevokeToken(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	same("after the token was revoked")
	if _, err := join("w3", workerKey(t, "w3")); entropy.ErrorCode(err) != entropy.CodeUnauthorized || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("with a revoked token: %v", err)
	}
	stop()
	if report, err := journal.VerifyFile(t.Context(), filepath.Join(dir, fabric.JournalFile)); err != nil || len(report.Problems) > 0 {
		t.Errorf("the journal: %v %v", report, err)
	}
}

// proves S-2: the control plane's clock ends a token; a token that is not known,
// and a register past the limits, are refused; the last admin token stays
func TestTokensThatAreNoGood(t *testing.T) {
	c, _ := startControl(t, fabric.ControlConfig{})
	admin := adminOf(t, c)
	short, err := admin.CreateToken(t.Context(), entropy.TokenSpec{Role: entropy.RoleAdmin, TTL: entropy.Duration(50 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	brief := dialTo(t, c.URL(), entropy.ClientConfig{Token: short.Token})
	eventually(t, 10*time.Second, func() bool { _, err = brief.Status(t.Context()); return err != nil }, func() string { return "it does not expire" })
	if hinted(t, err, entropy.CodeUnauthorized); !strings.Contains(err.Error(), "expired at") {
		t.Error(err)
	}
	one, err := admin.CreateToken(t.Context(), entropy.TokenSpec{Role: entropy.RoleJoin, Uses: 1})
	if err != nil {
		t.Fatal(err)
	}
	register := func(name entropy.WorkerID) error {
		key := workerKey(t, name)
		_, err := dialTo(t, c.URL(), entropy.ClientConfig{Token: one.Token, WorkerKey: key}).Register(t.Context(), entropy.Registration{Nonce: "n", BootID: "b", SpoolID: "s", Slots: 1, KeyHash: identity.Hash(key)})
		return err
	}
	if err := errors.Join(register("w1")); err != nil {
		t.Errorf("a worker that registers without joining first: %v", err)
	}
	hinted(t, register("w2"), entropy.CodeForbidden)
	_, err = admin.RevokeToken(t.Context(), "nobody")
	hinted(t, err, entropy.CodeNotFound)
	list, err := admin.Tokens(t.Context())
	if err != nil || len(list) != 4 {
		t.Fatalf("%v %v", list, err)
	}
	for _, k := range list {
		if k.Role == entropy.RoleAdmin && k.State == entropy.TokenActive {
			_, err = admin.RevokeToken(t.Context(), k.ID)
			hinted(t, err, entropy.CodeConflict)
		}
	}
	other := entropy.Ticket{ClusterID: "another", CAPin: strings.Repeat("ab", 32), Secret: one.Token[strings.LastIndex(one.Token, ".")+1:]}
	_, err = dialTo(t, c.URL(), entropy.ClientConfig{Token: other.String(), WorkerKey: workerKey(t, "w3")}).Join(t.Context(), entropy.JoinRequest{})
	hinted(t, err, entropy.CodeForbidden) // the credential is what counts; the ticket's rest only protects it
}

// proves S-2, S-5 attack 5: a revoked token ends the streams that it holds open
// within a second
func TestRevokedWhileOpen(t *testing.T) {
	c, _ := startControl(t, fabric.ControlConfig{})
	admin := adminOf(t, c)
	made, err := admin.CreateToken(t.Context(), entropy.TokenSpec{Role: entropy.RoleAdmin})
	if err != nil {
		t.Fatal(err)
	}
	closed := follow(t, c, made.Token)
	began := time.Now()
	if _, err := admin.RevokeToken(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	ended(t, closed, began)
}

// recorder is a server of somebody else that remembers all it receives.
type recorder struct {
	mu sync.Mutex
	b  bytes.Buffer
	ln net.Listener
	n  int
}

// record serves on ln until the test ends. Connections are read after the
// handshake, if there is one.
func record(t *testing.T, ln net.Listener) *recorder {
	r := &recorder{ln: ln}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(5 * time.Second))
				if s, ok := conn.(*tls.Conn); ok {
					s.Handshake() // what fails shows in what is read
				}
				r.mu.Lock()
				r.n++
				r.mu.Unlock()
				buf := make([]byte, 4096)
				n, _ := conn.Read(buf)
				r.mu.Lock()
				r.b.Write(buf[:n])
				r.mu.Unlock()
			})
		}
	})
	t.Cleanup(func() { ln.Close(); open.Wait() })
	return r
}

func (r *recorder) heard() (connections int, data string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n, r.b.String()
}

// proves C-1, S-5 attack 11: a rogue control plane, with an authority of its own
// that calls itself by the cluster's very id, receives not a byte, from a worker
// that joins and from one that is a member
func TestRogueControlPlaneGetsNothing(t *testing.T) {
	c, _ := startControl(t, fabric.ControlConfig{TLS: true})
	rogue, err := identity.OpenAuthority(t.TempDir(), c.ClusterID(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert := identity.NewServerCertificate(rogue, func() []string { return identity.Hosts("127.0.0.1") }, nil)
	r := record(t, tls.NewListener(ln, cert.Config()))
	tokenFile := filepath.Join(c.DataDir(), fabric.WorkerTokenFile)
	run := func(dir, server, token string) error {
		w, err := fabric.OpenWorker(t.Context(), fabric.WorkerConfig{DataDir: dir, Server: server, Name: "w1", Slots: 1, TokenFile: token,
			SupervisorCommand: []string{os.Args[0], "supervisor"}, NoDiscovery: true, Gossip: fabric.GossipConfig{Off: true}})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		return w.Run(ctx)
	}
	member := t.TempDir()
	if err := identity.SaveMembership(member, identity.Membership{ClusterID: c.ClusterID(), CAPin: mustTicket(t, c).CAPin}, c.Keyring()); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"joining": run(t.TempDir(), "https://"+ln.Addr().String(), tokenFile),
		"member":  run(member, "https://"+ln.Addr().String(), ""),
	} {
		hinted(t, err, entropy.CodeForbidden)
		if err != nil && !strings.Contains(err.Error(), "no secret was sent") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n, data := r.heard(); n < 2 || data != "" {
		t.Errorf("of %d connections the rogue received %q", n, data)
	}
}

// output collects what is written to it.
type output struct {
	mu sync.Mutex
	b  strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func mustTicket(t *testing.T, c *fabric.Control) entropy.Ticket {
	t.Helper()
	ticket, err := entropy.ParseTicket(secret(t, c, fabric.WorkerTokenFile))
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

// proves C-1: a worker belongs to the cluster that it joined, refuses the token and
// the control plane of another by name, and joins it when it was made to forget
func TestLoyalWorker(t *testing.T) {
	first, stop := startControl(t, fabric.ControlConfig{})
	second, _ := startControl(t, fabric.ControlConfig{})
	dir := t.TempDir()
	var said output
	open := func(c *fabric.Control, token string) (*fabric.Worker, error) {
		return fabric.OpenWorker(t.Context(), fabric.WorkerConfig{DataDir: dir, Server: c.URL(), Name: "w1", Slots: 1, TokenFile: token,
			SupervisorCommand: []string{os.Args[0], "supervisor"}, NoDiscovery: true, Gossip: fabric.GossipConfig{Off: true}, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	}
	works := func(c *fabric.Control, token string, incarnation uint64) {
		t.Helper()
		w, err := open(c, token)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			fmt.Fprintln(&said, "it ends:", w.Run(ctx))
		}()
		admin := adminOf(t, c)
		defer func() { cancel(); <-done }()
		eventually(t, 20*time.Second, func() bool {
			all, err := admin.Workers(t.Context())
			return err == nil && len(all) == 1 && all[0].Incarnation == incarnation
		},
			func() string { return "the worker does not register: " + said.String() })
	}
	token := func(c *fabric.Control) string { return filepath.Join(c.DataDir(), fabric.WorkerTokenFile) }
	works(first, token(first), 1)
	works(first, "", 2) // it needs no token any more
	ring, err := identity.LoadKeyring(filepath.Join(dir, identity.ClusterKeyFile))
	if err != nil || ring.Shared() != first.Keyring().Shared() {
		t.Errorf("it was handed the keyring %d, %v", ring.Version, err)
	}
	stop()
	if _, err := open(second, token(second)); entropy.ErrorCode(err) != entropy.CodeConflict || !strings.Contains(err.Error(), first.ClusterID()) || !strings.Contains(err.Error(), "reset-identity") {
		t.Errorf("another cluster's token: %v", err)
	}
	if _, err := identity.Forget(dir); err != nil {
		t.Fatal(err)
	}
	works(second, token(second), 1)
}

// proves L-5: a disk that was cloned together with its worker is refused while the
// other is alive, by the names of both hosts, with the cure
func TestClonedDisk(t *testing.T) {
	c, _ := startControl(t, fabric.ControlConfig{})
	key := workerKey(t, "w1")
	register := func(host string) error {
		cl := dialTo(t, c.URL(), entropy.ClientConfig{Token: secret(t, c, fabric.WorkerTokenFile), WorkerKey: key})
		_, err := cl.Register(t.Context(), entropy.Registration{Nonce: entropy.NewID(), BootID: "boot of " + host, SpoolID: "s", Slots: 1, Hostname: host, KeyHash: identity.Hash(key)})
		return err
	}
	if err := register("lab-1"); err != nil {
		t.Fatal(err)
	}
	err := register("lab-2")
	hinted(t, err, entropy.CodeConflict)
	for _, says := range []string{"lab-1", "lab-2", "entropy worker reset-identity", "--name"} {
		if err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%v lacks %q", err, says)
		}
	}
}
