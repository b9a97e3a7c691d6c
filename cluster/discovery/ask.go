package discovery

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/entropy-fabric/entropy"
)

// AskConfig says who asks and how. Secret is required.
type AskConfig struct {
	Secret []byte // authenticates the question and its answer
	Node   string // who asks, for people
	// Pin, when not zero, is that of the authority that the control plane must name.
	Pin [32]byte
	// Cluster is the ID of the cluster that is looked for, "" when it is not known:
	// adverts of others are passed over.
	Cluster string
	// Also are further hosts to ask, as where the control plane was before.
	Also []netip.AddrPort
	// NoBrowse leaves out adverts by multicast DNS.
	NoBrowse bool
	Now      func() time.Time // nil means time.Now

	links func() ([]link, error) // of tests, which must not leave their machine
}

// Found is a control plane that answered.
type Found struct {
	URL  string // of its API, by the address that the answer came from
	Node string
	Pin  [32]byte // of its authority, by its own word
}

// The times between questions: the first are close together, so that what was lost
// is soon repeated.
const (
	firstPause = 200 * time.Millisecond
	maxPause   = 2 * time.Second
)

// browseAfter is how long the questions alone are tried. Who does not answer them
// may still be seen by multicast DNS, which some networks carry where they carry
// nothing else; it is asked then by its address.
const browseAfter = 2 * time.Second

// Find asks until somebody answers or ctx ends. The error says that nobody did, or
// that the clocks are too far apart.
func Find(ctx context.Context, cfg AskConfig) (Found, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.links == nil {
		cfg.links = links
	}
	a, err := openAsker(cfg)
	if err != nil {
		return Found{}, entropy.Errorf(entropy.CodeUnavailable, "look for a control plane: %v", err).WithHint("name it with --join or --server")
	}
	defer a.close()
	pause, begun := firstPause, time.Now()
	seen := make(chan netip.Addr, sightings)
	for browsing := cfg.NoBrowse; ctx.Err() == nil; pause = min(2*pause, maxPause) {
		a.ask()
		if !browsing && time.Since(begun) >= browseAfter {
			browsing = true
			defer browse(cfg.Cluster, seen)()
		}
		switch h, ok := a.wait(ctx, pause, seen); {
		case ok && h.kind == Skewed:
			return Found{}, entropy.Errorf(entropy.CodeConflict, "this machine's clock is off by %s, as the control plane at %s sees it", h.skew.Round(time.Second), h.Found.URL).
				WithHint("set the clock (timedatectl set-ntp true), then start the worker again")
		case ok:
			return h.Found, nil
		}
	}
	return Found{}, entropy.Errorf(entropy.CodeUnavailable, "no control plane of this cluster answers on the networks of this machine").
		WithHint("is it up, and does it listen on other than loopback? name it with --join HOST if multicast does not reach it; entropy net check tells more")
}

// wait returns the first answer that arrives within a time, and asks whoever is
// seen meanwhile.
func (a *asker) wait(ctx context.Context, pause time.Duration, seen <-chan netip.Addr) (heard, bool) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case h := <-a.heard:
			return h, true
		case addr := <-seen:
			a.also(addr)
		case <-ctx.Done():
			return heard{}, false
		case <-timer.C:
			return heard{}, false
		}
	}
}

// also asks an address that was seen, from now on too. One of a single link says
// nothing without its interface.
func (a *asker) also(addr netip.Addr) {
	to := netip.AddrPortFrom(addr, Port)
	if addr.IsGlobalUnicast() && len(a.cfg.Also) < sightings && !slices.Contains(a.cfg.Also, to) {
		a.cfg.Also = append(slices.Clip(a.cfg.Also), to)
		a.send(a.question(), to)
	}
}

// heard is an answer.
type heard struct {
	Found
	kind Kind
	skew time.Duration
}

// asker holds the sockets of one search.
type asker struct {
	cfg   AskConfig
	key   KeyID          // of the secret
	nonce map[Nonce]bool // read-only once receiving has begun
	next  []Nonce
	four  *ipv4.PacketConn
	six   *ipv6.PacketConn // nil without IPv6
	heard chan heard       // has room for some
}

