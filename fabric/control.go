package fabric

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
	"github.com/entropy-fabric/entropy/actors/analyzer/live"
	"github.com/entropy-fabric/entropy/actors/reflex"
	"github.com/entropy-fabric/entropy/cluster"
	"github.com/entropy-fabric/entropy/cluster/api"
	"github.com/entropy-fabric/entropy/cluster/bus"
	"github.com/entropy-fabric/entropy/cluster/discovery"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin/all"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/cluster/ingest"
	"github.com/entropy-fabric/entropy/cluster/telemetry"
	"github.com/entropy-fabric/entropy/persistence"
	"github.com/entropy-fabric/entropy/persistence/artifact"
	"github.com/entropy-fabric/entropy/persistence/journal"
	"github.com/entropy-fabric/entropy/persistence/ledger/clickhouse"
	ledgerdb "github.com/entropy-fabric/entropy/persistence/ledger/sqlite"
	"github.com/entropy-fabric/entropy/persistence/outbox"
)

// ControlConfig configures a [Control]. DataDir is required.
type ControlConfig struct {
	DataDir string // made if it is not there; holds everything that must survive
	// Listen is HOST:PORT; "" means 127.0.0.1:7600. Port 0 takes a free one.
	Listen string
	// Insecure serves plain HTTP off loopback. Without it, TLS is served there, by
	// the cluster's own authority.
	Insecure bool
	// TLS serves TLS on loopback too; it excludes Insecure.
	TLS bool
	// TrustLAN lets workers without a token ask to be let in, and answers those that
	// look for any control plane; a person confirms each by a code. It needs TLS.
	TrustLAN bool

	LeaseTTL  time.Duration // 0 means 15 s
	Heartbeat time.Duration // 0 means a third of LeaseTTL

	Gossip GossipConfig
	Bus    BusConfig
	// NoDiscovery leaves the questions of workers that look for their control plane
	// unanswered, and shows nothing to browsers of the network (mDNS). On loopback
	// it is always so.
	NoDiscovery bool

	// Normalize is the rules by which events from outside become the envelope; the
	// zero value takes what is in it already. Its HashKey is made at the first start.
	Normalize ingest.Config
	// Analyzer says how the analyzer runs, and whether.
	Analyzer AnalyzerConfig
	// Rules says what is done about what the analyzer finds.
	Rules RulesConfig
	// Ledger says how long the embedded ledger keeps what, and which ClickHouse is its
	// long memory.
	Ledger LedgerConfig
	// Executors says what the control plane executes itself, beside commands about
	// its own jobs and workers.
	Executors all.Config

	Version string
	Logger  *slog.Logger // nil discards
	// CommitMark is the journal's test hook; nil in production.
	CommitMark func(inFlight bool)
}

// DefaultListen is where the control plane listens when nothing else is said.
const DefaultListen = "127.0.0.1:7600"

// The files of a control plane's data directory that others read.
const (
	AdminTokenFile  = "admin.token"
	WorkerTokenFile = "worker.token"
	URLFile         = "control.url"
	JournalFile     = "journal.db"
)

// Control is a control plane: the journal, the store, the actors and the API
// over them.
type Control struct {
	cfg     ControlConfig
	dir     *persistence.Dir
	journal *journal.Journal
	store   *artifact.Store
	system  *actors.System
	running atomic.Pointer[actors.System] // as system, for those who may come before it

	relaying sync.RWMutex
	relays   []*outbox.Relay // of the journal, each to a sink

	ledger     *ledgerdb.Ledger
	clickhouse *clickhouse.Ledger                // nil: none is configured
	mirror     atomic.Pointer[clickhouse.Mirror] // likewise
	inbox      *ingest.Inbox
	watch      *live.Watcher  // the analyzer; nil: there is none
	reflex     *reflex.Reflex // applies the rules; nil: nobody does
	auth       *identity.Authenticator
	server     *api.Server

	overtaken chan uint64 // has the higher epoch that was seen
	listener  net.Listener

	secure    bool        // TLS is served
	serverTLS *tls.Config // what it is served with; nil when it is not
	tokens    *keyring
	keys      *sharedKeys

	members    *cluster.Membership   // nil: no gossip
	answerer   *discovery.Answerer   // nil: workers are told the address
	advertiser *discovery.Advertiser // nil: browsers of the network do not see it

	bus *bus.Bus // nil: there is none
}

