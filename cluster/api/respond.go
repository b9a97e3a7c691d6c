package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"sync"

	"github.com/entropy-fabric/entropy"
)

// statusError is an [entropy.Error] with another HTTP status than its code's.
type statusError struct {
	status int
	Err    *entropy.Error
}

// Error returns the message.
func (e *statusError) Error() string { return e.Err.Error() }

// Unwrap returns the [entropy.Error].
func (e *statusError) Unwrap() error { return e.Err }

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooled is the largest buffer that is kept for the next request, in bytes.
const maxPooled = 1 << 20

func getBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

func putBuffer(b *bytes.Buffer) {
	if b.Cap() <= maxPooled {
		b.Reset()
		buffers.Put(b)
	}
}

var (
	contentJSON    = []string{"application/json"}
	contentProblem = []string{"application/problem+json"}
)

// answer writes v as JSON with a status.
func answer(w *response, status int, v any) error {
	buf := getBuffer()
	defer putBuffer(buf)
	if err := json.NewEncoder(buf).Encode(v); err != nil {
		return err
	}
	w.Header()["Content-Type"] = contentJSON
	w.Header()["Content-Length"] = []string{strconv.Itoa(buf.Len())}
	w.WriteHeader(status)
	w.Write(buf.Bytes()) // an error means that the client is gone
	return nil
}

// fail answers an error of a handler.
func (s *Server) fail(w *response, r *http.Request, err error) {
	if w.status != 0 || r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		s.conf.Logger.Debug("request cut", "method", r.Method, "route", r.Pattern, "error", err)
		if w.status != 0 {
			panic(http.ErrAbortHandler) // half an answer must not look whole
		}
		return
	}
	status := 0
	if se, ok := errors.AsType[*statusError](err); ok {
		status = se.status
	}
	e := s.public(r, err)
	level := slog.LevelDebug
	if e.Code.HTTPStatus() >= 500 || e.Code == entropy.CodeUnauthorized && r.Header.Get("Authorization") != "" || err == error(errRole) && s.failed.take(remote(r)) {
		level = slog.LevelWarn // nobody can fill the log with failed attempts: see unauthorized
	}
	s.conf.Logger.Log(r.Context(), level, "request failed", "method", r.Method, "route", r.Pattern, "code", e.Code,
		"error", err, "principal", entropy.PrincipalFrom(r.Context()).String())
	s.writeProblem(w, e, status)
	if e.Code == entropy.CodeTooLarge {
		w.drain(r)
	}
}

// public returns what a client may know of an error: an [entropy.Error] as it
// is, of anything else only that it happened.
func (s *Server) public(r *http.Request, err error) *entropy.Error {
	if e, ok := errors.AsType[*entropy.Error](err); ok {
		return e
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		if r.Method == http.MethodGet {
			return entropy.Errorf(entropy.CodeUnavailable, "the call was cut short").WithHint("repeat it")
		}
		return entropy.Errorf(entropy.CodeUnknown, "the call was cut short: it may or may not have happened").WithHint("repeat it with the same identifiers")
	}
	return entropy.Errorf(entropy.CodeInternal, "internal error").WithHint("see the control plane's log")
}

// writeProblem answers e as problem+json, with status unless that is 0.
func (s *Server) writeProblem(w *response, e *entropy.Error, status int) {
	p := e.Problem()
	if status != 0 {
		p.Status, p.Title = status, http.StatusText(status)
	}
	h := w.Header()
	switch e.Code {
	case entropy.CodeUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="entropy"`)
	case entropy.CodeOverloaded, entropy.CodeUnavailable:
		h.Set("Retry-After", "1")
	case entropy.CodeTooLarge:
		h.Set("Connection", "close")
	}
	b, err := json.Marshal(p)
	if err != nil {
		b = []byte(`{}`) // cannot be: strings and one number
	}
	for _, k := range []string{"Content-Disposition", "Etag", "Content-Range", "Accept-Ranges", "Last-Modified"} {
		h.Del(k)
	}
	h["Content-Type"] = contentProblem
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	w.WriteHeader(p.Status)
	w.Write(b)
}
