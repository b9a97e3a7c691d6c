package cluster

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/entropy-fabric/entropy"
)

// fabricNet is a network of loopback sockets that can be cut.
type fabricNet struct {
	mu    sync.Mutex
	cuts  map[[2]int]bool // from port, to port
	bytes atomic.Int64    // written, by everybody
}

func (n *fabricNet) cut(from, to *Membership, off bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[[2]int{portOf(from.Address()), portOf(to.Address())}] = off
}

func portOf(address string) int {
	_, p, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(p)
	return n
}

// transport opens a socket of the network.
func (n *fabricNet) transport(t *testing.T) *cutTransport {
	t.Helper()
	nt, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{"127.0.0.1"}, Logger: log.New(io.Discard, "", 0)})
	if err != nil {
		t.Fatal(err)
	}
	return &cutTransport{NetTransport: nt, net: n}
}

// cutTransport drops what the network says is cut.
type cutTransport struct {
	*memberlist.NetTransport
	net *fabricNet
}

var _ memberlist.NodeAwareTransport = (*cutTransport)(nil)

func (c *cutTransport) off(to string) bool {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	return c.net.cuts[[2]int{c.GetAutoBindPort(), portOf(to)}]
}

func (c *cutTransport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if c.off(a.Addr) {
		return time.Now(), nil
	}
	c.net.bytes.Add(int64(len(b)))
	return c.NetTransport.WriteToAddress(b, a)
}

func (c *cutTransport) WriteTo(b []byte, addr string) (time.Time, error) {
	return c.WriteToAddress(b, memberlist.Address{Addr: addr})
}

func (c *cutTransport) DialAddressTimeout(a memberlist.Address, d time.Duration) (net.Conn, error) {
	if c.off(a.Addr) {
		return nil, errors.New("cut")
	}
	conn, err := c.NetTransport.DialAddressTimeout(a, d)
	return &countedConn{conn, c.net}, err
}

func (c *cutTransport) DialTimeout(addr string, d time.Duration) (net.Conn, error) {
	return c.DialAddressTimeout(memberlist.Address{Addr: addr}, d)
}

type countedConn struct {
	net.Conn
	net *fabricNet
}

func (c *countedConn) Write(b []byte) (int, error) {
	c.net.bytes.Add(int64(len(b)))
	return c.Conn.Write(b)
}

// node is a member under test, with what it was told.
type node struct {
	*Membership
	name   string
	mu     sync.Mutex
	told   []Event
	notify chan struct{}
}

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// start opens a node named name; edit may change its configuration.
func start(t *testing.T, n *fabricNet, name string, edit func(*Config)) *node {
	t.Helper()
	x := &node{name: name, notify: make(chan struct{}, 1)}
	cfg := Config{Node: Node{ID: "id-" + name, Name: name, Role: "worker", BootID: "boot", Version: "test"}, ClusterID: "lab", Keys: [][]byte{key(1)},
		Profile: Fast, Listen: "127.0.0.1:0", Rejoin: 500 * time.Millisecond, Events: x.event}
	if n != nil {
		cfg.Transport = n.transport(t)
	}
	if edit != nil {
		edit(&cfg)
	}
	m, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	x.Membership = m
	t.Cleanup(m.Close)
	return x
}

func (x *node) event(e Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.told = append(x.told, e)
	select {
	case x.notify <- struct{}{}:
	default:
	}
}

// count returns how often the node was told that another is in a state.
func (x *node) count(name string, s entropy.MemberState) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := 0
	for _, e := range x.told {
		if e.Member.Name == name && e.State == s {
			n++
		}
	}
	return n
}

func (x *node) await(t *testing.T, name string, s entropy.MemberState, within time.Duration) {
	t.Helper()
	until(t, within, func() bool { return x.count(name, s) > 0 }, func() string { return x.name + " was not told that " + name + " is " + string(s) })
}

// living counts the members that are alive in a node's eyes, itself included.
func (x *node) living() int {
	n := 0
	for _, m := range x.Members() {
		if m.State == entropy.MemberAlive {
			n++
		}
	}
	return n
}

// until polls a condition until it holds.
func until(t *testing.T, within time.Duration, ok func() bool, why func() string) {
	t.Helper()
	limit := time.NewTimer(within)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatal(why())
		}
	}
}

// lab starts nodes that join the first, and waits until all know all.
func lab(t *testing.T, n *fabricNet, count int, edit func(*Config)) []*node {
	t.Helper()
	var all []*node
	t.Cleanup(func() { closeAll(all) })
	for i := range count {
		x := start(t, n, "n"+strconv.Itoa(i), edit)
		if i > 0 {
			if err := x.Join(context.Background(), all[0].Address()); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, x)
	}
	converged(t, all, count, 20*time.Second)
	return all
}

func converged(t *testing.T, all []*node, count int, within time.Duration) {
	t.Helper()
	for _, x := range all {
		until(t, within, func() bool { return x.living() == count },
			func() string { return x.name + " sees " + strconv.Itoa(x.living()) + " of " + strconv.Itoa(count) })
	}
}

// closeAll stops nodes all at once: one by one, each would tell of the others' end.
func closeAll(all []*node) {
	var closing sync.WaitGroup
	for _, x := range all {
		closing.Go(x.Close)
	}
	closing.Wait()
}

func newNet() *fabricNet { return &fabricNet{cuts: make(map[[2]int]bool)} }
