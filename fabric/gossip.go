package fabric

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/boottime"
	"github.com/entropy-fabric/entropy/cluster"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

// GossipConfig says how a node takes part in gossip, which tells within seconds
// who is there. The zero value takes part.
type GossipConfig struct {
	// Off leaves gossip out: leases alone decide then, as they do for a node whose
	// gossip is blocked.
	Off bool
	// Listen is HOST:PORT for UDP and TCP. "" means the port 7601, or a free one if
	// that is taken, on every interface if other hosts are served, else on loopback.
	Listen string
	// Advertise is HOST or HOST:PORT by which others reach this node; "" means that
	// it is found out.
	Advertise string
	// Profile of the control plane: "lan", "fast" or "wan"; "" means lan. Workers
	// follow it.
	Profile string
}

// listen opens the API's socket. A host that has lost its power says no goodbye:
// its idle connections, and with them its open requests, end after five seconds.
func listen(ctx context.Context, address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3}}
	return lc.Listen(ctx, "tcp", address)
}

// gossipKey is the purpose of the key that encrypts gossip.
const gossipKey = "gossip"

// openMembership opens a node's part in gossip. Local says that no other host is served.
func (g GossipConfig) openMembership(cfg cluster.Config, local bool) (*cluster.Membership, error) {
	cfg.Listen, cfg.Advertise = g.Listen, g.Advertise
	if g.Listen != "" {
		return cluster.Open(cfg)
	}
	host := "0.0.0.0"
	if local {
		host = "127.0.0.1"
	}
	cfg.Listen = net.JoinHostPort(host, strconv.Itoa(cluster.DefaultPort))
	if m, err := cluster.Open(cfg); err == nil {
		return m, nil
	}
	cfg.Listen = net.JoinHostPort(host, "0") // another node of this machine has the port
	return cluster.Open(cfg)
}

// openGossip makes the control plane a member, and its actors hear of workers that fail.
func (c *Control) openGossip() (err error) {
	g := c.cfg.Gossip
	if g.Off {
		return nil
	}
	profile, err := cluster.ParseProfile(g.Profile)
	if err != nil {
		return entropy.Errorf(entropy.CodeInvalid, "gossip: %v", err)
	}
	host, _ := os.Hostname()     // for people only
	boot, _ := boottime.BootID() // who has the same runs on the same machine
	node := cluster.Node{ID: "control-" + c.ClusterID(), Name: host, Role: "control", BootID: boot, Version: c.cfg.Version}
	listen := c.listener.Addr().(*net.TCPAddr).IP
	if !listen.IsUnspecified() {
		node.API = c.URL()
		if g.Listen == "" && g.Advertise == "" {
			g.Advertise = listen.String() // where workers reach its API, they reach its gossip
		}
	}
	c.members, err = g.openMembership(cluster.Config{Node: node, ClusterID: c.ClusterID(), Keys: c.keys.current().Derive(gossipKey),
		Profile: profile, Events: c.onMember, Logger: c.cfg.Logger,
		Moved: func(address string) {
			c.system.SetGossip(entropy.Gossip{Address: address, Profile: string(profile)})
		}}, listen.IsLoopback())
	if err != nil {
		return err
	}
	c.system.SetGossip(entropy.Gossip{Address: c.members.Address(), Profile: string(profile)})
	return nil
}

// onMember tells the fleet what gossip says of a worker.
func (c *Control) onMember(e cluster.Event) {
	if e.Member.Role == "worker" {
		c.system.Witness(entropy.WorkerID(e.Member.Name), e.State == entropy.MemberFailed)
	}
}

// Members returns who is a member by gossip; none when gossip is off.
func (c *Control) Members() []entropy.Member {
	if c.members == nil {
		return []entropy.Member{}
	}
	return c.members.Members()
}

// workerGossip is a worker's part in gossip. It begins when the control plane has
// said how, and its failure is no failure of the worker's.
type workerGossip struct {
	cfg  WorkerConfig
	id   string        // of the node
	host func() string // where the control plane is reached now
	seed atomic.Pointer[string]

	mu      sync.Mutex
	members *cluster.Membership
	profile cluster.Profile
	closed  bool
}

// registered takes part in the gossip that a control plane tells a worker of.
func (w *workerGossip) registered(r entropy.Registration, reply entropy.Registered) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if reply.Gossip == nil || w.cfg.Gossip.Off || w.closed {
		return
	}
	w.seed.Store(&reply.Gossip.Address)
	profile, err := cluster.ParseProfile(reply.Gossip.Profile)
	if err == nil && w.members != nil && profile != w.profile {
		w.members.Close() // the control plane was started anew with another one
		w.members = nil
	}
	if err == nil && w.members == nil {
		node := cluster.Node{ID: w.id, Name: string(w.cfg.Name), Role: "worker", BootID: r.BootID, Version: w.cfg.Version}
		w.members, err = w.open(node, reply.ClusterID, profile)
		w.profile = profile
	}
	if err != nil {
		w.cfg.Logger.Warn("no gossip: leases alone will tell when this worker is lost", "error", err)
		return
	}
	w.members.Nudge()
}

func (w *workerGossip) open(node cluster.Node, clusterID string, profile cluster.Profile) (*cluster.Membership, error) {
	keys, err := identity.LoadKeyring(filepath.Join(w.cfg.DataDir, identity.ClusterKeyFile))
	if err != nil {
		return nil, err
	}
	return w.cfg.Gossip.openMembership(cluster.Config{Node: node, ClusterID: clusterID, Keys: keys.Derive(gossipKey),
		Profile: profile, Toward: w.host, Seeds: w.seeds, Logger: w.cfg.Logger}, onLoopback(w.host()))
}

// rekeyed goes on with other keys, which are on disk already.
func (w *workerGossip) rekeyed(keys identity.Keyring) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.members == nil {
		return nil // it reads them when it begins
	}
	if err := w.members.SetKeys(keys.Derive(gossipKey)); err != nil {
		return err
	}
	w.members.Nudge()
	return nil
}

// seeds are the control plane's address by its own word, and its port where it is
// reached: of a host with several addresses the two may differ.
func (w *workerGossip) seeds() []string {
	seed := *w.seed.Load()
	_, port, err := net.SplitHostPort(seed)
	if here := net.JoinHostPort(w.host(), port); err == nil && here != seed {
		return []string{here, seed}
	}
	return []string{seed}
}

func onLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// leave says goodbye. Registrations after it are ignored.
func (w *workerGossip) leave() {
	w.mu.Lock()
	members := w.members
	w.closed, w.members = true, nil
	w.mu.Unlock()
	if members != nil {
		members.Leave()
	}
}
