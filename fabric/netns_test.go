package fabric_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/fabric"
)

// hosts is a lab of network namespaces: two switches in a namespace of their own,
// and hosts that are plugged into one or both. Nothing of it touches the networks of
// the machine.
type hosts struct {
	*lab
	prefix string
}

// newHosts makes the switches, or skips the test where it may not.
func newHosts(t *testing.T) *hosts {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root: run the tests as root to prove what several hosts do")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("network namespaces need the program ip (iproute2)")
	}
	h := &hosts{lab: &lab{t: t, dir: t.TempDir(), listen: "0.0.0.0:7600", ttl: 8 * time.Second}, prefix: fmt.Sprintf("ent%d", os.Getpid())}
	if out, err := exec.Command("ip", "netns", "add", h.ns("sw")).CombinedOutput(); err != nil {
		t.Skipf("no network namespace can be made here: %s", out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", h.ns("sw")).Run() })
	h.ip("sw", "link set lo up")
	for _, bridge := range []string{"br0", "br1"} {
		h.ip("sw", "link add "+bridge+" type bridge forward_delay 0 mcast_snooping 0")
		h.ip("sw", "link set "+bridge+" up")
	}
	return h
}

func (h *hosts) ns(host string) string { return h.prefix + host }

// ip runs the program of that name on a host.
func (h *hosts) ip(host, args string) {
	h.t.Helper()
	if out, err := exec.Command("ip", append([]string{"-n", h.ns(host)}, strings.Fields(args)...)...).CombinedOutput(); err != nil {
		h.t.Fatalf("ip -n %s %s: %v: %s", host, args, err, out)
	}
}

// host makes a host. Each plug is a switch and an address, as in "br0 10.77.0.1/24":
// its interface is eth0, eth1 …
func (h *hosts) host(name string, plugs ...string) {
	h.t.Helper()
	if out, err := exec.Command("ip", "netns", "add", h.ns(name)).CombinedOutput(); err != nil {
		h.t.Fatalf("%s", out)
	}
	h.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", h.ns(name)).Run() })
	h.ip(name, "link set lo up")
	for i, plug := range plugs {
		bridge, address, _ := strings.Cut(plug, " ")
		port := fmt.Sprintf("%s-%d", name, i)
		h.ip("sw", fmt.Sprintf("link add %s type veth peer name eth%d netns %s", port, i, h.ns(name)))
		h.ip("sw", fmt.Sprintf("link set %s master %s up", port, bridge))
		h.ip(name, fmt.Sprintf("addr add %s dev eth%d", address, i))
		h.ip(name, fmt.Sprintf("link set eth%d up", i))
	}
}

// plug connects or disconnects a host's cable at its switch.
func (h *hosts) plug(name, how string) { h.ip("sw", fmt.Sprintf("link set %s-0 %s", name, how)) }

// on starts a role on a host. A process in a namespace is one like any other.
func (h *hosts) on(host, role string, env ...string) *process {
	h.t.Helper()
	p := &process{cmd: exec.Command("ip", "netns", "exec", h.ns(host), os.Args[0])}
	p.cmd.Env = append(os.Environ(), append(env, roleEnv+"="+role)...)
	log, err := os.Create(h.path(host + ".log"))
	if err != nil {
		h.t.Fatal(err)
	}
	p.cmd.Stderr = log
	if err := p.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		p.kill()
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && h.t.Failed() {
			h.t.Logf("%s on %s wrote:\n%s", role, host, text[max(0, len(text)-2000):])
		}
	})
	return p
}

func (h *hosts) control() {
	h.t.Helper()
	h.ctl = h.on("ctl", "control", "DIR="+h.path("control"), "LISTEN="+h.listen, "TTL="+h.ttl.String())
	eventually(h.t, 30*time.Second, func() bool { _, err := h.client().Status(context.Background()); return err == nil },
		func() string { return "the control plane does not serve" })
}

