package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves C-2: a node that becomes a member anew at another address never went, in
// anybody's eyes; it finds the others again, and who died at that very time is
// missed all the same.
func TestMove(t *testing.T) {
	t.Parallel()
	moved := make(chan string, 1)
	var all []*node
	t.Cleanup(func() { closeAll(all) })
	for i, name := range []string{"a", "b", "c"} {
		all = append(all, start(t, nil, name, func(c *Config) { c.Moved = func(address string) { moved <- address } }))
		if i > 0 {
			if err := all[i].Join(context.Background(), all[0].Address()); err != nil {
				t.Fatal(err)
			}
		}
	}
	converged(t, all, 3, 20*time.Second)
	a, b, c := all[0], all[1], all[2]
	before := a.Address()
	c.Close()
	a.move(context.Background())
	if now := <-moved; now == before || now != a.Address() {
		t.Errorf("it was at %s and is at %s, and says %s", before, a.Address(), now)
	}
	until(t, 20*time.Second, func() bool {
		alive, there := 0, false
		for _, m := range b.Members() {
			if m.Name == "a" && m.State == entropy.MemberAlive {
				alive++
				there = there || m.Address == a.Address()
			}
		}
		return there && alive == 1
	}, func() string { return "b does not see a where it is, and there only" })
	if b.count("a", entropy.MemberFailed)+b.count("a", entropy.MemberLeft) > 0 {
		t.Error("b was told that a went")
	}
	until(t, 20*time.Second, func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return !a.unheard[b.instance]
	}, func() string { return "a has not heard of b again" })
	a.missUnheard()
	a.await(t, "c", entropy.MemberFailed, 20*time.Second)
	if a.count("b", entropy.MemberFailed) > 0 || a.living() != 2 {
		t.Errorf("a sees %+v", a.Members())
	}
}

// A node whose address is still its own stays where it is; one whose address is
// gone is reached at another.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	x := start(t, nil, "x", func(c *Config) { c.Listen, c.Toward = "0.0.0.0:0", func() string { return "127.0.0.1" } })
	x.Close() // the test moves it by hand
	if got := x.elsewhere(); got != "" {
		t.Errorf("it would go to %s", got)
	}
	x.mu.Lock()
	x.address = "192.0.2.7:7601" // for documentation: not of this machine
	x.mu.Unlock()
	if got := x.elsewhere(); got != "127.0.0.1" {
		t.Errorf("it would go to %q", got)
	}
	x.cfg.Advertise = "192.0.2.7"
	if got := x.elsewhere(); got != "" {
		t.Errorf("what it was told to advertise it would change to %s", got)
	}
	x.cfg.Advertise = "localhost:7601"
	if got := x.elsewhere(); got != "127.0.0.1" && got != "::1" {
		t.Errorf("by a name it would go to %q", got)
	}
}
