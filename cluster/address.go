package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// advertise chooses the address by which others are to reach this node. It
// returns "" when the library's own choice, the listen address, is right.
func (c *Config) advertise() (host string, port int, err error) {
	listen, listenPort, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "", 0, fmt.Errorf("gossip address: %w", err)
	}
	if c.Advertise != "" {
		return splitAdvertise(c.Advertise, listenPort)
	}
	if ip := net.ParseIP(listen); !ip.IsUnspecified() {
		return "", 0, nil
	}
	if toward := c.Toward(); toward != "" {
		if ip := sourceToward(toward); ip != nil {
			return ip.String(), 0, nil
		}
	}
	// The library would take the default route's interface, and fail on a host
	// that has only a public address.
	if ip := firstUsable(); ip != nil {
		return ip.String(), 0, nil
	}
	return "", 0, fmt.Errorf("this machine has no address that others could reach it at; name one with --advertise")
}

// splitAdvertise reads HOST or HOST:PORT.
func splitAdvertise(s, listenPort string) (string, int, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = s, listenPort
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > 65535 {
		return "", 0, fmt.Errorf("the advertised address %q is not HOST or HOST:PORT", s)
	}
	if ip := net.ParseIP(host); ip != nil {
		if ip.IsUnspecified() {
			return "", 0, fmt.Errorf("nobody can reach %s; advertise one address of this machine", host)
		}
		return ip.String(), n, nil
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return "", 0, fmt.Errorf("the advertised address %q: %w", s, err)
	}
	return ips[0].String(), n, nil
}

// sourceToward returns the local address from which packets to a peer would
// leave. Nothing is sent.
func sourceToward(peer string) net.IP {
	host, port, err := net.SplitHostPort(peer)
	if err != nil {
		host, port = peer, "9"
	}
	conn, err := net.Dial("udp", net.JoinHostPort(host, port))
	if err != nil {
		return nil
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).IP
}

// firstUsable returns the address toward the default route, else the first of an
// interface that is up: IPv4 before IPv6, never loopback or link-local.
func firstUsable() net.IP {
	// 192.0.2.1 is for documentation (RFC 5737): only the route to it is asked for.
	if ip := sourceToward("192.0.2.1"); ip != nil && !ip.IsLoopback() {
		return ip
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var six net.IP
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || !prefix.Addr().IsGlobalUnicast() {
			continue
		}
		if prefix.Addr().Is4() {
			return net.IP(prefix.Addr().AsSlice())
		}
		if six == nil {
			six = net.IP(prefix.Addr().AsSlice())
		}
	}
	return six
}

// freePort returns a port of an address that nobody listens on.
func freePort(host string) (int, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
