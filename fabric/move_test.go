package fabric_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// at reports whether a node is a member at an address, and no longer at another.
func (h *hosts) at(name, role, host string) bool {
	all, err := h.client().Members(context.Background())
	living := slices.DeleteFunc(all.Members, func(m entropy.Member) bool {
		return m.State != entropy.MemberAlive || m.Role != role || role == "worker" && m.Name != name
	})
	return err == nil && len(living) == 1 && strings.HasPrefix(living[0].Address, host+":")
}

// proves C-1, C-2: a host whose address changes while it works, a worker's and then
// the control plane's own, is a member at the new one by itself, and the job that
// runs meanwhile stays its worker's own.
func TestAddressChanges(t *testing.T) {
	t.Setenv("PROFILE", "fast")
	h := newHosts(t)
	h.host("ctl", "br0 10.77.0.1/24")
	h.host("w1", "br0 10.77.0.11/24")
	h.host("w2", "br0 10.77.0.12/24")
	h.control()
	h.workerOn("w1")
	h.workerOn("w2")
	h.await(15*time.Second, "not both are there", func() bool { return h.at("w1", "worker", "10.77.0.11") && h.at("w2", "worker", "10.77.0.12") })
	id := h.submit(h.client(), entropy.JobSpec{Command: []string{"sleep", "600"}, Require: map[string]string{"host": "w1"}})
	h.await(20*time.Second, "the job does not run", func() bool { return h.job(id).State == entropy.Running })
	readdress := func(host, address string) {
		h.ip(host, "addr flush dev eth0")
		h.ip(host, "addr add "+address+"/24 dev eth0")
	}
	readdress("w1", "10.77.0.81")
	took := h.await(40*time.Second, "w1 is not a member at its new address", func() bool { return h.at("w1", "worker", "10.77.0.81") && h.seen("w1") })
	t.Logf("a worker at another address: there, and there only, after %s", took)
	readdress("ctl", "10.77.0.91")
	took = h.await(40*time.Second, "not all are members after the control plane's address has changed", func() bool {
		return h.at("", "control", "10.77.0.91") && h.seen("w1") && h.seen("w2")
	})
	t.Logf("the control plane at another address: all there after %s", took)
	next := h.submit(h.client(), entropy.JobSpec{Command: []string{"true"}, Require: map[string]string{"host": "w2"}})
	took = h.await(40*time.Second, "w2 does no more work", func() bool { return h.job(next).State == entropy.Succeeded })
	t.Logf("a job went to a worker and back %s later", took)
	h.await(40*time.Second, "the job is not its worker's own", func() bool { return h.job(id).State == entropy.Running })
	if j := h.job(id); j.Attempt != 1 || j.Losses != 0 {
		t.Errorf("attempt %d, %d losses", j.Attempt, j.Losses)
	}
}
