package graphdb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/neo4j/neo4j-go-driver/v5/neo4j"
	"github.com/neo4j/neo4j-go-driver/v5/neo4j/config"

	"github.com/entropy-fabric/entropy"
)

// Config says where the graph database is. URL is required.
type Config struct {
	// URL is bolt://HOST:PORT or neo4j://HOST:PORT, with +s for TLS (bolt+s://). It
	// holds no password. Without TLS a password is sent to this host only.
	URL string
	// User and Password are the credentials; both empty: none are sent.
	User, Password string
	Database       string        // empty: the user's own
	Timeout        time.Duration // of opening, and of each write, retries included; 0 means 30 s
	Note           func(string)  // told what is not as it should be and hinders nothing; nil: nobody is
}

func (c Config) withDefaults() Config {
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Note == nil {
		c.Note = func(string) {}
	}
	return c
}

var schemes = []string{"bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc"}

func (c Config) validate() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || !slices.Contains(schemes, u.Scheme) || u.Hostname() == "":
		return entropy.Errorf(entropy.CodeInvalid, "%q is not the URL of a graph database", withoutPassword(c.URL)).WithHint("write it as in bolt://localhost:7687, or bolt+s:// with TLS")
	case u.User != nil:
		return entropy.Errorf(entropy.CodeInvalid, "the URL of the graph database holds credentials").WithHint("put USER:PASSWORD into a file that only its owner may read, and name that")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" && !strings.HasPrefix(u.Scheme, "neo4j"):
		return entropy.Errorf(entropy.CodeInvalid, "the URL of the graph database has more than a host and a port").WithHint("the database is named on its own")
	case c.Password != "" && !strings.Contains(u.Scheme, "+") && !loopback(u.Hostname()):
		return entropy.Errorf(entropy.CodeInvalid, "%s:// would send the password to another host in the clear", u.Scheme).WithHint("use %s+s://%s", u.Scheme, u.Host)
	}
	return nil
}

func withoutPassword(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "…" + s[i:]
	}
	return s
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Sink writes graphs. It may be used by several goroutines.
type Sink struct {
	config Config
	driver neo4j.DriverWithContext
}

// Open connects to the database and asks it for its version: CodeInvalid for a URL
// that cannot work, CodeUnavailable when nothing answers, CodeUnauthorized when the
// credentials are refused. Close ends it.
func Open(ctx context.Context, c Config) (*Sink, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	auth := neo4j.NoAuth()
	if c.User != "" || c.Password != "" {
		auth = neo4j.BasicAuth(c.User, c.Password, "")
	}
	driver, err := neo4j.NewDriverWithContext(c.URL, auth, func(d *config.Config) {
		d.MaxConnectionPoolSize = 2
		d.SocketConnectTimeout = min(c.Timeout, 5*time.Second)
		d.ConnectionAcquisitionTimeout = c.Timeout
		d.MaxTransactionRetryTime = c.Timeout
		d.UserAgent = "entropy"
		d.TelemetryDisabled = true
	})
	if err != nil {
		return nil, entropy.Errorf(entropy.CodeInvalid, "graph database: %v", err).WithHint("write the URL as in bolt://localhost:7687")
	}
	s := &Sink{config: c, driver: driver}
	ctx, done := context.WithTimeout(ctx, c.Timeout)
	defer done()
	if err := driver.VerifyConnectivity(ctx); err != nil {
		_ = s.Close(ctx) // nothing was written; the reason is err
		return nil, s.explain(err)
	}
	s.constrain(ctx)
	return s, nil
}

// constrain asks for the uniqueness of steps, which makes merging fast.
func (s *Sink) constrain(ctx context.Context) {
	session := s.session(ctx)
	defer session.Close(ctx)
	result, err := session.Run(ctx, constraint, nil)
	if err == nil {
		_, err = result.Consume(ctx)
	}
	if err != nil {
		s.config.Note(fmt.Sprintf("the graph database has no constraint on the id of steps, so writing large graphs is slow: %v", err))
	}
}

func (s *Sink) session(ctx context.Context) neo4j.SessionWithContext {
	return s.driver.NewSession(ctx, neo4j.SessionConfig{DatabaseName: s.config.Database, AccessMode: neo4j.AccessModeWrite})
}

// Write makes the database hold a graph instead of what it held of that kind: all of
// it or, after an error, nothing. CodeUnknown when the connection broke while it was
// committed; repeating a write is harmless.
func (s *Sink) Write(ctx context.Context, g *Graph) error {
	ctx, done := context.WithTimeout(ctx, s.config.Timeout)
	defer done()
	session := s.session(ctx)
	defer session.Close(ctx)
	statements := plan(g)
	_, err := session.ExecuteWrite(ctx, func(tx neo4j.ManagedTransaction) (any, error) {
		for _, st := range statements {
			result, err := tx.Run(ctx, st.Cypher, st.Params)
			if err != nil {
				return nil, err
			}
			if _, err := result.Consume(ctx); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	return s.explain(err)
}

// Close ends the connections.
func (s *Sink) Close(ctx context.Context) error { return s.driver.Close(ctx) }

// explain says what an error of the driver means here.
func (s *Sink) explain(err error) error {
	if err == nil {
		return nil
	}
	refused, ok := errors.AsType[*neo4j.Neo4jError](err)
	if _, token := errors.AsType[*neo4j.TokenExpiredError](err); token || ok && strings.HasPrefix(refused.Code, "Neo.ClientError.Security.") {
		return entropy.Errorf(entropy.CodeUnauthorized, "the graph database at %s refuses the credentials: %v", s.config.URL, err).WithHint("the file with the credentials holds USER:PASSWORD")
	}
	if ok {
		return entropy.Errorf(entropy.CodeInternal, "the graph database at %s refuses: %s: %s", s.config.URL, refused.Code, refused.Msg).WithHint("does it speak Cypher, and is the database writable?")
	}
	if strings.Contains(err.Error(), "commit") {
		return entropy.Errorf(entropy.CodeUnknown, "the graph database at %s did not confirm: %v", s.config.URL, err).WithHint("write it again: repeating is harmless")
	}
	return entropy.Errorf(entropy.CodeUnavailable, "the graph database at %s does not answer: %v", s.config.URL, err).WithHint("is it running, does it speak Bolt at that port, and with TLS (bolt+s://) or without (bolt://)?")
}
