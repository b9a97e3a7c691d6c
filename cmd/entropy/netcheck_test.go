package main

import (
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves C-3: each thing that can be wrong is found, said in words, and comes with
// what to do; what is right is not complained of.
func TestNetChecks(t *testing.T) {
	now := time.Now()
	worker := func(name, host, version string) entropy.WorkerInfo {
		return entropy.WorkerInfo{Worker: entropy.Worker{ID: entropy.WorkerID(name), State: entropy.WorkerAlive, Hostname: host, AgentVersion: version}}
	}
	member := func(name, role string, state entropy.MemberState, address, id string) entropy.Member {
		return entropy.Member{NodeID: id, Name: name, Role: role, State: state, Address: address, RTT: entropy.Duration(time.Millisecond), Since: now}
	}
	refused := func(at time.Time) entropy.Event {
		return entropy.Event{TS: at, Type: entropy.TokenRefused, Attrs: []byte(`{"worker":"pi","reason":"a worker named pi has joined already, with another key (host attic)"}`)}
	}
	unprobed := member("a", "worker", entropy.MemberAlive, "10.0.0.2:7601", "a")
	unprobed.RTT = 0
	ctl := member("lab0", "control", entropy.MemberAlive, "10.0.0.1:7601", "c")
	own := worker("up", "lab0", "1")
	own.BootID, ctl.BootID = "kernel", "kernel"
	for name, c := range map[string]struct {
		checks []check
		want   []string // of what is wrong; none means that all is well
	}{
		"well": {checkMembers([]entropy.WorkerInfo{worker("a", "h1", "1"), own},
			[]entropy.Member{ctl, member("a", "worker", entropy.MemberAlive, "10.0.0.2:7601", "a")}, now), nil},
		"gossip off": {checkMembers([]entropy.WorkerInfo{worker("a", "h1", "1")}, nil, now), nil},
		"port blocked": {checkMembers([]entropy.WorkerInfo{worker("a", "lab0", "1")}, []entropy.Member{ctl}, now), // a host of the same name is not the same host
			[]string{"never heard of it", "port 7601", "UDP", "lab0"}},
		"udp blocked": {checkMembers([]entropy.WorkerInfo{worker("a", "h1", "1")}, []entropy.Member{ctl, unprobed}, now.Add(time.Minute)), []string{"by TCP only", "UDP is blocked", "h1"}},
		"just joined": {checkMembers([]entropy.WorkerInfo{worker("a", "h1", "1")}, []entropy.Member{ctl, unprobed}, now.Add(10*time.Second)), nil},
		"behind NAT": {checkMembers([]entropy.WorkerInfo{worker("a", "h1", "1")},
			[]entropy.Member{ctl, member("a", "worker", entropy.MemberFailed, "192.168.1.2:7601", "a")}, now), []string{"failed at 192.168.1.2:7601", "NAT", "--advertise", "--no-gossip"}},
		"firewall on a host": {checkMembers([]entropy.WorkerInfo{worker("a", "h1", "1")},
			[]entropy.Member{ctl, member("a", "worker", entropy.MemberFailed, "10.0.0.2:7601", "a")}, now), []string{"failed at 10.0.0.2:7601", "firewall", "on h1"}},
		"refused": {checkRefused([]entropy.Event{refused(now.Add(-2 * time.Hour)), refused(now.Add(-time.Minute))}, now),
			[]string{"join pi", "1m", "named pi has joined already", "--name"}},
		"refused long ago": {checkRefused([]entropy.Event{refused(now.Add(-2 * time.Hour))}, now), nil},
		"two names": {checkNames([]entropy.Member{ctl, member("a", "worker", entropy.MemberAlive, "x:1", "1"), member("a", "worker", entropy.MemberAlive, "y:1", "2")}),
			[]string{"name a", "x:1 and y:1", "--name"}},
		"cloned disk": {checkNames([]entropy.Member{ctl, member("a", "worker", entropy.MemberAlive, "x:1", "1"), member("a", "worker", entropy.MemberAlive, "y:1", "1")}),
			[]string{"x:1 and y:1", "reset-identity"}},
		"old name":     {checkNames([]entropy.Member{ctl, member("a", "worker", entropy.MemberAlive, "x:1", "1"), member("a", "worker", entropy.MemberFailed, "y:1", "1")}), nil},
		"versions":     {checkVersions("2", []entropy.WorkerInfo{worker("a", "h1", "1"), worker("b", "h2", "2")}), []string{"worker a", "version 1", "upgrade"}},
		"clock":        {checkClock(now.Add(-time.Hour), now, 20*time.Millisecond), []string{"1h0m0s off", "set-ntp"}},
		"clock agrees": {checkClock(now.Add(time.Second), now, 20*time.Millisecond), nil},
	} {
		var wrong []string
		for _, x := range c.checks {
			if !x.OK {
				wrong = append(wrong, x.Subject+": "+x.Finding+" -> "+x.Advice)
			}
		}
		if len(c.want) == 0 && len(wrong) > 0 || len(c.want) > 0 && len(wrong) != 1 {
			t.Errorf("%s: %q", name, wrong)
			continue
		}
		for _, word := range c.want {
			if !strings.Contains(wrong[0], word) {
				t.Errorf("%s: %q does not say %q", name, wrong[0], word)
			}
		}
	}
}
