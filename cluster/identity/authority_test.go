package identity_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func openAuthority(t testing.TB, dir, cluster string) *identity.Authority {
	t.Helper()
	a, err := identity.OpenAuthority(dir, cluster, noon)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// proves S-3: the authority is made once, its key is its owner's, and the
// certificate may be lost without the pin changing
func TestAuthority(t *testing.T) {
	dir := t.TempDir()
	a := openAuthority(t, dir, "c1")
	key, cert := filepath.Join(dir, identity.CAKeyFile), filepath.Join(dir, identity.CACertFile)
	for file, mode := range map[string]fs.FileMode{key: 0o600, cert: 0o644} {
		if info, err := os.Stat(file); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v %v, want mode %o", file, info, err, mode)
		}
	}
	if again := openAuthority(t, dir, "c1"); again.Pin() != a.Pin() || again.PEM() != a.PEM() || len(a.Pin()) != 64 || a.ClusterID() != "c1" {
		t.Errorf("opened again it is another: %s and %s", a.Pin(), again.Pin())
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if again := openAuthority(t, dir, "c1"); again.Pin() != a.Pin() {
		t.Error("a lost certificate changed the pin")
	}
	if a.NotAfter().Before(noon.AddDate(15, 0, 0)) {
		t.Errorf("it ends at %s", a.NotAfter())
	}
}

// proves S-3, attack 29: what is wrong with the files is said, with the next step
func TestAuthorityRefused(t *testing.T) {
	other := t.TempDir()
	openAuthority(t, other, "c2")
	for name, c := range map[string]struct {
		spoil func(dir string) error
		code  entropy.Code
		says  string
	}{
		"key readable by others": {func(dir string) error { return os.Chmod(filepath.Join(dir, identity.CAKeyFile), 0o644) }, entropy.CodeForbidden, "chmod 600"},
		"key gone":               {func(dir string) error { return os.Remove(filepath.Join(dir, identity.CAKeyFile)) }, entropy.CodeInvalid, "backup"},
		"key damaged": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, identity.CAKeyFile), []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0o600)
		}, entropy.CodeInvalid, "damaged"},
		"certificate damaged": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, identity.CACertFile), []byte("x"), 0o644)
		}, entropy.CodeInvalid, "damaged"},
		"certificate of another cluster": {func(dir string) error {
			b, err := os.ReadFile(filepath.Join(other, identity.CACertFile))
			return errors.Join(err, os.WriteFile(filepath.Join(dir, identity.CACertFile), b, 0o644))
		}, entropy.CodeConflict, "backup"},
		"both of another cluster": {func(dir string) error {
			for _, f := range []string{identity.CACertFile, identity.CAKeyFile} {
				b, err := os.ReadFile(filepath.Join(other, f))
				if err := errors.Join(err, os.WriteFile(filepath.Join(dir, f), b, 0o600)); err != nil {
					return err
				}
			}
			return nil
		}, entropy.CodeConflict, "cluster c2"},
	} {
		dir := t.TempDir()
		openAuthority(t, dir, "c1")
		if err := c.spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := identity.OpenAuthority(dir, "c1", noon); entropy.ErrorCode(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// verify checks a certificate as a client with the authority would, at a time.
func verify(a *identity.Authority, c *tls.Certificate, host string, at time.Time) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(a.PEM()))
	_, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, CurrentTime: at})
	return err
}

