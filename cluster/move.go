package cluster

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"
)

// lookEvery is the time between two looks at the machine's own addresses.
const lookEvery = time.Second

// unheardFor is how long who was known before this node moved may take to be heard
// of again; then it counts as failed.
const unheardFor = 30 * time.Second

// follow watches the machine's addresses. When the one that others reach this node
// at is no longer the machine's own, as after a new lease by DHCP, and another one
// is there twice in a row, the node becomes a member anew at that address. It is
// the same node to others: its new name is there before the old one is missed.
func (m *Membership) follow(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	seen, moved := "", time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !moved.IsZero() && time.Since(moved) > unheardFor {
			moved = time.Time{}
			m.missUnheard()
		}
		next := m.elsewhere()
		if next == "" || next != seen {
			seen = next
			continue
		}
		seen, moved = "", time.Now()
		m.move(ctx)
	}
}

// elsewhere returns the host by which others would reach this node now, "" when
// the old one will do, or none is known.
func (m *Membership) elsewhere() string {
	if m.cfg.Transport != nil {
		return "" // of a test: it moves nowhere
	}
	host, _, err := net.SplitHostPort(m.Address())
	if err != nil || m.current() != nil && m.reachedAt(host) {
		return ""
	}
	next, _, err := m.cfg.advertise()
	if err != nil || next == host && m.current() != nil {
		return ""
	}
	return next
}

// reachedAt reports whether a host, an IP address, is still this node's: one of the
// machine's own, or one of those of the name that is advertised.
func (m *Membership) reachedAt(host string) bool {
	if m.cfg.Advertise != "" {
		name, _, err := net.SplitHostPort(m.cfg.Advertise)
		if err != nil {
			name = m.cfg.Advertise
		}
		if net.ParseIP(name) != nil {
			return true // somebody has said so
		}
		ips, err := net.LookupHost(name)
		return err != nil || slices.Contains(ips, host)
	}
	addrs, err := net.InterfaceAddrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap().String() == host {
			return true
		}
	}
	return err != nil
}

// move becomes a member anew at the machine's present address.
func (m *Membership) move(ctx context.Context) {
	old := m.Address()
	m.shutdown()
	m.mu.Lock()
	delete(m.roster.members, m.instance)
	m.list, m.unheard = nil, map[string]bool{}
	for _, x := range m.roster.list() {
		m.unheard[x.Instance] = true
	}
	m.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if err := m.create(); err != nil {
		m.cfg.Logger.Warn("gossip: this machine's address has changed, and the new one cannot be used yet", "was", old, "error", err)
		return
	}
	m.cfg.Logger.Info("gossip: this machine's address has changed", "was", old, "is", m.Address())
	m.cfg.Moved(m.Address())
	m.Nudge()
}

// missUnheard counts as failed who was alive before the move and was not heard of since.
func (m *Membership) missUnheard() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for instance := range m.unheard {
		m.delegate.box.put(sighting{instance: instance, gone: true})
	}
}
