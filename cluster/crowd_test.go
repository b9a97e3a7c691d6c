package cluster

import (
	"flag"
	"strconv"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// How many members TestCrowd has, and by which profile.
var (
	crowd        = flag.Int("members", 24, "members of TestCrowd")
	crowdProfile = flag.String("crowd-profile", "lan", "their profile: lan, fast or wan")
)

// proves C-2: many members in one process know each other; what it costs a node
// is printed. Each knows one other to begin with, and joins it by itself: on a
// busy machine a try may fail, and is repeated.
func TestCrowd(t *testing.T) {
	limit := time.Minute + time.Duration(*crowd)*time.Second
	n := newNet()
	begin := time.Now()
	var all []*node
	t.Cleanup(func() { closeAll(all) })
	for i := range *crowd {
		var seeds []string
		if i > 0 {
			seeds = []string{all[i/2].Address()}
		}
		all = append(all, start(t, n, "n"+strconv.Itoa(i), func(c *Config) {
			c.Profile, c.Rejoin, c.Seeds = Profile(*crowdProfile), 5*time.Second, func() []string { return seeds }
		}))
		if i%20 == 19 { // as machines are switched on, not all in one moment
			converged(t, all[:1], len(all), limit)
			t.Logf("%d known to the first after %s", len(all), time.Since(begin).Round(time.Millisecond))
		}
	}
	converged(t, all, *crowd, limit)
	t.Logf("%d members of profile %s converged in %s", *crowd, *crowdProfile, time.Since(begin).Round(time.Millisecond))
	before, at := n.bytes.Load(), time.Now()
	<-time.After(3 * time.Second) // the time that is measured
	t.Logf("at rest: %.0f bytes per second and node", float64(n.bytes.Load()-before)/time.Since(at).Seconds()/float64(*crowd))
	converged(t, all, *crowd, limit)
	for _, x := range all {
		for _, m := range x.Members() {
			if m.State == entropy.MemberLeft {
				t.Errorf("%s says that %s is %s", x.name, m.Name, m.State)
			}
		}
	}
}
