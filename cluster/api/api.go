// Package api is the way in from outside: HTTP/JSON with server-sent events over
// [entropy.Service], and the worker protocol over [entropy.WorkerService].
//
// Every route is a row of one table in routes.go, which names its method, its
// pattern, who may use it and how long it may take. The ServeMux, the role check,
// the OpenAPI document's test and the metrics' labels all come from that table.
//
// # Guarantees
//
//   - Who makes a call is decided by its credential alone. A route that names no
//     role admits nobody.
//   - A request is refused whole or passed on whole: unknown fields, repeated
//     keys, trailing data, wrong types and invalid UTF-8 never reach the service.
//   - Memory per request is bounded by the route's limit; files are streamed.
//   - An error says what, why and what next, as application/problem+json. What
//     went wrong inside is in the log and not in the answer.
//   - At shutdown, waiting requests are released at once and others finish.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

// Config of a [Server]. Service, Worker and Auth are required.
type Config struct {
	// Service and Worker do the work. The server owns neither.
	Service entropy.Service
	Worker  entropy.WorkerService
	// Auth says who makes a call. The server adds the key of a worker to it once
	// its registration was accepted; whoever owns it loads the known ones at start.
	Auth *identity.Authenticator
	// Tokens manages tokens and lets workers in; nil means that there are no such
	// routes, and that a join token registers any worker.
	Tokens Tokens
	// Ingest takes events from outside and shows the ledger; nil means that nobody does.
	Ingest entropy.IngestService
	// Entropy shows what the analyzer knows; nil means that there is none.
	Entropy entropy.EntropyService
	// Members says who is a member by gossip; nil means that nobody gossips.
	Members func() []entropy.Member
	// Keys rotates the keys that members share; nil means that there are none.
	Keys Keys
	// Pairings lets workers in that have no token; nil means nobody does.
	Pairings Pairings
	// Metrics serves GET /metrics; nil means 404.
	Metrics http.Handler
	// OpenMetrics lets GET /metrics be read without a credential.
	OpenMetrics bool
	// Ready says why the control plane cannot serve now; nil means it always can.
	Ready func() error
	// Epoch is that of the journal, on every answer; 0 means that there is none.
	Epoch uint64
	// Superseded is called when somebody with a valid credential has seen a higher
	// epoch: another control plane has taken over, and this one answers no more.
	Superseded func(epoch uint64)
	// Observe is told of every finished request, for metrics: the route's pattern,
	// the method, the status and the time taken. It must be quick. nil means nobody.
	Observe func(pattern, method string, status int, took time.Duration)
	// Logger gets one line per failed request at Warn (client errors at Debug) and
	// per request at Debug; nil discards.
	Logger *slog.Logger
	// Hosts are further names under which a loopback listener may be asked for,
	// beside localhost and its addresses: others are refused, against DNS rebinding.
	Hosts []string

	// MaxInFlight bounds the requests of one credential at a time; 0 means 512.
	MaxInFlight int
	// MaxFile bounds one blob or artifact, in bytes; 0 means 16 GiB.
	MaxFile int64
	// IdleTimeout ends an upload, a download or a stream whose other side does not
	// move for that long; 0 means 30 s.
	IdleTimeout time.Duration
	// KeepAlive is the interval of comments on an idle event stream; 0 means 15 s.
	KeepAlive time.Duration
	// ShutdownGrace is how long requests may go on after Serve is told to end; 0
	// means 10 s.
	ShutdownGrace time.Duration
	// Now tells the time for limits; nil means time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Superseded == nil {
		c.Superseded = func(uint64) {}
	}
	if c.Members == nil {
		c.Members = func() []entropy.Member { return []entropy.Member{} }
	}
	if c.Ready == nil {
		c.Ready = func() error { return nil }
	}
	if c.Observe == nil {
		c.Observe = func(string, string, int, time.Duration) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	setDefault(&c.MaxInFlight, 512)
	setDefault(&c.MaxFile, 16<<30)
	setDefault(&c.IdleTimeout, 30*time.Second)
	setDefault(&c.KeepAlive, 15*time.Second)
	setDefault(&c.ShutdownGrace, 10*time.Second)
	return c
}

func setDefault[T comparable](p *T, d T) {
	var zero T
	if *p == zero {
		*p = d
	}
}

func (c Config) validate() error {
	var errs []error
	if c.Service == nil || c.Worker == nil || c.Auth == nil {
		errs = append(errs, errors.New("it needs Service, Worker and Auth"))
	}
	if c.MaxInFlight < 0 || c.MaxFile < 0 || c.IdleTimeout < 0 || c.KeepAlive < 0 || c.ShutdownGrace < 0 {
		errs = append(errs, errors.New("a limit is negative"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("api: %w", err)
	}
	return nil
}

// Server serves the API. It is made by [New] and safe for concurrent use.
type Server struct {
	conf    Config
	handler http.Handler
	table   []route
	mux     *http.ServeMux
	hosts   map[string]bool
	flight  *flight
	failed  *bucket
	origin  *http.CrossOriginProtection

	epoch      []string // of the header; nil: none
	superseded atomic.Bool

	stopping context.Context // canceled when Serve is told to end
	stop     context.CancelFunc
}

// New returns a server that listens nowhere yet.
func New(conf Config) (*Server, error) {
	conf = conf.withDefaults()
	if err := conf.validate(); err != nil {
		return nil, err
	}
	s := &Server{conf: conf, mux: http.NewServeMux(), hosts: allowedHosts(conf.Hosts),
		flight: newFlight(conf.MaxInFlight), failed: newBucket(60, time.Second, conf.Now), origin: http.NewCrossOriginProtection()}
	if conf.Epoch > 0 {
		s.epoch = []string{strconv.FormatUint(conf.Epoch, 10)}
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.table = s.routes()
	for _, rt := range s.table {
		s.mux.Handle(rt.method+" "+rt.pattern, s.wrap(rt))
	}
	s.mux.Handle("/", s.wrap(route{pattern: "/", access: public, handle: s.noRoute}))
	s.handler = s.mux
	return s, nil
}

// Handler returns the whole API, for a test or for a server of the caller's.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve answers requests on ln until ctx ends, then releases those that wait,
// lets the others finish within ShutdownGrace, and returns nil. It closes ln. It
// may be called for several listeners; the end of any releases the waiting
// requests of all.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.conf.Logger.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve API: %w", err)
	case <-ctx.Done():
	}
	s.stop()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.conf.ShutdownGrace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		s.conf.Logger.Warn("requests cut off at shutdown", "error", err)
		_ = srv.Close() // the listener is closed already
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
