package bustest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/entropy-fabric/entropy/cluster/bus"
)

// environment holds the setup of a server, for the process that is to be it.
const environment = "ENTROPY_BUSTEST_NODE"

// setup is how one server is started.
type setup struct {
	Name, Dir         string
	Port, ClusterPort int
	Routes            []string
	Cert, Key         string
	Users             []user
}

type user struct {
	Name, Password, Nkey string
	Publish, Subscribe   bus.Subjects
}

// Main runs a server, and does not return, if this process was started to be one. A
// TestMain calls it first.
func Main() {
	text := os.Getenv(environment)
	if text == "" {
		return
	}
	if err := serve([]byte(text)); err != nil {
		fmt.Fprintln(os.Stderr, "bustest:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(text []byte) error {
	var s setup
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(s.Cert, s.Key)
	if err != nil {
		return err
	}
	o := &server.Options{
		ServerName: s.Name, Host: "127.0.0.1", Port: s.Port, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: s.Dir, JetStreamMaxStore: 16 << 30, JetStreamMaxMemory: 64 << 20, SyncAlways: true,
		Cluster:   server.ClusterOpts{Name: "lab", Host: "127.0.0.1", Port: s.ClusterPort},
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}, TLSTimeout: 5, AlwaysEnableNonce: true,
	}
	for _, r := range s.Routes {
		u, err := url.Parse(r)
		if err != nil {
			return err
		}
		o.Routes = append(o.Routes, u)
	}
	for _, u := range s.Users {
		may := &server.Permissions{Publish: permission(u.Publish), Subscribe: permission(u.Subscribe)}
		if u.Nkey != "" {
			o.Nkeys = append(o.Nkeys, &server.NkeyUser{Nkey: u.Nkey, Permissions: may})
		} else {
			o.Users = append(o.Users, &server.User{Username: u.Name, Password: u.Password, Permissions: may})
		}
	}
	n, err := server.NewServer(o)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until who started us is gone
		os.Exit(1)
	}()
	n.Start()
	n.WaitForShutdown()
	return nil
}

func permission(s bus.Subjects) *server.SubjectPermission {
	if len(s.Allow) == 0 {
		return &server.SubjectPermission{Deny: []string{">"}}
	}
	return &server.SubjectPermission{Allow: s.Allow, Deny: s.Deny}
}

// certificates writes what the servers prove themselves with, and who vouches for it.
func (c *Cluster) certificates(dir string) (cert, key string) {
	c.tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(c.tb, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	check(c.tb, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	check(c.tb, err)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	check(c.tb, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	check(c.tb, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	c.roots = x509.NewCertPool()
	authority, err := x509.ParseCertificate(der)
	check(c.tb, err)
	c.roots.AddCert(authority)
	c.CAFile = cert
	return cert, key
}