// workerOn starts a worker that is given a token and no address.
func (h *hosts) workerOn(host string) *labWorker {
	h.t.Helper()
	w := &labWorker{l: h.lab, name: host, slots: 2}
	w.agent = h.on(host, "worker", "DIR="+w.dir(), "SERVER=", "NAME="+host, "SLOTS=2",
		"TOKEN_FILE="+filepath.Join(h.path("control"), fabric.WorkerTokenFile))
	h.t.Cleanup(w.killAll)
	return w
}

// client speaks from the control plane's own host: over its loopback.
func (h *hosts) client() *entropy.Client {
	h.t.Helper()
	token, err := os.ReadFile(filepath.Join(h.path("control"), fabric.AdminTokenFile))
	if err != nil {
		token = []byte("not-yet")
	}
	c, err := entropy.NewClient(entropy.ClientConfig{Server: "https://127.0.0.1:7600", Token: strings.TrimSpace(string(token)),
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: h.dialOn("ctl"), DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}}) // the test owns both ends
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// dialOn connects from a host: a socket stays in the namespace it was made in.
func (h *hosts) dialOn(host string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		h.inside(host, func() { conn, err = (&net.Dialer{}).DialContext(ctx, network, address) })
		return conn, err
	}
}

// inside calls f on a thread that is in a host's namespace.
func (h *hosts) inside(host string, f func()) {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		fd, err := unix.Open("/run/netns/"+h.ns(host), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			defer unix.Close(fd)
			err = unix.Setns(fd, unix.CLONE_NEWNET)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		h.t.Errorf("enter the namespace of %s: %v", host, err)
	}
}

// nft drops packets on a host: each rule ends with what becomes of those it matches.
// Both directions are filtered.
func (h *hosts) nft(host string, rules ...string) {
	h.t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		h.t.Fatal("a blocked network needs the program nft (nftables): scripts/setup installs it")
	}
	all := []string{"add table inet cut", "add chain inet cut in { type filter hook input priority 0 ; }", "add chain inet cut out { type filter hook output priority 0 ; }"}
	for _, r := range rules {
		all = append(all, "add rule inet cut in "+r, "add rule inet cut out "+r)
	}
	for _, line := range all {
		if out, err := exec.Command("ip", "netns", "exec", h.ns(host), "nft", line).CombinedOutput(); err != nil {
			h.t.Fatalf("nft %s: %s", line, out)
		}
	}
}

// seen reports whether a worker is alive by its heartbeats and by gossip.
func (h *hosts) seen(name string) bool {
	ctx := context.Background()
	workers, err := h.client().Workers(ctx)
	members, err2 := h.client().Members(ctx)
	if err != nil || err2 != nil {
		return false
	}
	alive := false
	for _, w := range workers {
		alive = alive || string(w.ID) == name && w.State == entropy.WorkerAlive
	}
	for _, m := range members.Members {
		if alive && m.Name == name && m.State == entropy.MemberAlive {
			return true
		}
	}
	return false
}

func (h *hosts) state(name string) entropy.WorkerState {
	all, err := h.client().Workers(context.Background())
	for _, w := range all {
		if err == nil && string(w.ID) == name {
			return w.State
		}
	}
	return ""
}

func (h *hosts) await(within time.Duration, what string, ok func() bool) time.Duration {
	h.t.Helper()
	at := time.Now()
	eventually(h.t, within, ok, func() string {
		workers, _ := h.client().Workers(context.Background())
		for _, w := range workers {
			what += fmt.Sprintf("\nworker %s %s", w.ID, w.State)
		}
		members, err := h.client().Members(context.Background())
		return fmt.Sprintf("%s\nmembers %+v, %v", what, members, err)
	})
	return time.Since(at)
}

