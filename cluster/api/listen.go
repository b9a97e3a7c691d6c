package api

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// CheckListen refuses an address that would serve plain HTTP to other hosts,
// unless insecure says that this is meant. The address is host:port; an empty
// host means every interface.
func CheckListen(addr string, tls, insecure bool) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		return entropy.Errorf(entropy.CodeInvalid, "the listen address %q is not HOST:PORT", addr).WithHint("write it as in 127.0.0.1:7600")
	}
	if tls || insecure || isLoopback(host) {
		return nil
	}
	return entropy.Errorf(entropy.CodeInvalid, "refusing to serve plain HTTP on %s: tokens and job output would cross the network in the clear", addr).
		WithHint("serve TLS, listen on 127.0.0.1:%s, or pass --insecure on a network you trust", port)
}

// Loopback reports whether a listener at addr is reached from this host only.
func Loopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.Unmap().IsLoopback()
}

func allowedHosts(extra []string) map[string]bool {
	m := map[string]bool{}
	for _, h := range extra {
		m[strings.ToLower(h)] = true
	}
	return m
}

// checkHost refuses a request that reached a loopback listener under a name that
// is not the loopback's: a web page of another site whose name was pointed at
// 127.0.0.1.
func (s *Server) checkHost(r *http.Request) error {
	if r.TLS != nil { // the page's browser would have refused the certificate
		return nil
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return nil
	}
	if tcp, ok := local.(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if isLoopback(host) || s.hosts[strings.ToLower(host)] {
		return nil
	}
	return &statusError{status: http.StatusMisdirectedRequest, Err: entropy.Errorf(entropy.CodeForbidden, "this control plane does not answer to the name %.80q", host).
		WithHint("ask for 127.0.0.1 or localhost, or add the name to the allowed hosts")}
}
