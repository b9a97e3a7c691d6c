package bus

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Config configures a [Bus]. The embedded server needs Name and Dir, an external
// one URL.
type Config struct {
	// Name is the embedded server's, the same at every start: JetStream knows its
	// own files by it. The cluster's ID is one.
	Name string
	// Dir is where the embedded server keeps its streams. It is made if it is not
	// there, and belongs to one process at a time.
	Dir string
	// Listen is HOST:PORT of the embedded server; port 0 takes a free one. "" does
	// not listen: only this process is on the bus.
	Listen string
	// TLS is what the embedded server proves itself with to those who come over the
	// network. It is required off loopback, unless Insecure says otherwise.
	TLS *tls.Config
	// Insecure serves without TLS off loopback: whoever listens in learns passwords
	// and everything that is said.
	Insecure bool
	// Users says who may be on the embedded server. nil: nobody but this process.
	Users Users

	// URL names an external server, or several, comma separated, instead of the
	// embedded one. Name, Dir, Listen, TLS and Users are then that server's affair.
	URL string
	// CredsFile is a file of a JWT and an nkey seed, as nsc writes it; NKeySeedFile
	// one of a bare seed; User and Password are a password's. At most one of the
	// three is used, in this order.
	CredsFile, NKeySeedFile string
	User, Password          string
	// RootCAs are who may vouch for an external server; nil: the host's.
	RootCAs *x509.CertPool
	// Patient has Start return though an external server is not there, or does not let
	// us in: it is tried again until it does, and [Bus.Health] says so.
	Patient bool
	// Replicas is how many servers of an external cluster keep each stream. 0 means
	// 3 in a cluster, else 1. The embedded server is always one.
	Replicas int

	// MaxStore bounds what all streams together may hold, in bytes; each has its
	// part of it. 0 means 8 GiB.
	MaxStore int64
	// Sources are the tokens below which outside sources publish events of more
	// than one token: "plc" lets them publish on events.normalized.plc.>.
	Sources []string
	// DeadLetter is told of every message that was given up, before it is
	// removed; when it fails, the message is tried again. nil publishes it on
	// actions.dlq.
	DeadLetter DeadLetterFunc
	// Rebuild is called, from a goroutine of the bus, when a stream of facts was made
	// anew: what the journal has ought to be published again. nil: nobody is told.
	Rebuild func()
	Logger  *slog.Logger // nil discards

	watchEvery time.Duration // how often the embedded server is looked at; 0 means 5 s
}

// The limits of [Config].
const (
	DefaultMaxStore = 8 << 30
	minMaxStore     = 16 << 20
	// MaxPayload bounds one message on the embedded server, in bytes.
	MaxPayload = 1 << 20
)

var tokenPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MaxStore == 0 {
		c.MaxStore = DefaultMaxStore
	}
	if c.Rebuild == nil {
		c.Rebuild = func() {}
	}
	if c.watchEvery == 0 {
		c.watchEvery = 5 * time.Second
	}
	return c
}

func (c Config) validate() error {
	var problems []error
	if c.URL == "" {
		problems = c.validateEmbedded()
	} else if c.Replicas < 0 || c.Replicas > 5 {
		problems = append(problems, fmt.Errorf("there are to be %d Replicas, it may be 1 to 5", c.Replicas))
	}
	if c.MaxStore < minMaxStore {
		problems = append(problems, fmt.Errorf("MaxStore is %d bytes, at least %d are needed", c.MaxStore, minMaxStore))
	}
	for _, s := range c.Sources {
		if !tokenPattern.MatchString(s) || s == ownToken {
			problems = append(problems, fmt.Errorf("%q cannot be a source: 1 to 64 letters, digits, '_' and '-', and not %q", s, ownToken))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return entropy.Errorf(entropy.CodeInvalid, "bus: %v", err)
	}
	return nil
}

func (c Config) validateEmbedded() (problems []error) {
	if !tokenPattern.MatchString(c.Name) {
		problems = append(problems, fmt.Errorf("the server's name %q is not 1 to 64 letters, digits, '_' and '-'", c.Name))
	}
	if c.Dir == "" {
		problems = append(problems, errors.New("the directory is empty"))
	}
	if c.Listen == "" {
		return problems
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return append(problems, fmt.Errorf("the address %q: %w", c.Listen, err))
	}
	if ip := net.ParseIP(host); c.TLS == nil && !c.Insecure && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		problems = append(problems, fmt.Errorf("the address %s is not on loopback, and no certificate is given", c.Listen))
	}
	return problems
}