// OpenControl locks the data directory, recovers what the journal holds and
// listens. When it returns, the control plane is ready to serve; Run serves. At
// the first start it writes admin.token and worker.token.
func OpenControl(ctx context.Context, cfg ControlConfig) (_ *Control, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Listen == "" {
		cfg.Listen = DefaultListen
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.TLS && cfg.Insecure {
		return nil, entropy.Errorf(entropy.CodeInvalid, "TLS and plain HTTP exclude each other").WithHint("leave out --tls or --insecure")
	}
	secure := cfg.TLS || !cfg.Insecure && api.CheckListen(cfg.Listen, false, false) != nil
	if err := api.CheckListen(cfg.Listen, secure, cfg.Insecure); err != nil {
		return nil, err
	}
	if cfg.TrustLAN && !secure {
		return nil, entropy.Errorf(entropy.CodeInvalid, "over plain HTTP a worker cannot be paired: nothing would keep strangers out afterwards").
			WithHint("leave out --trust-lan or --insecure; on loopback, add --tls")
	}
	if cfg.Heartbeat == 0 && cfg.Gossip.Profile == string(cluster.Fast) {
		cfg.Heartbeat = time.Second // a witness as quick as that is believed after two seconds of silence
	}
	c := &Control{cfg: cfg, secure: secure, overtaken: make(chan uint64, 1)}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	// Listen first: a port that is taken is the commonest mistake, and found out
	// before anything is touched.
	if c.listener, err = listen(ctx, cfg.Listen); err != nil {
		return nil, entropy.Errorf(entropy.CodeUnavailable, "listen on %s: %v", cfg.Listen, err).
			WithHint("is another control plane running? choose another address with --listen")
	}
	if err = c.openStorage(ctx); err != nil {
		return nil, err
	}
	if err = c.checkSuperseded(); err != nil {
		return nil, err
	}
	if err = c.openIdentity(ctx); err != nil {
		return nil, err
	}
	if err = c.openBus(ctx); err != nil {
		return nil, err
	}
	c.system, err = actors.Start(ctx, actors.Config{Journal: journalPort{c.journal}, Orders: c.orders(), MayExecute: c.tokens.mayExecute, Store: c.store, Checkpoints: c.store, LeaseTTL: cfg.LeaseTTL,
		Heartbeat: cfg.Heartbeat, Version: cfg.Version, Logger: cfg.Logger, Alarms: c.alarms})
	if err != nil {
		return nil, err
	}
	c.running.Store(c.system)
	if err = c.openLedger(ctx); err != nil {
		return nil, err
	}
	if err = c.openGossip(); err != nil {
		return nil, err
	}
	if err = c.openServer(); err != nil {
		return nil, err
	}
	c.openDiscovery()
	c.warnInsecure(cfg.Logger)
	return c, os.WriteFile(filepath.Join(cfg.DataDir, URLFile), []byte(c.URL()+"\n"), 0o644)
}

func (c *Control) openStorage(ctx context.Context) (err error) {
	if c.dir, err = persistence.OpenDir(c.cfg.DataDir); err != nil {
		return err
	}
	c.journal, err = journal.Open(ctx, journal.Config{Path: filepath.Join(c.cfg.DataDir, JournalFile), Logger: c.cfg.Logger, CommitMark: c.cfg.CommitMark})
	if err != nil {
		return err
	}
	c.journal.Tap(func([]entropy.Change) { c.eachRelay((*outbox.Relay).Wake) })
	c.store, err = artifact.Open(artifact.Config{Dir: filepath.Join(c.cfg.DataDir, "store"), Logger: c.cfg.Logger})
	return err
}

// pairings returns who pairs; nil when nobody does.
func (c *Control) pairings() api.Pairings {
	if !c.cfg.TrustLAN {
		return nil
	}
	return newPairings(c.tokens, c.cfg.Logger)
}

func (c *Control) openServer() (err error) {
	conf := telemetry.Config{Version: c.cfg.Version, Status: c.system, Journal: c.journalStats, Outbox: c.outboxStats}
	if c.watch != nil {
		conf.Analyzer = c.analyzerStats
	}
	if c.reflex != nil {
		conf.Rules = c.ruleStats
	}
	metrics, err := telemetry.New(conf)
	if err != nil {
		return err
	}
	c.server, err = api.New(api.Config{Service: c.Service(), Worker: keyedWorkers{c.system, c.keys}, Auth: c.auth, Tokens: c.tokens, Ingest: c.inbox, Analytics: analytics{c}, Entropy: c.Entropy(), Rules: c.Rules(), Members: c.Members, Keys: c.keys, Pairings: c.pairings(), Metrics: metrics.Handler(),
		Observe: metrics.Observe, Ready: c.ready, Logger: c.cfg.Logger,
		Epoch: c.journal.Epoch(), Superseded: c.superseded})
	return err
}

// journalStats gives telemetry the journal's figures in its own words. Batch
// sizes are not kept as a histogram: their mean is events over commits.
func (c *Control) journalStats() telemetry.JournalStats {
	st := c.journal.Stats()
	h := telemetry.Histogram{Count: st.Commit.Count, Sum: st.Commit.Sum, Buckets: make(map[float64]uint64, len(st.Commit.Bounds))}
	for i, bound := range st.Commit.Bounds {
		h.Buckets[bound] = st.Commit.Counts[i]
	}
	return telemetry.JournalStats{Commits: st.Batches, Events: st.Events, CommitSeconds: h, QueuedAppends: st.Queue}
}

// ready says why the control plane cannot take work now.
func (c *Control) ready() error {
	if err := c.journal.Err(); err != nil {
		return err
	}
	if c.journal.ReadOnly() {
		return entropy.Errorf(entropy.CodeDiskFull, "the disk is full")
	}
	return nil
}

// Run serves until ctx ends, then stops in order: no new requests, the actors,
// the journal, the lock. It returns an error when the journal can no longer be
// trusted: the process must then exit and recover by a new start.
func (c *Control) Run(ctx context.Context) error {
	defer c.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case theirs := <-c.overtaken:
			cancel(entropy.Errorf(entropy.CodeConflict, "another control plane of this cluster, of epoch %d, has taken over", theirs).
				WithHint("use that one; the data directory of this one is kept as it is, for inspection"))
		case <-c.journal.Fatal():
			cancel(entropy.Errorf(entropy.CodeUnavailable, "the journal failed: %v", c.journal.Err()).
				WithHint("start the control plane again: it recovers what was acknowledged"))
		case <-ctx.Done():
		}
	}()
	var sweeping sync.WaitGroup
	sweeping.Go(func() { c.sweep(ctx) })
	sweeping.Go(func() { c.keys.run(ctx) })
	sweeping.Go(func() { c.runRelays(ctx) })
	sweeping.Go(func() { c.runActions(ctx) })
	sweeping.Go(func() { c.runAnalyzer(ctx) })
	sweeping.Go(func() { c.publishFindings(ctx) })
	sweeping.Go(func() { c.runRules(ctx) })
	sweeping.Go(func() { c.runLedger(ctx) })
	defer func() {
		cancel(nil)
		sweeping.Wait()
		if c.members != nil {
			c.members.Leave()
		}
	}()
	if err := c.server.Serve(ctx, c.listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	if e, ok := errors.AsType[*entropy.Error](context.Cause(ctx)); ok {
		return e
	}
	return nil
}