// questions bounds how often one search may ask before its nonces repeat; the
// control plane answers each once only, so more are drawn than an hour needs.
const questions = 2048

// answers bounds those that wait to be read; more are dropped.
const answers = 64

func openAsker(cfg AskConfig) (*asker, error) {
	conn, err := net.ListenPacket("udp4", ":0")
	if err != nil {
		return nil, err
	}
	a := &asker{cfg: cfg, key: IDOf(cfg.Secret), four: ipv4.NewPacketConn(conn), nonce: make(map[Nonce]bool), heard: make(chan heard, answers)}
	for range questions {
		var n Nonce
		_, _ = rand.Read(n[:]) // it never fails
		a.nonce[n], a.next = true, append(a.next, n)
	}
	go a.receive(conn)
	if conn, err = net.ListenPacket("udp6", ":0"); err == nil {
		a.six = ipv6.NewPacketConn(conn)
		go a.receive(conn)
	}
	return a, nil
}

func (a *asker) close() {
	_ = a.four.Close() // ends receive
	if a.six != nil {
		_ = a.six.Close()
	}
}

// question makes the next one.
func (a *asker) question() []byte {
	n := a.next[0]
	a.next = append(a.next[1:], n)
	return Encode(Packet{Kind: Ask, Key: a.key, Nonce: n, Time: a.cfg.Now(), Node: a.cfg.Node}, a.cfg.Secret)
}

// ask sends one question over every way there is. What cannot be sent is not.
func (a *asker) ask() {
	b := a.question()
	all, _ := a.cfg.links()
	for i := range all {
		if all[i].four {
			on := &ipv4.ControlMessage{IfIndex: all[i].Index}
			_, _ = a.four.WriteTo(b, on, &net.UDPAddr{IP: group4, Port: Port})
			for _, ip := range all[i].broadcasts {
				_, _ = a.four.WriteTo(b, on, &net.UDPAddr{IP: ip, Port: Port})
			}
		}
		if all[i].six && a.six != nil {
			_, _ = a.six.WriteTo(b, &ipv6.ControlMessage{IfIndex: all[i].Index}, &net.UDPAddr{IP: group6, Port: Port, Zone: all[i].Name})
		}
	}
	for _, to := range a.cfg.Also {
		a.send(b, to)
	}
}

// send sends a question to one host.
func (a *asker) send(b []byte, to netip.AddrPort) {
	if to.Addr().Is4() {
		_, _ = a.four.WriteTo(b, nil, net.UDPAddrFromAddrPort(to))
	} else if a.six != nil {
		_, _ = a.six.WriteTo(b, nil, net.UDPAddrFromAddrPort(to))
	}
}

func (a *asker) receive(conn net.PacketConn) {
	b := make([]byte, Size+1)
	for {
		n, src, err := conn.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // as of an ICMP message
		}
		if h, ok := a.judge(b[:n], src); ok {
			select {
			case a.heard <- h:
			default: // the first ones are enough
			}
		}
	}
}

// judge reads an answer. Its address is where it came from.
func (a *asker) judge(b []byte, src net.Addr) (heard, bool) {
	p, err := Decode(b, func(id KeyID) []byte {
		if id != a.key {
			return nil
		}
		return a.cfg.Secret
	})
	if err != nil || p.Kind == Ask || !a.nonce[p.Nonce] || a.cfg.Pin != ([32]byte{}) && p.Pin != a.cfg.Pin {
		return heard{}, false
	}
	from := src.(*net.UDPAddr)
	host := from.IP.String()
	if from.Zone != "" {
		host += "%25" + from.Zone // RFC 6874
	}
	scheme := "http://"
	if p.TLS {
		scheme = "https://"
	}
	url := scheme + net.JoinHostPort(host, strconv.Itoa(int(p.Port)))
	return heard{Found: Found{URL: url, Node: p.Node, Pin: p.Pin}, kind: p.Kind, skew: a.cfg.Now().Sub(p.Time)}, true
}
