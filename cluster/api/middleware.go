package api

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

var (
	errStopping = entropy.Errorf(entropy.CodeUnavailable, "the control plane is stopping").WithHint("repeat the call; it goes on after the restart")
	errBusy     = entropy.Errorf(entropy.CodeOverloaded, "too many requests of this credential are open at once").WithHint("wait for some to end, then repeat")
	errRole     = entropy.Errorf(entropy.CodeForbidden, "this credential is of the wrong role for this route").
			WithHint("people and programs use an admin token, worker nodes their own key; see `entropy token create`")
	errTooMany = entropy.Errorf(entropy.CodeOverloaded, "too many calls without a valid credential").WithHint("wait a minute and check the credential")
)

// statusGone stands in the metrics for a request whose client went away unanswered.
const statusGone = 499

// response is a ResponseWriter that remembers what was answered.
type response struct {
	http.ResponseWriter
	rc     *http.ResponseController
	pace   pace
	status int           // 0 until the header is written
	idle   time.Duration // see Config.IdleTimeout
}

// WriteHeader remembers the status.
func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
		w.extend()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write writes to the client, which has the idle timeout to take it.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	} else {
		w.extend()
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// extend gives a long answer its own write deadline; a quick one has the server's.
func (w *response) extend() {
	if w.pace != quick {
		w.rc.SetWriteDeadline(time.Now().Add(w.idle)) // not supported by test recorders: harmless
	}
}

// wrap makes a handler of a route: it decides who may enter, bounds the time,
// recovers, answers errors and tells the log and the metrics.
func (s *Server) wrap(rt route) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		start := time.Now()
		w := &response{ResponseWriter: rw, rc: http.NewResponseController(rw), pace: rt.pace, idle: s.conf.IdleTimeout}
		setHeaders(w.Header())
		if s.epoch != nil {
			w.Header()[entropy.HeaderEpoch] = s.epoch
		}
		defer s.finish(w, r, rt, start)
		defer func() {
			if v := recover(); v != nil {
				s.recovered(w, r, v)
			}
		}()
		if err := s.enter(w, r, rt); err != nil {
			s.fail(w, r, err)
		}
	})
}

// setHeaders sets what every answer carries. Keys are written in canonical form.
func setHeaders(h http.Header) {
	h[entropy.HeaderAPI] = headerAPI
	h["X-Content-Type-Options"] = headerNosniff
	h["Cache-Control"] = headerNoStore
	h["Referrer-Policy"] = headerNoReferrer
	h["Content-Security-Policy"] = headerCSP
}

var (
	headerAPI        = []string{entropy.APIVersion}
	headerNosniff    = []string{"nosniff"}
	headerNoStore    = []string{"no-store"}
	headerNoReferrer = []string{"no-referrer"}
	headerCSP        = []string{"default-src 'none'; frame-ancestors 'none'; sandbox"}
)

// enter admits the request and runs the route's handler.
func (s *Server) enter(w *response, r *http.Request, rt route) error {
	if err := s.checkHost(r); err != nil {
		return err
	}
	if err := s.origin.Check(r); err != nil {
		return entropy.Errorf(entropy.CodeForbidden, "a web page of another site may not do this").WithHint("use the CLI, or the dashboard's own address")
	}
	ctx := r.Context()
	if s.superseded.Load() && rt.access != public {
		return errSuperseded
	}
	if rt.access != public && (rt.access != metrics || !s.conf.OpenMetrics) {
		p, expires, err := s.conf.Auth.Identify(r)
		if err != nil {
			return s.unauthorized(r, err)
		}
		if !rt.access.admits(p.Role) {
			return errRole
		}
		if err := s.meetEpoch(r); err != nil {
			return err
		}
		if !s.flight.enter(p) {
			return errBusy
		}
		defer s.flight.leave(p)
		if !expires.IsZero() {
			w.Header().Set("Entropy-Token-Expires", expires.UTC().Format(time.RFC3339))
		}
		ctx = entropy.WithPrincipal(ctx, p)
		if rt.pace != quick {
			var stop func()
			ctx, stop = s.conf.Auth.Guard(ctx, r)
			defer stop()
		}
	}
	if rt.pace != quick {
		var done func()
		ctx, done = s.lengthen(ctx, w, r, rt)
		defer done()
	}
	if ctx != r.Context() {
		r = r.WithContext(ctx)
	}
	err := rt.handle(w, r)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		if e, ok := errors.AsType[*entropy.Error](cause); ok {
			return e // it ended because of us: the stop of the server or a revoked credential
		}
	}
	return err
}

// lengthen replaces the server's deadlines for a route that may take long. The
// read deadline must go even where nothing is read: net/http watches for the
// client's going away, and takes a passed deadline for that.
func (s *Server) lengthen(ctx context.Context, w *response, r *http.Request, rt route) (context.Context, func()) {
	w.rc.SetWriteDeadline(time.Time{})
	if r.ContentLength == 0 {
		w.rc.SetReadDeadline(time.Time{})
	}
	if rt.pace != waiting {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(s.stopping, func() { cancel(errStopping) })
	return ctx, func() {
		unhook()
		cancel(nil)
	}
}

// unauthorized counts a failed authentication. Past one a second an address is
// told to wait and is no longer logged; a valid credential still gets in, and
// bringing none at all is no guess.
func (s *Server) unauthorized(r *http.Request, err error) error {
	if r.Header.Get("Authorization") == "" {
		return err
	}
	if !s.failed.take(remote(r)) {
		return errTooMany
	}
	return err
}

// remote returns the address of the other side, without its port.
func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// recovered answers a panic of a handler. It is a bug, and costs one request.
func (s *Server) recovered(w *response, r *http.Request, v any) {
	if v == http.ErrAbortHandler {
		panic(v)
	}
	s.conf.Logger.Error("panic in a request", "method", r.Method, "route", r.Pattern, "panic", v, "stack", string(debug.Stack()))
	if w.status == 0 {
		s.writeProblem(w, entropy.Errorf(entropy.CodeInternal, "internal error").WithHint("see the control plane's log"), 0)
		return
	}
	panic(http.ErrAbortHandler) // the answer is half written: cut it, so that nobody takes it for whole
}

// finish tells the log and the metrics about a request.
func (s *Server) finish(w *response, r *http.Request, rt route, start time.Time) {
	took := time.Since(start)
	method := r.Method
	if rt.method == "" {
		method = "other" // no route: the method is the client's free text
	}
	s.conf.Observe(rt.pattern, method, cmp.Or(w.status, statusGone), took)
	if s.conf.Logger.Enabled(r.Context(), slog.LevelDebug) {
		s.conf.Logger.Debug("request", "method", r.Method, "path", r.URL.Path, "status", w.status, "took", took)
	}
}

// noRoute answers a path that no route has, or not with this method.
func (s *Server) noRoute(w *response, r *http.Request) error {
	var allowed []string
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		if _, pattern := s.mux.Handler(&http.Request{Method: m, URL: r.URL, Host: r.Host}); pattern != "/" && pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) == 0 {
		return entropy.Errorf(entropy.CodeNotFound, "there is no route %.200q", r.URL.Path).WithHint("see GET /v1/openapi.yaml")
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return &statusError{status: http.StatusMethodNotAllowed, Err: entropy.Errorf(entropy.CodeInvalid, "%.20q is not allowed on this route", r.Method).
		WithHint("use %s", strings.Join(allowed, " or "))}
}
