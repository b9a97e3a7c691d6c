package bus

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/entropy-fabric/entropy"
)

// serverOptions are those of a server that is not ours.
func serverOptions(t *testing.T, name string) *server.Options {
	t.Helper()
	return &server.Options{
		ServerName: name, Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
		JetStreamMaxStore: 1 << 30, JetStreamMaxMemory: 64 << 20, SyncAlways: true,
		Users: []*server.User{{Username: "control", Password: "secret"}},
	}
}

func startServer(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(o)
	must(t, err)
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	s.Start()
	if o.Cluster.Name == "" && !s.ReadyForConnections(20*time.Second) {
		t.Fatal("a server does not start")
	}
	return s
}

// startCluster starts three servers that know each other.
func startCluster(t *testing.T) (servers []*server.Server, urls string) {
	t.Helper()
	var routes []*url.URL
	for range 3 { // a free port each, which is given back just before it is taken
		l, err := net.Listen("tcp", loopback)
		must(t, err)
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: l.Addr().String()})
		must(t, l.Close())
	}
	var all []string
	for i, r := range routes {
		o := serverOptions(t, fmt.Sprintf("n%d", i))
		port, err := strconv.Atoi(r.Port())
		must(t, err)
		o.Cluster = server.ClusterOpts{Name: "lab", Host: "127.0.0.1", Port: port}
		o.Routes = slices.Clone(routes)
		servers = append(servers, startServer(t, o))
	}
	for _, s := range servers {
		if !s.ReadyForConnections(30 * time.Second) {
			t.Fatal("a server of the cluster does not start")
		}
		all = append(all, s.ClientURL())
	}
	eventually(t, "the cluster has a leader", func() bool {
		return slices.ContainsFunc(servers, func(s *server.Server) bool { return s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == 3 })
	})
	return servers, strings.Join(all, ",")
}

// proves A-1, P-1 for an external bus: a cluster of three, each stream on all of them;
// one node is killed while facts and requests go through: all are there, in order, and
// the publisher's repeats are not doubled.
func TestExternalCluster(t *testing.T) {
	t.Parallel()
	servers, urls := startCluster(t)
	b := start(t, Config{URL: urls, User: "control", Password: "secret", MaxStore: 256 << 20})
	if b.replicas.Load() != 3 || b.level.Load() < levelBatch {
		t.Fatalf("replicas %d, level %d", b.replicas.Load(), b.level.Load())
	}
	must(t, b.EnsureCommand(t.Context(), "restart"))
	const n = 1500
	var mu sync.Mutex
	got := map[string]bool{}
	consumeAll(t, b, StreamRequested, controlName, func(_ context.Context, m Message) Disposition {
		mu.Lock()
		defer mu.Unlock()
		got[string(m.Data)] = true
		return Ack()
	})
	done := make(chan error, 2)
	go func() { done <- relay(t.Context(), NewSink(b, 1), n, 50) }()
	go func() {
		for i := range 100 {
			for b.Publish(t.Context(), SubjectRequested, fmt.Sprint(i), fmt.Append(nil, i)) != nil && t.Context().Err() == nil {
			}
		}
		done <- t.Context().Err()
	}()
	eventually(t, "some facts are there", func() bool {
		_, state, err := b.streamConfigured(t.Context(), StreamEvents)
		return err == nil && state.LastSeq > 200
	})
	victim := slices.IndexFunc(servers, func(s *server.Server) bool { return s.Name() == b.nc.ConnectedServerName() })
	servers[victim].Shutdown()
	for range 2 {
		must(t, receive(t, "the publishers", done))
	}
	eventually(t, "all requests were consumed", func() bool { mu.Lock(); defer mu.Unlock(); return len(got) == 100 })
	wantInOrder(t, b, n)
	eventually(t, "it is well", func() bool { return b.Health(t.Context()) == nil })
	if st := b.Status(t.Context()); !st.Connected || st.Embedded || len(st.Streams) != len(streamTable(nil)) || st.Streams[0].Replicas != 3 {
		t.Errorf("status is %+v", st)
	}
}