// evidenceKept is how long the files of completions that were not accepted are kept.
const evidenceKept = 7 * 24 * time.Hour

// checkpointsKept is how long the checkpoints of a job that failed or was canceled
// are kept.
const checkpointsKept = 7 * 24 * time.Hour

// sweep removes old evidence, abandoned uploads and the checkpoints of jobs that
// have ended, now and once a day.
func (c *Control) sweep(ctx context.Context) {
	day := time.NewTicker(24 * time.Hour)
	defer day.Stop()
	for {
		n, err := c.store.Sweep(time.Now().Add(-evidenceKept))
		if err != nil {
			c.cfg.Logger.Warn("sweep evidence", "error", err)
		}
		if n > 0 {
			c.cfg.Logger.Info("swept evidence", "assignments", n)
		}
		if n, err = c.system.SweepCheckpoints(ctx, time.Now().Add(-checkpointsKept)); err != nil {
			c.cfg.Logger.Warn("sweep checkpoints", "error", err)
		}
		if n > 0 {
			c.cfg.Logger.Info("swept checkpoints", "jobs", n)
		}
		select {
		case <-day.C:
		case <-ctx.Done():
			return
		}
	}
}

// Close releases everything. Run calls it; it is idempotent.
func (c *Control) Close() {
	if c.answerer != nil {
		c.answerer.Close()
	}
	if c.advertiser != nil {
		c.advertiser.Close()
	}
	if c.members != nil {
		c.members.Close()
	}
	if c.system != nil {
		c.system.Close()
	}
	if c.bus != nil {
		c.bus.Close()
	}
	if c.listener != nil {
		_ = c.listener.Close() // closed already when it was served
	}
	if c.clickhouse != nil {
		_ = c.clickhouse.Close() // what it has not got is sent after the next start
	}
	if c.ledger != nil {
		if err := c.ledger.Close(); err != nil {
			c.cfg.Logger.Error("close the ledger", "error", err)
		}
	}
	if c.store != nil {
		_ = c.store.Close() // everything it acknowledged is on disk
	}
	if c.journal != nil {
		if err := c.journal.Close(); err != nil {
			c.cfg.Logger.Error("close journal", "error", err)
		}
	}
	if c.dir != nil {
		_ = c.dir.Close() // the lock goes with the process anyway
	}
}

// URL returns where the control plane listens, as in "http://127.0.0.1:7600".
func (c *Control) URL() string {
	addr := c.listener.Addr().(*net.TCPAddr)
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http://"
	if c.secure {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, fmt.Sprint(addr.Port))
}

// Service returns the fabric without HTTP, for the program that embeds it.
func (c *Control) Service() entropy.Service { return service{c.system, c} }

// DataDir returns the data directory.
func (c *Control) DataDir() string { return c.cfg.DataDir }
