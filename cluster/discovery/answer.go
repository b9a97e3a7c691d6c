package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// Self is what a control plane answers.
type Self struct {
	Port uint16 // of its API
	TLS  bool
	Pin  [32]byte // see Packet
	Node string
}

// AnswerConfig configures an [Answerer]. Self and Keys are required.
type AnswerConfig struct {
	Self Self
	// Keys returns the key of an ID, nil when there is none. It is called for every
	// packet that arrives, from two goroutines.
	Keys func(KeyID) []byte
	// Host, when set, is the one address that the API listens on: only questions
	// that come over its interface are answered.
	Host net.IP
	// IPv6 says that the API is served over IPv6 too.
	IPv6   bool
	Port   int              // to listen on; 0 means Port
	Now    func() time.Time // nil means time.Now
	Logger *slog.Logger     // nil discards
}

// Answerer answers the questions of workers until it is closed.
type Answerer struct {
	cfg     AnswerConfig
	four    *ipv4.PacketConn
	six     *ipv6.PacketConn // nil without IPv6
	stop    context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	replays replays
	warned  time.Time
}

// relook is how often new interfaces are looked for.
const relook = 5 * time.Second

// Listen starts to answer.
func Listen(cfg AnswerConfig) (*Answerer, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Port == 0 {
		cfg.Port = Port
	}
	if cfg.Keys == nil || cfg.Self.Port == 0 {
		return nil, errors.New("discovery needs keys and the port of the API")
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &Answerer{cfg: cfg, stop: stop}
	if err := a.open(ctx); err != nil {
		a.Close()
		return nil, fmt.Errorf("listen for workers that look for a control plane: %w", err)
	}
	a.join()
	a.running.Go(a.serve4)
	if a.six != nil {
		a.running.Go(a.serve6)
	}
	a.running.Go(func() { a.rejoin(ctx) })
	return a, nil
}

// open opens the sockets. Several control planes of one machine may share the port.
func (a *Answerer) open(ctx context.Context) error {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }); e != nil {
			return e
		}
		return err
	}}
	conn, err := lc.ListenPacket(ctx, "udp4", ":"+strconv.Itoa(a.cfg.Port))
	if err != nil {
		return err
	}
	a.four = ipv4.NewPacketConn(conn)
	if err := a.four.SetControlMessage(ipv4.FlagInterface, true); err != nil || !a.cfg.IPv6 {
		return err
	}
	if conn, err = lc.ListenPacket(ctx, "udp6", ":"+strconv.Itoa(a.cfg.Port)); err != nil {
		a.cfg.Logger.Debug("discovery without IPv6", "error", err) // a machine may have none
		return nil
	}
	a.six = ipv6.NewPacketConn(conn)
	return a.six.SetControlMessage(ipv6.FlagInterface, true)
}

// join joins the groups on every interface. Where it has joined before, that fails
// and changes nothing.
func (a *Answerer) join() {
	all, err := links()
	if err != nil {
		a.cfg.Logger.Debug("discovery: interfaces", "error", err)
	}
	for i := range all {
		if all[i].four {
			_ = a.four.JoinGroup(&all[i].Interface, &net.UDPAddr{IP: group4})
		}
		if all[i].six && a.six != nil {
			_ = a.six.JoinGroup(&all[i].Interface, &net.UDPAddr{IP: group6})
		}
	}
}

func (a *Answerer) rejoin(ctx context.Context) {
	tick := time.NewTicker(relook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.join()
		}
	}
}

func (a *Answerer) serve4() {
	b := make([]byte, Size+1) // one more tells what is too long
	for {
		n, from, src, err := a.four.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || from == nil || !a.here(from.IfIndex) {
			continue
		}
		if reply := a.reply(b[:n], src); reply != nil {
			_, _ = a.four.WriteTo(reply, &ipv4.ControlMessage{IfIndex: from.IfIndex}, src) // lost like any packet
		}
	}
}

func (a *Answerer) serve6() {
	b := make([]byte, Size+1)
	for {
		n, from, src, err := a.six.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || from == nil || !a.here(from.IfIndex) {
			continue
		}
		if reply := a.reply(b[:n], src); reply != nil {
			_, _ = a.six.WriteTo(reply, &ipv6.ControlMessage{IfIndex: from.IfIndex}, src)
		}
	}
}

// here reports whether the API can be reached over an interface.
func (a *Answerer) here(index int) bool {
	if a.cfg.Host == nil {
		return true
	}
	i, err := net.InterfaceByIndex(index)
	return err == nil && has(i, a.cfg.Host)
}

// reply returns the answer to a packet, nil when it deserves none.
func (a *Answerer) reply(b []byte, src net.Addr) []byte {
	p, err := Decode(b, a.cfg.Keys)
	if err != nil || p.Kind != Ask {
		a.cfg.Logger.Debug("discovery: packet dropped", "from", src, "error", err)
		return nil
	}
	now := a.cfg.Now()
	out := Packet{Kind: Answer, Key: p.Key, Nonce: p.Nonce, Time: now, Port: a.cfg.Self.Port, TLS: a.cfg.Self.TLS, Pin: a.cfg.Self.Pin, Node: a.cfg.Self.Node}
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.Key == openID { // anybody can write it: it must not fill the memory, and may be old
		return Encode(out, a.cfg.Keys(p.Key))
	}
	if a.replays.seen(p.Nonce, now) {
		return nil // one packet arrives over several ways; or it is an old one
	}
	if skew := p.Time.Sub(now); skew.Abs() > MaxSkew {
		out.Kind, out.Port = Skewed, 0
		if now.Sub(a.warned) > time.Minute {
			a.warned = now
			a.cfg.Logger.Warn("a worker's clock is off: it is not answered", "from", src, "node", p.Node, "ahead_by", skew.Round(time.Second))
		}
	}
	return Encode(out, a.cfg.Keys(p.Key))
}

// Close stops. It is idempotent.
func (a *Answerer) Close() {
	a.stop()
	if a.four != nil {
		_ = a.four.Close() // of no consequence
	}
	if a.six != nil {
		_ = a.six.Close()
	}
	a.running.Wait()
}
