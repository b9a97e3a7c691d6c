package discovery

import (
	"net"
	"net/netip"
)

// Port is where control planes listen for questions, UDP.
const Port = 7602

// The groups that questions are sent to. Those of 224.0.0.0/24 reach every port of
// a switch (RFC 4541), where others are pruned when nobody asks for them; ff12 is
// for transient groups of one link.
var (
	group4 = net.IPv4(224, 0, 0, 176)
	group6 = net.ParseIP("ff12::7602")
)

// link is a usable interface.
type link struct {
	net.Interface
	broadcasts []net.IP // directed ones
	four, six  bool     // it has such addresses
}

// links returns the interfaces that are up and reach others.
func links() ([]link, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var usable []link
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		l := link{Interface: i}
		for _, a := range addrs {
			prefix, err := netip.ParsePrefix(a.String())
			if err != nil {
				continue
			}
			l.add(prefix)
		}
		if l.four || l.six {
			usable = append(usable, l)
		}
	}
	return usable, nil
}

func (l *link) add(prefix netip.Prefix) {
	if !prefix.Addr().Is4() {
		l.six = true
		return
	}
	l.four = true
	if l.Flags&net.FlagBroadcast == 0 || prefix.Bits() > 30 {
		return
	}
	ip := prefix.Addr().As4()
	for bit := prefix.Bits(); bit < 32; bit++ {
		ip[bit/8] |= 1 << (7 - bit%8)
	}
	l.broadcasts = append(l.broadcasts, net.IP(ip[:]))
}
