package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/entropy-fabric/entropy"
)

// The files of an [Authority] in the control plane's data directory.
const (
	CAKeyFile  = "ca.key" // 0600
	CACertFile = "ca.pem" // for everybody; may be made anew from the key by nobody but its owner
)

const (
	// authorityLife is how long an authority is valid: a lab outlives most hardware.
	authorityLife = 20 * 365 * 24 * time.Hour
	// backdated is how far a certificate's beginning lies in the past, for peers
	// whose clock is behind: a board without a clock of its own, a host before NTP.
	backdated = 48 * time.Hour
)

// Authority is the cluster's own certificate authority: it vouches for its
// control plane, and its public key is what tokens pin. It is safe for concurrent
// use and never changes.
type Authority struct {
	clusterID string
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
}

// OpenAuthority reads the authority in dir, and makes it when there is none. The
// key is an ECDSA P-256 key. It refuses a key that others may read, a certificate
// that is not of this key, and the authority of another cluster.
func OpenAuthority(dir, clusterID string, now time.Time) (*Authority, error) {
	keyPath, certPath := filepath.Join(dir, CAKeyFile), filepath.Join(dir, CACertFile)
	key, err := readKey(keyPath)
	if errors.Is(err, fs.ErrNotExist) {
		if _, statErr := os.Stat(certPath); statErr == nil {
			return nil, entropy.Errorf(entropy.CodeInvalid, "%s is there without %s: nobody can vouch for this control plane", certPath, CAKeyFile).
				WithHint("restore %s from a backup; or remove %s for a new authority, after which every worker needs reset-identity and a new token", CAKeyFile, CACertFile)
		}
		key, err = makeKey(keyPath)
	}
	if err != nil {
		return nil, err
	}
	cert, err := readCertificate(certPath)
	if errors.Is(err, fs.ErrNotExist) { // the first start, or one that was cut between the two files
		cert, err = makeAuthority(certPath, key, clusterID, now)
	}
	if err != nil {
		return nil, err
	}
	if public, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(&key.PublicKey) {
		return nil, entropy.Errorf(entropy.CodeConflict, "%s is not the certificate of %s", certPath, CAKeyFile).WithHint("restore both from the same backup")
	}
	if cert.Subject.SerialNumber != clusterID {
		return nil, entropy.Errorf(entropy.CodeConflict, "%s is the authority of cluster %s, not of %s", certPath, cert.Subject.SerialNumber, clusterID).
			WithHint("restore the whole data directory from one backup")
	}
	return &Authority{clusterID: clusterID, cert: cert, key: key}, nil
}

// Pin returns the SHA-256 of the authority's public key, in hex: what tokens carry.
func (a *Authority) Pin() string { return PinOf(a.cert) }

// PinOf returns the pin of any authority's certificate; see [Authority.Pin].
func PinOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// ClusterID returns the cluster that the authority is of.
func (a *Authority) ClusterID() string { return a.clusterID }

// NotAfter returns when the authority ends.
func (a *Authority) NotAfter() time.Time { return a.cert.NotAfter }

// PEM returns the authority's certificate, as in ca.pem.
func (a *Authority) PEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

func makeKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode CA key: %w", err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err := createSecretFile(path, text[:len(text)-1]); err != nil { // it adds the newline
		return nil, err
	}
	return key, nil
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	b, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(b)
	if block == nil || len(rest) > 0 || block.Type != "PRIVATE KEY" {
		return nil, damaged(path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if own, ok := key.(*ecdsa.PrivateKey); err == nil && ok && own.Curve == elliptic.P256() {
		return own, nil
	}
	return nil, damaged(path)
}

func damaged(path string) error {
	return entropy.Errorf(entropy.CodeInvalid, "%s is damaged", path).WithHint("restore it from a backup of the data directory")
}

func readCertificate(path string) (*x509.Certificate, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read CA certificate: %w", err)
	}
	return ParseCertificate(path, string(b))
}

// ParseCertificate reads an authority's certificate as PEM. Name says, for the
// error, where it came from.
func ParseCertificate(name, text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, damaged(name)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !cert.IsCA {
		return nil, damaged(name)
	}
	return cert, nil
}

func makeAuthority(path string, key *ecdsa.PrivateKey, clusterID string, now time.Time) (*x509.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: "Entropy cluster authority", SerialNumber: clusterID},
		NotBefore:    now.Add(-backdated), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make CA certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make CA certificate: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return cert, writeFile(path, string(text), 0o644)
}

// serial returns a random serial number of 127 bits, as CAs use.
func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}
