package cluster

import (
	"context"
	"flag"
	"strconv"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// crowd is how many members TestCrowd has.
var crowd = flag.Int("members", 24, "members of TestCrowd; 200 want two cores for themselves")

// proves C-2: many members in one process know each other; what it costs a node
// is printed.
func TestCrowd(t *testing.T) {
	n := newNet()
	begin := time.Now()
	var all []*node
	t.Cleanup(func() { closeAll(all) })
	for i := range *crowd {
		x := start(t, n, "n"+strconv.Itoa(i), func(c *Config) { c.Profile, c.Rejoin = LAN, 5*time.Second })
		if i > 0 {
			if err := x.Join(context.Background(), all[i/2].Address()); err != nil {
				t.Fatal(err)
			}
		}
		if all = append(all, x); i%20 == 19 { // as machines are switched on, not all in one moment
			converged(t, all[:1], len(all), 30*time.Second)
			t.Logf("%d known to the first after %s", len(all), time.Since(begin))
		}
	}
	converged(t, all, *crowd, 90*time.Second)
	t.Logf("%d members of profile lan converged in %s", *crowd, time.Since(begin))
	before, at := n.bytes.Load(), time.Now()
	<-time.After(3 * time.Second) // the time that is measured
	t.Logf("at rest: %.0f bytes per second and node", float64(n.bytes.Load()-before)/time.Since(at).Seconds()/float64(*crowd))
	for _, x := range all {
		for _, m := range x.Members() {
			if m.State != entropy.MemberAlive {
				t.Errorf("%s says that %s is %s", x.name, m.Name, m.State)
			}
		}
	}
}