// proves S-3: the certificate names the cluster and its addresses, tolerates a
// clock that is hours off, and is issued anew before it ends, when the addresses
// change, and when the clock was set back
func TestServerCertificate(t *testing.T) {
	a := openAuthority(t, t.TempDir(), "c1")
	now, hosts := noon, []string{"10.0.0.1", "lab1"}
	s := identity.NewServerCertificate(a, func() []string { return hosts }, func() time.Time { return now })
	current := func() *tls.Certificate {
		t.Helper()
		c, err := s.Current()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := current()
	if len(first.Leaf.URIs) != 1 || first.Leaf.URIs[0].String() != entropy.ControlPlaneURI("c1") || len(first.Certificate) != 2 {
		t.Errorf("URIs %v, %d certificates", first.Leaf.URIs, len(first.Certificate))
	}
	for _, off := range []time.Duration{0, -time.Hour, -24 * time.Hour, time.Hour, 24 * time.Hour} {
		for _, h := range hosts {
			if err := verify(a, first, h, now.Add(off)); err != nil {
				t.Errorf("%s by a clock %s off: %v", h, off, err)
			}
		}
	}
	if verify(a, first, "10.0.0.2", now) == nil || verify(openAuthority(t, t.TempDir(), "c1"), first, "lab1", now) == nil {
		t.Error("it is good for another address, or by another authority")
	}
	now = now.Add(19 * 24 * time.Hour)
	if current() != first {
		t.Error("it was issued anew for nothing")
	}
	now = now.Add(2 * 24 * time.Hour)
	second := current()
	if second == first || verify(a, second, "lab1", now.Add(20*24*time.Hour)) != nil {
		t.Error("it was not issued anew before its end")
	}
	hosts = []string{"10.0.0.2"}
	if current() != second {
		t.Error("it looked at the addresses at once again")
	}
	now = now.Add(11 * time.Second)
	third := current()
	if verify(a, third, "10.0.0.2", now) != nil {
		t.Error("a new address is not in it")
	}
	now = noon.Add(-time.Hour)
	if fourth := current(); fourth == third || verify(a, fourth, "10.0.0.2", now) != nil {
		t.Error("a clock set back leaves a certificate of the future")
	}
}

// proves S-3: TLS 1.3 only
func TestServerConfig(t *testing.T) {
	a := openAuthority(t, t.TempDir(), "c1")
	conf := identity.NewServerCertificate(a, func() []string { return []string{"lab1"} }, nil).Config()
	shake := func(client *tls.Config) error {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		served := make(chan error, 1)
		go func() { served <- tls.Server(far, conf).HandshakeContext(ctx); far.Close() }()
		err := tls.Client(near, client).HandshakeContext(ctx)
		near.Close()
		<-served
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(a.PEM()))
	if err := shake(&tls.Config{RootCAs: roots, ServerName: "lab1"}); err != nil {
		t.Errorf("TLS 1.3: %v", err)
	}
	if err := shake(&tls.Config{RootCAs: roots, ServerName: "lab1", MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 is accepted")
	}
}

// proves C-1: what a listener is reached by
func TestHosts(t *testing.T) {
	if got := identity.Hosts("10.1.2.3"); !slices.Contains(got, "10.1.2.3") || !slices.Contains(got, "localhost") || !slices.IsSorted(got) {
		t.Errorf("one address: %v", got)
	}
	for _, all := range []string{"", "0.0.0.0", "::"} {
		if got := identity.Hosts(all); !slices.Contains(got, "127.0.0.1") || slices.Contains(got, "0.0.0.0") {
			t.Errorf("all addresses: %v", got)
		}
	}
}

// proves C-1: a worker remembers its cluster, and can be made to forget
func TestMembership(t *testing.T) {
	dir := t.TempDir()
	if _, err := identity.LoadMembership(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before it joined: %v", err)
	}
	key, err := identity.LoadOrCreateKeyring(filepath.Join(t.TempDir(), identity.ClusterKeyFile))
	if err != nil || key.Version != 1 || len(key.Keys) != 1 {
		t.Fatal(key, err)
	}
	want := identity.Membership{ClusterID: "c1", CAPin: strings.Repeat("ab", 32)}
	if err := identity.SaveMembership(dir, want, key); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(dir, identity.ClusterKeyFile)
	if info, err := os.Stat(kept); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	got, err := identity.LoadMembership(dir)
	again, kerr := identity.LoadKeyring(kept)
	if got != want || err != nil || kerr != nil || key.Shared() != again.Shared() {
		t.Errorf("%+v %v, key %v", got, err, kerr)
	}
	if removed, err := identity.Forget(dir); err != nil || len(removed) != 2 {
		t.Errorf("forget: %v %v", removed, err)
	}
	if removed, err := identity.Forget(dir); err != nil || removed != nil {
		t.Errorf("forget again: %v %v", removed, err)
	}
	if err := os.WriteFile(filepath.Join(dir, identity.MembershipFile), []byte(`{"cluster_id":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.LoadMembership(dir); entropy.ErrorCode(err) != entropy.CodeInvalid || !strings.Contains(err.Error(), "reset-identity") {
		t.Errorf("damaged: %v", err)
	}
}

// hkdfByHand is RFC 5869 for one block: extract with a salt of zeros, expand once.
func hkdfByHand(secret []byte, info string) []byte {
	mac := func(key, data []byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write(data)
		return h.Sum(nil)
	}
	return mac(mac(make([]byte, 32), secret), append([]byte(info), 1))
}

// proves C-2: keys for different purposes have nothing in common
func TestDerive(t *testing.T) {
	secret := bytes.Repeat([]byte{7}, 32)
	gossip, beacon := identity.Derive(secret, "gossip"), identity.Derive(secret, "beacon")
	if len(gossip) != 32 || bytes.Equal(gossip, beacon) || !bytes.Equal(gossip, identity.Derive(secret, "gossip")) {
		t.Errorf("%x %x", gossip, beacon)
	}
	if want := hkdfByHand(secret, "entropy/gossip"); !bytes.Equal(gossip, want) {
		t.Errorf("%x, want %x", gossip, want)
	}
	defer func() {
		if recover() == nil {
			t.Error("a short secret is taken")
		}
	}()
	identity.Derive(secret[:15], "gossip")
}
