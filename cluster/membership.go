package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/entropy-fabric/entropy"
)

// Membership is this node's part in the gossip of its fabric. Its methods are
// safe for concurrent use.
type Membership struct {
	cfg      Config
	instance string
	delegate *delegate
	list     *memberlist.Memberlist
	keyring  *memberlist.Keyring
	address  string // HOST:PORT by which others reach this node

	mu     sync.Mutex
	roster *roster

	nudge   chan struct{} // has room for one: join now
	stop    context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
}

// Open starts to listen and to gossip. The node is alone until Join, or until
// Seeds names somebody.
func Open(cfg Config) (*Membership, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, entropy.Errorf(entropy.CodeInvalid, "gossip: %v", err)
	}
	_, err := announcement{Node: cfg.Node, Leaving: true}.encode() // the longest it says
	if err != nil {
		return nil, entropy.Errorf(entropy.CodeInvalid, "gossip: %v", err).WithHint("choose a shorter name")
	}
	meta, err := announcement{Node: cfg.Node}.encode()
	if err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &Membership{cfg: cfg, instance: cfg.Node.ID + "." + entropy.NewID(), delegate: &delegate{box: newMailbox()}, roster: newRoster(),
		nudge: make(chan struct{}, 1), stop: stop}
	m.delegate.meta.Store(&meta)
	conf, err := cfg.memberlist(m.instance, m.delegate)
	if err != nil {
		stop()
		return nil, fmt.Errorf("gossip: %w", err)
	}
	m.keyring = conf.Keyring
	host, port, err := cfg.advertise()
	if err == nil && host != "" {
		// The library advertises the port that it is told, not the one it gets.
		if conf.BindPort == 0 {
			conf.BindPort, err = freePort(conf.BindAddr)
		}
		conf.AdvertiseAddr, conf.AdvertisePort = host, cmp.Or(port, conf.BindPort)
	}
	if err == nil {
		m.list, err = memberlist.Create(conf)
	}
	if err != nil {
		stop()
		return nil, entropy.Errorf(entropy.CodeUnavailable, "gossip on %s: %v", cfg.Listen, err).
			WithHint("is another node running here? choose another address with --gossip-listen, or --advertise the one others reach")
	}
	m.address = m.list.LocalNode().Address() // later the library may be writing it
	m.running.Go(func() { m.pump(ctx) })
	m.running.Go(func() { m.rejoin(ctx) })
	return m, nil
}

// pump takes what the callbacks said into the roster, and tells the events.
func (m *Membership) pump(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.delegate.box.ready:
		}
		for _, s := range m.delegate.box.take() {
			if s.instance == m.instance {
				s.rtt = 0
			}
			m.mu.Lock()
			e, ok := m.roster.see(s, time.Now())
			m.mu.Unlock()
			if ok && s.instance != m.instance {
				m.cfg.Logger.Info("gossip: a member has changed", "state", e.State, "role", e.Member.Role, "name", e.Member.Name, "address", e.Member.Address)
				m.cfg.Events(e)
			}
		}
	}
}

// Join tries the addresses, HOST:PORT each, and returns nil once one of them has
// answered. Names are looked up anew. It takes at most the profile's TCP timeout
// (2 s of fast, 5 s of lan, 30 s of wan) for each address.
func (m *Membership) Join(ctx context.Context, addresses ...string) error {
	var errs []error
	for _, a := range addresses {
		if err := ctx.Err(); err != nil {
			return err
		}
		resolved, err := resolve(ctx, a)
		if err == nil {
			_, err = m.list.Join(resolved)
		}
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("join %s: %w", a, err))
	}
	return errors.Join(errs...)
}

// Nudge makes the rejoin loop try now, for when an address has just been learned.
func (m *Membership) Nudge() {
	select {
	case m.nudge <- struct{}{}:
	default:
	}
}

// Members returns who is there and who was, this node among them: control planes
// first, then by name.
func (m *Membership) Members() []entropy.Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.roster.list()
	for i := range all {
		all[i].Self = all[i].Instance == m.instance
	}
	return all
}

// Alone reports whether no other node is known to be alive.
func (m *Membership) Alone() bool {
	return !slices.ContainsFunc(m.Members(), func(x entropy.Member) bool { return !x.Self && x.State == entropy.MemberAlive })
}

// Address returns HOST:PORT by which others reach this node.
func (m *Membership) Address() string { return m.address }

// Health returns how badly this node itself keeps up, by its missed probes: 0 is
// well, higher is worse (Lifeguard's local health, arXiv:1707.00788).
func (m *Membership) Health() int { return m.list.GetHealthScore() }

// SetKeys replaces the keys: the first encrypts what is sent, all decrypt what is
// received. A rotation without a gap takes three rounds through the fabric, each
// complete before the next: [old, new], [new, old], [new].
func (m *Membership) SetKeys(keys [][]byte) error {
	if err := checkKeys(keys); err != nil {
		return entropy.Errorf(entropy.CodeInvalid, "gossip: %v", err)
	}
	for _, k := range keys {
		if err := m.keyring.AddKey(k); err != nil {
			return fmt.Errorf("add gossip key: %w", err)
		}
	}
	if err := m.keyring.UseKey(keys[0]); err != nil {
		return fmt.Errorf("use gossip key: %w", err)
	}
	for _, old := range m.keyring.GetKeys() {
		if !slices.ContainsFunc(keys, func(k []byte) bool { return string(k) == string(old) }) {
			if err := m.keyring.RemoveKey(old); err != nil {
				return fmt.Errorf("remove gossip key: %w", err)
			}
		}
	}
	return nil
}

// The times within which a goodbye must have been said.
const (
	announceWithin = time.Second
	leaveWithin    = 2 * time.Second
)

// Leave says goodbye, so that others see this node as left rather than failed,
// and closes. It takes at most three seconds.
func (m *Membership) Leave() {
	if meta, err := (announcement{Node: m.cfg.Node, Leaving: true}).encode(); err == nil {
		m.delegate.meta.Store(&meta)
		if err := m.list.UpdateNode(announceWithin); err != nil {
			m.cfg.Logger.Debug("gossip: the leave was not heard", "error", err)
		}
	}
	if err := m.list.Leave(leaveWithin); err != nil {
		m.cfg.Logger.Debug("gossip: the goodbye was not heard", "error", err)
	}
	m.Close()
}

// Close stops at once, as a crash would: others see this node fail. It is idempotent.
func (m *Membership) Close() {
	m.closing.Do(func() {
		m.stop()
		if err := m.list.Shutdown(); err != nil && !errors.Is(err, net.ErrClosed) {
			m.cfg.Logger.Debug("gossip: shut down", "error", err)
		}
		m.running.Wait()
	})
}
