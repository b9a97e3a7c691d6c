package cluster

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves C-2: five nodes that know one of them know all, each with what it says
// of itself.
func TestConverge(t *testing.T) {
	t.Parallel()
	start := time.Now()
	all := lab(t, newNet(), 5, nil)
	t.Logf("5 nodes converged in %s", time.Since(start))
	for _, m := range all[4].Members() {
		if m.NodeID != "id-"+m.Name || m.Role != "worker" || m.Version != "test" || m.Self != (m.Name == "n4") || m.Address == "" {
			t.Errorf("member %+v", m)
		}
	}
	if all[0].Health() != 0 || all[0].Alone() {
		t.Errorf("health %d, alone %v", all[0].Health(), all[0].Alone())
	}
}

// proves C-2: a killed node is told as failed, by every survivor, within the
// profile's time; three kills of fast.
func TestKillDetected(t *testing.T) {
	t.Parallel()
	n := newNet()
	all := lab(t, n, 6, nil)
	var took []time.Duration
	for range 3 {
		victim, rest := all[len(all)-1], all[:len(all)-1]
		at := time.Now()
		victim.Close()
		for _, x := range rest {
			x.await(t, victim.name, entropy.MemberFailed, 10*time.Second)
		}
		took = append(took, time.Since(at))
		all = rest
	}
	slices.Sort(took)
	t.Logf("fast: kill to failed at the last survivor: min %s, median %s, max %s", took[0], took[1], took[2])
	for _, x := range all {
		if x.count("n5", entropy.MemberLeft) > 0 {
			t.Error("a killed node was told as left")
		}
	}
}

// proves C-2: left is not failed.
func TestLeftIsNotFailed(t *testing.T) {
	t.Parallel()
	all := lab(t, newNet(), 4, nil)
	all[3].Leave()
	for _, x := range all[:3] {
		x.await(t, "n3", entropy.MemberLeft, 10*time.Second)
		if x.count("n3", entropy.MemberFailed) > 0 {
			t.Errorf("%s was told that n3 failed", x.name)
		}
	}
}

// A node that is started anew at once never went, and its old process is not
// told as failed. proves L-4: an agent's restart is no loss.
func TestRestartIsNoLoss(t *testing.T) {
	t.Parallel()
	n := newNet()
	all := lab(t, n, 3, nil)
	all[2].Close()
	again := start(t, n, "n2", nil)
	if err := again.Join(context.Background(), all[0].Address()); err != nil {
		t.Fatal(err)
	}
	for _, x := range all[:2] {
		until(t, 10*time.Second, func() bool {
			ms := x.Members()
			return len(ms) == 3 && !slices.ContainsFunc(ms, func(m entropy.Member) bool { return m.State != entropy.MemberAlive })
		}, func() string { return "the old process is still listed" })
		if x.count("n2", entropy.MemberFailed)+x.count("n2", entropy.MemberLeft) > 0 {
			t.Errorf("%s was told that n2 went", x.name)
		}
	}
}

// proves C-2: who has another key, or another cluster's label, is refused.
func TestStrangersRefused(t *testing.T) {
	t.Parallel()
	n := newNet()
	all := lab(t, n, 2, nil)
	for name, edit := range map[string]func(*Config){
		"key":   func(c *Config) { c.Keys = [][]byte{key(9)} },
		"label": func(c *Config) { c.ClusterID = "other" },
	} {
		x := start(t, n, "wrong-"+name, edit)
		if err := x.Join(context.Background(), all[0].Address()); err == nil {
			t.Errorf("a node with the wrong %s joined", name)
		}
		if x.living() > 1 || all[0].living() != 2 || all[0].count(x.name, entropy.MemberAlive) > 0 {
			t.Errorf("wrong %s: it sees %d, it is seen: %d", name, x.living(), all[0].living())
		}
	}
}

// proves C-2: the halves of a partition join again by themselves.
func TestPartitionHeals(t *testing.T) {
	t.Parallel()
	n := newNet()
	all := lab(t, n, 5, nil)
	cut := func(off bool) {
		for _, a := range all[:2] {
			for _, b := range all[2:] {
				n.cut(a.Membership, b.Membership, off)
				n.cut(b.Membership, a.Membership, off)
			}
		}
	}
	cut(true)
	for _, a := range all[:2] {
		for _, b := range all[2:] {
			a.await(t, b.name, entropy.MemberFailed, 20*time.Second)
			b.await(t, a.name, entropy.MemberFailed, 20*time.Second)
		}
	}
	cut(false)
	at := time.Now()
	converged(t, all, 5, 20*time.Second)
	t.Logf("whole again %s after the network was", time.Since(at))
}

// proves C-2: keys rotate in three rounds while everybody stays.
func TestRotateKeys(t *testing.T) {
	t.Parallel()
	n := newNet()
	all := lab(t, n, 3, nil)
	for _, keys := range [][][]byte{{key(1), key(2)}, {key(2), key(1)}, {key(2)}} {
		for _, x := range all {
			if err := x.SetKeys(keys); err != nil {
				t.Fatal(err)
			}
		}
	}
	late := start(t, n, "late", func(c *Config) { c.Keys = [][]byte{key(2)} })
	if err := late.Join(context.Background(), all[1].Address()); err != nil {
		t.Fatal(err)
	}
	converged(t, append(slices.Clone(all), late), 4, 10*time.Second)
	old := start(t, n, "old", nil)
	if old.Join(context.Background(), all[0].Address()) == nil {
		t.Error("a node with the removed key joined")
	}
	for _, x := range all {
		for _, y := range all {
			if x.count(y.name, entropy.MemberFailed) > 0 {
				t.Errorf("%s lost %s", x.name, y.name)
			}
		}
	}
}

// What would not fit or cannot be meant is refused with every problem named.
func TestConfigRefused(t *testing.T) {
	t.Parallel()
	_, err := Open(Config{Listen: "lab1:x", Keys: [][]byte{{1}}, Profile: "slow"})
	for _, word := range []string{"ID and a role", "cluster ID", "32 bytes", `"slow"`, "lab1:x"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not in %v", word, err)
		}
	}
	long := Config{Node: Node{ID: "a", Role: "worker", Name: strings.Repeat("n", 600)}, ClusterID: "lab", Keys: [][]byte{key(1)}, Listen: "127.0.0.1:0"}
	if _, err := Open(long); err == nil || !strings.Contains(err.Error(), "512") {
		t.Errorf("metadata over 512 bytes: %v", err)
	}
	long.Node.Name, long.Advertise = "n", "0.0.0.0"
	if _, err := Open(long); err == nil || !strings.Contains(err.Error(), "nobody can reach") {
		t.Errorf("an address that nobody can reach: %v", err)
	}
}

// What a node advertises is where it is: also by the port that it was given.
func TestAdvertise(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ listen, advertise, host string }{
		{"127.0.0.1:0", "", "127.0.0.1"}, {"0.0.0.0:0", "127.0.0.1", "127.0.0.1"}, {"127.0.0.1:0", "localhost:0", "127.0.0.1"}, {"0.0.0.0:0", "", ""},
	} {
		m, err := Open(Config{Node: Node{ID: "a", Role: "worker"}, ClusterID: "lab", Keys: [][]byte{key(1)}, Listen: c.listen, Advertise: c.advertise, Toward: func() string { return "127.0.0.1" }})
		if err != nil {
			t.Fatal(err)
		}
		host, port, err := net.SplitHostPort(m.Address())
		if err != nil || port == "0" || host == "0.0.0.0" || c.host != "" && host != c.host {
			t.Errorf("%+v advertises %s", c, m.Address())
		}
		m.Close()
	}
}
