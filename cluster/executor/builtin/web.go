package builtin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/entropy-fabric/entropy/cluster/executor"
)

// The kinds of failures of what the built-in executors call; see docs/PROTOCOL.md.
const (
	KindNotAllowed     = "not_allowed"
	KindUnavailable    = "unavailable"
	KindOverloaded     = "overloaded"
	KindOutcomeUnknown = "outcome_unknown"
	KindNotFound       = "not_found"
	KindUnauthorized   = "unauthorized"
	KindForbidden      = "forbidden"
	KindConflict       = "conflict"
)

// NotAllowedf is the final failure of what the settings do not allow.
func NotAllowedf(format string, args ...any) error {
	return executor.Final(fmt.Errorf(format, args...), KindNotAllowed)
}

// NewClient returns a client that follows redirects to the same scheme and host
// only, and uses no proxy: what is reached must be what was allowed. Unless
// private, it refuses to connect to loopback, private, link-local and multicast
// addresses, whatever a name resolves to.
func NewClient(private bool) *http.Client {
	d := &net.Dialer{Timeout: 10 * time.Second}
	if !private {
		d.Control = refusePrivate
	}
	return &http.Client{
		Transport: &http.Transport{DialContext: d.DialContext, TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 256 << 10},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if first := via[0].URL; req.URL.Scheme != first.Scheme || req.URL.Host != first.Host {
				return NotAllowedf("a redirect to another host, %s, is not followed", req.URL.Host)
			}
			if len(via) >= 5 {
				return NotAllowedf("more than five redirects")
			}
			return nil
		},
	}
}

var (
	sharedAddresses = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	thisNetwork     = netip.MustParsePrefix("0.0.0.0/8")
)

// refusePrivate looks at the address that is connected to, after the name was
// resolved: a name may resolve to anything, and differently each time.
func refusePrivate(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := at.Addr().Unmap()
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || sharedAddresses.Contains(ip) || thisNetwork.Contains(ip) {
		return NotAllowedf("%s is not a public address", ip)
	}
	return nil
}

// Response is what was answered, with at most the bytes that were asked for.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	Cut    bool // there was more
}

// Do sends a request and reads at most limit bytes of the answer. The error never
// quotes the URL, which may be a secret. Whether the effect may have happened is
// in its kind: unavailable if the server was not reached, else outcome_unknown.
func Do(client *http.Client, req *http.Request, limit int64) (*Response, error) {
	res, err := client.Do(req)
	if err != nil {
		return nil, sendError(req, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil && len(b) == 0 {
		return nil, sendError(req, err)
	}
	r := &Response{Status: res.StatusCode, Header: res.Header, Body: b}
	if int64(len(b)) > limit {
		r.Body, r.Cut = b[:limit], true
	}
	return r, nil
}

func sendError(req *http.Request, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if f, ok := errors.AsType[*executor.Failure](err); ok {
		return f
	}
	wrapped := fmt.Errorf("%s %s: %w", req.Method, req.URL.Host, err)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return executor.OfKind(wrapped, KindUnavailable)
	}
	if errors.Is(err, context.Canceled) {
		return wrapped
	}
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		return executor.OfKind(wrapped, KindUnavailable)
	}
	return executor.OfKind(wrapped, KindOutcomeUnknown)
}

// StatusError returns what a status that is not 2xx means for another attempt:
// nil for 2xx. The detail is for people.
func StatusError(r *Response, detail string) error {
	if r.Status >= 200 && r.Status < 300 {
		return nil
	}
	err := fmt.Errorf("the server answered %d %s", r.Status, http.StatusText(r.Status))
	if detail = strings.TrimSpace(detail); detail != "" {
		err = fmt.Errorf("%w: %s", err, detail)
	}
	switch r.Status {
	case http.StatusTooManyRequests:
		return executor.Retryable(executor.OfKind(err, KindOverloaded), RetryAfter(r.Header, time.Now()))
	case http.StatusServiceUnavailable:
		return executor.Retryable(executor.OfKind(err, KindUnavailable), RetryAfter(r.Header, time.Now()))
	case http.StatusUnauthorized:
		return executor.Final(err, KindUnauthorized)
	case http.StatusForbidden:
		return executor.Final(err, KindForbidden)
	case http.StatusNotFound, http.StatusGone:
		return executor.Final(err, KindNotFound)
	case http.StatusConflict:
		return executor.Final(err, KindConflict)
	case http.StatusRequestTimeout, http.StatusTooEarly:
		return executor.OfKind(err, KindUnavailable)
	}
	if r.Status >= 500 {
		return executor.OfKind(err, KindUnavailable)
	}
	return executor.Final(err, executor.KindInvalid)
}

// RetryAfter reads the header of that name (RFC 9110 §10.2.3): seconds or a date.
// 0 when there is none.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// Patiently calls f again as long as it fails with a Retry-After of at most most,
// and there is time for it before ctx ends; sleep waits.
func Patiently(ctx context.Context, most time.Duration, f func() error) error {
	for {
		err := f()
		failure, ok := errors.AsType[*executor.Failure](err)
		if !ok || failure.Final || failure.After <= 0 || failure.After > most {
			return err
		}
		if at, ok := ctx.Deadline(); ok && time.Until(at) <= failure.After {
			return err
		}
		t := time.NewTimer(failure.After)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}