// run submits a job that only a worker of that name may take, and waits until it runs.
func (h *hosts) run(name string, spec entropy.JobSpec) entropy.JobID {
	h.t.Helper()
	for _, other := range []string{"w1", "w2", "w3", "w4"} {
		if other != name {
			h.mode(other, entropy.WorkerDrain)
		}
	}
	r, err := h.client().Submit(context.Background(), []entropy.Submission{{ID: entropy.JobID(entropy.NewID()), Spec: spec}})
	if err != nil || r[0].Error != nil {
		h.t.Fatal(err, r)
	}
	h.await(20*time.Second, "the job does not run", func() bool { return h.job(r[0].ID).State == entropy.Running })
	return r[0].ID
}

func (h *hosts) mode(name string, mode entropy.WorkerMode) {
	h.t.Helper()
	if _, err := h.client().SetWorker(context.Background(), entropy.WorkerID(name), mode, entropy.Operation{ID: entropy.NewID()}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hosts) job(id entropy.JobID) *entropy.Job {
	j, err := h.client().Job(context.Background(), id)
	if err != nil {
		return new(entropy.Job)
	}
	return j
}

// proves C-1, C-2, C-4, L-4, H-1: on hosts of their own, workers that are given a
// token and no address find their control plane, one of them on the second of its two
// networks; cuts of their cables lose and heal as promised; and a control plane that comes back at
// another address is found again.
func TestSeveralHosts(t *testing.T) {
	t.Setenv("PROFILE", "fast")
	h := newHosts(t)
	names := []string{"w1", "w2", "w3", "w4"}
	h.host("ctl", "br0 10.77.0.1/24")
	for i, name := range names[:3] {
		h.host(name, fmt.Sprintf("br0 10.77.0.1%d/24", i))
	}
	h.host("w4", "br1 10.78.0.13/24", "br0 10.77.0.13/24") // its first address is of the wrong network
	h.control()
	for _, name := range names {
		h.workerOn(name)
	}
	all := func() bool {
		for _, name := range names {
			if !h.seen(name) {
				return false
			}
		}
		return true
	}
	t.Logf("4 workers, one of them on two networks, found the control plane %s after their start", h.await(15*time.Second, "not all are there", all))
	h.step("CableCut", h.cutAndHeal)
	h.step("Flapping", h.flap)
	h.step("OneWay", h.oneWay)
	h.step("UDPBlocked", h.blocked)
	h.step("ControlMoves", func() {
		h.move()
		h.await(30*time.Second, "not all found the control plane that moved", all)
	})
}

// proves C-1, C-4: a control plane on two networks that know nothing of each other
// serves both: who is on either is there, by heartbeats and by gossip, and stays. The
// two workers can probe each other only through it; a busy machine may be late with
// that for a moment, which loses nobody.
func TestDualHomedControl(t *testing.T) {
	t.Setenv("PROFILE", "fast")
	h := newHosts(t)
	h.host("ctl", "br0 10.77.0.1/24", "br1 10.78.0.1/24")
	h.host("w1", "br0 10.77.0.11/24")
	h.host("w2", "br1 10.78.0.12/24")
	h.control()
	h.workerOn("w1")
	h.workerOn("w2")
	both := func() bool { return h.seen("w1") && h.seen("w2") }
	t.Logf("both there after %s", h.await(15*time.Second, "not both are there", both))
	looks, away := 0, 0
	for end := time.Now().Add(12 * time.Second); time.Now().Before(end); looks++ { // three times what fast needs to miss one
		if h.state("w1") != entropy.WorkerAlive || h.state("w2") != entropy.WorkerAlive {
			t.Fatal("one of them was lost")
		}
		if !both() {
			away++
		}
		<-time.After(100 * time.Millisecond)
	}
	t.Logf("at %d of %d looks one of them was no member", away, looks)
	if away > looks/4 {
		t.Error("that is too often")
	}
	h.await(10*time.Second, "not both are there in the end", both)
}

// step runs a part of the test under a name of its own. What it makes ends with it.
func (h *hosts) step(name string, f func()) {
	h.t.Helper()
	whole := h.t
	ok := whole.Run(name, func(t *testing.T) {
		h.t = t
		defer func() { h.t = whole }()
		f()
	})
	if !ok {
		whole.FailNow()
	}
}

// cutAndHeal pulls a worker's cable until it is LOST. Its job never stops and is its
// own again when the cable is back.
func (h *hosts) cutAndHeal() {
	h.t.Helper()
	id := h.run("w1", entropy.JobSpec{Command: []string{"sleep", "600"}})
	h.plug("w1", "down")
	lost := h.await(20*time.Second, "w1 is not lost", func() bool { return h.state("w1") == entropy.WorkerLost })
	h.plug("w1", "up")
	back := h.await(30*time.Second, "w1 is not back", func() bool { return h.seen("w1") && h.job(id).State == entropy.Running })
	if j := h.job(id); j.Attempt != 1 || j.Losses != 0 {
		h.t.Errorf("after the cut: attempt %d, %d losses", j.Attempt, j.Losses)
	}
	h.t.Logf("cable pulled: LOST after %s; plugged in: member again, and its job its own, after %s", lost, back)
}

// flap pulls the cable three times for less than anybody minds.
func (h *hosts) flap() {
	h.t.Helper()
	for range 3 {
		h.plug("w2", "down")
		<-time.After(500 * time.Millisecond)
		h.plug("w2", "up")
		<-time.After(500 * time.Millisecond)
	}
	h.await(20*time.Second, "w2 is not there after flapping", func() bool { return h.seen("w2") })
}

// oneWay drops what a worker sends, and delivers what is sent to it. Its IPv6 is
// taken away as well: by that it would find another way.
func (h *hosts) oneWay() {
	h.t.Helper()
	off := exec.Command("ip", "netns", "exec", h.ns("w3"), "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")
	if out, err := off.CombinedOutput(); err != nil {
		h.t.Fatalf("%s", out)
	}
	h.ip("w3", "route add blackhole 10.77.0.1/32")
	lost := h.await(25*time.Second, "w3 is not lost", func() bool { return h.state("w3") == entropy.WorkerLost })
	h.ip("w3", "route del blackhole 10.77.0.1/32")
	back := h.await(30*time.Second, "w3 is not back", func() bool { return h.seen("w3") })
	h.t.Logf("one way cut: LOST after %s, back after %s", lost, back)
}

// blocked lets nothing of gossip through to a host: its worker loses nothing by
// that, and when its machine dies, the lease alone tells.
func (h *hosts) blocked() {
	h.t.Helper()
	h.host("w5", "br0 10.77.0.15/24")
	h.nft("w5", "udp dport 7601 drop", "tcp dport 7601 drop")
	w := h.workerOn("w5")
	h.await(20*time.Second, "w5 is not there", func() bool { return h.state("w5") == entropy.WorkerAlive })
	if h.seen("w5") {
		h.t.Error("gossip came through")
	}
	w.killAll()
	lost := h.await(25*time.Second, "w5 is not lost", func() bool { return h.state("w5") == entropy.WorkerLost })
	h.t.Logf("gossip blocked, machine dead: LOST after %s, by its lease of %s", lost, h.ttl)
}

// move gives the control plane's host another address, as after a reboot.
func (h *hosts) move() {
	h.t.Helper()
	_ = h.ctl.cmd.Process.Signal(syscall.SIGTERM) // as a service manager does
	_ = h.ctl.cmd.Wait()
	h.ip("ctl", "addr flush dev eth0")
	h.ip("ctl", "addr add 10.77.0.99/24 dev eth0")
	at := time.Now()
	h.control()
	h.await(30*time.Second, "nobody found the control plane that moved", func() bool { return h.seen("w2") })
	h.t.Logf("control plane at another address: found again %s after its start", time.Since(at))
}
