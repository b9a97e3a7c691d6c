package fabric_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/fabric"
)

// mdnsGroup is where multicast DNS is spoken (RFC 6762).
var mdnsGroup = &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}

// browse asks the network of a host for _entropy._tcp, as any browser does that
// knows nothing of Entropy, and returns the texts, host names and addresses of the
// first answer; none when nobody answers.
func (h *hosts) browse(host string, within time.Duration) (found []string) {
	h.t.Helper()
	conn := h.mdnsSocket(host)
	defer conn.Close()
	name := dnsmessage.MustNewName("_entropy._tcp.local.")
	ask, err := (&dnsmessage.Message{Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}}}).Pack()
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := conn.WriteTo(ask, mdnsGroup); err != nil {
		h.t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		h.t.Fatal(err)
	}
	b := make([]byte, 9000)
	for {
		n, _, err := conn.ReadFrom(b)
		if err != nil {
			return nil
		}
		var m dnsmessage.Message
		if m.Unpack(b[:n]) != nil || !m.Response {
			continue
		}
		for _, r := range append(m.Answers, m.Additionals...) {
			switch x := r.Body.(type) {
			case *dnsmessage.TXTResource:
				found = append(found, x.TXT...)
			case *dnsmessage.SRVResource:
				found = append(found, x.Target.String())
			case *dnsmessage.AResource:
				found = append(found, net.IP(x.A[:]).String())
			}
		}
		return found
	}
}

// mdnsSocket opens a socket on a host that hears multicast DNS on its eth0.
func (h *hosts) mdnsSocket(host string) net.PacketConn {
	h.t.Helper()
	var conn net.PacketConn
	var err error
	h.inside(host, func() {
		var eth *net.Interface
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
			if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }); e != nil {
				return e
			}
			return err
		}}
		if conn, err = lc.ListenPacket(context.Background(), "udp4", ":5353"); err != nil {
			return
		}
		if eth, err = net.InterfaceByName("eth0"); err != nil {
			return
		}
		four := ipv4.NewPacketConn(conn)
		if err = four.JoinGroup(eth, mdnsGroup); err == nil {
			err = four.SetMulticastInterface(eth)
		}
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return conn
}

// proves C-1: browsers of the network that know nothing of Entropy see the control
// plane, with no secret; nothing with --no-discovery; its new address when it has
// one. Where the workers' own questions are not carried, what was seen this way is
// an address to ask, and the control plane has to prove itself there as ever.
func TestBrowsersSeeTheControlPlane(t *testing.T) {
	h := newHosts(t)
	h.host("ctl", "br0 10.77.0.1/24")
	h.host("pc", "br0 10.77.0.9/24")
	h.host("w1", "br0 10.77.0.11/24")

	t.Setenv("NO_DISCOVERY", "1")
	h.control()
	if seen := h.browse("pc", time.Second); seen != nil {
		t.Errorf("without discovery a browser sees %q", seen)
	}
	_ = h.ctl.cmd.Process.Signal(syscall.SIGTERM)
	_ = h.ctl.cmd.Wait()
	t.Setenv("NO_DISCOVERY", "")
	h.control()
	seen := strings.Join(h.browse("pc", 5*time.Second), " ")
	cluster := h.cluster()
	for _, word := range []string{"cluster=" + cluster, "version=test", "api=7600", "tls=true", "10.77.0.1", "entropy-" + strings.ToLower(cluster) + ".local."} {
		if !strings.Contains(seen, word) {
			t.Errorf("a browser sees %q, without %s", seen, word)
		}
	}
	h.secretsIn(seen)
	h.avahi(cluster)

	h.nft("w1", "ip daddr { 224.0.0.176, 10.77.0.255 } udp dport 7602 drop", "ip6 daddr ff12::7602 drop")
	at := time.Now()
	h.workerOn("w1")
	h.await(20*time.Second, "w1 did not find what it was shown", func() bool { return h.seen("w1") })
	t.Logf("with its questions blocked, a worker found the control plane by its advert %s after its start", time.Since(at))

	h.ip("ctl", "addr flush dev eth0")
	h.ip("ctl", "addr add 10.77.0.50/24 dev eth0")
	moved := h.await(20*time.Second, "browsers do not see the new address", func() bool {
		return strings.Contains(strings.Join(h.browse("pc", time.Second), " "), "10.77.0.50")
	})
	t.Logf("browsers saw a new address after %s", moved)
}

// cluster returns the ID of the control plane's cluster.
func (h *hosts) cluster() string {
	h.t.Helper()
	token, err := os.ReadFile(filepath.Join(h.path("control"), fabric.AdminTokenFile))
	if err != nil {
		h.t.Fatal(err)
	}
	t, err := entropy.ParseTicket(strings.TrimSpace(string(token)))
	if err != nil {
		h.t.Fatal(err)
	}
	return t.ClusterID
}

// secretsIn fails the test when what was seen holds a secret of the control plane's.
func (h *hosts) secretsIn(seen string) {
	h.t.Helper()
	for _, file := range []string{fabric.AdminTokenFile, fabric.WorkerTokenFile, identity.ClusterKeyFile} {
		secret, err := os.ReadFile(filepath.Join(h.path("control"), file))
		if err != nil {
			h.t.Fatal(err)
		}
		if strings.Contains(seen, strings.TrimSpace(string(secret))) {
			h.t.Errorf("%s is shown to the network", file)
		}
	}
}

// avahi lets the browser that most Linux machines have look as well, where it is
// installed: browse, which speaks the protocol by itself, proves the same without.
func (h *hosts) avahi(cluster string) {
	h.t.Helper()
	for _, program := range []string{"avahi-daemon", "avahi-browse", "dbus-daemon"} {
		if _, err := exec.LookPath(program); err != nil {
			h.t.Logf("avahi did not look in this run: there is no %s", program)
			return
		}
	}
	for _, host := range []string{"pc", "ctl"} { // beside Entropy it must keep its peace
		out, err := exec.Command("ip", "netns", "exec", h.ns(host), "sh", "testdata/avahi-browse.sh", h.dir).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("cluster="+cluster)) || bytes.Contains(bytes.ToLower(out), []byte("conflict")) {
			h.t.Errorf("avahi on %s: %v\n%s", host, err, out)
		}
		h.t.Logf("avahi on %s sees %s", host, bytes.TrimSpace(out))
	}
}
