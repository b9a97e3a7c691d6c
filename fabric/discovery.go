package fabric

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/discovery"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

// discoveryKey is the purpose of the keys that authenticate questions and answers.
const discoveryKey = "discovery"

// serverFile is where a worker remembers its control plane's address.
const serverFile = identity.ServerFile

// openDiscovery answers workers that look for their control plane, and shows it to
// those who browse the network, unless none can be on another host. That it cannot
// is no reason not to serve.
func (c *Control) openDiscovery() {
	at := c.listener.Addr().(*net.TCPAddr)
	if c.cfg.NoDiscovery || at.IP.IsLoopback() {
		return
	}
	self := discovery.Self{Port: uint16(at.Port), TLS: c.secure, Pin: pinBytes(c.tokens.pin)}
	self.Node, _ = os.Hostname() // for people only
	cfg := discovery.AnswerConfig{Self: self, Keys: c.discoveryKeys(), IPv6: at.IP.To4() == nil, Logger: c.cfg.Logger}
	if !at.IP.IsUnspecified() {
		cfg.Host = at.IP
	}
	var err error
	if c.answerer, err = discovery.Listen(cfg); err != nil {
		c.cfg.Logger.Warn("workers must be told this control plane's address", "error", err)
	}
	ad := discovery.Advert{Cluster: c.ClusterID(), Host: self.Node, Version: c.cfg.Version, Port: self.Port, TLS: c.secure, Only: cfg.Host}
	if c.advertiser, err = discovery.Advertise(ad, c.cfg.Logger); err != nil {
		c.cfg.Logger.Info("browsers of the network do not see this control plane; its workers still do", "error", err)
	}
}

// discoveryKeys are the keys of the cluster and of the join tokens that are good.
func (c *Control) discoveryKeys() func(discovery.KeyID) []byte {
	return func(id discovery.KeyID) []byte {
		if key := c.keys.discoveryKey(id); key != nil {
			return key
		}
		if key := c.tokens.discoveryKey(id); key != nil || !c.cfg.TrustLAN || id != discovery.IDOf(discovery.OpenKey[:]) {
			return key
		}
		return discovery.OpenKey[:]
	}
}

// pinBytes reads a CA's pin; zero for none.
func pinBytes(pin string) (p [32]byte) {
	if b, err := hex.DecodeString(pin); err == nil && len(b) == len(p) {
		copy(p[:], b)
	}
	return p
}

// finder finds a worker's control plane on the local networks: at the start, when
// no address is given, and again when it no longer answers where it was.
type finder struct {
	cfg  WorkerConfig
	lost chan struct{} // has room for one: a call found nobody
}

func newFinder(cfg WorkerConfig) *finder { return &finder{cfg: cfg, lost: make(chan struct{}, 1)} }

// missed notes that the control plane was not reached, if that is what err says.
func (f *finder) missed(err error) {
	if code := entropy.ErrorCode(err); err == nil || code != entropy.CodeUnavailable && code != entropy.CodeUnknown {
		return
	}
	select {
	case f.lost <- struct{}{}:
	default:
	}
}

// start returns where the control plane is: where it was last, or where it answers.
func (f *finder) start(ctx context.Context) (string, error) {
	b, err := os.ReadFile(filepath.Join(f.cfg.DataDir, serverFile))
	if err == nil && strings.TrimSpace(string(b)) != "" {
		return strings.TrimSpace(string(b)), nil
	}
	f.cfg.Logger.Info("looking for the control plane on the local networks")
	found, err := f.find(ctx, "")
	if err == nil {
		f.cfg.Logger.Info("found a control plane", "server", found.URL, "host", found.Node)
	}
	return found.URL, err
}

// remember keeps the address for the next start.
func (f *finder) remember(server string) {
	path := filepath.Join(f.cfg.DataDir, serverFile)
	if b, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(b)) == server {
		return
	}
	if err := os.WriteFile(path, []byte(server+"\n"), 0o644); err != nil {
		f.cfg.Logger.Warn("the control plane's address is not remembered", "error", err)
	}
}

// The times of a search for a control plane that is lost.
const (
	searchFor   = 10 * time.Second
	searchPause = time.Second
)

// run searches whenever the control plane is lost, and moves the client to where
// it answers.
func (f *finder) run(ctx context.Context, client *entropy.Client) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.lost:
		}
		search, cancel := context.WithTimeout(ctx, searchFor)
		found, err := f.find(search, client.Server())
		cancel()
		if err == nil && found.URL != client.Server() {
			old := client.Server()
			if err = client.SetServer(found.URL); err == nil {
				f.cfg.Logger.Info("the control plane has moved", "from", old, "to", found.URL)
			}
		}
		if err != nil && ctx.Err() == nil {
			f.cfg.Logger.Debug("search for the control plane", "error", err)
		}
		pause := time.NewTimer(searchPause)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// find asks for the control plane, on all networks and where it was.
func (f *finder) find(ctx context.Context, was string) (discovery.Found, error) {
	ask, err := f.credential()
	if err != nil {
		return discovery.Found{}, err
	}
	ask.Node = string(f.cfg.Name)
	if u, err := url.Parse(was); err == nil && was != "" {
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
			ask.Also = append(ask.Also, netip.AddrPortFrom(addr, discovery.Port))
		}
	}
	return discovery.Find(ctx, ask)
}

// credential returns what the question is authenticated by: the cluster's key of a
// worker that has joined, else its join token.
func (f *finder) credential() (discovery.AskConfig, error) {
	member, err := identity.LoadMembership(f.cfg.DataDir)
	if err == nil {
		keys, err := identity.LoadKeyring(filepath.Join(f.cfg.DataDir, identity.ClusterKeyFile))
		if err != nil {
			return discovery.AskConfig{}, err
		}
		return discovery.AskConfig{Cluster: member.ClusterID, Secret: keys.Derive(discoveryKey)[0], Pin: pinBytes(member.CAPin)}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return discovery.AskConfig{}, err
	}
	if f.cfg.TokenFile == "" {
		return discovery.AskConfig{}, entropy.Errorf(entropy.CodeInvalid, "this worker belongs to no cluster and has no token: it cannot know which control plane to look for").
			WithHint("copy the control plane's worker.token here and name it with --token-file")
	}
	token, err := identity.ReadSecretFile(f.cfg.TokenFile)
	if err != nil {
		return discovery.AskConfig{}, err
	}
	c, err := identity.Parse(token)
	if err != nil {
		return discovery.AskConfig{}, err
	}
	key, err := identity.BeaconKey(token)
	return discovery.AskConfig{Cluster: c.Cluster, Secret: key, Pin: pinBytes(c.CAPin)}, err
}
