// Package bustest runs a cluster of NATS servers that are not ours, each in a process
// of its own that can be killed: for tests of an external bus. The servers speak TLS,
// and let in whom [bus.Permissions] says, by nkey or password.
package bustest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/entropy-fabric/entropy/cluster/bus"
)

// Account is who may be on the servers.
type Account struct {
	bus.Credential
	Password string // or
	Seed     string // of an nkey
}

// WithPassword returns an account that proves itself by a password.
func WithPassword(name string, role bus.Role, commands ...string) Account {
	return Account{Credential: bus.Credential{Name: name, Role: role, Commands: commands}, Password: "password-of-" + name}
}

// WithNkey returns an account that proves itself by a fresh nkey.
func WithNkey(tb testing.TB, name string, role bus.Role, commands ...string) Account {
	tb.Helper()
	pair, err := nkeys.CreateUser()
	check(tb, err)
	seed, err := pair.Seed()
	check(tb, err)
	public, err := pair.PublicKey()
	check(tb, err)
	return Account{Credential: bus.Credential{Name: name, Role: role, Commands: commands, PublicKey: public}, Seed: string(seed)}
}

// Cluster is three servers.
type Cluster struct {
	CAFile string // PEM of who vouches for the servers

	tb    testing.TB
	roots *x509.CertPool
	nodes []*node
	admin Account
}

type node struct {
	setup setup
	cmd   *exec.Cmd // nil while it is down
}

// size of a [Cluster]: of fewer, none may be missing.
const size = 3

// Start starts the servers, and ends them with the test. The program of the test has
// to call [Main] first.
func Start(tb testing.TB, accounts ...Account) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb, admin: WithPassword("bustest", bus.RoleControl)}
	dir := tb.TempDir()
	cert, key := c.certificates(dir)
	var users []user
	for _, a := range append(accounts, c.admin) {
		publish, subscribe := bus.Permissions(a.Credential)
		users = append(users, user{Name: a.Name, Password: a.Password, Nkey: a.PublicKey, Publish: publish, Subscribe: subscribe})
	}
	var routes []string
	for i := range size {
		s := setup{Name: fmt.Sprintf("n%d", i), Dir: filepath.Join(dir, fmt.Sprintf("n%d", i)), Port: freePort(tb), ClusterPort: freePort(tb), Cert: cert, Key: key, Users: users}
		routes = append(routes, fmt.Sprintf("nats-route://127.0.0.1:%d", s.ClusterPort))
		c.nodes = append(c.nodes, &node{setup: s})
	}
	tb.Cleanup(func() {
		for i := range c.nodes {
			c.Kill(i)
		}
	})
	for i, n := range c.nodes {
		n.setup.Routes = routes
		c.Start(i)
	}
	return c
}

// URL returns those of the servers, comma separated.
func (c *Cluster) URL() string {
	var all []string
	for _, n := range c.nodes {
		all = append(all, fmt.Sprintf("tls://127.0.0.1:%d", n.setup.Port))
	}
	return strings.Join(all, ",")
}

// Len returns how many servers there are.
func (c *Cluster) Len() int { return len(c.nodes) }

// TLS returns what a client needs to trust the servers.
func (c *Cluster) TLS() *tls.Config {
	return &tls.Config{RootCAs: c.roots, MinVersion: tls.VersionTLS13}
}

// Start starts a server that is down, on the files that it has.
func (c *Cluster) Start(i int) {
	c.tb.Helper()
	n := c.nodes[i]
	b, err := json.Marshal(n.setup)
	check(c.tb, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), environment+"="+string(b))
	cmd.Stderr = os.Stderr
	_, err = cmd.StdinPipe() // it ends with us, whatever ends us
	check(c.tb, err)
	check(c.tb, cmd.Start())
	n.cmd = cmd
}

// Kill ends a server as a power cut does.
func (c *Cluster) Kill(i int) {
	n := c.nodes[i]
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill() // it may have ended
	_ = n.cmd.Wait()
	n.cmd = nil
}

// Wipe removes the files of a server that is down.
func (c *Cluster) Wipe(i int) {
	c.tb.Helper()
	check(c.tb, os.RemoveAll(c.nodes[i].setup.Dir))
}

// Leader returns which server leads a stream, once one does.
func (c *Cluster) Leader(stream string) int {
	c.tb.Helper()
	nc := c.dial(c.admin)
	defer nc.Close()
	js, err := jetstream.New(nc)
	check(c.tb, err)
	ctx, cancel := context.WithTimeout(c.tb.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if s, err := js.Stream(ctx, stream); err == nil && s.CachedInfo().Cluster != nil {
			for i, n := range c.nodes {
				if n.setup.Name == s.CachedInfo().Cluster.Leader {
					return i
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.tb.Fatalf("nobody leads the stream %s", stream)
		}
	}
}

// Publish stores a message, as a plain client does who waits for the answer, and tries
// again, under the same message ID, until it is there.
func (c *Cluster) Publish(a Account, subject, id string, data []byte) {
	c.tb.Helper()
	nc := c.dial(a)
	defer nc.Close()
	js, err := jetstream.New(nc)
	check(c.tb, err)
	ctx, cancel := context.WithTimeout(c.tb.Context(), patience)
	defer cancel()
	for {
		try, end := context.WithTimeout(ctx, 2*time.Second)
		_, err := js.Publish(try, subject, data, jetstream.WithMsgID(id))
		end()
		switch {
		case err == nil:
			return
		case ctx.Err() != nil:
			c.tb.Fatalf("publish on %s: %v", subject, err)
		}
	}
}

// patience bounds what a cluster may take to do anything, on a busy machine.
const patience = 60 * time.Second

// Try connects as a, to see whether it is let in.
func (c *Cluster) Try(a Account) error {
	nc, err := nats.Connect(c.URL(), c.options(a)...)
	if err == nil {
		nc.Close()
	}
	return err
}

func (c *Cluster) dial(a Account) *nats.Conn {
	c.tb.Helper()
	nc, err := nats.Connect(c.URL(), append(c.options(a), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))...)
	check(c.tb, err)
	return nc
}

func (c *Cluster) options(a Account) []nats.Option {
	options := []nats.Option{nats.Secure(c.TLS()), nats.CustomInboxPrefix(bus.Inbox(a.Name))}
	if a.Seed == "" {
		return append(options, nats.UserInfo(a.Name, a.Password))
	}
	return append(options, nats.Nkey(a.PublicKey, func(nonce []byte) ([]byte, error) {
		pair, err := nkeys.FromSeed([]byte(a.Seed))
		if err != nil {
			return nil, err
		}
		return pair.Sign(nonce)
	}))
}

// freePort returns one that was free just now.
func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(tb, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
