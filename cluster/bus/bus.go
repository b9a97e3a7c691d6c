package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/entropy-fabric/entropy"
)

// Bus is the control plane's connection to the bus, and the embedded server where
// there is one.
type Bus struct {
	cfg      Config
	embedded *embedded // nil: the server is external
	nc       *nats.Conn
	js       jetstream.JetStream
	level    atomic.Int32 // the API level of the server; -1 while it is not known
	replicas atomic.Int32
	since    atomic.Int64 // when the connection came or went, in Unix nanoseconds

	ensuring sync.Mutex // held by ensure

	mu       sync.Mutex
	commands map[string]bool // that EnsureCommand was called for
	turn     chan struct{}   // closed, and made anew, when what was opened on the server has to be opened again
	missing  chan struct{}   // has a token when somebody found a stream or a consumer missing
	problem  error           // why the last attempt to make the streams failed; nil when it did not

	stop    context.CancelFunc
	working sync.WaitGroup
}

// The names that the control plane has on the bus.
const controlName = "control"

const (
	connectTimeout = 5 * time.Second
	askTimeout     = 5 * time.Second // for one answer of the server
	publishTimeout = 10 * time.Second
	stallWait      = 30 * time.Second
	maxAsync       = 512 // publications that wait for their acknowledgement
)

// Start opens the bus: it starts the embedded server, or connects to the external one,
// and makes the streams that are missing. It returns an [entropy.Error].
func Start(ctx context.Context, cfg Config) (_ *Bus, err error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	b := &Bus{cfg: cfg, commands: make(map[string]bool), turn: make(chan struct{}), missing: make(chan struct{}, 1)}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	b.stop = stop
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	options, err := b.options()
	if err != nil {
		return nil, err
	}
	b.level.Store(-1)
	b.changed()
	if b.nc, err = nats.Connect(cfg.URL, options...); err != nil {
		return nil, entropy.Errorf(entropy.CodeUnavailable, "connect to the bus at %s: %v", b.where(), err).
			WithHint("is the server running, and are the credential and the CA its own?")
	}
	b.js, err = jetstream.New(b.nc, jetstream.WithDefaultTimeout(askTimeout), jetstream.WithPublishAsyncMaxPending(maxAsync),
		jetstream.WithPublishAsyncTimeout(publishTimeout))
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	if err := b.prepare(ctx); err != nil {
		if !cfg.Patient || b.embedded != nil {
			return nil, err
		}
		b.note(err)
	}
	b.working.Go(func() { b.watch(run) })
	return b, nil
}

// options says how to connect, and starts the embedded server.
func (b *Bus) options() (options []nats.Option, err error) {
	c := &b.cfg
	options = []nats.Option{
		nats.Name("entropy control plane"), nats.CustomInboxPrefix(Inbox(controlName)), nats.Timeout(connectTimeout),
		nats.MaxReconnects(-1), nats.ReconnectWait(200 * time.Millisecond), nats.ReconnectJitter(200*time.Millisecond, 200*time.Millisecond),
		nats.ReconnectBufSize(-1), nats.PingInterval(10 * time.Second), nats.MaxPingsOutstanding(2),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.Logger.Warn("bus", "error", err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { b.changed(); c.Logger.Warn("the bus is gone", "error", err) }),
		nats.ReconnectHandler(func(*nats.Conn) { b.changed(); c.Logger.Info("the bus is back"); b.turnOver() }),
	}
	if c.URL == "" {
		key, err := nkeys.CreateUser()
		if err != nil {
			return nil, fmt.Errorf("make the control plane's key for the bus: %w", err)
		}
		public, err := key.PublicKey()
		if err != nil {
			return nil, fmt.Errorf("make the control plane's key for the bus: %w", err)
		}
		if b.embedded, err = startEmbedded(c, public); err != nil {
			return nil, err
		}
		return append(options, nats.InProcessServer(b.embedded), nats.Nkey(public, key.Sign)), nil
	}
	if c.Patient {
		options = append(options, nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(), nats.ConnectHandler(func(*nats.Conn) { b.changed(); b.turnOver() }))
	}
	if c.RootCAs != nil {
		options = append(options, nats.Secure(tlsConfig(c.RootCAs)))
	}
	switch {
	case c.CredsFile != "":
		options = append(options, nats.UserCredentials(c.CredsFile))
	case c.NKeySeedFile != "":
		option, err := nats.NkeyOptionFromSeed(c.NKeySeedFile)
		if err != nil {
			return nil, entropy.Errorf(entropy.CodeInvalid, "the nkey seed in %s: %v", c.NKeySeedFile, err)
		}
		options = append(options, option)
	case c.User != "":
		options = append(options, nats.UserInfo(c.User, c.Password))
	}
	return options, nil
}

