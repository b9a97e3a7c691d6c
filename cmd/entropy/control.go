package main

import (
	"context"
	"net"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster"
	"github.com/entropy-fabric/entropy/fabric"
)

// controlFlags are the flags of a control plane, shared by control and up.
type controlFlags struct {
	data, listen        string
	insecure, tls       bool
	trustLAN            bool
	leaseTTL, heartbeat time.Duration
	logLevel            string
	gossip              fabric.GossipConfig
	noDiscovery         bool
	normalize           string
	executors           string
	bus                 fabric.BusConfig
	analyzer            analyzerFlags
	rules               fabric.RulesConfig
}

func (f *controlFlags) register(s *pflag.FlagSet, dataDir string) {
	s.StringVar(&f.data, "data", dataDir, "data `DIR`; its owner is this control plane alone (default: $XDG_STATE_HOME/entropy, or /var/lib/entropy as root)")
	hideDefault(s, "data")
	s.StringVar(&f.listen, "listen", fabric.DefaultListen, "`HOST:PORT` to serve the API on; port 0 takes a free one")
	s.BoolVar(&f.insecure, "insecure", false, "serve plain HTTP to other hosts, not TLS; tokens and output travel readable")
	s.BoolVar(&f.tls, "tls", false, "serve TLS on loopback too; off loopback it is the default")
	s.BoolVar(&f.trustLAN, "trust-lan", false, "let workers of this network ask to be let in without a token; you confirm each with entropy worker pair")
	s.DurationVar(&f.leaseTTL, "lease-ttl", 0, "how long a silent worker keeps its jobs (default 15s)")
	s.DurationVar(&f.heartbeat, "heartbeat", 0, "how often workers report (default 5s)")
	s.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	registerGossip(s, &f.gossip)
	s.StringVar(&f.gossip.Profile, "profile", "lan", "how soon a dead worker is missed: lan (5 to 9 s), fast (2 to 3.5 s, heartbeats every second) or wan; workers follow")
	s.StringVar(&f.normalize, "normalize", "", "`FILE` of rules by which events from outside become the fabric's envelope (docs/INGEST.md)")
	s.StringVar(&f.executors, "executors", "", "`FILE` that says what the control plane executes itself: http, notify, s3, controlm, local (docs/EXECUTORS.md)")
	s.StringVar(&f.rules.File, "rules", "", "`FILE` of rules: what is done about what is surprising (docs/RULES.md); read again when it changes (default: rules that only suggest)")
	s.BoolVar(&f.rules.Off, "no-rules", false, "suggest and do nothing about what is surprising")
	s.BoolVar(&f.noDiscovery, "no-discovery", false, "do not answer workers of this network that look for their control plane, nor show it to browsers of the network (mDNS)")
	f.registerBus(s)
	f.analyzer.register(s)
}

// registerBus registers the flags of the bus.
func (f *controlFlags) registerBus(s *pflag.FlagSet) {
	s.StringVar(&f.bus.Listen, "nats-listen", "", "`HOST:PORT` of the embedded NATS server (default: port 4222, or a free one)")
	s.StringVar(&f.bus.URL, "nats", "", "`URL` of an external NATS server with JetStream, or several, comma separated, instead of the embedded one")
	s.StringVar(&f.bus.CredsFile, "nats-creds", "", "`FILE` with the credentials for the external NATS server")
	s.StringVar(&f.bus.NKeySeedFile, "nats-nkey", "", "`FILE` with the nkey seed for the external NATS server")
	s.StringVar(&f.bus.CAFile, "nats-ca", "", "`FILE` with the authority of the external NATS server (default: the host's)")
	s.BoolVar(&f.bus.Off, "no-bus", false, "publish nothing: no NATS server, embedded or other")
}

// registerGossip registers the flags that every node has.
func registerGossip(s *pflag.FlagSet, g *fabric.GossipConfig) {
	s.StringVar(&g.Listen, "gossip-listen", "", "`IP:PORT` to gossip on, UDP and TCP (default: port 7601, or a free one; on loopback if the API is)")
	s.StringVar(&g.Advertise, "advertise", "", "`HOST` or HOST:PORT by which other nodes reach this one's gossip (default: found out)")
	s.BoolVar(&g.Off, "no-gossip", false, "take no part in gossip: leases alone tell when a worker is lost")
}

// config checks the flags and returns what the facade wants of them.
func (f *controlFlags) config(a *app) (fabric.ControlConfig, error) {
	var none fabric.ControlConfig
	if f.data == "" {
		return none, usagef("--data is empty").WithHint("name a directory, as in --data /var/lib/entropy")
	}
	if _, _, err := net.SplitHostPort(f.listen); err != nil {
		return none, usagef("--listen %q is not an address: %v", f.listen, err).WithHint("write HOST:PORT, as in 127.0.0.1:7600")
	}
	if err := notNegative(map[string]time.Duration{"lease-ttl": f.leaseTTL, "heartbeat": f.heartbeat}); err != nil {
		return none, err
	}
	if _, err := cluster.ParseProfile(f.gossip.Profile); err != nil {
		return none, usagef("--profile: %v", err)
	}
	if err := f.bus.Validate(); err != nil {
		e := entropy.AsError(err)
		return none, usagef("%s", e.Message).WithHint("%s", e.Hint)
	}
	rules, err := readRules(f.normalize)
	if err != nil {
		return none, err
	}
	executors, err := readExecutors(f.executors)
	if err != nil {
		return none, err
	}
	analyzer, err := f.analyzer.config()
	if err != nil {
		return none, err
	}
	logger, err := a.logger(f.logLevel)
	return fabric.ControlConfig{
		Analyzer: analyzer, Bus: f.bus, Executors: executors, Normalize: rules, Rules: f.rules, Gossip: f.gossip, NoDiscovery: f.noDiscovery,
		DataDir: f.data, Listen: f.listen, Insecure: f.insecure, TLS: f.tls, TrustLAN: f.trustLAN,
		LeaseTTL: f.leaseTTL, Heartbeat: f.heartbeat, Version: programVersion(), Logger: logger,
	}, err
}

const controlLong = `Run the control plane: it keeps the jobs, and tells workers what to run.

At the first start it writes two credentials into the data directory, readable
by its owner only: admin.token for people and programs, worker.token for workers
that join; and its own certificate authority, which both pin. On other addresses
than the loopback's it serves TLS. It may be killed at any moment; what it acknowledged is on disk.`

func (a *app) controlCommand() *cobra.Command {
	var f controlFlags
	c := &cobra.Command{
		Use:   "control",
		Short: "Run a control plane",
		Long:  controlLong,
		Args:  argument(0, 0, ""),
	}
	f.register(c.Flags(), a.dataDir())
	return a.command(c, func(ctx context.Context, _ []string) error {
		conf, err := f.config(a)
		if err != nil {
			return err
		}
		relaxCollector(conf.Analyzer.Room())
		control, err := fabric.OpenControl(ctx, conf)
		if err != nil {
			return err
		}
		a.printf("control plane at %s\n%sdata in %s\njoin workers with a copy of %s\n", control.URL(), busLine(control), control.DataDir(), workerTokenOf(control))
		return control.Run(ctx)
	})
}
