package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
)

const (
	serverLife  = 30 * 24 * time.Hour
	serverRenew = serverLife / 3 // is left when it is issued anew
	// lookAgain is how often a handshake looks whether the host's addresses changed.
	lookAgain = 10 * time.Second
)

// ServerCertificate is the certificate by which a control plane proves itself. It
// is issued when it is first needed, and anew before it expires, when the clock was
// set back before its beginning, and when the host's names or addresses changed;
// connections that are open stay open. Its key never touches a disk. It is safe
// for concurrent use.
type ServerCertificate struct {
	authority *Authority
	hosts     func() []string
	now       func() time.Time

	mu     sync.Mutex
	looked time.Time
	names  []string
	cert   *tls.Certificate
}

// NewServerCertificate returns the certificate of a control plane. Hosts returns
// the names and addresses that it is reached by, sorted; see [Hosts]. Nil now
// means time.Now.
func NewServerCertificate(a *Authority, hosts func() []string, now func() time.Time) *ServerCertificate {
	if now == nil {
		now = time.Now
	}
	return &ServerCertificate{authority: a, hosts: hosts, now: now}
}

// Config returns how to serve TLS with the certificate: TLS 1.3 only, and without
// resumption, so that every connection shows the certificate of the moment.
func (s *ServerCertificate) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.Current() }}
}

// Current returns the certificate to show now, with the authority's behind it.
func (s *ServerCertificate) Current() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	stale := s.cert == nil || now.After(s.cert.Leaf.NotAfter.Add(-serverRenew)) || now.Before(s.cert.Leaf.NotBefore)
	if since := now.Sub(s.looked); s.cert == nil || since >= lookAgain || since < 0 {
		s.looked = now
		if names := s.hosts(); !slices.Equal(names, s.names) {
			s.names, stale = names, true
		}
	}
	if !stale {
		return s.cert, nil
	}
	cert, err := s.authority.issue(s.names, now)
	if err != nil {
		return nil, err
	}
	s.cert = cert
	return cert, nil
}

// issue makes a certificate of the control plane.
func (a *Authority) issue(hosts []string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	name, err := url.Parse(entropy.ControlPlaneURI(a.clusterID))
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Entropy control plane"}, URIs: []*url.URL{name},
		NotBefore: now.Add(-backdated), NotAfter: now.Add(serverLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// Hosts returns the names and addresses by which a listener on host is reached,
// sorted: localhost and the loopback, the host's own name, the address it listens
// on, or, when it listens on all ("", 0.0.0.0 or ::), those of every interface
// that is up.
func Hosts(host string) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if own, err := os.Hostname(); err == nil && own != "" {
		names = append(names, own)
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		names = append(names, host)
	} else if addrs, err := net.InterfaceAddrs(); err == nil { // on an error the pin still works, by the cluster's name
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				names = append(names, n.IP.String())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
