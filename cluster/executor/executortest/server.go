// Package executortest is a small control plane for tests of executors, in any
// language: a real NATS server with the streams and the permissions of
// docs/PROTOCOL.md, and an actor that issues orders and judges reports as the
// control plane does. It can lose, repeat and delay its verdicts.
//
// It keeps nothing on disk that outlives the test, and is not the control plane:
// its rules are those that an executor can notice.
package executortest

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The streams and consumers of docs/PROTOCOL.md.
const (
	orders   = "ACTIONS_ORDERS"
	progress = "ACTIONS_REPORTS_PROGRESS"
	results  = "ACTIONS_REPORTS_RESULT"
	readyIn  = 20 * time.Second
)

// Server is a NATS server on the loopback that knows the executors it was given.
type Server struct {
	tb   testing.TB
	opts server.Options
	srv  *server.Server
	nc   *nats.Conn // of the control plane
	js   jetstream.JetStream

	ackWait time.Duration
}

// startServer starts a server for executors by name with the commands that each
// may carry out, and makes the streams.
func startServer(tb testing.TB, conf Config) *Server {
	tb.Helper()
	s := &Server{tb: tb, ackWait: cmp.Or(conf.AckWait, 30*time.Second), opts: server.Options{ServerName: "executortest", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		NoSigs: true, NoLog: true, JetStream: true, StoreDir: tb.TempDir(), JetStreamMaxStore: 1 << 30, JetStreamMaxMemory: 64 << 20,
		DisableJetStreamBanner: true}}
	s.opts.Users = []*server.User{{Username: "control", Password: Password("control")}}
	for name, commands := range conf.Executors {
		s.opts.Users = append(s.opts.Users, &server.User{Username: name, Password: Password(name), Permissions: Permissions(name, commands...)})
	}
	s.Start()
	tb.Cleanup(s.Stop)
	s.connect()
	return s
}

// Password returns the password of an executor.
func Password(name string) string { return "secret-of-" + name }

// Permissions are what the credential of an executor allows.
func Permissions(name string, commands ...string) *server.Permissions {
	pub := []string{"actions.progress." + name, "actions.result." + name}
	for _, c := range commands {
		d := orders + ".exec-" + c
		pub = append(pub, "$JS.API.CONSUMER.INFO."+d, "$JS.API.CONSUMER.MSG.NEXT."+d, "$JS.ACK."+d+".>", "$JS.ACK.*.*."+d+".>")
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: pub},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_" + name + ".>", "actions.verdict." + name}},
	}
}

// Start starts the server, after Stop on the same port with the same streams.
func (s *Server) Start() {
	s.tb.Helper()
	opts := s.opts
	srv, err := server.NewServer(&opts)
	if err != nil {
		s.tb.Fatalf("start NATS: %v", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(readyIn) {
		s.tb.Fatal("NATS did not start")
	}
	s.srv = srv
	s.opts.Port = srv.Addr().(*net.TCPAddr).Port
}

// Stop stops the server.
func (s *Server) Stop() {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
}

// URL returns the server's address, without credentials.
func (s *Server) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", s.opts.Port) }

// Conn returns the control plane's own connection.
func (s *Server) Conn() *nats.Conn { return s.nc }

func (s *Server) connect() {
	s.tb.Helper()
	nc, err := nats.Connect(s.URL(), nats.UserInfo("control", Password("control")), nats.MaxReconnects(-1),
		nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		s.tb.Fatalf("connect to NATS: %v", err)
	}
	s.tb.Cleanup(nc.Close)
	s.nc = nc
	if s.js, err = jetstream.New(nc); err != nil {
		s.tb.Fatal(err)
	}
	for _, c := range []jetstream.StreamConfig{
		{Name: orders, Subjects: []string{"actions.requested.*"}, Retention: jetstream.WorkQueuePolicy},
		{Name: progress, Subjects: []string{"actions.progress.*"}, MaxAge: 24 * time.Hour},
		{Name: results, Subjects: []string{"actions.result.*"}, MaxAge: 7 * 24 * time.Hour},
	} {
		if _, err := s.js.CreateStream(context.Background(), c); err != nil {
			s.tb.Fatalf("make stream %s: %v", c.Name, err)
		}
	}
}

// EnsureCommand makes the consumer that the executors of a command share.
func (s *Server) EnsureCommand(command string) {
	s.tb.Helper()
	_, err := s.js.CreateOrUpdateConsumer(context.Background(), orders, jetstream.ConsumerConfig{Durable: "exec-" + command,
		FilterSubject: "actions.requested." + command, AckPolicy: jetstream.AckExplicitPolicy, AckWait: s.ackWait})
	if err != nil {
		s.tb.Fatalf("make the consumer of %s: %v", command, err)
	}
}

// Waiting returns how many orders of a command wait or are not acknowledged.
func (s *Server) Waiting(command string) int {
	s.tb.Helper()
	c, err := s.js.Consumer(context.Background(), orders, "exec-"+command)
	if err != nil {
		s.tb.Fatal(err)
	}
	info := c.CachedInfo()
	return int(info.NumPending) + info.NumAckPending
}

// UntilSettled waits until no order of a command waits or is in hand.
func (s *Server) UntilSettled(command string) {
	s.tb.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(readyIn)
	for s.Waiting(command) > 0 {
		select {
		case <-tick.C:
		case <-limit:
			s.tb.Fatalf("%d orders of %s are left", s.Waiting(command), command)
		}
	}
}
