package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/entropy-fabric/entropy"
)

// link is the connection as an executor uses it: reports out, verdicts in.
type link struct {
	conf Config
	nc   *nats.Conn
	js   jetstream.JetStream
	own  bool // the connection is ours to close

	boot string // makes message ids fresh after a restart
	sent atomic.Uint64

	failed chan error // has room for one: why it makes no sense to go on

	mu      sync.Mutex
	again   chan struct{} // closed when the connection is back
	waiting map[string]chan entropy.ActionVerdict
}

const publishTimeout = 5 * time.Second

// dial connects. It does not wait for a server: whoever has none yet tries again.
func dial(conf Config) (*link, error) {
	l := &link{conf: conf, nc: conf.Conn, boot: entropy.NewID(), failed: make(chan error, 1),
		again: make(chan struct{}), waiting: map[string]chan entropy.ActionVerdict{}}
	if l.nc == nil {
		opts, err := l.options()
		if err != nil {
			return nil, err
		}
		if l.nc, err = nats.Connect(conf.URL, opts...); err != nil {
			return nil, fmt.Errorf("connect to NATS: %w", err)
		}
		l.own = true
	}
	js, err := jetstream.New(l.nc)
	if err != nil {
		l.close()
		return nil, err
	}
	l.js = js
	return l, nil
}

// options are those of a client that never gives up, notices a dead server in
// twenty seconds, and keeps nothing in memory that a report's repetition keeps.
func (l *link) options() ([]nats.Option, error) {
	log := l.conf.Logger
	opts := []nats.Option{
		nats.Name("executor " + l.conf.Name),
		nats.CustomInboxPrefix("_INBOX_" + l.conf.Name),
		nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectBufSize(-1), nats.PingInterval(10 * time.Second),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.asyncError(err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			log.Warn("the connection to NATS is lost; it is tried again for ever", slog.Any("error", err))
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			log.Warn("could not connect to NATS", slog.Any("error", err))
		}),
	}
	if l.conf.TLS != nil {
		opts = append(opts, nats.Secure(l.conf.TLS))
	}
	switch {
	case l.conf.Seed != "":
		kp, err := nkeys.FromSeed([]byte(l.conf.Seed))
		if err != nil {
			return nil, errors.New("the nkey seed is not one") // the library's error might quote it
		}
		pub, err := kp.PublicKey()
		if err != nil {
			return nil, err
		}
		opts = append(opts, nats.Nkey(pub, kp.Sign))
	case l.conf.User != "":
		opts = append(opts, nats.UserInfo(l.conf.User, l.conf.Password))
	}
	return opts, nil
}

func (l *link) close() {
	if l.own {
		l.nc.Close()
	}
}

// watch wakes whoever waits when the connection comes back, until ctx ends.
func (l *link) watch(ctx context.Context) {
	status := l.nc.StatusChanged(nats.CONNECTED)
	defer l.nc.RemoveStatusListener(status)
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-status:
			if !ok {
				l.fail(errors.New("the connection to NATS was closed"))
				return
			}
			l.mu.Lock()
			close(l.again)
			l.again = make(chan struct{})
			l.mu.Unlock()
		}
	}
}

// back returns a channel that is closed when the connection comes back.
func (l *link) back() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.again
}

func (l *link) fail(err error) {
	select {
	case l.failed <- err:
	default:
	}
}

var forbiddenRe = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^" ]+)"`)

// asyncError tells a permission that is missing from a passing trouble: the
// server says so beside the call, which would only time out.
func (l *link) asyncError(err error) {
	m := forbiddenRe.FindStringSubmatch(err.Error())
	if m == nil || !errors.Is(err, nats.ErrPermissionViolation) {
		l.conf.Logger.Warn("NATS", slog.Any("error", err))
		return
	}
	l.fail(l.forbidden(m[1], m[2]))
}

func (l *link) forbidden(verb, subject string) error {
	return entropy.Errorf(entropy.CodeForbidden, "the credential of executor %s does not allow %s to %s", l.conf.Name, strings.ToLower(verb), subject).
		WithHint("its name must be %s, and each command that it handles must be among those of the credential", l.conf.Name)
}

// checkForbidden looks whether a publish to subject failed for lack of
// permission, for connections whose error handler is not ours.
func (l *link) checkForbidden(subject string) {
	if err := l.nc.LastError(); err != nil && errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `"`+subject+`"`) {
		l.fail(l.forbidden("publish", subject))
	}
}

// publish stores a report in its stream, under a message id that was not used
// before: a repeated report must reach the control plane again.
func (l *link) publish(ctx context.Context, ev *entropy.Event, data []byte) error {
	ctx, done := context.WithTimeout(ctx, publishTimeout)
	defer done()
	subject := l.subject(ev.Type)
	_, err := l.js.Publish(ctx, subject, data, jetstream.WithMsgID(fmt.Sprintf("%s:%s.%d", ev.ID, l.boot, l.sent.Add(1))))
	if err != nil {
		l.checkForbidden(subject)
	}
	return err
}

func (l *link) subject(typ string) string {
	switch typ {
	case entropy.ActionSucceededType, entropy.ActionFailedType, entropy.ActionCanceledType:
		return "actions.result." + l.conf.Name
	}
	return "actions.progress." + l.conf.Name
}

// tell publishes a report once and does not wait: the next one replaces it.
func (l *link) tell(ev *entropy.Event) error {
	data, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	return l.nc.Publish(l.subject(ev.Type), data)
}

// report sends ev until the control plane has answered or ctx has ended. A
// report that was published and not answered is sent again after Resend, then
// twice that, up to ResendMax; at once when the connection comes back.
func (l *link) report(ctx context.Context, ev *entropy.Event) (entropy.ActionVerdict, error) {
	data, err := json.Marshal(ev)
	if err != nil {
		return entropy.ActionVerdict{}, err
	}
	answer := make(chan entropy.ActionVerdict, 1)
	l.mu.Lock()
	l.waiting[ev.ID] = answer
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.waiting, ev.ID)
		l.mu.Unlock()
	}()
	for wait := l.conf.Resend; ; wait = min(2*wait, l.conf.ResendMax) {
		back := l.back()
		if err := l.publish(ctx, ev, data); err != nil && ctx.Err() == nil {
			l.conf.Logger.Debug("a report could not be published yet", slog.String("report", ev.ID), slog.Any("error", err))
		}
		t := time.NewTimer(wait + rand.N(wait/8+1))
		select {
		case v := <-answer:
			t.Stop()
			return v, nil
		case <-ctx.Done():
			t.Stop()
			return entropy.ActionVerdict{}, context.Cause(ctx)
		case <-back:
		case <-t.C:
		}
		t.Stop()
	}
}

// judged gives a verdict to the report that waits for it.
func (l *link) judged(v entropy.ActionVerdict) {
	l.mu.Lock()
	answer := l.waiting[v.Report]
	l.mu.Unlock()
	if answer == nil {
		return
	}
	select {
	case answer <- v:
	default: // a repeated verdict
	}
}
