package bus

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/entropy-fabric/entropy"
)

// embedded is the server in this process. It can be started again, on the same
// address, under the clients that it has.
type embedded struct {
	cfg  *Config
	auth *authenticator

	mu     sync.Mutex
	server *server.Server // nil once closed, and while it could not be started
	port   int            // where it listened first
	closed bool
}

// startTimeout is how long the server may take to recover its streams.
const startTimeout = 60 * time.Second

func startEmbedded(cfg *Config, controlKey string) (*embedded, error) {
	e := &embedded{cfg: cfg, auth: &authenticator{users: cfg.Users, controlKey: controlKey, logger: cfg.Logger}}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e, e.start()
}

// options are the safe settings: see docs/BUS.md.
func (e *embedded) options() (*server.Options, error) {
	o := &server.Options{
		ServerName: e.cfg.Name, DontListen: e.cfg.Listen == "", NoSigs: true, NoLog: true, DisableJetStreamBanner: true,
		JetStream: true, StoreDir: e.cfg.Dir, JetStreamMaxStore: e.cfg.MaxStore + e.cfg.MaxStore/4, JetStreamMaxMemory: 64 << 20, SyncAlways: true,
		MaxPayload: MaxPayload, MaxConn: 4096, MaxSubs: 4096, MaxControlLine: 4096, AuthTimeout: 5,
		PingInterval: 20 * time.Second, MaxPingsOut: 2, WriteDeadline: 10 * time.Second,
		CustomClientAuthentication: e.auth, AlwaysEnableNonce: true,
	}
	if o.DontListen {
		return o, nil
	}
	host, port, err := net.SplitHostPort(e.cfg.Listen)
	if err != nil {
		return nil, err
	}
	o.Host = host
	if o.Port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("the port %q is not a number", port)
	}
	if e.port != 0 {
		o.Port = e.port
	}
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	if e.cfg.TLS != nil {
		// A client may begin with TLS, or wait for the server's greeting as most do by
		// default: the greeting holds no secret, and nothing is accepted before TLS.
		o.TLSConfig, o.TLSTimeout, o.TLSHandshakeFirst, o.TLSHandshakeFirstFallback = e.cfg.TLS, 5, true, 50*time.Millisecond
	}
	return o, nil
}

// start runs with mu held.
func (e *embedded) start() error {
	o, err := e.options()
	if err != nil {
		return entropy.Errorf(entropy.CodeInvalid, "bus: %v", err)
	}
	if err := os.MkdirAll(e.cfg.Dir, 0o700); err != nil {
		return entropy.Errorf(entropy.CodeUnavailable, "make the bus's directory: %v", err)
	}
	s, err := server.NewServer(o)
	if err != nil {
		return entropy.Errorf(entropy.CodeInvalid, "the embedded bus: %v", err)
	}
	log := &serverLog{Logger: e.cfg.Logger}
	s.SetLoggerV2(log, false, false, false)
	e.auth.serve(s)
	s.Start()
	ready := false
	for end := time.Now().Add(startTimeout); !ready && !log.failed() && time.Now().Before(end); {
		ready = s.ReadyForConnections(50 * time.Millisecond)
	}
	if !ready || !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		return entropy.Errorf(entropy.CodeUnavailable, "the embedded bus does not start: %s", log.reason()).
			WithHint("is the address %s free, and can %s be written?", e.cfg.Listen, e.cfg.Dir)
	}
	e.server = s
	if a, ok := s.Addr().(*net.TCPAddr); ok && !o.DontListen {
		e.port = a.Port
	}
	return nil
}

// InProcessConn implements nats.InProcessConnProvider with the server of now.
func (e *embedded) InProcessConn() (net.Conn, error) {
	e.mu.Lock()
	s := e.server
	e.mu.Unlock()
	if s == nil {
		return nil, errors.New("the embedded bus is not running")
	}
	return s.InProcessConn()
}

// health says why the server is of no use as it is: a stream is frozen as it could
// not be written, all of JetStream has given up, or the directory was removed.
func (e *embedded) health() error {
	e.mu.Lock()
	s, closed := e.server, e.closed
	e.mu.Unlock()
	switch {
	case closed:
		return nil
	case s == nil:
		return errors.New("it is not running")
	}
	for _, t := range streamTable(nil) { // the server goes on for long without noticing
		if !exists(filepath.Join(e.cfg.Dir, "jetstream", server.DEFAULT_GLOBAL_ACCOUNT, "streams", t.name, "msgs")) {
			return fmt.Errorf("the directory of the stream %s is gone", t.name)
		}
	}
	if h := s.Healthz(&server.HealthzOptions{}); h.Status != "ok" {
		return errors.New(h.Error)
	}
	return nil
}

// probeSize is how much has to fit in the directory before a server that ran out of
// room is started again.
const probeSize = 1 << 20

// writable reports whether the directory can be written.
func (e *embedded) writable() error {
	if err := os.MkdirAll(e.cfg.Dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(e.cfg.Dir, "probe")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, probeSize))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// restart ends the server, and starts another on the same directory and address.
func (e *embedded) restart() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.end()
	if e.closed {
		return nil
	}
	return e.start()
}

func (e *embedded) end() {
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
		e.server = nil
	}
}

func (e *embedded) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.end()
}

func (e *embedded) addr() net.Addr {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server == nil || e.cfg.Listen == "" {
		return nil
	}
	return e.server.Addr()
}

// serverLog is the server's logger. What a server calls a notice is a detail here,
// and for what it calls fatal it would end the process if it were not kept from it.
type serverLog struct {
	*slog.Logger
	mu    sync.Mutex
	fatal string // the last one
}

// Noticef implements server.Logger.
func (l *serverLog) Noticef(format string, v ...any) {
	l.Debug("the NATS server", slog.String("says", fmt.Sprintf(format, v...)))
}

// Warnf implements server.Logger.
func (l *serverLog) Warnf(format string, v ...any) {
	l.Warn("the NATS server", slog.String("says", fmt.Sprintf(format, v...)))
}

// Errorf implements server.Logger.
func (l *serverLog) Errorf(format string, v ...any) {
	l.Warn("the NATS server", slog.String("says", fmt.Sprintf(format, v...)))
}

// Fatalf implements server.Logger.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = fmt.Sprintf(format, v...)
	l.Error("the NATS server", slog.String("says", l.fatal))
}

// Debugf implements server.Logger.
func (l *serverLog) Debugf(string, ...any) {}

// Tracef implements server.Logger.
func (l *serverLog) Tracef(string, ...any) {}

func (l *serverLog) failed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal != ""
}

func (l *serverLog) reason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return cmp.Or(l.fatal, "it is not ready in time")
}

// tlsConfig trusts the authorities given, and speaks nothing older than TLS 1.3.
func tlsConfig(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
}
