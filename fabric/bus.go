package fabric

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"time"

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
	// if that is taken, on the API's host. It serves TLS where the API does. Who has a
	// token of one of the bus's roles may come.
	Listen string
	// MaxStore bounds the embedded server's files, in bytes. 0 means 8 GiB.
	MaxStore int64

	// URL names an external NATS server with JetStream, or several, comma separated,
	// instead of the embedded one. It need not be there when the control plane starts.
	URL string
	// Sources are the tokens below which outside sources publish events of more than
	// one token: "plc" lets them publish on events.normalized.plc.>.
	Sources []string
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
	if err := checkExecutors(c.cfg.Executors); err != nil {
		return err
	}
	cfg := bus.Config{
		Name: c.journal.ClusterID(), Dir: c.dir.Join(busDir), Listen: b.Listen, TLS: c.serverTLS, Insecure: c.cfg.Insecure, Users: c.tokens, MaxStore: b.MaxStore,
		URL: b.URL, CredsFile: b.CredsFile, NKeySeedFile: b.NKeySeedFile, Patient: true, Sources: b.Sources, Logger: c.cfg.Logger,
		Rebuild: c.reissue, DeadLetter: c.bury,
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
	c.tokens.shutOut = func(name string) { c.bus.Revoke(bus.Credential{Name: name}) }
	c.tokens.letIn = c.ensureCommands
	c.ensureCommands(ctx, c.tokens.commands())
	return c.addRelay("bus", bus.NewSink(c.bus, c.journal.Epoch()))
}

// ensureCommands makes the queues of commands: executors bind to what is there.
func (c *Control) ensureCommands(ctx context.Context, commands []string) {
	for _, command := range commands {
		if err := c.bus.EnsureCommand(ctx, command); err != nil {
			c.cfg.Logger.Warn("make the queue of a command; it is made with its first order", "command", command, "error", err)
		}
	}
}

// relayMayLag is how far the facts may be behind while the journal is busy: jobs go
// first on a machine that has too much to do.
const relayMayLag = time.Minute

// relayGathers is how often sinks are written to at most under a steady flow: each
// delivery costs flushes of the disk that whoever waits for the journal needs.
const relayGathers = 20 * time.Millisecond

// addRelay makes a relay of the journal to a sink; runRelays runs it.
func (c *Control) addRelay(name string, sink outbox.Sink) error {
	relay, err := outbox.New(outbox.Config{Name: name, Source: c.journal, Sink: sink, Cursor: c.dir.Join(cursorDir, name), GiveWay: relayMayLag, Gather: relayGathers, Logger: c.cfg.Logger})
	if err != nil {
		return err
	}
	c.relaying.Lock()
	defer c.relaying.Unlock()
	c.relays = append(c.relays, relay)
	return nil
}

// eachRelay calls f, which is quick, with every relay.
func (c *Control) eachRelay(f func(*outbox.Relay)) {
	c.relaying.RLock()
	defer c.relaying.RUnlock()
	for _, r := range c.relays {
		f(r)
	}
}

// runRelays relays the journal to its sinks until ctx ends.
func (c *Control) runRelays(ctx context.Context) {
	var running sync.WaitGroup
	c.eachRelay(func(r *outbox.Relay) { running.Go(func() { r.Run(ctx) }) })
	running.Wait()
}

// startBus listens where it was told to, or where there is room.
func (c *Control) startBus(ctx context.Context, cfg bus.Config) (*bus.Bus, error) {
	if cfg.Listen != "" || cfg.URL != "" {
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
	if b.Off && len(b.Sources) > 0 {
		return entropy.Errorf(entropy.CodeInvalid, "there is no bus for the sources %v", b.Sources).WithHint("leave out --no-bus or --nats-source")
	}
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

// Outbox returns how far the journal is relayed to each of its sinks.
func (c *Control) Outbox() (stats []outbox.Stats) {
	c.eachRelay(func(r *outbox.Relay) { stats = append(stats, r.Stats()) })
	return stats
}

// BusURL says where the bus is, for people and for clients of NATS: "" when there is none.
func (c *Control) BusURL() string {
	switch {
	case c.bus == nil:
		return ""
	case c.cfg.Bus.URL != "":
		return c.cfg.Bus.URL
	case c.bus.Addr() == nil:
		return ""
	}
	scheme := "nats://"
	if c.serverTLS != nil {
		scheme = "tls://"
	}
	return scheme + c.bus.Addr().String()
}

// outboxStats gives telemetry the outbox's figures in its own words.
func (c *Control) outboxStats() (all []telemetry.OutboxStats) {
	if s, ok := c.ClickHouse(); ok {
		all = append(all, telemetry.OutboxStats{Sink: "clickhouse", Lag: s.Behind, LagFor: s.For, Delivered: s.Sent, Failures: s.Failures})
	}
	for _, s := range c.Outbox() {
		all = append(all, telemetry.OutboxStats{Sink: s.Name, Lag: s.Lag, LagFor: s.LagFor, Delivered: s.Delivered, Failures: s.Failures})
	}
	return all
}
