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

// rejoinTogether bounds how many missing nodes all the living ones try in one
// round, more or less: a join hands over all that either side knows, so one that
// succeeds heals the whole, and many at once from each of 200 members have kept a
// busy machine from anything else.
const rejoinTogether = 64

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
	var tries sync.WaitGroup
	for _, a := range m.missing(ctx) {
		tries.Go(func() {
			if err := m.joinOne([]string{a}); err != nil {
				m.cfg.Logger.Debug("gossip: no join", "address", a, "error", err)
			}
		})
	}
	tries.Wait()
}

// missing returns the addresses to try: of seeds that no living member has, and of
// some members that have failed.
func (m *Membership) missing(ctx context.Context) []string {
	var seeds, failed, have []string
	m.mu.Lock()
	for _, x := range m.roster.list() {
		switch {
		case x.State == entropy.MemberAlive && !m.unheard[x.Instance]:
			have = append(have, x.Address)
		case x.State != entropy.MemberLeft:
			failed = append(failed, x.Address)
		}
	}
	have = append(have, m.address)
	m.mu.Unlock()
	for _, seed := range m.cfg.Seeds() {
		addresses, err := resolve(ctx, seed)
		if err != nil {
			m.cfg.Logger.Debug("gossip: seed", "error", err)
		}
		seeds = append(seeds, addresses...)
	}
	return choose(seeds, failed, have, rand.Float64())
}

// choose returns whom to try: the seeds, and this node's share of the failed. Luck
// is in [0, 1) and says whether it tries one more where its share is not whole.
func choose(seeds, failed, have []string, luck float64) []string {
	absent := func(from []string) []string {
		from = slices.DeleteFunc(slices.Clone(from), func(a string) bool { return slices.Contains(have, a) })
		rand.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
		return from
	}
	share := min(rejoinAtOnce, float64(rejoinTogether)/float64(len(have)))
	whole := int(share)
	if luck < share-float64(whole) {
		whole++
	}
	failed = absent(failed)
	chosen := append(absent(seeds), failed[:min(len(failed), whole)]...)
	chosen = chosen[:min(len(chosen), rejoinAtOnce)]
	slices.Sort(chosen)
	return slices.Compact(chosen)
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