// changed notes that the connection came or went.
func (b *Bus) changed() { b.since.Store(time.Now().UnixNano()) }

// prepare finds out what the server can do, if it is not known, and makes what is
// missing there.
func (b *Bus) prepare(ctx context.Context) error {
	if !b.nc.IsConnected() {
		return entropy.Errorf(entropy.CodeUnavailable, "there is no connection to the bus at %s", b.where()).
			WithHint("is the server running, and are the credential and the CA its own? it is tried again by itself; nothing is lost meanwhile")
	}
	if b.level.Load() < 0 {
		if err := b.detect(ctx); err != nil {
			return err
		}
	}
	if err := b.ensure(ctx); err != nil {
		return busError("make the streams", err)
	}
	return nil
}

// detect finds out what the server can do.
func (b *Bus) detect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := b.js.AccountInfo(ctx)
	if err != nil {
		return busError("ask the server for its abilities", err)
	}
	replicas := 1
	if b.embedded == nil {
		if replicas = b.cfg.Replicas; replicas == 0 {
			replicas = 1
			if b.nc.ConnectedClusterName() != "" {
				replicas = 3
			}
		}
	}
	b.replicas.Store(int32(replicas))
	b.level.Store(int32(info.API.Level))
	b.cfg.Logger.Info("bus open", "at", b.where(), "server", b.nc.ConnectedServerVersion(), "level", info.API.Level, "replicas", replicas)
	return nil
}

func (b *Bus) where() string {
	if b.cfg.URL != "" {
		return redacted(b.cfg.URL)
	}
	return "the embedded server"
}

// redacted returns URLs, comma separated, without the passwords in them.
func redacted(urls string) string {
	all := strings.Split(urls, ",")
	for i, s := range all {
		if u, err := url.Parse(s); err == nil {
			all[i] = u.Redacted()
		} else {
			all[i] = "(not a URL)"
		}
	}
	return strings.Join(all, ",")
}

// turnOver lets everything that was opened on the server be opened again, and the
// streams be looked at.
func (b *Bus) turnOver() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.turn)
	b.turn = make(chan struct{})
}

// miss has the streams looked at, as one of them is missing. When they are there, the
// bus turns over. It does not wait.
func (b *Bus) miss() {
	select {
	case b.missing <- struct{}{}:
	default:
	}
}

// current is closed at the next turn.
func (b *Bus) current() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.turn
}

// watch keeps the streams there: after every reconnection, and, of the embedded
// server, when it has given up.
func (b *Bus) watch(ctx context.Context) {
	tick := time.NewTicker(b.cfg.watchEvery)
	defer tick.Stop()
	sick, next, wait, missed := 0, time.Time{}, b.cfg.watchEvery, time.Time{}
	for turn := b.current(); ; {
		select {
		case <-ctx.Done():
			return
		case <-turn:
			turn = b.current()
			b.mend(ctx)
			continue
		case <-b.missing:
			if rest := missAgain - time.Since(missed); rest > 0 {
				time.AfterFunc(rest, b.miss)
				continue
			}
			missed = time.Now()
			if b.mend(ctx); b.Problem() == nil {
				b.turnOver()
				turn = b.current() // it was looked at just now
			}
			continue
		case <-tick.C:
		}
		var err error
		if b.embedded != nil {
			err = b.embedded.health()
		}
		switch {
		case err == nil && b.Problem() == nil:
			sick, wait = 0, b.cfg.watchEvery
		case err == nil:
			sick = 0
			b.mend(ctx)
		case sick < patience: // a stream that is being made or removed looks like one that is broken
			sick++
		case time.Now().After(next):
			wait = min(2*wait, time.Minute)
			next = time.Now().Add(wait)
			b.revive(err)
		}
	}
}

