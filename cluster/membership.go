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
	delegate *delegate
	keyring  *memberlist.Keyring

	mu       sync.Mutex
	roster   *roster
	list     *memberlist.Memberlist // nil while it could not move to a new address
	instance string                 // this process at its present address
	address  string                 // HOST:PORT by which others reach this node
	unheard  map[string]bool        // instances known from before the last move, not heard of since

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
	keyring, err := memberlist.NewKeyring(cfg.Keys, cfg.Keys[0])
	if err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &Membership{cfg: cfg, delegate: &delegate{box: newMailbox()}, keyring: keyring, roster: newRoster(), nudge: make(chan struct{}, 1), stop: stop}
	m.delegate.meta.Store(&meta)
	if err := m.create(); err != nil {
		stop()
		return nil, entropy.Errorf(entropy.CodeUnavailable, "gossip on %s: %v", cfg.Listen, err).
			WithHint("is another node running here? choose another address with --gossip-listen, or --advertise the one others reach")
	}
	m.running.Go(func() { m.pump(ctx) })
	m.running.Go(func() { m.rejoin(ctx) })
	m.running.Go(func() { m.follow(ctx) })
	return m, nil
}

// create listens and becomes a member under a name that nobody has had before.
func (m *Membership) create() error {
	instance := m.cfg.Node.ID + "." + entropy.NewID()
	conf, err := m.cfg.memberlist(instance, m.delegate)
	if err != nil {
		return err
	}
	conf.Keyring = m.keyring
	host, port, err := m.cfg.advertise()
	if err != nil {
		return err
	}
	if host != "" {
		// The library advertises the port that it is told, not the one it gets.
		if conf.BindPort == 0 {
			if conf.BindPort, err = freePort(conf.BindAddr); err != nil {
				return err
			}
		}
		conf.AdvertiseAddr, conf.AdvertisePort = host, cmp.Or(port, conf.BindPort)
	}
	m.mu.Lock()
	m.instance = instance // before the first callback
	m.mu.Unlock()
	list, err := memberlist.Create(conf)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list, m.address = list, list.LocalNode().Address() // later the library may be writing it
	return nil
}

// current returns the library's part, nil while there is none.
func (m *Membership) current() *memberlist.Memberlist {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.list
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
			m.mu.Lock()
			self := s.instance == m.instance
			if self {
				s.rtt = 0
			}
			delete(m.unheard, s.instance)
			e, ok := m.roster.see(s, time.Now())
			m.mu.Unlock()
			if ok && !self {
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
			err = m.joinOne(resolved)
		}
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("join %s: %w", a, err))
	}
	return errors.Join(errs...)
}

func (m *Membership) joinOne(addresses []string) error {
	list := m.current()
	if list == nil {
		return errors.New("this node has no address now")
	}
	_, err := list.Join(addresses)
	return err
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

// Address returns HOST:PORT by which others reach this node, or last did.
func (m *Membership) Address() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.address
}

// Health returns how badly this node itself keeps up, by its missed probes: 0 is
// well, higher is worse (Lifeguard's local health, arXiv:1707.00788).
func (m *Membership) Health() int {
	if list := m.current(); list != nil {
		return list.GetHealthScore()
	}
	return 0
}

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
	list := m.current()
	meta, err := (announcement{Node: m.cfg.Node, Leaving: true}).encode()
	if list != nil && err == nil {
		m.delegate.meta.Store(&meta)
		if err := list.UpdateNode(announceWithin); err != nil {
			m.cfg.Logger.Debug("gossip: the leave was not heard", "error", err)
		}
		if err := list.Leave(leaveWithin); err != nil {
			m.cfg.Logger.Debug("gossip: the goodbye was not heard", "error", err)
		}
	}
	m.Close()
}

// Close stops at once, as a crash would: others see this node fail. It is idempotent.
func (m *Membership) Close() {
	m.closing.Do(func() {
		m.stop()
		m.shutdown() // what still runs ends by it
		m.running.Wait()
		m.shutdown() // it may have moved meanwhile
	})
}

// shutdown closes the sockets.
func (m *Membership) shutdown() {
	list := m.current()
	if list == nil {
		return
	}
	if err := list.Shutdown(); err != nil && !errors.Is(err, net.ErrClosed) {
		m.cfg.Logger.Debug("gossip: shut down", "error", err)
	}
}
