// Package clickhouse is the ledger in a ClickHouse server: the long memory. The
// embedded ledger is copied to it, each row once (see Mirror), and its materialized
// views count what comes in.
package clickhouse

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/entropy-fabric/entropy"
)

// Config says which ClickHouse keeps the ledger. The zero value: none does.
type Config struct {
	// URL names the server: clickhouse://[USER@]HOST[:9000] by the native protocol,
	// clickhouses:// by the same over TLS (9440), http:// (8123) or https:// (8443).
	// Several replicas of one server are comma separated hosts.
	URL string
	// Database is made when it is not there. "" means entropy.
	Database string
	// PasswordFile holds the user's password, and is read again when the connection
	// is made anew. CAFile is the authority, as PEM, that vouches for the server; ""
	// means the host's.
	PasswordFile, CAFile string
	// Keep is how long events are kept, KeepCounts how long what was counted of them
	// is. 0 means 400 days and 5 years; negative: without end.
	Keep, KeepCounts time.Duration
	// Batch is how many rows go in one insert, at most. 0 means 20,000.
	Batch int
	// Pause is the least time between two inserts while fewer rows than Batch wait.
	// 0 means a second.
	Pause time.Duration
}

func (c Config) withDefaults() Config {
	day := 24 * time.Hour
	if c.Database == "" {
		c.Database = "entropy"
	}
	if c.Keep == 0 {
		c.Keep = 400 * day
	}
	if c.KeepCounts == 0 {
		c.KeepCounts = 5 * 365 * day
	}
	if c.Batch <= 0 {
		c.Batch = 20_000
	}
	if c.Pause <= 0 {
		c.Pause = time.Second
	}
	return c
}

// ports are those of a scheme when the URL names none.
var ports = map[string]string{"clickhouse": "9000", "clickhouses": "9440", "http": "8123", "https": "8443"}

var databaseName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// Validate reports what is wrong with the settings as they are written.
func (c Config) Validate() error {
	if c.URL == "" {
		if c.PasswordFile != "" || c.CAFile != "" || c.Database != "" {
			return entropy.Errorf(entropy.CodeInvalid, "a password, a CA or a database of ClickHouse is given, and no server").WithHint("name it with --clickhouse clickhouse://HOST:9000")
		}
		return nil
	}
	_, err := c.parse()
	return err
}

// parse returns the URL. CodeInvalid.
func (c Config) parse() (*url.URL, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, entropy.Errorf(entropy.CodeInvalid, "--clickhouse is no URL: %v", withoutURL(err)).WithHint("write clickhouse://USER@HOST:9000, or http://HOST:8123")
	}
	_, secret := u.User.Password()
	switch {
	case ports[u.Scheme] == "" || u.Host == "":
		return nil, entropy.Errorf(entropy.CodeInvalid, "%q does not name a ClickHouse server", u.Redacted()).WithHint("write clickhouse://USER@HOST:9000, clickhouses:// for TLS, http:// or https://")
	case secret:
		return nil, entropy.Errorf(entropy.CodeInvalid, "the URL of ClickHouse holds a password, which others can see").WithHint("put it into a file, and name that with --clickhouse-password-file")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, entropy.Errorf(entropy.CodeInvalid, "the URL %s has more than a server", u.Redacted()).WithHint("the database is named by --clickhouse-database; other settings belong to the user's profile in ClickHouse")
	case c.Database != "" && !databaseName.MatchString(c.Database):
		return nil, entropy.Errorf(entropy.CodeInvalid, "%q cannot be the database: letters, digits and '_' are allowed", c.Database)
	case c.CAFile != "" && !strings.HasSuffix(u.Scheme, "s"):
		return nil, entropy.Errorf(entropy.CodeInvalid, "a CA is given, and %s:// does not use TLS", u.Scheme).WithHint("write clickhouses:// or https://")
	}
	return u, nil
}

// withoutURL returns what url.Parse found, without what it was given: that may hold a
// password.
func withoutURL(err error) error {
	if e, ok := err.(*url.Error); ok { //nolint:errorlint // url.Parse returns nothing else
		return e.Err
	}
	return err
}

// options returns those of the client. It reads the files.
func (c Config) options() (*ch.Options, error) {
	u, err := c.parse()
	if err != nil {
		return nil, err
	}
	o := &ch.Options{
		Protocol: ch.Native, Auth: ch.Auth{Username: "default"}, Compression: &ch.Compression{Method: ch.CompressionLZ4},
		DialTimeout: 10 * time.Second, ReadTimeout: 2 * time.Minute, MaxOpenConns: 4, MaxIdleConns: 2,
		ClientInfo: ch.ClientInfo{Products: []struct{ Name, Version string }{{"entropy", "1"}}},
	}
	for h := range strings.SplitSeq(u.Host, ",") {
		if _, _, err := net.SplitHostPort(h); err != nil {
			h = net.JoinHostPort(strings.Trim(h, "[]"), ports[u.Scheme])
		}
		o.Addr = append(o.Addr, h)
	}
	if strings.HasPrefix(u.Scheme, "http") {
		o.Protocol = ch.HTTP
	}
	if name := u.User.Username(); name != "" {
		o.Auth.Username = name
	}
	if c.PasswordFile != "" {
		b, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return nil, entropy.Errorf(entropy.CodeInvalid, "read the password of ClickHouse: %v", err)
		}
		o.Auth.Password = strings.TrimRight(string(b), "\r\n")
	}
	if strings.HasSuffix(u.Scheme, "s") {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		if c.CAFile != "" {
			if o.TLS.RootCAs, err = roots(c.CAFile); err != nil {
				return nil, err
			}
		}
	}
	return o, nil
}

func roots(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, entropy.Errorf(entropy.CodeInvalid, "read the CA of ClickHouse: %v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, entropy.Errorf(entropy.CodeInvalid, "%s holds no certificate", path).WithHint("it should be the PEM file of the authority of the ClickHouse server")
	}
	return pool, nil
}

// Name says where the ledger is, for people.
func (c Config) Name() string {
	u, err := c.parse()
	if err != nil {
		return "ClickHouse"
	}
	return fmt.Sprintf("%s, database %s", u.Redacted(), c.withDefaults().Database)
}