// missAgain is how long the streams are not looked at again for one that is missing.
const missAgain = 500 * time.Millisecond

// patience is how often in a row the embedded server is found to be sick before it is
// taken for sick.
const patience = 2

// revive starts the embedded server again when that can help.
func (b *Bus) revive(why error) {
	b.ensuring.Lock() // a stream that is being made is not to be taken for a broken one
	defer b.ensuring.Unlock()
	if b.embedded.health() == nil {
		return
	}
	b.note(embeddedError(why, b.cfg.Dir))
	if err := b.embedded.writable(); err != nil {
		return // it would not be better off than now
	}
	b.cfg.Logger.Error("the embedded bus is started again", "error", why)
	if err := b.embedded.restart(); err != nil {
		b.note(err)
		return
	}
	go b.cfg.Rebuild() // what was not on its disk yet is gone
}

// mend makes what is missing, and remembers why it could not.
func (b *Bus) mend(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	b.note(b.prepare(ctx))
}

func (b *Bus) note(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil && (b.problem == nil || b.problem.Error() != err.Error()) {
		b.cfg.Logger.Warn("the bus has a problem", "error", err)
	}
	b.problem = err
}

// embeddedError says what the embedded server says of itself.
func embeddedError(err error, dir string) *entropy.Error {
	if strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		return entropy.Errorf(entropy.CodeDiskFull, "the embedded bus has no room: %v", err).
			WithHint("make room on the file system of %s; it is started again by itself, and nothing that was acknowledged is lost", dir)
	}
	return entropy.Errorf(entropy.CodeUnavailable, "the embedded bus: %v", err).WithHint("may %s be written? it is started again by itself", dir)
}

// Problem returns why the streams could not be made when they were looked at last;
// nil when they are there.
func (b *Bus) Problem() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.problem
}

// Addr returns where the embedded server listens; nil when it does not.
func (b *Bus) Addr() net.Addr {
	if b.embedded == nil {
		return nil
	}
	return b.embedded.addr()
}

// Conn returns the control plane's connection, for what runs in its process. The
// bus keeps and closes it.
func (b *Bus) Conn() *nats.Conn { return b.nc }

// Close ends the connection and the embedded server. What was published and not
// acknowledged may or may not have happened.
func (b *Bus) Close() {
	b.stop()
	b.working.Wait()
	if b.nc != nil {
		b.nc.Close()
	}
	if b.embedded != nil {
		b.embedded.close()
	}
}

func invalidToken(what, s string) error {
	if len(s) > 80 {
		s = s[:80]
	}
	return entropy.Errorf(entropy.CodeInvalid, "the %s %q is not 1 to 64 letters, digits, '_' and '-'", what, s)
}

// busError says in the fabric's words what went wrong on the bus.
func busError(what string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*entropy.Error](err); ok {
		return e
	}
	code, hint := entropy.CodeUnavailable, "is the server well? it is looked at again by itself"
	var api *jetstream.APIError
	switch {
	case errors.Is(err, context.Canceled):
		hint = ""
	case errors.As(err, &api) && fullCodes[api.ErrorCode]:
		code, hint = entropy.CodeDiskFull, "is the disk full, or the bus given too little room?"
	case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum, errors.Is(err, nats.ErrMaxPayload):
		code, hint = entropy.CodeTooLarge, ""
	}
	e := entropy.Errorf(code, "%s: %v", what, err)
	if hint == "" {
		return e
	}
	return e.WithHint("%s", hint)
}

// fullCodes are the server's words for having no room: resources exceeded, store
// failed, storage resources exceeded, insufficient storage, maximum bytes.
var fullCodes = map[jetstream.ErrorCode]bool{10002: true, 10023: true, 10028: true, 10047: true, 10077: true, 10110: true}

// exists reports whether there is a directory at path.
func exists(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}
