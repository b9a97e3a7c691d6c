package cluster

import (
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
)

// Profile is how eagerly failures are looked for. The times are from the kill of
// a process to the event at its peers, as measured with 5 nodes; see
// docs/BENCHMARKS.md.
type Profile string

// The profiles.
const (
	// LAN notices a dead node in 5 to 9 s, and forgives pauses of 3 s.
	LAN Profile = "lan"
	// Fast notices in 2 to 3.5 s; a node that stalls for 3 s counts as dead.
	Fast Profile = "fast"
	// WAN notices in 35 to 45 s, and forgives slow links; leases of the usual 15 s
	// have long ended then.
	WAN Profile = "wan"
)

// profiles lists them all.
var profiles = []Profile{LAN, Fast, WAN}

// ParseProfile reads a profile's name; "" is LAN.
func ParseProfile(name string) (Profile, error) {
	p := Profile(name)
	if name == "" {
		p = LAN
	}
	if !slices.Contains(profiles, p) {
		return "", fmt.Errorf("%q is not a profile; it is lan, fast or wan", name)
	}
	return p, nil
}

// Config configures a [Membership]. Node, ClusterID and Keys are required.
type Config struct {
	Node Node
	// ClusterID labels every message: nodes of different clusters refuse each
	// other even if they share a key. At most 255 bytes.
	ClusterID string
	// Keys encrypt gossip, 32 bytes each: the first for what is sent, all for what
	// is received.
	Keys    [][]byte
	Profile Profile // "" means LAN
	// Listen is HOST:PORT for UDP and TCP. "" means every IPv4 interface, port
	// 7601; port 0 takes a free one. The host is an IP address.
	Listen string
	// Advertise is HOST or HOST:PORT by which others reach this node. "" means the
	// address it listens on; when that is every interface, the address from which
	// Toward is reached, else the machine's first usable one.
	Advertise string
	// Toward returns HOST or HOST:PORT of somebody on the right network: where the
	// control plane is now. nil, or "", means that nobody is known.
	Toward func() string
	// Seeds returns addresses HOST:PORT to join while nobody who is alive has
	// them. It is called at every try, from one goroutine; names are looked up
	// anew each time. nil means none.
	Seeds func() []string
	// Events is told of every event, in order, from one goroutine. nil ignores them.
	Events func(Event)
	// Moved is told when this node is reached at another address than before, from
	// one goroutine. nil ignores it.
	Moved func(address string)
	// Rejoin is the time between two tries to join who is missing. 0 means 5 s.
	Rejoin time.Duration
	// Transport replaces the sockets in tests; nil in production.
	Transport memberlist.Transport
	Logger    *slog.Logger // nil discards
}

// DefaultPort is where gossip listens when nothing else is said.
const DefaultPort = 7601

func (c Config) withDefaults() Config {
	if c.Profile == "" {
		c.Profile = LAN
	}
	if c.Listen == "" {
		c.Listen = net.JoinHostPort("0.0.0.0", strconv.Itoa(DefaultPort))
	}
	if c.Rejoin == 0 {
		c.Rejoin = 5 * time.Second
	}
	if c.Seeds == nil {
		c.Seeds = func() []string { return nil }
	}
	if c.Toward == nil {
		c.Toward = func() string { return "" }
	}
	if c.Moved == nil {
		c.Moved = func(string) {}
	}
	if c.Events == nil {
		c.Events = func(Event) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c *Config) validate() error {
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if c.Node.ID == "" || c.Node.Role == "" {
		bad("the node needs an ID and a role")
	}
	if c.ClusterID == "" || len(c.ClusterID) > memberlist.LabelMaxSize {
		bad("the cluster ID has 1 to %d bytes", memberlist.LabelMaxSize)
	}
	if err := checkKeys(c.Keys); err != nil {
		wrong = append(wrong, err)
	}
	if !slices.Contains(profiles, c.Profile) {
		bad("%q is not a profile", c.Profile)
	}
	if host, port, err := net.SplitHostPort(c.Listen); err != nil || net.ParseIP(host) == nil {
		bad("the gossip address %q is not IP:PORT", c.Listen)
	} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		bad("the gossip port %q is not a port", port)
	}
	if c.Rejoin < 0 {
		bad("the time between two joins is negative")
	}
	return errors.Join(wrong...)
}

func checkKeys(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("gossip needs a key")
	}
	for _, k := range keys {
		if len(k) != 32 {
			return fmt.Errorf("a gossip key has 32 bytes, not %d", len(k))
		}
	}
	return nil
}

// memberlist returns the library's configuration. It starts from the LAN's or
// WAN's defaults; never from DefaultLocalConfig, whose messages die out before
// everybody has them: with five nodes, one in ten joins took over 20 s.
func (c *Config) memberlist(name string, d *delegate) (*memberlist.Config, error) {
	m := memberlist.DefaultLANConfig()
	m.TCPTimeout, m.PushPullInterval = 5*time.Second, 15*time.Second
	if c.Profile == WAN {
		m = memberlist.DefaultWANConfig()
	}
	// A suspicion waits for others to confirm it, up to six times as long. The
	// library counts the lately dead among them: in a fabric of four, of which one
	// died before, a second death took over 14 s to be told; by WAN it may be minutes.
	m.SuspicionMaxTimeoutMult = 2
	if c.Profile == Fast {
		m.ProbeInterval, m.ProbeTimeout = 500*time.Millisecond, 250*time.Millisecond
		m.SuspicionMult, m.SuspicionMaxTimeoutMult = 3, 3
		m.GossipInterval, m.TCPTimeout = 100*time.Millisecond, 2*time.Second
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, err
	}
	if m.BindPort, err = strconv.Atoi(port); err != nil {
		return nil, err
	}
	m.Name, m.BindAddr, m.Label, m.Transport = name, host, c.ClusterID, c.Transport
	m.Delegate, m.Events, m.Alive, m.Ping = d, d, d, d
	m.DeadNodeReclaimTime = 10 * time.Second
	m.EnableCompression = false                                      // it costs more time than the few bytes are worth
	m.LogOutput, m.Logger = nil, log.New(&logLines{c.Logger}, "", 0) //nolint:forbidigo // the library's own type; what it says goes to the slog.Logger
	return m, nil
}

// logLines passes the library's log on: what it calls an error is often a peer
// that is merely away, so nothing of it is louder than a debug message.
type logLines struct{ logger *slog.Logger }

var _ io.Writer = (*logLines)(nil)

// Write implements io.Writer.
func (l *logLines) Write(p []byte) (int, error) {
	l.logger.Debug("gossip", "says", strings.TrimRight(string(p), "\r\n"))
	return len(p), nil
}