// proves I-4: an external server alone keeps each stream once; one that does not let
// us in, or has no JetStream, is said so.
func TestExternalServer(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions(t, "alone"))
	b := start(t, Config{URL: s.ClientURL(), User: "control", Password: "secret", MaxStore: 256 << 20})
	must(t, relay(t.Context(), NewSink(b, 1), 300, 100))
	wantInOrder(t, b, 300)
	if b.replicas.Load() != 1 {
		t.Errorf("replicas %d", b.replicas.Load())
	}
	if n := b.Revoke(Credential{Name: "x"}); n != 0 || b.Addr() != nil {
		t.Errorf("revoked %d on a server that is not ours", n)
	}
	_, err := Start(t.Context(), Config{URL: s.ClientURL(), User: "control", Password: "guess"})
	wantCode(t, err, entropy.CodeUnavailable)
	o := serverOptions(t, "core")
	o.JetStream = false
	_, err = Start(t.Context(), Config{URL: startServer(t, o).ClientURL(), User: "control", Password: "secret"})
	wantCode(t, err, entropy.CodeUnavailable)
}

// proves I-4: what an old server cannot do is not asked of it: no batches, no TTL.
func TestOldServer(t *testing.T) {
	t.Parallel()
	b := start(t, Config{})
	b.level.Store(0)
	for _, s := range streamTable(nil) {
		if c := b.streamConfig(s); c.AllowAtomicPublish || c.AllowMsgTTL || c.PersistMode != 0 {
			t.Errorf("%s asks for what the server does not know: %+v", s.name, c)
		}
	}
	must(t, relay(t.Context(), NewSink(b, 1), 300, 100))
	wantInOrder(t, b, 300)
	must(t, b.PublishBatch(t.Context(), []Message{{Subject: SubjectRequested, ID: "1", TTL: time.Second}, {Subject: SubjectRequested, ID: "2"}}))
	if n := len(stored(t, b, StreamRequested)); n != 2 {
		t.Errorf("%d messages are stored", n)
	}
}

// proves H-4: an external server that is not there when the control plane starts is
// found when it is.
func TestExternalServerComesLater(t *testing.T) {
	t.Parallel()
	o := serverOptions(t, "late")
	first := startServer(t, o)
	u := first.ClientURL()
	o.Port = first.Addr().(*net.TCPAddr).Port
	first.Shutdown()
	first.WaitForShutdown()
	b := start(t, Config{URL: u, User: "control", Password: "secret", MaxStore: 256 << 20, Patient: true})
	if got := redacted("nats://control:secret@a:1,nats://b:2"); got != "nats://control:xxxxx@a:1,nats://b:2" {
		t.Errorf("the password is in %s", got)
	}
	wantCode(t, b.Health(t.Context()), entropy.CodeUnavailable)
	wantCode(t, b.Publish(t.Context(), SubjectRequested, "x", nil), entropy.CodeUnavailable)
	if s := b.Status(t.Context()); s.Connected || s.Problem == "" {
		t.Errorf("status is %+v", s)
	}
	startServer(t, o)
	must(t, relay(t.Context(), NewSink(b, 1), 100, 100))
	wantInOrder(t, b, 100)
	eventually(t, "it is well", func() bool { return b.Health(t.Context()) == nil })
}

// proves S-3: off this process, TLS 1.3 with the certificate that was given: a client
// that trusts another authority, or speaks no TLS, gets nowhere.
func TestTLS(t *testing.T) {
	t.Parallel()
	conf, roots, strangers := testCertificates(t)
	users := new(directory)
	users.set(Credential{Name: "r", Role: RoleReader, PasswordHash: HashPassword("p")})
	b := start(t, Config{Listen: loopback, Users: users, TLS: conf})
	for what, option := range map[string]nats.Option{"standard": nil, "TLS first": nats.TLSHandshakeFirst()} {
		options := []nats.Option{nats.Secure(tlsConfig(roots))}
		if option != nil {
			options = append(options, option)
		}
		nc := mustDial(t, b, "r", "p", options...)
		if state, err := nc.TLSConnectionState(); err != nil || state.Version != 0x0304 {
			t.Errorf("%s: %v, %v", what, state.Version, err)
		}
	}
	if _, err := dial(t, b, "r", "p", nats.Secure(tlsConfig(strangers))); err == nil {
		t.Error("a client that trusts another authority was connected")
	}
	raw := rawLine(t, b.Addr().String(), `CONNECT {"user":"r","pass":"p","verbose":true}`+"\r\nPING\r\n")
	if strings.Contains(raw, "PONG") || strings.Contains(raw, "+OK") {
		t.Errorf("without TLS the server said %q", raw)
	}
}
