package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
)

// rejoinAtOnce bounds how many missing nodes are tried in one round: one that is
// switched off answers nothing and costs the whole timeout.
const rejoinAtOnce = 8

// aloneFor is the time between two tries while nobody is known at all.
const aloneFor = time.Second

// rejoin joins who is missing, again and again. memberlist does not heal a
// partition by itself: two halves that have declared each other dead stay apart
// (hashicorp/memberlist#222).
func (m *Membership) rejoin(ctx context.Context) {
	for {
		m.joinMissing(ctx)
		wait := m.cfg.Rejoin
		if m.Alone() {
			wait = min(wait, aloneFor)
		}
		timer := time.NewTimer(wait + rand.N(wait/5+1)) // apart from the others
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-m.nudge:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// joinMissing tries some of the addresses at which somebody should be and nobody
// is, all at once.
func (m *Membership) joinMissing(ctx context.Context) {
	missing := m.missing(ctx)
	rand.Shuffle(len(missing), func(i, j int) { missing[i], missing[j] = missing[j], missing[i] })
	var tries sync.WaitGroup
	for _, a := range missing[:min(len(missing), rejoinAtOnce)] {
		tries.Go(func() {
			if _, err := m.list.Join([]string{a}); err != nil {
				m.cfg.Logger.Debug("gossip: no join", "address", a, "error", err)
			}
		})
	}
	tries.Wait()
}

// missing returns the addresses of failed members and of seeds that no living
// member has.
func (m *Membership) missing(ctx context.Context) []string {
	var want, have []string
	for _, x := range m.Members() {
		switch x.State {
		case entropy.MemberAlive:
			have = append(have, x.Address)
		case entropy.MemberFailed:
			want = append(want, x.Address)
		}
	}
	for _, seed := range m.cfg.Seeds() {
		addresses, err := resolve(ctx, seed)
		if err != nil {
			m.cfg.Logger.Debug("gossip: seed", "error", err)
		}
		want = append(want, addresses...)
	}
	have = append(have, m.Address())
	slices.Sort(want)
	return slices.DeleteFunc(slices.Compact(want), func(a string) bool { return slices.Contains(have, a) })
}

// resolve looks an address HOST:PORT up, anew each time.
func resolve(ctx context.Context, address string) ([]string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%q is not HOST:PORT: %w", address, err)
	}
	if net.ParseIP(host) != nil {
		return []string{address}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", host, err)
	}
	for i, ip := range ips {
		ips[i] = net.JoinHostPort(ip, port)
	}
	return ips, nil
}
