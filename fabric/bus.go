package fabric

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/bus"
	"github.com/entropy-fabric/entropy/cluster/telemetry"
	"github.com/entropy-fabric/entropy/persistence/outbox"
)

// BusConfig says over what the control plane's events go out and actions come in. The
// zero value embeds a NATS server.
type BusConfig struct {
	// Off has no bus: nothing is published, and actions come by the API alone.
	Off bool
	// Listen is HOST:PORT of the embedded server. "" means the port 4222, or a free one
	// if that is taken, on the API's host; and that it does not listen while there are
	// no Users. It serves TLS where the API does.
	Listen string
	// Users says who may be on the embedded server. nil: nobody but this process.
	Users bus.Users
	// MaxStore bounds the embedded server's files, in bytes. 0 means 8 GiB.
	MaxStore int64

	// URL names an external NATS server with JetStream, or several, comma separated,
	// instead of the embedded one. It need not be there when the control plane starts.
	URL string
	// CredsFile or NKeySeedFile hold the credential for it, CAFile the authority, as
	// PEM, that vouches for it; "" means the host's.
	CredsFile, NKeySeedFile, CAFile string
}

// The bus's files in a control plane's data directory.
const (
	busDir    = "nats"
	cursorDir = "outbox"
)

// defaultBusPort is NATS's own.
const defaultBusPort = "4222"

// openBus starts the bus, and the relay of the journal to it.
func (c *Control) openBus(ctx context.Context) error {
	b := &c.cfg.Bus
	if b.Off {
		return nil
	}
	cfg := bus.Config{
		Name: c.journal.ClusterID(), Dir: c.dir.Join(busDir), Listen: b.Listen, TLS: c.serverTLS, Insecure: c.cfg.Insecure, Users: b.Users, MaxStore: b.MaxStore,
		URL: b.URL, CredsFile: b.CredsFile, NKeySeedFile: b.NKeySeedFile, Patient: true, Logger: c.cfg.Logger,
		Rebuild: func() {
			if r := c.relay.Load(); r != nil {
				r.Audit()
			}
		},
	}
	var err error
	if b.CAFile != "" {
		if cfg.RootCAs, err = readRoots(b.CAFile); err != nil {
			return err
		}
	}
	if c.bus, err = c.startBus(ctx, cfg); err != nil {
		return err
	}
	relay, err := outbox.New(outbox.Config{
		Name: "bus", Source: c.journal, Sink: bus.NewSink(c.bus, c.journal.Epoch()), Cursor: c.dir.Join(cursorDir, "bus"), Logger: c.cfg.Logger,
	})
	if err != nil {
		return err
	}
	c.relay.Store(relay)
	return nil
}

// startBus listens where it was told to, or where there is room.
func (c *Control) startBus(ctx context.Context, cfg bus.Config) (*bus.Bus, error) {
	if cfg.Listen != "" || cfg.Users == nil || cfg.URL != "" {
		return bus.Start(ctx, cfg)
	}
	host := c.listener.Addr().(*net.TCPAddr).IP.String()
	for _, port := range []string{defaultBusPort, "0"} {
		cfg.Listen = net.JoinHostPort(host, port)
		b, err := bus.Start(ctx, cfg)
		if err == nil || port == "0" || entropy.ErrorCode(err) != entropy.CodeUnavailable {
			return b, err
		}
	}
	return nil, errors.New("unreachable")
}

func readRoots(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, entropy.Errorf(entropy.CodeInvalid, "read the bus's CA: %v", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, entropy.Errorf(entropy.CodeInvalid, "%s holds no certificate", path).WithHint("it should be the PEM file of the authority of the NATS servers")
	}
	return roots, nil
}

// Validate reports what is wrong with the settings as they are written.
func (b *BusConfig) Validate() error {
	embedded := b.Listen != "" || b.MaxStore != 0
	external := b.URL != "" || b.CredsFile != "" || b.NKeySeedFile != "" || b.CAFile != ""
	switch {
	case b.Off && (embedded || external):
		return entropy.Errorf(entropy.CodeInvalid, "there is no bus to be set up").WithHint("leave out --no-bus, or the other flags of the bus")
	case b.URL != "" && embedded:
		return entropy.Errorf(entropy.CodeInvalid, "an external NATS server and an embedded one exclude each other").WithHint("leave out --nats or --nats-listen")
	case b.URL == "" && external:
		return entropy.Errorf(entropy.CodeInvalid, "a credential or a CA of an external NATS server is given, and no server").WithHint("name it with --nats nats://HOST:4222")
	}
	if b.Listen != "" {
		if _, _, err := net.SplitHostPort(b.Listen); err != nil {
			return entropy.Errorf(entropy.CodeInvalid, "--nats-listen %q is not an address: %v", b.Listen, err).WithHint("write HOST:PORT, as in 127.0.0.1:4222")
		}
	}
	for u := range strings.SplitSeq(b.URL, ",") {
		if b.URL != "" && !strings.HasPrefix(u, "nats://") && !strings.HasPrefix(u, "tls://") {
			return entropy.Errorf(entropy.CodeInvalid, "%q is not the URL of a NATS server", u).WithHint("write tls://HOST:4222 or nats://HOST:4222")
		}
	}
	return nil
}

// Bus returns the control plane's bus; nil when it has none.
func (c *Control) Bus() *bus.Bus { return c.bus }

// Outbox returns how far the journal is published; ok is false when there is no bus.
func (c *Control) Outbox() (stats outbox.Stats, ok bool) {
	r := c.relay.Load()
	if r == nil {
		return stats, false
	}
	return r.Stats(), true
}

// outboxStats gives telemetry the outbox's figures in its own words.
func (c *Control) outboxStats() telemetry.OutboxStats {
	s, _ := c.Outbox()
	return telemetry.OutboxStats{Lag: s.Lag, LagFor: s.LagFor, Delivered: s.Delivered, Failures: s.Failures}
}
